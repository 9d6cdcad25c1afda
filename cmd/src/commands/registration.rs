//! `bftkv registration`: the operator's side.

use std::fmt;

use bftkv::NodeId;
use bftkv::roaming::registration::Applicant;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::escape;
use crate::utc;

/// See and approve who wants to be registered at this node.
#[derive(Debug, Subcommand)]
pub(crate) enum RegistrationCommand {
    List(ListArgs),
    Approve(ApproveArgs),
}

/// List who waits for this node's operator.
///
/// They have run `bftkv register`, and the setting `node.registration` of this home is "approve".
///
/// Example: bftkv --home n1 registration list
#[derive(Debug, Args)]
pub(crate) struct ListArgs {}

/// Approve an applicant: this node will certify its user ID.
///
/// Compare the fingerprint with its owner first: others may have asked for the same user ID, and
/// they are refused from then on. A quorum of the nodes must approve. The node need not be
/// restarted; the applicant runs `bftkv register` again.
///
/// Example:
///
///   bftkv --home n1 registration approve 98F2B1C83E2A7F0D5C6B4A39281706F5E4D3C2B1
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ApproveArgs {
    /// The full fingerprint of the applicant's certificate.
    #[arg(value_name = "FINGERPRINT")]
    fingerprint: String,
}

/// Somebody who waits, or is approved.
#[derive(Debug, Serialize)]
struct Row {
    fingerprint: String,
    user: String,
    /// Seconds since 1970.
    since: Option<u64>,
}

impl Row {
    fn of(applicant: &Applicant, since: Option<u64>) -> Self {
        let Applicant { certificate, address } = applicant;
        Self { fingerprint: certificate.to_string(), user: address.to_string(), since }
    }
}

#[derive(Debug, Serialize)]
struct Waiting {
    waiting: Vec<Row>,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.waiting.is_empty() {
            return write!(f, "nobody waits to be registered");
        }
        let line = |row: &Row| {
            let since = row.since.map(utc::show).unwrap_or_default();
            format!("{}  {}  since {since}", row.fingerprint, escape(&row.user))
        };
        write!(f, "{}", self.waiting.iter().map(line).collect::<Vec<_>>().join("\n"))
    }
}

#[derive(Debug, Serialize)]
struct Approved {
    approved: Vec<Row>,
}

impl fmt::Display for Approved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |row: &Row| format!("approved {} {}", row.fingerprint, escape(&row.user));
        write!(f, "{}", self.approved.iter().map(line).collect::<Vec<_>>().join("\n"))
    }
}

pub(crate) fn run(command: &RegistrationCommand, context: &Context) -> Result<Exit, Failure> {
    let register = context.look_at_home()?.register();
    match command {
        RegistrationCommand::List(_) => {
            let waiting = register.waiting()?;
            let waiting = waiting.iter().map(|(one, since)| Row::of(one, Some(*since))).collect();
            context.output().show(&Waiting { waiting })?;
        }
        RegistrationCommand::Approve(args) => {
            let id: NodeId = args.fingerprint.parse().map_err(Failure::usage)?;
            let approved = register.approve(&id)?;
            let approved: Vec<Row> = approved.iter().map(|one| Row::of(one, None)).collect();
            if approved.is_empty() {
                return Err(Failure::new(Exit::Absent, format!("{id} does not wait here"))
                    .hint("`bftkv registration list` shows who does"));
            }
            context.output().show(&Approved { approved })?;
        }
    }
    Ok(Exit::Done)
}
