//! Figures.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::phase::Outcome;

/// What one kind of operation cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    /// Operations that were done.
    pub(super) operations: usize,
    /// Operations a second, all clients together.
    pub(super) per_second: f64,
    /// Half of all took at most so long.
    pub(super) p50_ms: f64,
    /// 95 of 100.
    pub(super) p95_ms: f64,
    /// 99 of 100.
    pub(super) p99_ms: f64,
    /// CPU time of the nodes for one operation.
    pub(super) nodes_cpu_ms: f64,
    /// CPU time of the client for one operation.
    pub(super) client_cpu_ms: f64,
    /// CPU time of all processes for one operation.
    pub(super) cpu_ms: f64,
    /// Messages that the client sent and received for one operation.
    pub(super) messages: f64,
    /// Bytes of these messages, sealed, without HTTP.
    pub(super) bytes: f64,
    /// Files and folders that nodes and clients had synced for one operation.
    pub(super) syncs: f64,
}

impl Figures {
    /// From what the clients say, and what all nodes used meanwhile.
    pub(super) fn of(outcome: Outcome, nodes: Used) -> Self {
        let Outcome { mut latencies_us, elapsed, client_cpu, messages, bytes, syncs, .. } = outcome;
        let Used { cpu: nodes_cpu, syncs: nodes_syncs } = nodes;
        latencies_us.sort_unstable();
        let operations = latencies_us.len();
        let n = operations.max(1) as f64;
        let per = |total: u64| total as f64 / n;
        let ms_per = |total: Duration| total.as_secs_f64() * 1000.0 / n;
        Self {
            operations,
            per_second: operations as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            p50_ms: percentile(&latencies_us, 50),
            p95_ms: percentile(&latencies_us, 95),
            p99_ms: percentile(&latencies_us, 99),
            nodes_cpu_ms: ms_per(nodes_cpu),
            client_cpu_ms: ms_per(client_cpu),
            cpu_ms: ms_per(nodes_cpu.saturating_add(client_cpu)),
            messages: per(messages),
            bytes: per(bytes),
            syncs: per(syncs.saturating_add(nodes_syncs)),
        }
    }
}

/// The smallest latency that `percent` of all do not exceed (nearest rank), in milliseconds.
fn percentile(sorted_us: &[u64], percent: usize) -> f64 {
    let rank = sorted_us.len().saturating_mul(percent).div_ceil(100);
    sorted_us.get(rank.saturating_sub(1)).map_or(0.0, |us| *us as f64 / 1000.0)
}

/// What all nodes together have used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    /// CPU time.
    pub(super) cpu: Duration,
    /// Files and folders that were synced.
    pub(super) syncs: u64,
}

impl Used {
    /// What was used since.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            syncs: self.syncs.saturating_sub(before.syncs),
        }
    }
}

/// Puts and gets, mixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Mix {
    /// How many of a hundred operations were gets.
    pub(super) reads: u8,
    /// What an operation of the mix cost.
    #[serde(flatten)]
    pub(super) figures: Figures,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ClusterReport {
    /// What keys.
    pub(super) keys: String,
    /// Nodes that sign.
    pub(super) authority: usize,
    /// Nodes of the store group.
    pub(super) store: usize,
    /// Clients at once.
    pub(super) clients: u16,
    /// In how many processes they are.
    pub(super) processes: u16,
    /// The size of values.
    pub(super) value_bytes: u32,
    /// How many variables each operation of a client was about. The figures are those of one.
    pub(super) batch: u16,
    /// Whether messages were sealed although there is TLS.
    pub(super) sealed: bool,
    /// Operations that were due in a second; `None`: the next began when the last had ended.
    pub(super) rate: Option<f64>,
    /// Writes.
    pub(super) put: Figures,
    /// Reads.
    pub(super) get: Figures,
    /// Both mixed.
    pub(super) mixes: Vec<Mix>,
    /// The resident memory of each node at the end.
    pub(super) resident_mb: Vec<f64>,
    /// That of the largest process of clients.
    pub(super) client_resident_mb: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, per_second, p50_ms, p95_ms, p99_ms, .. } = self;
        writeln!(f, "{operations} done, {per_second:.0}/s")?;
        writeln!(f, "      latency   p50 {p50_ms:.1} ms, p95 {p95_ms:.1} ms, p99 {p99_ms:.1} ms")?;
        let Self { cpu_ms, nodes_cpu_ms, client_cpu_ms, .. } = self;
        writeln!(
            f,
            "      CPU       {cpu_ms:.2} ms each (nodes {nodes_cpu_ms:.2}, client {client_cpu_ms:.2})"
        )?;
        let Self { messages, bytes, syncs, .. } = self;
        writeln!(f, "      messages  {messages:.1} each, {bytes:.0} bytes; {syncs:.1} syncs")
    }
}

impl fmt::Display for ClusterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, authority, store, clients, processes, value_bytes, .. } = self;
        write!(f, "{keys} keys, {authority} nodes sign, {store} store, ")?;
        write!(f, "values of {value_bytes} bytes, {clients} clients")?;
        if *processes > 1 {
            write!(f, " in {processes} processes")?;
        }
        if self.batch > 1 {
            write!(f, ", {} variables at once", self.batch)?;
        }
        if let Some(rate) = self.rate {
            write!(f, ", {rate} operations due a second")?;
        }
        write!(f, "\nput   {}get   {}", self.put, self.get)?;
        for Mix { reads, figures } in &self.mixes {
            write!(f, "{:<6}{figures}", format!("{reads}/{}", 100_u8.saturating_sub(*reads)))?;
        }
        let largest = self.resident_mb.iter().copied().fold(0.0, f64::max);
        let client = self.client_resident_mb;
        write!(f, "memory    largest node {largest:.1} MB, client {client:.1} MB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let sorted: Vec<u64> = (1..=100).map(|ms| ms * 1000).collect();
        assert_eq!([50, 95, 99].map(|p| percentile(&sorted, p)), [50.0, 95.0, 99.0]);
        assert_eq!(percentile(&sorted[..1], 99), 1.0);
        assert_eq!(percentile(&[], 50), 0.0);
    }

    #[test]
    fn costs_are_for_one_operation() {
        let outcome = Outcome {
            latencies_us: vec![1000; 4],
            elapsed: Duration::from_secs(2),
            client_cpu: Duration::from_millis(10),
            messages: 40,
            bytes: 400,
            syncs: 8,
            resident_bytes: 0,
        };
        let used = |ms, syncs| Used { cpu: Duration::from_millis(ms), syncs };
        let figures = Figures::of(outcome, used(37, 42).since(used(7, 10)));
        assert_eq!((figures.cpu_ms, figures.messages, figures.per_second), (10.0, 10.0, 2.0));
        assert_eq!(figures.syncs, 10.0, "those of the client and of the nodes");
    }
}
