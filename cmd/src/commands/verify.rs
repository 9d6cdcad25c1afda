//! `bftkv verify`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bftkv::protocol::Configurations;
use bftkv::protocol::Domain;
use bftkv::{Configuration, MaliceFile, MaliceFileError, NodeId, ProofFile, ProofFileError};
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::limited_read;
use crate::malice_view::MaliceView;
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
/// (`bftkv get --proof`). A proof of malice is two signatures of one key that an honest key never
/// makes: over two different values for one variable and timestamp (`bftkv revoked export`). Both
/// are checked with the certificates of this home and nothing else. Exit code 7 says that a proof
/// does not hold.
///
/// With --export every signature becomes an ordinary detached OpenPGP signature, so that other
/// programs can judge it.
///
/// Examples:
///
///   bftkv verify greeting.proof
///   bftkv verify greeting.proof --export parts
///   gpg --verify parts/entry.sig parts/entry.bin
///   bftkv verify n4.malice
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
        write_commands(f, &self.commands)
    }
}

pub(crate) fn run(args: &VerifyArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.look_at_home()?;
    let configuration = home.configuration()?;
    let known = Configurations::starting_with(configuration.clone());
    let bytes = limited_read::read(&args.file, MAX_FILE_BYTES)?;
    let keys = home.certificates().keyring();
    if MaliceFile::is_one(&bytes) {
        let file = MaliceFile::verify(&bytes, &known, keys).map_err(explain_malice)?;
        return show_malice(&file, args, &home, context);
    }
    let proof = ProofFile::verify(&bytes, &known, keys).map_err(explain)?;
    let commands = match &args.export {
        Some(folder) => export(&proof, folder)?,
        None => Vec::new(),
    };
    context.output().show(&report(&proof, &home, &configuration, commands))?;
    Ok(Exit::Done)
}

/// What a proof of malice shows, and that it holds.
#[derive(Debug, Serialize)]
struct MaliceReport {
    valid: bool,
    #[serde(flatten)]
    malice: MaliceView,
    /// What judges the exported parts.
    commands: Vec<String>,
}

impl fmt::Display for MaliceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "valid: this is proof of malice")?;
        write!(f, "{}", self.malice)?;
        write_commands(f, &self.commands)
    }
}

fn write_commands(f: &mut fmt::Formatter<'_>, commands: &[String]) -> fmt::Result {
    if !commands.is_empty() {
        writeln!(f, "\nother programs can judge it:")?;
    }
    commands.iter().try_for_each(|command| writeln!(f, "  {command}"))
}

fn show_malice(
    file: &MaliceFile,
    args: &VerifyArgs,
    home: &PublicHome,
    context: &Context,
) -> Result<Exit, Failure> {
    let commands = match &args.export {
        Some(folder) => export_malice(file, folder)?,
        None => Vec::new(),
    };
    let malice = MaliceView::of(file.proof(), home.certificates());
    context.output().show(&MaliceReport { valid: true, malice, commands })?;
    Ok(Exit::Done)
}

/// Writes the two signatures and what they sign; gives the commands that judge them.
fn export_malice(file: &MaliceFile, folder: &Path) -> Result<Vec<String>, Failure> {
    std::fs::create_dir(folder).map_err(|error| Failure::file(folder, &error))?;
    let mut commands = Vec::new();
    for (name, one) in ["first", "second"].iter().zip(file.proof().signatures()) {
        write(&folder.join(format!("{name}.bin")), &one.message)?;
        write(&folder.join(format!("{name}.sig")), one.packet.as_bytes())?;
        let folder = folder.display();
        commands.push(format!("gpg --verify {folder}/{name}.sig {folder}/{name}.bin"));
    }
    Ok(commands)
}

fn explain_malice(error: MaliceFileError) -> Failure {
    let failure = Failure::new(Exit::InvalidProof, error.to_string());
    match &error {
        MaliceFileError::Invalid(invalid) => match invalid.missing_certificate() {
            Some(id) => failure.hint(missing(id)),
            None => failure,
        },
        _ => failure,
    }
}

fn missing(id: &NodeId) -> String {
    format!("import the certificate {id}, or `bftkv join`, and try again")
}

fn explain(error: ProofFileError) -> Failure {
    let failure = Failure::new(Exit::InvalidProof, error.to_string());
    let ProofFileError::Invalid(invalid) = &error else { return failure };
    if let Some(id) = invalid.missing_certificate() {
        return failure.hint(missing(id));
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
            Domain::Entry => ("entry.bin".to_owned(), "entry.sig".to_owned()),
            // Each signer has a root of its own; the writer's comes first.
            Domain::Batch if commands.is_empty() => {
                ("entries.bin".to_owned(), "entries.sig".to_owned())
            }
            Domain::Batch => {
                let name = format!("shares-{}", detached.signer);
                (format!("{name}.bin"), format!("{name}.sig"))
            }
            _ => ("share.bin".to_owned(), format!("share-{}.sig", detached.signer)),
        };
        write(&folder.join(&message), &detached.message)?;
        write(&folder.join(&signature), &detached.signature)?;
        let folder = folder.display();
        commands.push(format!("gpg --verify {folder}/{signature} {folder}/{message}"));
    }
    Ok(commands)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::file(path, &error))
}
