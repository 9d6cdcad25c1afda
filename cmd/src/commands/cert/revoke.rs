//! `bftkv cert revoke`.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bftkv::protocol::CertificateBytes;
use bftkv::wot::{Certificate, Standing, read_certificates};
use bftkv::{Certificates, JoinReport, NodeId};
use clap::Args;
use serde::Serialize;

use super::{ask, find, user_id};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::limited_read;
use crate::output::count;

/// The largest revocation certificate that is read.
const MAX_FILE_BYTES: usize = 1024 * 1024;

/// The longest reason, in bytes: a sentence, which everybody can read.
const MAX_REASON_BYTES: usize = 200;

/// Take trust back: cut a certificate out of the web of trust, for ever.
///
/// With ID, what you as an operator know and no proof shows: a key was stolen, a node's owner is
/// not to be trusted. Your own certifications of it are revoked, in words that `gpg --check-sigs`
/// shows, and the nodes get the result. This home cuts it out of its graph and asks it nothing any
/// more; other homes decide for themselves. (Whoever signs two values is cut out by everybody
/// without any command: `bftkv revoked list`.)
///
/// With --self, your own key was lost or stolen: publishes the revocation certificate that
/// `bftkv init` wrote (revocation.rev) to all nodes. From then on nobody accepts anything from
/// that key. It works from any home and needs no secret.
///
/// Neither can be undone. In both cases the members stay as many as they were, so it counts among
/// the faults that the cluster tolerates. What was written with the help of the revoked stays valid.
///
/// Examples:
///
///   bftkv cert revoke http://n4.example:5701 --reason 'its disk was sold'
///   bftkv cert revoke --self ~/safe/revocation.rev
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RevokeArgs {
    /// Fingerprint, key ID, e-mail address or URL.
    #[arg(value_name = "ID", required_unless_present = "own")]
    id: Option<String>,

    /// Publish this revocation certificate.
    #[arg(long = "self", value_name = "FILE", conflicts_with_all = ["id", "reason"])]
    own: Option<PathBuf>,

    /// Why, in a few words. Everybody can read it.
    #[arg(long, value_name = "TEXT", default_value = "the operator's decision")]
    reason: String,

    /// Do not tell the nodes; give them the certificate by `bftkv cert export ID`.
    #[arg(long)]
    offline: bool,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

/// What was revoked, and who knows.
#[derive(Debug, Serialize)]
struct Report {
    fingerprint: String,
    user_ids: Vec<String>,
    /// What was revoked: `certification`, `nothing` (there was none) or `key`.
    revoked: &'static str,
    /// Whether this home's graph has cut it out.
    cut: bool,
    told: Vec<String>,
    silent: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fingerprint, revoked, .. } = self;
        let names = self.user_ids.join(", ");
        match *revoked {
            "key" => writeln!(f, "revoked the key {fingerprint} {names}")?,
            "certification" => writeln!(f, "revoked the certification of {fingerprint} {names}")?,
            _ => writeln!(f, "{fingerprint} {names} had no certification to revoke")?,
        }
        if self.cut {
            writeln!(
                f,
                "cut out of this home's graph; a node of this home that runs takes it by SIGHUP"
            )?;
        }
        writeln!(f, "told {}", count(self.told.len(), "node"))?;
        self.silent.iter().try_for_each(|node| writeln!(f, "no answer: {node}"))
    }
}

pub(crate) fn run(args: &RevokeArgs, context: &Context) -> Result<Exit, Failure> {
    match (&args.own, &args.id) {
        (Some(file), _) => revoke_key(file, args, context),
        (None, Some(id)) => revoke_edge(id, args, context),
        // The arguments say that one of them is there.
        (None, None) => Err(Failure::usage("give ID or --self")),
    }
}

