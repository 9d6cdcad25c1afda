//! Ports for nodes on this machine.

use std::net::TcpListener;

use crate::failure::Failure;

/// `n` ports of the loopback interface: from `base` upwards, or free ones.
///
/// They were free a moment ago; nothing holds them until the nodes listen.
///
/// # Errors
/// There are not so many.
pub(crate) fn free_ports(n: usize, base: Option<u16>) -> Result<Vec<u16>, Failure> {
    match base {
        Some(base) => {
            let ports: Vec<u16> = (base..=u16::MAX).take(n).collect();
            if ports.len() < n {
                return Err(Failure::usage(format!("there are no {n} ports from {base} upwards")));
            }
            Ok(ports)
        }
        None => free(n),
    }
}

/// From a random one upwards, below those that the system gives to outgoing connections: one of these could
/// take the port of a node that is not running.
fn free(n: usize) -> Result<Vec<u16>, Failure> {
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(|error| none(&error))?;
    free_after(usize::from(u16::from_be_bytes(random)), n)
}

/// All are held at once, so that no two are the same.
fn free_after(skipped: usize, n: usize) -> Result<Vec<u16>, Failure> {
    let range = FIRST..first_outgoing().max(FIRST.saturating_add(1));
    let skipped = skipped.checked_rem(range.len()).unwrap_or(0);
    let ports = range.clone().cycle().skip(skipped).take(range.len());
    let listeners = ports.filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let held: Vec<TcpListener> = listeners.take(n).collect();
    if held.len() < n {
        return Err(none(&format!("fewer than {n} from {FIRST} upwards")));
    }
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    held.iter().map(port).collect::<Result<_, _>>().map_err(|error| none(&error))
}

fn none(error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("no free port: {error}"))
}

/// Below it are services that people know.
const FIRST: u16 = 10_000;

/// The first port for outgoing connections: where Linux says it, or IANA (RFC 6335 section 6) elsewhere.
fn first_outgoing() -> u16 {
    let told = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let first = told.and_then(|range| range.split_whitespace().next()?.parse().ok());
    first.unwrap_or(49_152)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_not_those_of_outgoing_connections() {
        let ports = free(50).unwrap();
        let distinct: std::collections::BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), 50);
        assert!(ports.iter().all(|port| (FIRST..first_outgoing()).contains(port)), "{ports:?}");
    }

    #[test]
    fn a_port_that_is_taken_is_not_free() {
        let port = free_after(7, 1).unwrap()[0];
        let _held = TcpListener::bind(("127.0.0.1", port));
        assert!(!free_after(7, 3).unwrap().contains(&port));
    }
}
