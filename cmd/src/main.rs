//! The program `bftkv`: arguments, configuration, output. No decisions of the protocol: those are
//! in `bftkv-protocol`, and whatever talks to nodes or disks is in the crate `bftkv`.
//!
//! ```text
//!   args -> commands/* -> bftkv
//!              |
//!              +-> output (stdout)      failure (stderr, exit code)
//! ```

#![allow(
    rustdoc::bare_urls,
    rustdoc::invalid_html_tags,
    reason = "doc comments of arguments are the text of --help, for terminals"
)]

mod args;
mod commands;
mod context;
mod core_dumps;
mod exit;
mod failure;
mod free_ports;
mod graph_view;
mod limited_read;
mod listening;
mod logging;
mod malice_view;
mod new_home;
mod node_figures;
mod output;
mod passphrase;
mod processes;
mod progress;
mod public_home;
mod stop;
mod utc;
mod variable;
mod web;

use std::process::ExitCode;

use clap::Parser as _;
use zeroizing_alloc::ZeroAlloc;

use crate::args::Cli;
use crate::context::Context;

/// Wipes what is freed: passwords and shares pass through buffers of libraries that do not.
#[global_allocator]
static MEMORY: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    // Prints help, or says what is wrong with the arguments and exits with code 2.
    let cli = Cli::parse();
    let context = core_dumps::forbid().and_then(|()| Context::new(&cli.global));
    let done = context
        .and_then(|context| logging::start(&cli.global, &context).map(|()| context))
        .and_then(|context| cli.command.run(&context));
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print(cli.global.json);
            failure.exit().into()
        }
    }
}
