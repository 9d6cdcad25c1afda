//! `bftkv verify`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bftkv::protocol::Configurations;
use bftkv::protocol::Domain;
use bftkv::{Configuration, NodeId, ProofFile, ProofFileError};
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::limited_read;
use crate::output::{count, preview};
use crate::public_home::PublicHome;
use crate::variable::ShownVariable;

/// How much of a value is shown, in characters.
const PREVIEW: usize = 60;

/// Room for a value of 1 MiB and 1024 signatures.
const MAX_FILE_BYTES: usize = bftkv::protocol::MAX_MESSAGE_BYTES;

/// Check a proof file, offline.
///
/// A proof is a value with the signature of its writer and those of a quorum of every clique
/// (`bftkv get --proof`). It is checked with the certificates of this home and nothing else. Exit
/// code 7 says that it does not hold.
///
/// With --export every signature becomes an ordinary detached OpenPGP signature, so that other
/// programs can judge it.
///
/// Examples:
///
///   bftkv verify greeting.proof
///   bftkv verify greeting.proof --export parts
///   gpg --verify parts/entry.sig parts/entry.bin
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct VerifyArgs {
    /// The proof; `-` is stdin.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Write the signed bytes and the signatures into this new folder.
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
}

/// What the proof shows.
#[derive(Debug, Serialize)]
struct Report {
    valid: bool,
    #[serde(flatten)]
    variable: ShownVariable,
    timestamp: u64,
    sealed: bool,
    owner: String,
    writer: Signer,
    signers: Vec<Signer>,
    value_bytes: usize,
    value_preview: String,
    configuration: String,
    /// What judges the exported parts.
    commands: Vec<String>,
}

/// A certificate with its address.
#[derive(Debug, Serialize)]
struct Signer {
    fingerprint: String,
    address: Option<String>,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.fingerprint, self.address.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sealed = if self.sealed { ", sealed" } else { "" };
        writeln!(f, "valid: {} at timestamp {}{sealed}", self.variable.variable, self.timestamp)?;
        writeln!(f, "value:  {} ({})", self.value_preview, count(self.value_bytes, "byte"))?;
        writeln!(f, "owner:  {}", self.owner)?;
        writeln!(f, "writer: {}", self.writer)?;
        self.signers.iter().try_for_each(|signer| writeln!(f, "signed by: {signer}"))?;
        writeln!(f, "configuration: {}", self.configuration)?;
        if !self.commands.is_empty() {
            writeln!(f, "\nother programs can judge it:")?;
        }
        self.commands.iter().try_for_each(|command| writeln!(f, "  {command}"))
    }
}

pub(crate) fn run(args: &VerifyArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.look_at_home()?;
    let configuration = home.configuration()?;
    let known = Configurations::starting_with(configuration.clone());
    let bytes = limited_read::read(&args.file, MAX_FILE_BYTES)?;
    let keys = home.certificates().keyring();
    let proof = ProofFile::verify(&bytes, &known, keys).map_err(explain)?;
    let commands = match &args.export {
        Some(folder) => export(&proof, folder)?,
        None => Vec::new(),
    };
    context.output().show(&report(&proof, &home, &configuration, commands))?;
    Ok(Exit::Done)
}

fn explain(error: ProofFileError) -> Failure {
    let failure = Failure::new(Exit::InvalidProof, error.to_string());
    let ProofFileError::Invalid(invalid) = &error else { return failure };
    if let Some(id) = invalid.missing_certificate() {
        return failure
            .hint(format!("import the certificate {id}, or `bftkv join`, and try again"));
    }
    match invalid {
        bftkv::protocol::Invalid::Configuration(_) => failure
            .hint("this home sees another configuration (`bftkv graph`): use one of that realm"),
        _ => failure,
    }
}

fn report(
    proof: &ProofFile,
    home: &PublicHome,
    configuration: &Configuration,
    commands: Vec<String>,
) -> Report {
    let names = home.certificates().names();
    let entry = proof.entry().entry();
    let shares = proof.entry().collective.shares();
    Report {
        valid: true,
        variable: ShownVariable::from(&entry.variable),
        timestamp: entry.timestamp.get(),
        sealed: entry.is_final,
        owner: entry.owner.to_string(),
        writer: signer(&entry.writer, &names),
        signers: shares.iter().map(|share| signer(&share.signer, &names)).collect(),
        value_bytes: entry.value.as_bytes().len(),
        value_preview: preview(entry.value.as_bytes(), PREVIEW),
        configuration: configuration.digest().to_string(),
        commands,
    }
}

fn signer(id: &NodeId, names: &BTreeMap<NodeId, String>) -> Signer {
    Signer { fingerprint: id.to_string(), address: names.get(id).cloned() }
}

/// Writes the parts; gives the commands that judge them.
fn export(proof: &ProofFile, folder: &Path) -> Result<Vec<String>, Failure> {
    std::fs::create_dir(folder).map_err(|error| Failure::file(folder, &error))?;
    let mut commands = Vec::new();
    for detached in proof.detached_signatures() {
        let (message, signature) = match detached.domain {
            Domain::Entry => ("entry.bin", "entry.sig".to_owned()),
            _ => ("share.bin", format!("share-{}.sig", detached.signer)),
        };
        write(&folder.join(message), &detached.message)?;
        write(&folder.join(&signature), &detached.signature)?;
        let folder = folder.display();
        commands.push(format!("gpg --verify {folder}/{signature} {folder}/{message}"));
    }
    Ok(commands)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::file(path, &error))
}
