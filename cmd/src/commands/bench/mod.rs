//! `bftkv bench`.

use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Measure throughput, latency, CPU and messages.
///
/// Example: bftkv bench
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {}

pub(crate) fn run(_: &BenchArgs, _: &Context) -> Result<Exit, Failure> {
    Err(Failure::failed("under construction"))
}
