//! `bftkv demo`.

mod cluster;
mod forger;
mod liar;
mod story;
mod traitor;
mod treason;

use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Show a whole cluster in this process: put, get, a stopped node, a liar named, a traitor caught.
///
/// Four nodes with fresh keys talk over loopback HTTP with sealed messages, in a temporary folder
/// that is gone afterwards. Nothing needs to be installed. The exit code is 0 only if everything
/// happened as it is told.
///
/// Example: bftkv demo
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {}

pub(crate) fn run(_: &DemoArgs, context: &Context) -> Result<Exit, Failure> {
    context.block_on(story::tell(context.output()))?;
    Ok(Exit::Done)
}
