//! Who may connect: a count of all connections, and of those from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::network::network_of;

/// Counts connections.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    counts: Arc<Mutex<Counts>>,
    limit: usize,
    limit_per_address: usize,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A counted connection; it is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    counts: Arc<Mutex<Counts>>,
    address: IpAddr,
}

impl Admission {
    pub(super) fn new(limit: usize, limit_per_address: usize) -> Self {
        Self { counts: Arc::default(), limit, limit_per_address }
    }

    /// `None` if there are too many already.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Admitted> {
        let address = network_of(address);
        let mut counts = lock(&self.counts);
        let here = counts.by_address.get(&address).copied().unwrap_or(0);
        if counts.all >= self.limit || here >= self.limit_per_address {
            return None;
        }
        counts.all += 1;
        counts.by_address.insert(address, here + 1);
        Some(Admitted { counts: self.counts.clone(), address })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        counts.all = counts.all.saturating_sub(1);
        match counts.by_address.get_mut(&self.address) {
            Some(here) if *here > 1 => *here -= 1,
            // The map holds open connections only, so it is as bounded as they are.
            _ => drop(counts.by_address.remove(&self.address)),
        }
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    // Nothing that runs under this lock can panic half-way.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_cannot_take_all() {
        let admission = Admission::new(3, 2);
        let first = admission.admit(address("10.0.0.1")).unwrap();
        let _second = admission.admit(address("::ffff:10.0.0.1")).unwrap();
        assert!(admission.admit(address("10.0.0.1")).is_none());
        drop(first);
        let _third = admission.admit(address("10.0.0.1")).unwrap();
        let _fourth = admission.admit(address("10.0.0.2")).unwrap();
        assert!(admission.admit(address("10.0.0.3")).is_none(), "three in all");
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let admission = Admission::new(9, 1);
        let held = admission.admit(address("2001:db8::1")).unwrap();
        assert!(admission.admit(address("2001:db8::2")).is_none());
        assert!(admission.admit(address("2001:db8:0:1::2")).is_some());
        drop(held);
        assert!(lock(&admission.counts).by_address.is_empty());
    }
}
