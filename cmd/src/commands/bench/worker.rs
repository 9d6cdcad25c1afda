//! Clients in a process of their own: `bftkv bench worker`, which the measuring process starts and
//! which takes orders on its standard input and answers on its standard output, a line each.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::Stdio;

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::phase::{Outcome, Phase};
use super::shape::Shape;
use super::workload::Clients;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// What the measuring process wants.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Order {
    WarmUp,
    Run(Phase),
}

/// Clients for a measurement. Started by `bftkv bench --processes`.
///
/// Example: bftkv --home u1 bench worker --clients 8 --value-bytes 100
#[derive(Debug, Args)]
pub(super) struct WorkerArgs {
    /// Clients at once.
    #[arg(long)]
    clients: u16,

    #[command(flatten)]
    shape: Shape,
}

pub(super) fn run(args: &WorkerArgs, context: &Context) -> Result<Exit, Failure> {
    context.block_on(obey(args, context.home()))
}

/// Takes orders until standard input ends.
async fn obey(args: &WorkerArgs, home: &Path) -> Result<Exit, Failure> {
    let mut clients = Clients::open(home, args.clients, args.shape).await?;
    // Whoever gives orders waits for the answer to each, so nothing here is kept waiting.
    for line in std::io::stdin().lock().lines() {
        let order = serde_json::from_str(&line.map_err(Failure::failed)?);
        let outcome = match order.map_err(Failure::failed)? {
            Order::WarmUp => clients.warm_up().await.map(|()| Outcome::default())?,
            Order::Run(phase) => clients.run(phase).await?,
        };
        let answer = serde_json::to_string(&outcome).map_err(Failure::failed)?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}").and_then(|()| out.flush()).map_err(Failure::failed)?;
    }
    Ok(Exit::Done)
}

/// A process of clients, as the measuring process sees it. It ends with its standard input.
pub(super) struct Worker {
    _child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts it. What goes wrong there is said on this process's standard error.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(super) fn start(home: &Path, clients: u16, shape: Shape) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::failed)?;
        let mut command = Command::new(program);
        command.arg("--home").arg(home).args(["bench", "worker"]);
        command.arg("--clients").arg(clients.to_string());
        command.args(shape.arguments());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(Failure::failed)?;
        let (Some(orders), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::failed("a process of clients has no pipes"));
        };
        Ok(Self { _child: child, orders, answers: BufReader::new(stdout).lines() })
    }

    /// Lets the clients do something once, before anything is measured.
    pub(super) async fn order_warm_up(&mut self) -> Result<(), Failure> {
        self.order(Order::WarmUp).await
    }

    /// Lets the clients begin.
    pub(super) async fn order_run(&mut self, phase: Phase) -> Result<(), Failure> {
        self.order(Order::Run(phase)).await
    }

    async fn order(&mut self, order: Order) -> Result<(), Failure> {
        let mut line = serde_json::to_string(&order).map_err(Failure::failed)?;
        line.push('\n');
        self.orders.write_all(line.as_bytes()).await.map_err(Failure::failed)
    }

    /// Waits until they have done what was ordered.
    ///
    /// # Errors
    /// The process has ended: it said why.
    pub(super) async fn answer(&mut self) -> Result<Outcome, Failure> {
        let line = self.answers.next_line().await.map_err(Failure::failed)?;
        let line = line.ok_or_else(|| Failure::failed("a process of clients ended early"))?;
        serde_json::from_str(&line).map_err(Failure::failed)
    }
}
