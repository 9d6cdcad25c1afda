//! Addresses as far as one party can be expected to hold them.

use std::net::{IpAddr, Ipv6Addr};

/// The unit that one party can be expected to hold: an IPv4 address, or an IPv6 network of 64 bits.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 => v4,
    }
}
