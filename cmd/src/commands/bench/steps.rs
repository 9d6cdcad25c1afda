//! A fixed number of operations in one process: what `bftkv bench check` counts the instructions of.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bftkv::{Client, GetOptions, Home, Node, PutOptions, Value, Variable, storage};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::task::{JoinError, JoinSet};

use super::workload::counted_client;
use crate::commands::cluster::ClusterHomes;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// How long to wait for what goes on in the background after the last operation: it belongs to
/// the cost.
const BACKGROUND: Duration = Duration::from_secs(60);

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

    /// So many puts run at once, as those of tasks that know nothing of each other.
    #[arg(long, default_value_t = 1)]
    at_once: u16,

    /// Each put is of so many variables together.
    #[arg(long, default_value_t = 1)]
    batch: u16,
}

/// What the operations took, of all nodes and the client together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Walked {
    /// Files and folders that were synced.
    pub(super) syncs: u64,
    /// Requests and answers.
    pub(super) messages: u64,
}

impl fmt::Display for Walked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} syncs, {} messages", self.syncs, self.messages)
    }
}

pub(super) fn run(args: &StepsArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.open_home()?;
    let walked = context.block_on(walk(args, &home))?;
    context.output().show(&walked)?;
    Ok(Exit::Done)
}

async fn walk(args: &StepsArgs, home: &Home) -> Result<Walked, Failure> {
    let mut nodes = Vec::new();
    for folder in ClusterHomes::find(&args.cluster)?.nodes {
        nodes.push(Node::open(&Home::open(folder)?)?.serve().await?);
    }
    let (client, transport) = counted_client(home, args.at_once).await?;
    let first = name(0, 0)?;
    client.put(&first, value()?, PutOptions::default()).await?;
    client.finish(BACKGROUND).await;
    let before = (storage::syncs(), transport.traffic().messages);
    let mut puts = JoinSet::new();
    for n in 1..=args.puts {
        if puts.len() >= usize::from(args.at_once) {
            ended(puts.join_next().await)?;
        }
        puts.spawn(put(client.clone(), n, args.batch));
    }
    while !puts.is_empty() {
        ended(puts.join_next().await)?;
    }
    for _ in 0..args.gets {
        client.get(&first, GetOptions::default()).await?;
    }
    client.finish(BACKGROUND).await;
    let walked = Walked {
        syncs: storage::syncs().saturating_sub(before.0),
        messages: transport.traffic().messages.saturating_sub(before.1),
    };
    for node in nodes {
        node.shutdown().await?;
    }
    Ok(walked)
}

async fn put(client: Client, n: u16, batch: u16) -> Result<(), Failure> {
    if batch == 1 {
        client.put(&name(n, 0)?, value()?, PutOptions::default()).await?;
        return Ok(());
    }
    let entries: Result<Vec<_>, Failure> =
        (0..batch).map(|part| Ok((name(n, part)?, value()?))).collect();
    let written = client.put_many(entries?, PutOptions::default()).await?;
    written.into_iter().try_for_each(|one| one.map(drop)).map_err(Failure::failed)
}

fn ended(put: Option<Result<Result<(), Failure>, JoinError>>) -> Result<(), Failure> {
    put.map_or(Ok(()), |ended| ended.map_err(Failure::failed)?)
}

fn value() -> Result<Value, Failure> {
    Value::new(vec![b'v'; 100]).map_err(Failure::usage)
}

fn name(put: u16, part: u16) -> Result<Variable, Failure> {
    Variable::new(format!("steps/{}/{put}/{part}", std::process::id())).map_err(Failure::failed)
}
