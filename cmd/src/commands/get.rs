//! `bftkv get`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bftkv::{CertifiedEntry, Client, Consistency, Found, GetOptions, ProofFile, Timestamp};
use clap::Args;
use serde::Serialize;

use super::password::{self, PasswordArgs};
use super::put::{BACKGROUND, parse_seconds};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Liar, liars};
use crate::output::{self, hex};
use crate::variable::{ShownVariable, VariableArgs};

/// Read a value.
///
/// The value's bytes go to stdout as they are, and nothing else. An empty value is exit code 0
/// and no output; a variable that was never written is exit code 4 and a word on stderr.
///
/// Examples:
///
///   bftkv get greeting
///   bftkv get photo > portrait.jpg
///   bftkv get greeting --at 1                    # an old version, see `bftkv history`
///   bftkv get greeting --proof greeting.proof    # and check it anywhere: `bftkv verify`
///   bftkv get notes --password                   # what was put under a password
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    variable: VariableArgs,

    /// The version with exactly this timestamp instead of the newest.
    #[arg(long, value_name = "T")]
    at: Option<u64>,

    /// Also write a proof: the value with all signatures, for `bftkv verify`.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,

    /// Do not wait until the value is known to a quorum. Two reads during a write may then see the
    /// new value first and the old one after.
    #[arg(long)]
    regular: bool,

    #[command(flatten)]
    password: PasswordArgs,

    /// Give up after so many seconds [default: client.deadline_ms in the settings].
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    deadline: Option<Duration>,
}

/// An entry in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct ShownEntry {
    #[serde(flatten)]
    variable: ShownVariable,
    timestamp: u64,
    sealed: bool,
    owner: String,
    writer: String,
    signers: Vec<String>,
    /// The value, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    value_hex: String,
}

impl From<&CertifiedEntry> for ShownEntry {
    fn from(certified: &CertifiedEntry) -> Self {
        let entry = certified.entry();
        let shares = certified.collective.shares();
        Self {
            variable: ShownVariable::from(&entry.variable),
            timestamp: entry.timestamp.get(),
            sealed: entry.is_final,
            owner: entry.owner.to_string(),
            writer: entry.writer.to_string(),
            signers: shares.iter().map(|share| share.signer.to_string()).collect(),
            value: String::from_utf8(entry.value.as_bytes().to_vec()).ok(),
            value_hex: hex(entry.value.as_bytes()),
        }
    }
}

/// What was found, in JSON.
#[derive(Debug, Serialize)]
struct Report {
    found: bool,
    #[serde(flatten)]
    entry: Option<ShownEntry>,
    liars: Vec<Liar>,
}

pub(crate) fn run(args: &GetArgs, context: &Context) -> Result<Exit, Failure> {
    let variable = args.variable.variable()?;
    if args.password.is_given() {
        if args.at.is_some() || args.proof.is_some() || args.regular {
            return Err(Failure::usage("--password goes with none of --at, --proof, --regular"));
        }
        let password = args.password.ask(&format!("Password of {variable}: "))?;
        return password::get(&variable, &password, args.deadline, context);
    }
    let options = GetOptions {
        at: args.at.map(Timestamp::new),
        consistency: args.regular.then_some(Consistency::Regular),
        proof: args.proof.is_some(),
        deadline: args.deadline,
    };
    let home = context.open_home()?;
    context.block_on(async {
        let client = Client::open(&home).await?;
        let found = client.get(&variable, options).await;
        let found = found.map_err(|error| Failure::operation(error, &client.names()))?;
        let exit = present(args, context, &found, liars(&found.culprits, &client.names()))?;
        // Nodes that lagged get the value in the background.
        client.finish(BACKGROUND).await;
        Ok(exit)
    })
}

/// Writes the proof and the value, or says that there is none.
fn present(
    args: &GetArgs,
    context: &Context,
    found: &Found,
    liars: Vec<Liar>,
) -> Result<Exit, Failure> {
    if let (Some(path), Some(entry)) = (&args.proof, &found.entry) {
        write_proof(path, entry)?;
    }
    show(context, found.entry.as_ref(), liars)?;
    if found.entry.is_some() {
        return Ok(Exit::Done);
    }
    if !context.output().is_json() {
        let version = args.at.map_or(String::new(), |t| format!(" at timestamp {t}"));
        eprintln!("absent: `{}` was never written{version}", args.variable.variable()?);
    }
    Ok(Exit::Absent)
}

fn show(
    context: &Context,
    entry: Option<&CertifiedEntry>,
    liars: Vec<Liar>,
) -> Result<(), Failure> {
    if context.output().is_json() {
        let report = Report { found: entry.is_some(), entry: entry.map(ShownEntry::from), liars };
        return output::raw(format!("{}\n", encode(&report)?).as_bytes());
    }
    liars.iter().for_each(|liar| eprintln!("{liar}"));
    entry.map_or(Ok(()), |entry| output::value(entry.entry().value.as_bytes()))
}

fn encode(report: &Report) -> Result<String, Failure> {
    serde_json::to_string(report).map_err(Failure::failed)
}

fn write_proof(path: &Path, entry: &CertifiedEntry) -> Result<(), Failure> {
    let bytes = ProofFile::new(entry.clone()).to_bytes();
    std::fs::write(path, bytes).map_err(|error| Failure::file(path, &error))
}
