//! `bftkv join`.

use std::fmt;

use bftkv::{Client, NodeId};
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::count;

/// Tell the nodes of this certificate, and learn the certificates that they know.
///
/// Anybody may join. What a certificate may do follows from who has certified it, not from having
/// joined. Clients join by themselves when something is missing; join after your certificate
/// has got new certifications.
///
/// Example: bftkv join
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {}

/// Who answered.
#[derive(Debug, Serialize)]
struct Report {
    answered: Vec<Named>,
    silent: Vec<Named>,
    configuration: String,
}

/// A node with its address.
#[derive(Debug, Serialize)]
struct Named {
    fingerprint: String,
    address: Option<String>,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.fingerprint, self.address.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "joined {}", count(self.answered.len(), "node"))?;
        self.silent.iter().try_for_each(|node| writeln!(f, "no answer: {node}"))?;
        write!(f, "configuration {}", self.configuration)
    }
}

pub(crate) fn run(_: &JoinArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.open_home()?;
    let report = context.block_on(async {
        let client = Client::open(&home).await?;
        let joined = client.join().await;
        let names = client.names();
        let named =
            |id: &NodeId| Named { fingerprint: id.to_string(), address: names.get(id).cloned() };
        Ok(Report {
            answered: joined.answered.iter().map(named).collect(),
            silent: joined.silent.iter().map(named).collect(),
            configuration: client.configuration()?.digest().to_string(),
        })
    })?;
    context.output().show(&report)?;
    if report.answered.is_empty() {
        return Err(Failure::new(Exit::TryAgain, "no node answered")
            .hint("see that the nodes run, and that `bftkv cert list` shows their certificates"));
    }
    Ok(Exit::Done)
}
