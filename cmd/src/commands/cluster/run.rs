//! `bftkv cluster run`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::ClusterHomes;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Output, count};
use crate::processes::{FromNode, Processes, Said};
use crate::stop::Stop;

/// Run the nodes of such a folder until Ctrl-C.
///
/// Every node is a process of its own; what it prints is shown with its name in front. Ctrl-C stops
/// them in order, a second one at once.
///
/// Examples:
///
///   bftkv cluster run /tmp/try
///   bftkv cluster run /tmp/try --nodes n1,n2,n3     # what happens without n4?
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RunArgs {
    /// The folder that `bftkv cluster create` made.
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Only these nodes, by the names of their folders.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    nodes: Vec<String>,
}

pub(crate) fn run(args: &RunArgs, context: &Context) -> Result<Exit, Failure> {
    let homes = wanted(args)?;
    context.block_on(async {
        let mut stop = Stop::listen(false)?;
        let output = context.output();
        let starting = Processes::start(&homes, |from| print(output, from));
        let mut processes = tokio::select! {
            started = starting => started?,
            // The nodes end with their pipes.
            () = stop.wait() => return Ok(Exit::Done),
        };
        let ready = format!("all {} listen; Ctrl-C stops them", count(homes.len(), "node"));
        print_line(output, "cluster", &ready);
        tokio::select! {
            () = print_all(output, &mut processes) => {
                return Err(Failure::failed("all nodes have ended"));
            }
            () = stop.wait() => {}
        }
        let is_over = tokio::select! {
            () = processes.stop() => true,
            () = stop.wait_for_signal() => false,
        };
        if !is_over {
            processes.kill().await;
        }
        Ok(Exit::Done)
    })
}

fn wanted(args: &RunArgs) -> Result<Vec<PathBuf>, Failure> {
    let mut homes = ClusterHomes::find(&args.folder)?.nodes;
    let name = |home: &PathBuf| home.file_name().map(|name| name.to_string_lossy().into_owned());
    let names: Vec<String> = homes.iter().filter_map(name).collect();
    if let Some(unknown) = args.nodes.iter().find(|wanted| !names.contains(wanted)) {
        return Err(Failure::usage(format!("there is no node {unknown:?}"))
            .hint(format!("there are {}", names.join(", "))));
    }
    if !args.nodes.is_empty() {
        homes.retain(|home| name(home).is_some_and(|name| args.nodes.contains(&name)));
    }
    Ok(homes)
}

/// Shows what nodes say until all have ended.
async fn print_all(output: Output, processes: &mut Processes) {
    while let Some(from) = processes.next().await {
        print(output, &from);
    }
}

fn print(output: Output, from: &FromNode) {
    match &from.said {
        Said::Line(line) => print_line(output, &from.name, line),
        Said::Ended => print_line(output, &from.name, "ended"),
    }
}

/// A terminal that is gone stops no node.
fn print_line(output: Output, name: &str, line: &str) {
    let text = match output.is_json() {
        true => format!("{}\n", json!({ "node": name, "line": line })),
        false => format!("{name} | {line}\n"),
    };
    let _ = output::raw(text.as_bytes());
}
