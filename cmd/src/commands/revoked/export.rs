//! `bftkv revoked export`.

use std::path::PathBuf;

use bftkv::MaliceFile;
use clap::Args;

use super::{find, proof};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// Write the proof against somebody to a file or stdout, to be shown to others.
///
/// It holds two signatures of one key that an honest key never makes. Anybody who has the
/// certificate can check it, offline: `bftkv verify FILE`.
///
/// Examples:
///
///   bftkv revoked export http://n4.example:5701 > n4.malice
///   bftkv revoked export http://n4.example:5701 -o n4.malice && bftkv verify n4.malice
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ExportArgs {
    /// Fingerprint, key ID, e-mail address or URL.
    #[arg(value_name = "ID")]
    id: String,

    /// Write here instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &ExportArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.look_at_home()?;
    let bytes = MaliceFile::new(proof(&home, &find(&home, &args.id)?)?).to_bytes();
    match &args.output {
        Some(path) => std::fs::write(path, bytes).map_err(|error| Failure::file(path, &error))?,
        None => output::raw(&bytes)?,
    }
    Ok(Exit::Done)
}
