//! `bftkv password reset`.

use std::fmt;

use bftkv::Client;
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::variable::VariableArgs;

/// Have the nodes give used attempts back.
///
/// Each node allows a few wrong passwords, and one more each day. Whoever owns the variable can
/// have them all given back, with the key and without the password, once a day.
///
/// Example:
///
///   bftkv password reset notes
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ResetArgs {
    #[command(flatten)]
    variable: VariableArgs,
}

/// Who did it.
#[derive(Debug, Serialize)]
struct Report {
    nodes: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "all attempts are given back by {}", self.nodes.join(", "))
    }
}

pub(super) fn run(args: &ResetArgs, context: &Context) -> Result<Exit, Failure> {
    let variable = args.variable.variable()?;
    let home = context.open_home()?;
    context.block_on(async {
        let client = Client::open(&home).await?;
        let done = client.reset_attempts(&variable).await;
        let done = done.map_err(|error| Failure::operation(error, &client.names()))?;
        let names = client.names();
        let shown = |id| names.get(id).cloned().unwrap_or_else(|| id.to_string());
        context.output().show(&Report { nodes: done.iter().map(shown).collect() })?;
        Ok(Exit::Done)
    })
}
