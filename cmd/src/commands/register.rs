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

/// Put this home's new key in the place of a lost one, with the password of the user ID.
///
/// The home has a fresh key with the same user ID (`bftkv init`) and knows the nodes, as for
/// `bftkv register`. Each node checks the password, of which it allows a few wrong ones, and certifies
/// the new key; then it reads and writes what belongs to the user ID. Nodes may wait for a while
/// before they do (exit code 5; run it again then): so long, whoever has the old key can stop it by
/// changing the password of `roaming/<your address>`.
///
/// The old key stays certified. If it may be in wrong hands, revoke it too (`bftkv cert revoke`).
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
}

impl Report {
    fn of(registered: &Registered, client: &Client) -> Self {
        let names = client.names();
        let shown = |id| names.get(id).cloned().unwrap_or_else(|| id.to_string());
        Self {
            user: registered.address.to_string(),
            certified_by: registered.certified_by.iter().map(shown).collect(),
            missing: registered.missing.iter().map(shown).collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, by) = (escape(&self.user), self.certified_by.join(", "));
        write!(f, "{user} is this certificate's: a quorum certifies it ({by})")?;
        match self.missing.is_empty() {
            true => Ok(()),
            false => write!(f, "\nnot yet: {}", self.missing.join(", ")),
        }
    }
}

pub(crate) fn register(args: &RegisterArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.open_home()?;
    let password = args.password.choose("the password of your user ID")?;
    context.block_on(async {
        let client = Client::open(&home).await?;
        let registered = client.register(&password, PasswordOptions::default()).await;
        let shown = show(registered, &client, context);
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
        let shown = show(recovered, &client, context);
        client.finish(BACKGROUND).await;
        shown
    })
}

fn show(
    outcome: Result<Registered, bftkv::Error>,
    client: &Client,
    context: &Context,
) -> Result<Exit, Failure> {
    let registered = outcome.map_err(|error| Failure::operation(error, &client.names()))?;
    context.output().show(&Report::of(&registered, client))?;
    Ok(Exit::Done)
}
