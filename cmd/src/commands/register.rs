//! `bftkv register` and `bftkv recover`.

use std::fmt;

use bftkv::{Client, PasswordOptions, Registered};
use clap::Args;
use serde::Serialize;

use super::password::PasswordArgs;
use super::put::BACKGROUND;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::escape;

/// Register your certificate for its user ID, under a password.
///
/// Nobody needs to have certified it: the nodes do, once the user ID is yours, and then it can
/// write. Where their operators must approve, the command says so (exit code 5); run it again later.
/// It goes on where it was cut short. With the password, a lost key can be replaced: `bftkv recover`.
///
/// Before that, the home must know the nodes: import their certificates (`bftkv cert import`),
/// compare their fingerprints, and certify them (`bftkv cert certify`).
///
/// Examples:
///
///   bftkv register
///   bftkv register --password-fd 3 3< password.txt
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RegisterArgs {
    #[command(flatten)]
    password: PasswordArgs,
}

/// Put this home's new key in the place of a lost one, or beside it, with the password of the user ID.
///
/// The home has a fresh key with the same user ID (`bftkv init`) and knows the nodes, as for
/// `bftkv register`. Each node checks the password, of which it allows a few wrong ones, and certifies
/// the new key; then it reads and writes what belongs to the user ID. Nodes may wait for a while
/// before they do (exit code 5; run it again then): so long, whoever has the old key can stop it by
/// changing the password of `roaming/<your address>`.
///
/// Its last step writes the password record as the new key's, so the history of
/// `roaming/<your address>` shows the recovery. The old key stays certified and can do what it could:
/// the report names it. If it may be in wrong hands, revoke it (`bftkv cert revoke`). If it is not
/// lost at all, both are devices of one owner: so a second device is added.
///
/// Examples:
///
///   bftkv recover
///   bftkv --home new-laptop recover --password-fd 3 3< password.txt
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RecoverArgs {
    #[command(flatten)]
    password: PasswordArgs,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    user: String,
    certified_by: Vec<String>,
    /// Nodes that have not certified it, so far.
    missing: Vec<String>,
    /// Where the password record lies, and its version that this certificate has written.
    record: String,
    version: u64,
    /// Other certificates that the nodes take for this user ID.
    others: Vec<String>,
    #[serde(skip)]
    is_recovery: bool,
}

impl Report {
    fn of(registered: &Registered, is_recovery: bool, client: &Client) -> Self {
        let names = client.names();
        let shown = |id| names.get(id).cloned().unwrap_or_else(|| id.to_string());
        Self {
            user: registered.address.to_string(),
            certified_by: registered.certified_by.iter().map(shown).collect(),
            missing: registered.missing.iter().map(shown).collect(),
            record: registered.variable.to_string(),
            version: registered.version.get(),
            others: registered.others.iter().map(ToString::to_string).collect(),
            is_recovery,
        }
    }

    /// What became of the key that was lost, and what to do.
    fn write_recovery(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (record, version) = (escape(&self.record), self.version);
        write!(f, "\nthe recovery is version {version} of {record} (`bftkv history {record}`)")?;
        if self.others.is_empty() {
            return Ok(());
        }
        write!(
            f,
            "\nstill certified, and able to do what this key can: {}\nif one of them is lost or in \
             wrong hands: `bftkv cert revoke --self` with its revocation.rev, or have the nodes' \
             operators run `bftkv cert revoke`",
            self.others.join(", ")
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, by) = (escape(&self.user), self.certified_by.join(", "));
        write!(f, "{user} is this certificate's: a quorum certifies it ({by})")?;
        if !self.missing.is_empty() {
            write!(f, "\nnot yet: {}", self.missing.join(", "))?;
        }
        if self.is_recovery { self.write_recovery(f) } else { Ok(()) }
    }
}

pub(crate) fn register(args: &RegisterArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.open_home()?;
    let password = args.password.choose("the password of your user ID")?;
    context.block_on(async {
        let client = Client::open(&home).await?;
        let registered = client.register(&password, PasswordOptions::default()).await;
        let shown = show(registered, false, &client, context);
        client.finish(BACKGROUND).await;
        shown
    })
}

pub(crate) fn recover(args: &RecoverArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.open_home()?;
    let password = args.password.ask("Password of your user ID: ")?;
    context.block_on(async {
        let client = Client::open(&home).await?;
        let recovered = client.recover(&password, PasswordOptions::default()).await;
        let shown = show(recovered, true, &client, context);
        client.finish(BACKGROUND).await;
        shown
    })
}

fn show(
    outcome: Result<Registered, bftkv::Error>,
    is_recovery: bool,
    client: &Client,
    context: &Context,
) -> Result<Exit, Failure> {
    let registered = outcome.map_err(|error| Failure::operation(error, &client.names()))?;
    context.output().show(&Report::of(&registered, is_recovery, client))?;
    Ok(Exit::Done)
}
