//! `bftkv revoked list`.

use std::fmt;

use bftkv::wot::Standing;
use bftkv::{Cause, NodeId};
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::escape;
use crate::public_home::PublicHome;

/// List who was cut out of the web of trust, and why.
///
/// `proof`: its key signed two different values for one timestamp; every honest node and client
/// that hears of it cuts it out. `operator`: by `bftkv cert revoke` in this home; others need not
/// agree. `own`: its owner has revoked the key. A node's home also shows what the running node has
/// learned; a client learns by `bftkv join`.
///
/// Example: bftkv revoked list --json
#[derive(Debug, Args)]
pub(crate) struct ListArgs {}

/// Everybody.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Report(Vec<Shown>);

/// One certificate.
#[derive(Debug, Serialize)]
struct Shown {
    fingerprint: String,
    address: Option<String>,
    cause: &'static str,
    reason: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(f, "nobody was cut out");
        }
        self.0.iter().try_for_each(|shown| {
            let address = shown.address.as_deref().unwrap_or("(address not known)");
            let reason = escape(&shown.reason);
            writeln!(f, "{}  {:8}  {}  {reason}", shown.fingerprint, shown.cause, escape(address))
        })
    }
}

pub(crate) fn run(_: &ListArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.look_at_home()?;
    let names = home.certificates().names();
    let causes = home.certificates().revoked().all();
    let mut shown: Vec<Shown> = causes
        .iter()
        .map(|(id, cause)| {
            let (cause, reason) = words(cause);
            let address = names.get(id).cloned();
            Shown { fingerprint: id.to_string(), address, cause, reason }
        })
        .collect();
    shown.extend(revoked_by_owner(&home).into_iter().filter(|id| !causes.contains_key(id)).map(
        |id| Shown {
            fingerprint: id.to_string(),
            address: claimed_address(&home, &id),
            cause: "own",
            reason: "its owner has revoked the key".to_owned(),
        },
    ));
    context.output().show(&Report(shown))?;
    Ok(Exit::Done)
}

/// One word for the cause, and a sentence.
fn words(cause: &Cause) -> (&'static str, String) {
    match cause {
        Cause::Proof(proof) => {
            let offence = proof.offence();
            let place = format!("{} at timestamp {}", offence.variable, offence.timestamp);
            ("proof", format!("signed two values for {place}"))
        }
        Cause::Operator { reason } => ("operator", reason.clone()),
        _ => ("other", String::new()),
    }
}

fn revoked_by_owner(home: &PublicHome) -> Vec<NodeId> {
    let keyring = home.certificates().keyring();
    let is_revoked = |id: &NodeId| {
        let standing = keyring.certificate(id).map(|c| c.standing(keyring.now()));
        standing == Some(Standing::Revoked)
    };
    let all = keyring.records();
    all.iter().map(|(record, _)| record.id().clone()).filter(is_revoked).collect()
}

/// A revoked certificate has no valid identity any more; this is what it says of itself.
fn claimed_address(home: &PublicHome, id: &NodeId) -> Option<String> {
    let record = home.certificates().keyring().record(id)?;
    record.claims().first().map(|claim| claim.address.to_string())
}
