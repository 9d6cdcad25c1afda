//! `bftkv cert certify`.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use bftkv::wot::{Identity, Statement};
use bftkv::{Certificates, Home, NodeId};
use clap::Args;
use serde::Serialize;

use super::{ask, find, user_id};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Seconds in a day.
const DAY: u64 = 24 * 60 * 60;

/// Certify that a certificate belongs to whom it names.
///
/// Nodes that have all certified each other are a quorum clique; a user needs the certifications
/// of more than b of its members. A certification is the whole of the security, so compare the
/// fingerprint with its owner first, by telephone or in person. If you name the full fingerprint,
/// you are not asked again.
///
/// Give the result to its owner and to everybody else: `bftkv cert export ID`.
///
/// Examples:
///
///   bftkv cert certify http://n2.example:5701
///   bftkv cert certify 98F2B1C83E2A7F0D5C6B4A39281706F5E4D3C2B1
///   bftkv cert certify alice@example.org --days 730
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CertifyArgs {
    /// Fingerprint, key ID, e-mail address or URL.
    #[arg(value_name = "ID")]
    id: String,

    /// The certification expires after so many days [default: never].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: Option<u64>,

    /// The fingerprint is compared already: do not ask.
    #[arg(short, long)]
    yes: bool,
}

/// What was certified.
#[derive(Debug, Serialize)]
struct Report {
    fingerprint: String,
    certified: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certified {} {}", self.fingerprint, self.certified.join(", "))
    }
}

pub(crate) fn run(args: &CertifyArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.open_home()?;
    let certificates = home.certificates()?;
    let keyring = certificates.keyring();
    let id = find(keyring, &args.id)?;
    // An address certifies that address; a fingerprint all user IDs.
    let wanted = args.id.trim_end_matches('/');
    let mut identities = keyring.identities(&id);
    if identities.iter().any(|identity| identity.address.as_str() == wanted) {
        identities.retain(|identity| identity.address.as_str() == wanted);
    }
    let is_full_fingerprint = args.id.parse::<NodeId>().is_ok();
    if !(args.yes || is_full_fingerprint) {
        confirm(&id, &identities)?;
    }
    let valid_for = args.days.map(|days| Duration::from_secs(days.saturating_mul(DAY)));
    certify(&home, &certificates, &id, &identities, valid_for)?;
    let certified = identities.iter().map(user_id).collect();
    context.output().show(&Report { fingerprint: id.to_string(), certified })?;
    Ok(Exit::Done)
}

fn confirm(id: &NodeId, identities: &[Identity]) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody is here to compare the fingerprint")
            .hint(format!("compare it, then name it in full ({id}), or say --yes")));
    }
    let names: Vec<String> = identities.iter().map(user_id).collect();
    let question = "Have you compared this fingerprint with its owner? Certify?";
    if ask(id, &names, question)? {
        return Ok(());
    }
    Err(Failure::failed("not certified"))
}

fn certify(
    home: &Home,
    certificates: &Certificates,
    id: &NodeId,
    identities: &[Identity],
    valid_for: Option<Duration>,
) -> Result<(), Failure> {
    if identities.is_empty() {
        return Err(Failure::failed(format!("{id} has no user ID that can be certified")));
    }
    for identity in identities {
        let Some(bytes) = certificates.bytes(id) else { continue };
        let statement = Statement::Certify { valid_for };
        let certified = home.key().certify(&bytes, &identity.address, statement);
        let record = certified.and_then(|bytes| Ok(bftkv::wot::CertificateRecord::new(&bytes)?));
        certificates.import(record.map_err(Failure::failed)?)?;
    }
    Ok(())
}
