//! `bftkv cert list`.

use std::fmt;

use bftkv::NodeId;
use bftkv::wot::{Standing, TrustGraph};
use clap::Args;
use serde::Serialize;

use super::user_id;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{count, escape, hex};
use crate::public_home::PublicHome;

/// List the certificates that this home knows.
///
/// The first column is `*` for the own certificate. `TLS` stands where it holds a key for that; two
/// that hold one talk over TLS, all others by sealed messages. The last column is how many others
/// have certified it, and how many proofs of its e-mail address it holds: user attributes of subtype
/// 101, which whoever certifies it may judge.
///
/// Example: bftkv cert list --json
#[derive(Debug, Args)]
pub(crate) struct ListArgs {}

/// The standing of a certificate that counts.
const GOOD: &str = "good";

/// All certificates.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Report(Vec<Shown>);

/// One certificate.
#[derive(Debug, Serialize)]
struct Shown {
    fingerprint: String,
    own: bool,
    kind: &'static str,
    standing: String,
    tls: bool,
    user_ids: Vec<String>,
    email_proofs: Vec<EmailProof>,
    certified_by: Vec<String>,
    certifies: Vec<String>,
}

/// What shows that the address is the owner's: a user attribute of subtype 101.
#[derive(Debug, Serialize)]
struct EmailProof {
    bytes: usize,
    hex: String,
}

impl EmailProof {
    fn of(content: &Vec<u8>) -> Self {
        Self { bytes: content.len(), hex: hex(content) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|shown| {
            let own = if shown.own { '*' } else { ' ' };
            let names = shown.user_ids.join(", ");
            let standing = match shown.standing.as_str() {
                GOOD => String::new(),
                other => format!("  {}", escape(other)),
            };
            let tls = if shown.tls { "TLS" } else { "" };
            let proofs = match shown.email_proofs.len() {
                0 => String::new(),
                n => format!(", {}", count(n, "e-mail proof")),
            };
            let certifiers = shown.certified_by.len();
            writeln!(
                f,
                "{own} {}  {:4}  {tls:3}  {names}{standing}  (certified by {certifiers}{proofs})",
                shown.fingerprint, shown.kind
            )
        })
    }
}

pub(crate) fn run(_: &ListArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.look_at_home()?;
    let graph = home.certificates().keyring().graph();
    let records = home.certificates().keyring().records();
    let shown = records.iter().map(|(record, _)| show(&home, &graph, record.id()));
    context.output().show(&Report(shown.collect()))?;
    Ok(Exit::Done)
}

fn show(home: &PublicHome, graph: &TrustGraph, id: &NodeId) -> Shown {
    let keyring = home.certificates().keyring();
    let certificate = keyring.certificate(id);
    let now = keyring.now();
    let standing = certificate.as_ref().map(|certificate| certificate.standing(now));
    Shown {
        fingerprint: id.to_string(),
        own: id == home.id(),
        kind: if keyring.url(id).is_some() { "node" } else { "user" },
        standing: match standing {
            Some(Standing::Valid) => GOOD.to_owned(),
            Some(Standing::Expired) => "expired".to_owned(),
            Some(Standing::Revoked) => "revoked".to_owned(),
            Some(Standing::Invalid(reason)) => format!("invalid: {reason}"),
            _ => "unusable".to_owned(),
        },
        email_proofs: certificate
            .as_ref()
            .map(|certificate| certificate.email_proofs(now).iter().map(EmailProof::of).collect())
            .unwrap_or_default(),
        tls: certificate.is_some_and(|certificate| certificate.offers_tls(now)),
        user_ids: keyring.identities(id).iter().map(user_id).collect(),
        certified_by: graph.certifiers_of(id).map(NodeId::to_string).collect(),
        certifies: graph.certified_by(id).map(NodeId::to_string).collect(),
    }
}
