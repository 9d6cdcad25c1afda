//! `bftkv put`.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bftkv::{Client, PasswordOptions, PutOptions, Value, Variable};
use clap::Args;
use serde::Serialize;
use zeroize::Zeroizing;

use super::password::{self, PasswordArgs, Protecting, Threshold};
use super::put_batch;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Liar, liars};
use crate::limited_read;
use crate::variable::{ShownVariable, VariableArgs};

/// How long the program waits for the last nodes after a quorum has the value.
pub(crate) const BACKGROUND: Duration = Duration::from_secs(2);

/// Write a value.
///
/// Whoever writes a variable first owns it: only certificates with the same address can write it
/// again. Names that begin with a full fingerprint and `/` are reserved for that certificate, so
/// that nobody can be faster. When this command is done, a quorum of nodes has signed the value and has it on disk.
///
/// Values are not secret: the nodes see them, unless they are put under a password.
///
/// Examples:
///
///   bftkv put greeting 'hello, world'
///   bftkv put photo --file portrait.jpg
///   tar c folder | bftkv put backup -
///   bftkv put --batch phones.tsv                 # many, one in each line: variable, tab, value
///   bftkv put --once motto 'trust, but verify'   # nothing may ever follow
///   bftkv put --password notes --file notes.txt  # secret: `bftkv get --password notes`
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct PutArgs {
    /// The variable: any bytes, 1 to 1024 of them. Put `--` before a name that begins with a dash.
    #[arg(value_name = "VARIABLE", required_unless_present = "batch", conflicts_with = "batch")]
    name: Option<OsString>,

    /// VARIABLE is written in hexadecimal, for names that no shell can hold (612f00 is "a/" and
    /// a NUL).
    #[arg(long, conflicts_with = "batch")]
    hex: bool,

    /// The value, up to 1 MiB; `-` reads it from stdin.
    #[arg(value_name = "VALUE", conflicts_with = "file")]
    #[arg(required_unless_present_any = ["file", "batch"])]
    value: Option<OsString>,

    /// Write many: one in each line of this file (`-`: of stdin), variable, tab, value; empty lines
    /// and those that begin with # are skipped. 256 of them at a time have one signature. Each
    /// line is written or not on its own and has a line in the report; the exit code is that of
    /// the first that failed.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    batch: Option<PathBuf>,

    /// Skip lines whose variables hold their values already: to go on after an interruption.
    #[arg(long, requires = "batch")]
    pub(super) resume: bool,

    /// Read the value from this file.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Seal the variable: nothing else may ever follow this value, not even by you.
    #[arg(long)]
    pub(super) once: bool,

    #[command(flatten)]
    password: PasswordArgs,

    /// With --password: how many nodes must answer at a login [default: as many as until now, and
    /// `majority` for a new one].
    #[arg(long, value_enum)]
    threshold: Option<Threshold>,

    /// Give up after so many seconds [default: client.deadline_ms in the settings].
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(super) deadline: Option<Duration>,
}

/// Seconds, also with a fraction.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    const MOST: f64 = 3600.0;
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(seconds > 0.0 && seconds <= MOST) {
        return Err(format!("more than 0 and at most {MOST} seconds"));
    }
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// What was written.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    variable: ShownVariable,
    timestamp: u64,
    bytes: usize,
    sealed: bool,
    liars: Vec<Liar>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sealed = if self.sealed { ", sealed" } else { "" };
        write!(f, "{} written at timestamp {}{sealed}", self.variable.variable, self.timestamp)
    }
}

pub(crate) fn run(args: &PutArgs, context: &Context) -> Result<Exit, Failure> {
    if args.password.is_given() && (args.once || args.batch.is_some()) {
        return Err(Failure::usage("--password goes with neither --once nor --batch"));
    }
    if args.threshold.is_some() && !args.password.is_given() {
        return Err(Failure::usage("--threshold goes with --password"));
    }
    if let Some(file) = &args.batch {
        return put_batch::run(file, args, context);
    }
    let name = args.name.clone().unwrap_or_default();
    let variable = VariableArgs::new(name, args.hex).variable()?;
    let value = value(args)?;
    if args.password.is_given() {
        return put_with_password(args, variable, value, context);
    }
    let bytes = value.as_bytes().len();
    let options = PutOptions { once: args.once, deadline: args.deadline };
    let home = context.open_home()?;
    context.block_on(async {
        let client = Client::open(&home).await?;
        let written = client.put(&variable, value, options).await;
        // A failure too may leave something to tell the nodes: that the attempt is given up.
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                client.finish(BACKGROUND).await;
                return Err(Failure::operation(error, &client.names()));
            }
        };
        let report = Report {
            variable: ShownVariable::from(&variable),
            timestamp: written.timestamp.get(),
            bytes,
            sealed: args.once,
            liars: liars(&written.culprits, &client.names()),
        };
        context.output().show(&report)?;
        report.liars.iter().for_each(|liar| eprintln!("{liar}"));
        client.finish(BACKGROUND).await;
        Ok(Exit::Done)
    })
}

fn put_with_password(
    args: &PutArgs,
    variable: Variable,
    value: Value,
    context: &Context,
) -> Result<Exit, Failure> {
    let password = args.password.choose(&variable.to_string())?;
    let (rule, deadline) = (args.threshold.map(Into::into), args.deadline);
    let options = PasswordOptions { rule, deadline, ..PasswordOptions::default() };
    let value = Zeroizing::new(value.as_bytes().to_vec());
    password::put(&Protecting { variable, value, password, options }, context)
}

fn value(args: &PutArgs) -> Result<Value, Failure> {
    let bytes = match (&args.file, &args.value) {
        (Some(file), _) => limited_read::read(file, Value::MAX_BYTES)?,
        (None, Some(value)) if value == "-" => {
            limited_read::read(Path::new("-"), Value::MAX_BYTES)?
        }
        (None, Some(value)) => value.as_bytes().to_vec(),
        (None, None) => return Err(Failure::usage("no value: give VALUE, --file FILE, or -")),
    };
    Value::new(bytes).map_err(Failure::usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "NaN", "inf", "1e30", "x"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }
}
