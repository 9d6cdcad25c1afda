//! `bftkv completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// Print completions for a shell.
///
/// Example: bftkv completions bash > ~/.local/share/bash-completion/completions/bftkv
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bftkv", &mut script);
    output::raw(&script)?;
    Ok(Exit::Done)
}
