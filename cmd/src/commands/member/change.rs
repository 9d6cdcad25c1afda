//! `bftkv member add`, `remove` and `leave`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bftkv::protocol::{ChangeKind, Sign as _};
use bftkv::{ChangeFailure, ChangeProgress, Client, Home, NodeId, Place};
use clap::Args;
use serde::Serialize;

use crate::commands::cert::find;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Add a node to the members.
///
/// Run it in the home of a member, or of the new node. Before: the new node and all members have
/// certified each other (`bftkv cert certify`, or gpg), this home has their certificates with these
/// certifications (`bftkv cert import`), and the new node runs (`bftkv serve`): it waits as a guest.
///
/// The members are asked whether they would sign, then for their votes; then everybody is told,
/// the members take over the state, and the command waits until a quorum of them serves. Readers
/// and writers go on by themselves; for a moment they wait. One change at a time.
///
/// Examples:
///
///   bftkv member add http://n5.example:5701
///   bftkv member add http://s9.example:5701 --store
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct AddArgs {
    /// Fingerprint, key ID or URL.
    #[arg(value_name = "WHO")]
    who: String,

    /// Into the store group only: it keeps data but does not sign.
    #[arg(long)]
    store: bool,

    #[command(flatten)]
    patience: Patience,
}

/// Remove a node from the members.
///
/// Run it in the home of a member. The members sign only if each finds the node cut out, or has
/// withdrawn its own certification of it (`bftkv cert revoke`, or gpg), so a quorum of the operators
/// must agree. To replace a node whose disk died, add the new one first.
///
/// What the node has signed stays valid.
///
/// Example: bftkv member remove http://n3.example:5701
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Fingerprint, key ID or URL.
    #[arg(value_name = "WHO")]
    who: String,

    #[command(flatten)]
    patience: Patience,
}

/// Leave the members.
///
/// Run it in the home of the node that leaves, while the node runs. Nobody has to withdraw any
/// certification: the node itself asks. When the command is done the node may be stopped.
///
/// Example: bftkv --home /var/lib/bftkv member leave
#[derive(Debug, Args)]
pub(crate) struct LeaveArgs {
    #[command(flatten)]
    patience: Patience,
}

/// How long to wait.
#[derive(Debug, Args)]
struct Patience {
    /// Give up waiting after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    configuration: String,
    number: u64,
    members: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { configuration, number, members } = self;
        write!(f, "configuration {number} with {members} members is in force ({configuration})")
    }
}

pub(super) fn add(args: &AddArgs, context: &Context) -> Result<Exit, Failure> {
    let place = if args.store { Place::Store } else { Place::Clique };
    change(ChangeKind::Add, Some(&args.who), place, &args.patience, context)
}

pub(super) fn remove(args: &RemoveArgs, context: &Context) -> Result<Exit, Failure> {
    change(ChangeKind::Remove, Some(&args.who), Place::default(), &args.patience, context)
}

pub(super) fn leave(args: &LeaveArgs, context: &Context) -> Result<Exit, Failure> {
    change(ChangeKind::Remove, None, Place::default(), &args.patience, context)
}

/// Makes the change; without `who`, of the own certificate.
fn change(
    kind: ChangeKind,
    who: Option<&str>,
    place: Place,
    patience: &Patience,
    context: &Context,
) -> Result<Exit, Failure> {
    let home = context.open_home()?;
    let member = match who {
        Some(who) => find(home.certificates()?.keyring(), who)?,
        None => home.key().id().clone(),
    };
    let report = context.block_on(drive(&home, kind, &member, place, patience))?;
    context.output().show(&report)?;
    Ok(Exit::Done)
}

async fn drive(
    home: &Home,
    kind: ChangeKind,
    member: &NodeId,
    place: Place,
    patience: &Patience,
) -> Result<Report, Failure> {
    let client = Client::open(home).await?;
    let names = client.names();
    let mut last = None;
    let show = |progress: &ChangeProgress| {
        if last.as_ref() != Some(progress) {
            eprintln!("{}", tell(progress, &names));
            last = Some(progress.clone());
        }
    };
    let deadline = Duration::from_secs(patience.timeout);
    let changed = client.change_members(kind, member, place, deadline, show).await;
    client.finish(Duration::from_secs(2)).await;
    let configuration = changed.map_err(|failure| explain(failure, &names))?;
    Ok(Report {
        configuration: configuration.digest().to_string(),
        number: configuration.number(),
        members: configuration.everyone().len(),
    })
}

fn name(id: &NodeId, names: &BTreeMap<NodeId, String>) -> String {
    names.get(id).cloned().unwrap_or_else(|| id.to_string())
}

fn list<'a>(ids: impl IntoIterator<Item = &'a NodeId>, names: &BTreeMap<NodeId, String>) -> String {
    let named: Vec<String> = ids.into_iter().map(|id| name(id, names)).collect();
    named.join(", ")
}

fn tell(progress: &ChangeProgress, names: &BTreeMap<NodeId, String>) -> String {
    match progress {
        ChangeProgress::Waiting(open) => {
            format!("the last change is not complete at {}: waiting", list(open, names))
        }
        ChangeProgress::Agreed(have, need) => format!("{have} members agree, {need} must"),
        ChangeProgress::Voted(have, need) => format!("{have} members have voted, {need} must"),
        ChangeProgress::TakingOver(open) if open.is_empty() => "every member serves".to_owned(),
        ChangeProgress::TakingOver(open) => {
            format!("the change is made; not serving yet: {}", list(open, names))
        }
        _ => String::new(),
    }
}

fn explain(failure: ChangeFailure, names: &BTreeMap<NodeId, String>) -> Failure {
    let mut message = failure.to_string();
    for (id, address) in names {
        message = message.replace(&id.to_string(), address);
    }
    match failure {
        ChangeFailure::Refused { why, .. } => {
            let failed = Failure::new(Exit::TryAgain, message);
            why.iter().fold(failed, |failed, (id, refusal)| {
                let said =
                    refusal.as_ref().map_or_else(|| "no answer".to_owned(), ToString::to_string);
                let mut hint = format!("{}: {said}", name(id, names));
                for (id, address) in names {
                    hint = hint.replace(&id.to_string(), address);
                }
                failed.hint(hint)
            })
        }
        ChangeFailure::Split { others } => {
            let failed = Failure::failed(message)
                .hint("docs/membership.md, \"When votes are split\", says what that means");
            others.iter().fold(failed, |failed, (id, change)| {
                let what = format!("{:?} {}", change.kind, name(&change.member, names));
                failed.hint(format!("{} has voted for another change: {what}", name(id, names)))
            })
        }
        ChangeFailure::Unconfirmed(_) => Failure::new(Exit::TryAgain, message)
            .hint("`bftkv member list` shows how far they are; nothing needs to be repeated"),
        ChangeFailure::Other(error) => Failure::from(error),
        _ => Failure::failed(message),
    }
}
