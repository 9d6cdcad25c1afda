//! `bftkv cert`.

mod certify;
mod export;
mod import;
mod list;
mod revoke;

use std::io::{self, Write as _};

use bftkv::NodeId;
use bftkv::wot::{Identity, IdentityKind, Keyring, LookupError};
use clap::Subcommand;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::escape;

/// What to do with certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    List(list::ListArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
    Certify(certify::CertifyArgs),
    Revoke(revoke::RevokeArgs),
}

pub(crate) fn run(command: &CertCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        CertCommand::List(args) => list::run(args, context),
        CertCommand::Import(args) => import::run(args, context),
        CertCommand::Export(args) => export::run(args, context),
        CertCommand::Certify(args) => certify::run(args, context),
        CertCommand::Revoke(args) => revoke::run(args, context),
    }
}

/// A user ID as it is written in a certificate.
pub(crate) fn user_id(identity: &Identity) -> String {
    let Identity { name, address, kind } = identity;
    match kind {
        IdentityKind::Node => format!("{name} ({address})"),
        _ => format!("{name} <{address}>"),
    }
}

/// Finds the one certificate that `text` means.
pub(crate) fn find(keyring: &Keyring, text: &str) -> Result<NodeId, Failure> {
    keyring.find(text).map_err(|error| match &error {
        LookupError::Ambiguous { matches, .. } => {
            let failure = Failure::failed(format!("{text:?} means {} certificates", matches.len()));
            matches.iter().fold(failure, |failure, id| {
                let named: Vec<String> = keyring.identities(id).iter().map(user_id).collect();
                failure.hint(format!("{id}  {}", named.join(", ")))
            })
        }
        _ => Failure::failed(format!("no certificate matches {text:?}")).hint(
            "name it by fingerprint, key ID, e-mail address or URL; `bftkv cert list` shows all",
        ),
    })
}

/// Shows whose certificate it is and asks a question at the terminal. Only a clear yes is one.
fn ask(id: &NodeId, user_ids: &[String], question: &str) -> Result<bool, Failure> {
    eprintln!("{}\n  fingerprint {id}", escape(&user_ids.join(", ")));
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stderr()
        .flush()
        .and_then(|()| io::stdin().read_line(&mut answer))
        .map_err(Failure::failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
