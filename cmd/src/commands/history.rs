//! `bftkv history`.

use std::fmt;

use bftkv::{CertifiedEntry, Client, Timestamp};
use clap::Args;
use serde::Serialize;

use super::get::ShownEntry;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::preview;
use crate::variable::{ShownVariable, VariableArgs};

/// How much of a value is shown, in characters.
const PREVIEW: usize = 60;

/// List the versions of a variable, newest first, each read and verified.
///
/// Examples:
///
///   bftkv history greeting
///   bftkv history greeting --limit 10 --below 500
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    variable: VariableArgs,

    /// At most so many versions.
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    limit: u16,

    /// Only versions below this timestamp: the next page.
    #[arg(long, value_name = "T")]
    below: Option<u64>,
}

/// The versions.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    variable: ShownVariable,
    versions: Vec<ShownEntry>,
    #[serde(skip)]
    lines: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

pub(crate) fn run(args: &HistoryArgs, context: &Context) -> Result<Exit, Failure> {
    let variable = args.variable.variable()?;
    let home = context.open_home()?;
    let versions = context.block_on(async {
        let client = Client::open(&home).await?;
        let below = args.below.map(Timestamp::new);
        let versions = client.history(&variable, below, args.limit).await;
        versions.map_err(|error| Failure::operation(error, &client.names()))
    })?;
    let entries: Vec<&CertifiedEntry> = versions.iter().map(|version| &version.entry).collect();
    let report = Report {
        variable: ShownVariable::from(&variable),
        versions: entries.iter().copied().map(ShownEntry::from).collect(),
        lines: entries.iter().copied().map(line).collect(),
    };
    context.output().show(&report)?;
    if !entries.is_empty() {
        return Ok(Exit::Done);
    }
    if !context.output().is_json() {
        eprintln!("absent: `{variable}` has no such version");
    }
    Ok(Exit::Absent)
}

fn line(certified: &CertifiedEntry) -> String {
    let entry = certified.entry();
    let sealed = if entry.is_final { "  (sealed)" } else { "" };
    let value = entry.value.as_bytes();
    // The end of the fingerprint, as OpenPGP programs show it: another key of the same owner shows.
    let writer = entry.writer.to_string();
    let key = writer.get(writer.len().saturating_sub(16)..).unwrap_or_default();
    format!(
        "{:>8}  {}  {key}  {:>7} bytes  {}{sealed}",
        entry.timestamp.get(),
        entry.owner,
        value.len(),
        preview(value, PREVIEW),
    )
}
