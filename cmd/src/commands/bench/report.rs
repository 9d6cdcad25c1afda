//! Figures.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// What one kind of operation cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
}

/// What was used meanwhile.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    /// By all nodes.
    pub(super) nodes_cpu: Duration,
    /// By the client.
    pub(super) client_cpu: Duration,
    /// Messages.
    pub(super) messages: u64,
    /// Bytes.
    pub(super) bytes: u64,
}

impl Used {
    /// The difference to an earlier reading.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            nodes_cpu: self.nodes_cpu.saturating_sub(earlier.nodes_cpu),
            client_cpu: self.client_cpu.saturating_sub(earlier.client_cpu),
            messages: self.messages.saturating_sub(earlier.messages),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

impl Figures {
    /// From how long each operation took, how long all took, and what they used.
    pub(super) fn of(mut latencies: Vec<Duration>, elapsed: Duration, used: Used) -> Self {
        latencies.sort_unstable();
        let operations = latencies.len();
        let n = operations.max(1) as f64;
        let per = |total: u64| total as f64 / n;
        let ms_per = |total: Duration| millis(total) / n;
        Self {
            operations,
            per_second: operations as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            p50_ms: percentile(&latencies, 50),
            p95_ms: percentile(&latencies, 95),
            p99_ms: percentile(&latencies, 99),
            nodes_cpu_ms: ms_per(used.nodes_cpu),
            client_cpu_ms: ms_per(used.client_cpu),
            cpu_ms: ms_per(used.nodes_cpu.saturating_add(used.client_cpu)),
            messages: per(used.messages),
            bytes: per(used.bytes),
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The smallest latency that `percent` of all do not exceed (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().map_or(0.0, millis)
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ClusterReport {
    /// What keys.
    pub(super) keys: String,
    /// Nodes that sign.
    pub(super) authority: usize,
    /// Nodes of the store group.
    pub(super) store: usize,
    /// Clients at once.
    pub(super) clients: u16,
    /// The size of values.
    pub(super) value_bytes: u32,
    /// Writes.
    pub(super) put: Figures,
    /// Reads.
    pub(super) get: Figures,
    /// The resident memory of each node at the end.
    pub(super) resident_mb: Vec<f64>,
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
        writeln!(f, "      messages  {:.1} each, {:.0} bytes", self.messages, self.bytes)
    }
}

impl fmt::Display for ClusterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} keys, {} nodes sign, {} store, values of {} bytes, {} clients",
            self.keys, self.authority, self.store, self.value_bytes, self.clients
        )?;
        write!(f, "put   {}get   {}", self.put, self.get)?;
        let largest = self.resident_mb.iter().copied().fold(0.0, f64::max);
        write!(f, "memory of the largest node: {largest:.1} MB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!([50, 95, 99].map(|p| percentile(&sorted, p)), [50.0, 95.0, 99.0]);
        assert_eq!(percentile(&sorted[..1], 99), 1.0);
        assert_eq!(percentile(&[], 50), 0.0);
    }

    #[test]
    fn costs_are_for_one_operation() {
        let used = Used {
            nodes_cpu: Duration::from_millis(30),
            client_cpu: Duration::from_millis(10),
            messages: 40,
            bytes: 400,
        };
        let latencies = vec![Duration::from_millis(1); 4];
        let figures = Figures::of(latencies, Duration::from_secs(2), used);
        assert_eq!((figures.cpu_ms, figures.messages, figures.per_second), (10.0, 10.0, 2.0));
    }
}
