//! What is measured in a series, one cluster after the other.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::super::ClusterArgs;
use super::super::shape::Shape;
use super::{Messages, SeriesArgs};

/// Clients at once, and how many variables each of their operations is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) clients: u16,
    pub(super) batch: u16,
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (clients, batch) = text.split_once('x').unwrap_or((text, "1"));
        let (clients, batch): (Option<u16>, Option<u16>) =
            (clients.parse().ok(), batch.parse().ok());
        let clients = clients.filter(|clients| (1..=1000).contains(clients));
        let batch = batch.filter(|batch| (1..=256).contains(batch));
        clients.zip(batch).map(|(clients, batch)| Self { clients, batch }).ok_or_else(|| {
            "give clients (1 to 1000), or clients x variables at once (1 to 256): 32 or 1x256"
                .to_owned()
        })
    }
}

/// One cluster and what is done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    messages: Messages,
    nodes: u16,
    load: Workload,
    bytes: u32,
    reads: Vec<u8>,
}

/// All of them: over nodes with every load, then over sizes with one client on the smallest cluster.
pub(super) fn cells(args: &SeriesArgs) -> Vec<Cell> {
    let Some((&first, sizes)) = args.bytes.split_first() else { return Vec::new() };
    let mut cells = Vec::new();
    for &messages in &args.messages {
        for &nodes in &args.nodes {
            cells.extend(args.loads.iter().map(|&load| {
                let reads = args.reads.clone();
                Cell { messages, nodes, load, bytes: first, reads }
            }));
        }
    }
    let Some(&nodes) = args.nodes.iter().min() else { return cells };
    let load = Workload { clients: 1, batch: 1 };
    for &messages in &args.messages {
        cells.extend(sizes.iter().map(|&bytes| {
            let reads = Vec::new();
            Cell { messages, nodes, load, bytes, reads }
        }));
    }
    cells
}

impl Cell {
    /// What `bftkv bench` would be asked for.
    pub(super) fn cluster(&self, seconds: Duration) -> ClusterArgs {
        let Workload { clients, batch } = self.load;
        ClusterArgs {
            nodes: self.nodes,
            store: 0,
            keys: PathBuf::from("ed25519"),
            sealed: self.messages == Messages::Sealed,
            cluster: None,
            clients,
            processes: 1,
            rate: None,
            reads: self.reads.clone(),
            shape: Shape { batch, value_bytes: self.bytes, variables: None },
            seconds,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, nodes, load, bytes, .. } = self;
        let messages = if *messages == Messages::Sealed { "sealed" } else { "TLS" };
        write!(f, "{messages}, {nodes} nodes, {} clients", load.clients)?;
        if load.batch > 1 {
            write!(f, ", {} at once", load.batch)?;
        }
        write!(f, ", {bytes} bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &[&str]) -> SeriesArgs {
        use clap::{Args as _, FromArgMatches as _};
        let command = SeriesArgs::augment_args(clap::Command::new("series"));
        let line = ["series", "f.json"].iter().chain(line);
        SeriesArgs::from_arg_matches(&command.try_get_matches_from(line).unwrap()).unwrap()
    }

    #[test]
    fn everything_is_measured_over_nodes_and_one_client_over_sizes() {
        let all = cells(&args(&[]));
        assert_eq!(all.len(), 2 * 4 * 3 + 2 * 4);
        let short =
            ["--nodes", "4,7", "--messages", "tls", "--bytes", "100,1024", "--loads", "1x256"];
        let told: Vec<String> = cells(&args(&short)).iter().map(Cell::to_string).collect();
        assert_eq!(
            told,
            [
                "TLS, 4 nodes, 1 clients, 256 at once, 100 bytes",
                "TLS, 7 nodes, 1 clients, 256 at once, 100 bytes",
                "TLS, 4 nodes, 1 clients, 1024 bytes",
            ]
        );
    }

    #[test]
    fn a_load_is_clients_and_perhaps_a_batch() {
        let of = |clients, batch| Ok(Workload { clients, batch });
        assert_eq!("32".parse(), of(32, 1));
        assert_eq!("2x256".parse(), of(2, 256));
        for wrong in ["", "0", "x", "1x", "1x0", "1x257", "1001", "1x2x3", "-1"] {
            assert!(wrong.parse::<Workload>().is_err(), "{wrong}");
        }
    }
}
