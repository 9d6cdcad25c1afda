//! `bftkv graph`.

use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::graph_view::{self, GraphView};
use crate::output;

/// Show the quorums: who signs, who stores, how many faults they tolerate, what is missing.
///
/// n is the number of nodes in a group, b how many of them may lie or be lost, q how many make a
/// quorum. Nodes and clients work together if they see the same configuration: compare the line
/// that begins so. Exit code 1 says that the certificates make no quorum.
///
/// Examples:
///
///   bftkv graph
///   bftkv graph --dot | dot -Tsvg > web-of-trust.svg
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct GraphArgs {
    /// The web of trust for Graphviz.
    #[arg(long)]
    dot: bool,
}

pub(crate) fn run(args: &GraphArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.look_at_home()?;
    if args.dot {
        output::raw(graph_view::dot(&home).as_bytes())?;
        return Ok(Exit::Done);
    }
    let view = GraphView::of(&home);
    context.output().show(&view)?;
    match view.problem() {
        None => Ok(Exit::Done),
        Some(problem) => Err(Failure::failed(format!("no quorum: {problem}")).hint(
            "at least four nodes must certify each other (`bftkv cert certify`), and this home \
             must certify one of them or be one; `bftkv cert import` brings their certificates",
        )),
    }
}
