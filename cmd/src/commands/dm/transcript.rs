//! `bftkv dm transcript`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use bftkv::protocol::NodeId;
use bftkv_dm::keys::Transcript;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::sealer;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// What a key ceremony was.
#[derive(Debug, Subcommand)]
pub(crate) enum TranscriptCommand {
    Sign(TranscriptSignArgs),
    Check(CheckArgs),
}

pub(crate) fn run(command: &TranscriptCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        TranscriptCommand::Sign(args) => sign(args, context),
        TranscriptCommand::Check(args) => check(args, context),
    }
}

/// Sign the transcript of a key ceremony.
///
/// Whoever got shares from a dealer signs what it got: the shares in the folder of the transcript must be
/// those that it names. Keys that were made together need no signature of this kind: the last
/// round leaves it.
///
/// Example: bftkv dm transcript sign dm-3/transcript.txt --out dm-3.signed
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct TranscriptSignArgs {
    /// The transcript, in the folder with our shares.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Where our signature goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Check that all who got shares have signed the same transcript.
///
/// The certificates of the signers must be in the home. Of keys that were made together the transcript
/// names the members; of a dealer's it does not, so look at who has signed.
///
/// Exit code: 7 if somebody has not signed, or has signed something else.
///
/// Example: bftkv dm transcript check transcript.txt dm-*.signed
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CheckArgs {
    /// The transcript.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Everybody's signatures.
    #[arg(value_name = "SIGNED", num_args = 1.., required = true)]
    signed: Vec<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    complete: bool,
    signers: Vec<String>,
    missing: Vec<String>,
    wrong: BTreeMap<String, String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.signers.iter().try_for_each(|id| writeln!(f, "signed by {id}"))?;
        self.missing.iter().try_for_each(|id| writeln!(f, "MISSING {id}"))?;
        self.wrong.iter().try_for_each(|(file, why)| writeln!(f, "WRONG {file}: {why}"))?;
        f.write_str(if self.complete { "signed by all" } else { "NOT signed by all" })
    }
}

fn read(path: &Path) -> Result<Transcript, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    Transcript::from_text(&text)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

fn sign(args: &TranscriptSignArgs, context: &Context) -> Result<Exit, Failure> {
    let transcript = read(&args.file)?;
    let folder = args.file.parent().unwrap_or_else(|| Path::new(""));
    transcript.check_shares(folder).map_err(Failure::failed)?;
    let signed = transcript.sign(&sealer(context)?).map_err(Failure::failed)?;
    std::fs::write(&args.out, signed).map_err(|error| Failure::file(&args.out, &error))?;
    Ok(Exit::Done)
}

fn check(args: &CheckArgs, context: &Context) -> Result<Exit, Failure> {
    let transcript = read(&args.file)?;
    let seal = sealer(context)?;
    let (mut signers, mut wrong) = (BTreeSet::<NodeId>::new(), BTreeMap::new());
    for path in &args.signed {
        let signed = std::fs::read(path).map_err(|error| Failure::file(path, &error))?;
        match transcript.signer(&signed, &seal) {
            Ok(signer) => {
                signers.insert(signer);
            }
            Err(error) => {
                wrong.insert(path.display().to_string(), error.to_string());
            }
        }
    }
    let members = transcript.members().unwrap_or_default();
    let report = Report {
        complete: wrong.is_empty() && transcript.is_signed_by_all(&signers),
        missing: members.difference(&signers).map(ToString::to_string).collect(),
        signers: signers.iter().map(ToString::to_string).collect(),
        wrong,
    };
    let exit = if report.complete { Exit::Done } else { Exit::InvalidProof };
    context.output().show(&report)?;
    Ok(exit)
}
