//! Simulation, adversaries and invariants of bftkv.
//!
//! [`sim::run`] plays one whole cluster from one seed: the real state machines of
//! `bftkv-protocol` with a made-up clock, network, disks, keys, crashes and traitors. While it
//! runs, the [`invariants`] watch; at the end the [`oracle`] judges the history of the clients.
//! `docs/simulation.md` tells what is simulated and how a failing seed is replayed.

pub mod adversary;
pub mod detection;
pub mod invariants;
pub mod oracle;
pub mod sim;
