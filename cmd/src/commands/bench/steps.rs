//! A fixed number of operations in one process: what `bftkv bench check` counts the instructions of.

use std::path::PathBuf;

use bftkv::{Client, GetOptions, Home, Node, PutOptions, Value, Variable};
use clap::Args;

use crate::commands::cluster::ClusterHomes;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Nodes and a client in one process, and so many operations. Started by `bftkv bench check`.
///
/// Example: bftkv --home c/u1 bench steps --cluster c --puts 10 --gets 10
#[derive(Debug, Args)]
pub(super) struct StepsArgs {
    /// The folder of the cluster; none of its nodes runs.
    #[arg(long)]
    cluster: PathBuf,

    /// How many puts.
    #[arg(long)]
    puts: u16,

    /// How many gets, of one variable that is put before.
    #[arg(long)]
    gets: u16,
}

pub(super) fn run(args: &StepsArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.open_home()?;
    context.block_on(walk(args, &home))
}

async fn walk(args: &StepsArgs, home: &Home) -> Result<Exit, Failure> {
    let mut nodes = Vec::new();
    for folder in ClusterHomes::find(&args.cluster)?.nodes {
        nodes.push(Node::open(&Home::open(folder)?)?.serve().await?);
    }
    let client = Client::open(home).await?;
    let value = Value::new(vec![b'v'; 100]).map_err(Failure::usage)?;
    let name = |n: u16| Variable::new(format!("steps/{}/{n}", std::process::id()));
    for n in 0..=args.puts {
        let variable = name(n).map_err(Failure::failed)?;
        client.put(&variable, value.clone(), PutOptions::default()).await?;
    }
    let first = name(0).map_err(Failure::failed)?;
    for _ in 0..args.gets {
        client.get(&first, GetOptions::default()).await?;
    }
    for node in nodes {
        node.shutdown().await?;
    }
    Ok(Exit::Done)
}
