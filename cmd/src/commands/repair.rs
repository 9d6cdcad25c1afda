//! `bftkv repair`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bftkv::{Client, NodeId, RepairProgress, RepairStatus};
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{count, escape};

/// Have values certified again that a node had signed which was cut out since.
///
/// What was certified stays valid and readable, whoever is cut out, expires or leaves. But with each
/// signer that is cut out a value has fewer left that are trusted, and with too few of them a node
/// that lacks the value does not take it any more. So the nodes vouch for what they store, and the
/// vouches of a quorum take the place of the old signatures.
///
/// The nodes do that by themselves, in the background, a few minutes after somebody was cut out or
/// the members have changed. This command asks them to do at once what is left, shows how far each
/// has come, and waits. It changes no value, may be stopped at any time, and costs nothing where
/// nothing is to be done. A quorum of the members must run.
///
/// Exit code 5: not everything is done yet; the nodes go on.
///
/// Examples:
///
///   bftkv repair
///   bftkv repair --timeout 5 --json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RepairArgs {
    /// Stop waiting after so many seconds; the nodes go on.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
}

/// What the nodes said last.
#[derive(Debug, Serialize)]
struct Report {
    done: bool,
    nodes: Vec<Node>,
}

/// What one of them said.
#[derive(Debug, Serialize)]
struct Node {
    fingerprint: String,
    address: Option<String>,
    answered: bool,
    done: bool,
    /// Entries that it has looked at in this round, old versions included.
    checked: u64,
    /// Entries that it has had certified again since it started.
    repaired: u64,
    /// Entries that are left because too few members answered.
    open: u64,
    /// Entries that only this node has, and that stay as they are.
    alone: u64,
}

impl Node {
    fn new(id: &NodeId, said: Option<RepairProgress>, names: &BTreeMap<NodeId, String>) -> Self {
        let answered = said.is_some();
        let RepairProgress { done, checked, repaired, open, alone } = said.unwrap_or_default();
        let (fingerprint, address) = (id.to_string(), names.get(id).cloned());
        Self { fingerprint, address, answered, done, checked, repaired, open, alone }
    }

    fn name(&self) -> &str {
        self.address.as_deref().unwrap_or(&self.fingerprint)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", escape(self.name()))?;
        if !self.answered {
            return write!(f, "no answer");
        }
        let state = if self.done { "done" } else { "at work" };
        let checked = count(usize::try_from(self.checked).unwrap_or(usize::MAX), "value");
        write!(f, "{state}; {checked} looked at, {} certified again", self.repaired)?;
        if self.open > 0 {
            write!(f, ", {} left (too few nodes answered)", self.open)?;
        }
        if self.alone > 0 {
            write!(f, ", {} that no other node has", self.alone)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.nodes.iter().try_for_each(|node| writeln!(f, "{node}"))?;
        let what = if self.done {
            "every value is backed by a quorum of signers that were not cut out"
        } else {
            "not everything is done yet; the nodes go on"
        };
        write!(f, "{what}")
    }
}

fn report(status: &RepairStatus, names: &BTreeMap<NodeId, String>) -> Report {
    let nodes: Vec<Node> = status.iter().map(|(id, said)| Node::new(id, *said, names)).collect();
    Report { done: nodes.iter().all(|node| node.done), nodes }
}

pub(crate) fn run(args: &RepairArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.open_home()?;
    let report = context.block_on(async {
        let client = Client::open(&home).await?;
        let names = client.names();
        let mut last = None;
        let show = |status: &RepairStatus| {
            if last.as_ref() != Some(status) && !report(status, &names).done {
                report(status, &names).nodes.iter().for_each(|node| eprintln!("{node}"));
                last = Some(status.clone());
            }
        };
        let status = client.repair(Duration::from_secs(args.timeout), show).await?;
        Ok(report(&status, &names))
    })?;
    context.output().show(&report)?;
    Ok(if report.done { Exit::Done } else { Exit::TryAgain })
}
