//! How long the clique search takes in large and in bad graphs.
//!
//! `cargo run --release -p bftkv-wot --example graphbench`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, not a library")]

use std::time::{Duration, Instant};

use bftkv_protocol::NodeId;
use bftkv_wot::{CliqueSearch, TrustGraph, Vertex, quorum_cliques};

fn main() {
    let mut large = nodes(100_000);
    clique(&mut large, 0..10);
    (1..100_000).for_each(|n| large.add_edge(&id(0), &id(n)));
    (1..100_000).for_each(|n| clique(&mut large, [9, n]));
    (10..99_990).step_by(3).for_each(|n| clique(&mut large, n..n + 3));
    show("100,000 vertices, all certified by the start and by a traitor", &large);

    let mut tangle = nodes(60);
    for a in 0..60 {
        (0..60).filter(|b| a / 3 != b / 3).for_each(|b| tangle.add_edge(&id(a), &id(b)));
    }
    show("3^20 maximal cliques in 60 nodes: the budget ends it", &tangle);

    let mut star = nodes(100_000);
    clique(&mut star, 0..7);
    (7..100_000).for_each(|n| clique(&mut star, [6, n]));
    show("100,000 made-up nodes behind one traitor", &star);
}

fn show(what: &str, graph: &TrustGraph) {
    let start = cpu();
    let found = quorum_cliques(graph, &id(0), &CliqueSearch::default());
    let took = cpu().saturating_sub(start);
    let result = match found {
        Ok(found) => {
            let sizes: Vec<usize> = found.cliques.iter().map(|c| c.group.len()).collect();
            format!("cliques of {sizes:?}, {} steps", found.steps)
        }
        Err(error) => error.to_string(),
    };
    println!("{what}\n  {took:?} of CPU: {result}");
}

fn id(n: u64) -> NodeId {
    let mut bytes = [0; 20];
    bytes.first_chunk_mut::<8>().unwrap().copy_from_slice(&n.to_be_bytes());
    NodeId::from_bytes(&bytes).unwrap()
}

fn nodes(n: u64) -> TrustGraph {
    let mut graph = TrustGraph::new();
    (0..n).for_each(|n| graph.add_vertex(id(n), Vertex { is_node: true, ..Vertex::default() }));
    graph
}

fn clique(graph: &mut TrustGraph, members: impl IntoIterator<Item = u64> + Clone) {
    for a in members.clone() {
        members.clone().into_iter().for_each(|b| graph.add_edge(&id(a), &id(b)));
    }
}

/// CPU time of this thread, from Linux; elsewhere, time as it passes.
fn cpu() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match text.split(' ').next().and_then(|nanos| nanos.parse().ok()) {
        Some(nanos) => Duration::from_nanos(nanos),
        None => START.get_or_init(Instant::now).elapsed(),
    }
}
