//! `bftkv member list`.

use std::fmt;

use bftkv::{Client, MemberStatus, NodeId};
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::escape;

/// Show the members of the realm, and whether they serve.
///
/// Asks every member for its newest configuration. A member that "takes over" has stopped under
/// the last configuration and reads the state of the others before it serves again.
///
/// Example: bftkv member list
#[derive(Debug, Args)]
pub(crate) struct ListArgs {}

/// The members.
#[derive(Debug, Serialize)]
struct Report {
    configuration: String,
    number: u64,
    members: Vec<Member>,
}

/// One of them.
#[derive(Debug, Serialize)]
struct Member {
    fingerprint: String,
    address: Option<String>,
    clique: bool,
    store: bool,
    state: &'static str,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration {} ({})", self.number, self.configuration)?;
        for member in &self.members {
            let address = member.address.as_deref().unwrap_or("(address not known)");
            let role = match (member.clique, member.store) {
                (true, true) => "signs, stores",
                (true, false) => "signs",
                _ => "stores",
            };
            let (id, state) = (&member.fingerprint, member.state);
            write!(f, "\n{id} {}: {role}; {state}", escape(address))?;
        }
        Ok(())
    }
}

fn state(status: Option<&MemberStatus>) -> &'static str {
    match status {
        Some(status) if status.agrees && status.serving => "serves",
        Some(status) if status.agrees => "takes over",
        Some(status) if status.answered => "has another configuration",
        _ => "no answer",
    }
}

pub(super) fn run(context: &Context) -> Result<Exit, Failure> {
    let home = context.open_home()?;
    let report = context.block_on(async {
        let client = Client::open(&home).await?;
        let statuses = client.member_status().await?;
        let (configuration, names) = (client.configuration()?, client.names());
        let member = |id: &NodeId| Member {
            fingerprint: id.to_string(),
            address: names.get(id).cloned(),
            clique: configuration.clique_of(id).is_some(),
            store: configuration.store().contains(id),
            state: state(statuses.get(id)),
        };
        Ok(Report {
            configuration: configuration.digest().to_string(),
            number: configuration.number(),
            members: configuration.everyone().iter().map(member).collect(),
        })
    })?;
    context.output().show(&report)?;
    Ok(Exit::Done)
}
