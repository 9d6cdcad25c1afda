//! A measured phase as plain data: what is asked of the clients, and what came of it. Clients may
//! be in another process.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    /// Puts, each to a fresh variable.
    Put,
    /// Gets what the same client has put before.
    Get,
    /// Both: so many of a hundred are gets.
    Mix {
        /// From 0 to 100.
        reads: u8,
    },
}

/// Work for a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Phase {
    /// What.
    pub(super) work: Work,
    /// How long.
    pub(super) time: Duration,
    /// Open loop: how long a client waits from the beginning of one operation to the next.
    /// `None`: closed loop, the next begins when the last has ended.
    pub(super) every: Option<Duration>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// How long each operation took, in microseconds. With an open loop it counts from the moment
    /// at which the operation was due, so that a slow system cannot hide behind waiting clients.
    pub(super) latencies_us: Vec<u64>,
    /// From the beginning to the end of the last operation.
    pub(super) elapsed: Duration,
    /// CPU time of the process of the clients.
    pub(super) client_cpu: Duration,
    /// Messages sent and received.
    pub(super) messages: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Files and folders that the process of the clients has had synced.
    pub(super) syncs: u64,
    /// Resident memory of that process at the end; 0 if it is not known.
    pub(super) resident_bytes: u64,
}

impl Outcome {
    /// Adds what clients elsewhere did in the same time.
    pub(super) fn add(&mut self, other: Self) {
        self.latencies_us.extend(other.latencies_us);
        self.elapsed = self.elapsed.max(other.elapsed);
        self.client_cpu = self.client_cpu.saturating_add(other.client_cpu);
        self.messages = self.messages.saturating_add(other.messages);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.syncs = self.syncs.saturating_add(other.syncs);
        self.resident_bytes = self.resident_bytes.max(other.resident_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_of_processes_add_up_but_their_time_does_not() {
        let one = |latency, seconds| Outcome {
            latencies_us: vec![latency],
            elapsed: Duration::from_secs(seconds),
            client_cpu: Duration::from_millis(5),
            messages: 6,
            bytes: 70,
            syncs: 8,
            resident_bytes: latency,
        };
        let mut sum = one(3, 2);
        sum.add(one(4, 1));
        assert_eq!((sum.latencies_us, sum.elapsed), (vec![3, 4], Duration::from_secs(2)));
        assert_eq!((sum.client_cpu.as_millis(), sum.messages, sum.bytes), (10, 12, 140));
        assert_eq!(
            (sum.syncs, sum.resident_bytes),
            (16, 4),
            "of memory the largest process counts"
        );
    }
}
