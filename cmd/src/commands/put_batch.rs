//! `bftkv put --batch`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use bftkv::protocol::client::ClientError;
use bftkv::{Client, GetOptions, PutOptions, Value, Variable};
use serde::Serialize;

use super::put::{BACKGROUND, PutArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::limited_read;
use crate::progress::Progress;
use crate::variable::ShownVariable;

/// The largest batch file.
const MAX_FILE_BYTES: usize = 256 * 1024 * 1024;

/// How many lines go to the nodes together.
const TOGETHER: usize = 256;

/// What became of one line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Result {
    /// It was written now.
    Written,
    /// It was there already.
    Kept,
    /// It was not written, or nobody knows: see `error`.
    Failed,
}

/// What became of one line.
#[derive(Debug, Serialize)]
struct Line {
    line: usize,
    #[serde(flatten)]
    variable: ShownVariable,
    result: Result,
    timestamp: Option<u64>,
    error: Option<String>,
}

/// What became of all lines.
#[derive(Debug, Serialize)]
struct Report {
    written: usize,
    kept: usize,
    failed: usize,
    lines: Vec<Line>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { line, variable, result, timestamp, error } in &self.lines {
            let name = &variable.variable;
            match (result, timestamp, error) {
                (Result::Failed, _, Some(error)) => writeln!(f, "{line}\t{name}\tfailed\t{error}")?,
                (Result::Kept, Some(t), _) => writeln!(f, "{line}\t{name}\tkept\t{t}")?,
                (_, t, _) => writeln!(f, "{line}\t{name}\twritten\t{}", t.unwrap_or_default())?,
            }
        }
        let Self { written, kept, failed, .. } = self;
        write!(f, "{written} written, {kept} kept, {failed} failed")
    }
}

/// A line of the file: its number, its variable, its value.
type Entry = (usize, Variable, Value);

pub(super) fn run(
    file: &Path,
    args: &PutArgs,
    context: &Context,
) -> std::result::Result<Exit, Failure> {
    let entries = parse(&limited_read::read(file, MAX_FILE_BYTES)?)?;
    let options = PutOptions { once: args.once, deadline: args.deadline };
    let home = context.open_home()?;
    context.block_on(async {
        let client = Client::open(&home).await?;
        let mut lines = Vec::with_capacity(entries.len());
        let mut worst = None;
        let mut progress = Progress::new("putting", entries.len());
        for group in entries.chunks(TOGETHER) {
            let there = if args.resume { there(&client, group).await? } else { BTreeMap::new() };
            let missing = group.iter().filter(|(number, ..)| !there.contains_key(number));
            let missing = missing.map(|(_, name, value)| (name.clone(), value.clone())).collect();
            let mut put = client.put_many(missing, options).await?.into_iter();
            for (number, name, _) in group {
                let outcome = match there.get(number) {
                    Some(timestamp) => Ok((Result::Kept, *timestamp)),
                    None => put.next().map_or_else(
                        || Err("not asked for".to_owned()),
                        |one| match one {
                            Ok(written) => Ok((Result::Written, written.timestamp.get())),
                            Err(error) => Err(note(error, &mut worst, &client)),
                        },
                    ),
                };
                lines.push(line(*number, name, outcome));
                progress.step();
            }
        }
        drop(progress);
        let count = |is: fn(&Result) -> bool| lines.iter().filter(|l| is(&l.result)).count();
        let report = Report {
            written: count(|result| matches!(result, Result::Written)),
            kept: count(|result| matches!(result, Result::Kept)),
            failed: count(|result| matches!(result, Result::Failed)),
            lines,
        };
        context.output().show(&report)?;
        client.finish(BACKGROUND).await;
        // The exit code is that of the first line that failed.
        worst.map_or(Ok(Exit::Done), Err)
    })
}

/// Keeps the first failure, and says this one in words.
fn note(error: ClientError, first: &mut Option<Failure>, client: &Client) -> String {
    let words = error.to_string();
    if first.is_none() {
        *first = Some(Failure::operation(error.into(), &client.names()));
    }
    words
}

fn line(
    number: usize,
    name: &Variable,
    outcome: std::result::Result<(Result, u64), String>,
) -> Line {
    let variable = ShownVariable::from(name);
    match outcome {
        Ok((result, t)) => Line { line: number, variable, result, timestamp: Some(t), error: None },
        Err(error) => {
            let result = Result::Failed;
            Line { line: number, variable, result, timestamp: None, error: Some(error) }
        }
    }
}

/// The lines whose variables hold their values already, with the timestamps.
async fn there(
    client: &Client,
    group: &[Entry],
) -> std::result::Result<BTreeMap<usize, u64>, Failure> {
    let names = group.iter().map(|(_, name, _)| name.clone()).collect();
    let found = client.get_many(names, GetOptions::default()).await?;
    let same = group.iter().zip(found).filter_map(|((number, _, value), found)| {
        // What cannot be read is written: that says best what is wrong.
        let entry = found.ok()?.entry?;
        (entry.entry().value == *value).then(|| (*number, entry.timestamp().get()))
    });
    Ok(same.collect())
}

/// One entry in each line: the variable, a tab, the value. Empty lines and those that begin with
/// `#` are skipped.
fn parse(bytes: &[u8]) -> std::result::Result<Vec<Entry>, Failure> {
    let lines = bytes.split(|byte| *byte == b'\n').zip(1_usize..);
    let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with(b"#"));
    lines
        .map(|(line, number)| {
            let wrong = |why: &dyn fmt::Display| Failure::usage(format!("line {number}: {why}"));
            let tab = line.iter().position(|byte| *byte == b'\t');
            let (name, value) = tab
                .and_then(|tab| Some((line.get(..tab)?, line.get(tab.saturating_add(1)..)?)))
                .ok_or_else(|| wrong(&"no tab between the variable and the value"))?;
            let name = Variable::new(name).map_err(|error| wrong(&error))?;
            let value = Value::new(value).map_err(|error| wrong(&error))?;
            Ok((number, name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_variable_a_tab_and_the_rest() {
        let entries = parse(b"# a comment\na\t1\n\nb\tx\ty\r\nc\t\n").unwrap();
        let seen: Vec<(usize, &[u8], &[u8])> =
            entries.iter().map(|(n, x, v)| (*n, x.as_bytes(), v.as_bytes())).collect();
        assert_eq!(seen, [(2, &b"a"[..], &b"1"[..]), (4, b"b", b"x\ty\r"), (5, b"c", b"")]);
    }

    #[test]
    fn a_wrong_line_is_named_and_nothing_is_begun() {
        for (text, line) in [("a\t1\nb 2\n", "line 2"), ("\t1\n", "line 1")] {
            assert!(parse(text.as_bytes()).unwrap_err().to_string().contains(line));
        }
    }
}