/// The operator's word about somebody else.
fn revoke_edge(text: &str, args: &RevokeArgs, context: &Context) -> Result<Exit, Failure> {
    if args.reason.len() > MAX_REASON_BYTES || args.reason.chars().any(char::is_control) {
        let message = format!("--reason is one line of at most {MAX_REASON_BYTES} bytes");
        return Err(Failure::usage(message));
    }
    let home = context.open_home()?;
    let certificates = home.certificates()?;
    let id = find(certificates.keyring(), text)?;
    if id == *home.key().certificate().id() {
        return Err(Failure::usage("this is the own certificate")
            .hint("publish its revocation certificate: `bftkv cert revoke --self FILE`"));
    }
    let user_ids = user_ids(&certificates, &id);
    if !args.yes && text.parse::<NodeId>().is_err() {
        confirm(&id, &user_ids)?;
    }
    // The nodes are known by the graph; afterwards the revoked is none of them.
    let nodes = certificates.nodes();
    let had_edge = certificates.revoke_edge(&home.key(), &id, &args.reason)?;
    certificates.revoked().command(&id, &args.reason)?;
    let told = tell(&certificates, &id, nodes, args.offline, context)?;
    let revoked = if had_edge { "certification" } else { "nothing" };
    context.output().show(&report(&certificates, &id, user_ids, revoked, &told))?;
    Ok(Exit::Done)
}

/// The own key, or any other whose revocation certificate is at hand.
fn revoke_key(file: &Path, args: &RevokeArgs, context: &Context) -> Result<Exit, Failure> {
    let certificates = context.look_at_home()?.certificates().clone();
    let bytes = limited_read::read(file, MAX_FILE_BYTES)?;
    let no_revocation = |reason: &str| {
        Failure::failed(format!("{}: {reason}", file.display()))
            .hint("`bftkv init` writes it beside a new key, as revocation.rev")
    };
    let mut all = read_certificates(&bytes).map_err(|error| no_revocation(&error.to_string()))?;
    let record = match (all.pop(), all.is_empty()) {
        (Some(Ok(record)), true) => record,
        (Some(Err(error)), true) => return Err(no_revocation(&error.to_string())),
        _ => return Err(no_revocation("not one revocation certificate")),
    };
    let certificate = Certificate::parse(record.bytes());
    let standing = certificate.map(|certificate| certificate.standing(SystemTime::now()));
    if standing.as_ref().ok() != Some(&Standing::Revoked) {
        return Err(no_revocation("it revokes nothing"));
    }
    let id = record.id().clone();
    let user_ids = record.claims().iter().map(user_id).collect::<Vec<_>>();
    if !args.yes {
        confirm(&id, &user_ids)?;
    }
    let nodes = certificates.nodes();
    certificates.import(record)?;
    let told = tell(&certificates, &id, nodes, args.offline, context)?;
    context.output().show(&report(&certificates, &id, user_ids, "key", &told))?;
    if told.answered.is_empty() && !args.offline {
        return Err(Failure::new(Exit::TryAgain, "no node has taken it")
            .hint("see that the nodes run, and do it again"));
    }
    Ok(Exit::Done)
}

/// Brings the certificate as it is now to all nodes but its own.
fn tell(
    certificates: &Certificates,
    id: &NodeId,
    mut nodes: BTreeSet<NodeId>,
    offline: bool,
    context: &Context,
) -> Result<JoinReport, Failure> {
    nodes.remove(id);
    match certificates.bytes(id) {
        Some(bytes) if !offline => publish(certificates, &bytes, nodes, context),
        _ => Ok(JoinReport::default()),
    }
}

fn publish(
    certificates: &Certificates,
    bytes: &CertificateBytes,
    nodes: BTreeSet<NodeId>,
    context: &Context,
) -> Result<JoinReport, Failure> {
    context.block_on(async { Ok(bftkv::publish(certificates, bytes, nodes).await?) })
}

fn confirm(id: &NodeId, user_ids: &[String]) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody is here to confirm what cannot be undone")
            .hint(format!("name the full fingerprint ({id}), or say --yes")));
    }
    if ask(id, user_ids, "This cannot be undone. Revoke?")? {
        return Ok(());
    }
    Err(Failure::failed("not revoked"))
}

fn user_ids(certificates: &Certificates, id: &NodeId) -> Vec<String> {
    certificates.keyring().identities(id).iter().map(user_id).collect()
}

fn report(
    certificates: &Certificates,
    id: &NodeId,
    user_ids: Vec<String>,
    revoked: &'static str,
    told: &JoinReport,
) -> Report {
    let names = certificates.names();
    let name = |id: &NodeId| names.get(id).cloned().unwrap_or_else(|| id.to_string());
    Report {
        fingerprint: id.to_string(),
        user_ids,
        revoked,
        cut: certificates.keyring().is_cut(id),
        told: told.answered.iter().map(name).collect(),
        silent: told.silent.iter().map(name).collect(),
    }
}
