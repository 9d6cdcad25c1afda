//! `bftkv dm export`.

use std::fmt;
use std::path::PathBuf;

use bftkv_dm::keys::KeyFile;
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Write a key's public part as DNS records.
///
/// The DNSKEY record of a KSK is a trust anchor: unbound reads the file with
/// `trust-anchor-file`, BIND's `delv` and `ldns-verify-zone -k` too. The DS record is what a
/// parent zone gets. Nothing here is secret.
///
/// Examples:
///
///   bftkv dm export keys/ksk.key > root.anchor
///   bftkv dm export keys/ksk.key --ds
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ExportArgs {
    /// The public part of a key.
    #[arg(value_name = "KEY")]
    file: PathBuf,

    /// The DS record instead.
    #[arg(long)]
    ds: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    record: String,
    tag: u16,
    algorithm: u8,
    shares: usize,
    threshold: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.record)
    }
}

pub(crate) fn run(args: &ExportArgs, context: &Context) -> Result<Exit, Failure> {
    let failed = |error| Failure::failed(format!("{}: {error}", args.file.display()));
    let file = KeyFile::open(&args.file).map_err(failed)?;
    let key = file.dnskey().map_err(failed)?;
    let (apex, roster) = (file.apex(), file.key().roster());
    let record = if args.ds { key.ds_line(apex) } else { key.line(apex) };
    context.output().show(&Report {
        record,
        tag: key.tag(),
        algorithm: key.algorithm().to_int(),
        shares: roster.size(),
        threshold: roster.threshold(),
    })?;
    Ok(Exit::Done)
}
