//! Nodes as child processes of this program.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::listening::LISTENING;
use crate::node_figures;
use crate::output::escape;

/// How long a node may take from its start until it listens: a store of a million entries opens in
/// a second; a busy machine is slower.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How long nodes may take to stop; a little more than they give their own requests.
const STOP_PATIENCE: Duration = Duration::from_secs(12);

/// How long nodes may take to tell their figures: they are busy with what is measured.
const FIGURES_PATIENCE: Duration = Duration::from_secs(30);

/// What a node said, or that it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// A line on stdout or stderr.
    Line(String),
    /// It closed stdout: it has ended, or is about to.
    Ended,
}

/// Something that a node said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FromNode {
    /// The name of its folder.
    pub(crate) name: String,
    /// What.
    pub(crate) said: Said,
}

/// Running nodes. Their stdin is a pipe of this process: they stop when it ends, however it ends.
#[derive(Debug)]
pub(crate) struct Processes {
    nodes: Vec<Child>,
    said: mpsc::UnboundedReceiver<FromNode>,
}

impl Processes {
    /// Starts a node for each home, and waits until all listen. What they say before goes to
    /// `print`.
    ///
    /// # Errors
    /// One of them ended, or did not listen in time: all are stopped.
    pub(crate) async fn start(
        homes: &[PathBuf],
        print: impl Fn(&FromNode),
    ) -> Result<Self, Failure> {
        let (sender, said) = mpsc::unbounded_channel();
        let mut processes = Self { nodes: Vec::new(), said };
        for home in homes {
            processes.nodes.push(spawn(home, &sender)?);
        }
        let all_listen = processes.wait_until_listening(print);
        match timeout(START_PATIENCE, all_listen).await {
            Ok(Ok(())) => Ok(processes),
            Ok(Err(failure)) => {
                processes.stop().await;
                Err(failure)
            }
            Err(_) => {
                processes.stop().await;
                let seconds = START_PATIENCE.as_secs();
                Err(Failure::failed(format!("not all nodes listen after {seconds} s")))
            }
        }
    }

    async fn wait_until_listening(&mut self, print: impl Fn(&FromNode)) -> Result<(), Failure> {
        let mut missing = self.nodes.len();
        let mut last_words = String::new();
        while missing > 0 {
            let Some(from) = self.next().await else { break };
            print(&from);
            match &from.said {
                Said::Line(line) if line.starts_with(LISTENING) => {
                    missing = missing.saturating_sub(1)
                }
                Said::Line(line) => last_words = format!("{}: {line}", from.name),
                Said::Ended => {
                    // Its words on stderr may come a moment later.
                    while let Ok(Some(more)) =
                        timeout(Duration::from_millis(200), self.next()).await
                    {
                        if let Said::Line(line) = more.said
                            && more.name == from.name
                        {
                            last_words = format!("{}: {line}", more.name);
                        }
                    }
                    let message = format!("node {} ended before it listened", from.name);
                    return Err(Failure::failed(message).hint(last_words));
                }
            }
        }
        Ok(())
    }

    /// The next word of any node; `None` when all have ended.
    pub(crate) async fn next(&mut self) -> Option<FromNode> {
        self.said.recv().await
    }

    /// How often all nodes together have had files and folders synced. What they say meanwhile is lost.
    ///
    /// # Errors
    /// One of them has ended, or does not answer.
    pub(crate) async fn syncs(&mut self) -> Result<u64, Failure> {
        for stdin in self.nodes.iter_mut().filter_map(|node| node.stdin.as_mut()) {
            let line = format!("{}\n", node_figures::ASK);
            stdin.write_all(line.as_bytes()).await.map_err(Failure::failed)?;
        }
        let all = timeout(FIGURES_PATIENCE, self.add_up_syncs()).await;
        all.unwrap_or_else(|_| Err(Failure::failed("a node does not tell its figures")))
    }

    async fn add_up_syncs(&mut self) -> Result<u64, Failure> {
        let (mut missing, mut sum) = (self.nodes.len(), 0_u64);
        while missing > 0 {
            let said = self.next().await.map(|from| (from.name, from.said));
            match said {
                Some((_, Said::Line(line))) => {
                    if let Some(syncs) = node_figures::syncs_in(&line) {
                        (missing, sum) = (missing.saturating_sub(1), sum.saturating_add(syncs));
                    }
                }
                Some((name, Said::Ended)) => {
                    return Err(Failure::failed(format!("node {name} has ended")));
                }
                None => return Err(Failure::failed("all nodes have ended")),
            }
        }
        Ok(sum)
    }

    /// The numbers of the processes that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(Child::id).collect()
    }

    /// Stops all nodes: lets them finish what they do, and ends those that take too long.
    pub(crate) async fn stop(&mut self) {
        for node in &mut self.nodes {
            drop(node.stdin.take());
        }
        for node in &mut self.nodes {
            if timeout(STOP_PATIENCE, node.wait()).await.is_err() {
                // It has ended meanwhile, or is ended now.
                let _ = node.kill().await;
            }
        }
    }

    /// Ends all nodes at once.
    pub(crate) async fn kill(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill().await;
        }
    }
}

fn spawn(home: &Path, said: &mpsc::UnboundedSender<FromNode>) -> Result<Child, Failure> {
    let name = home.file_name().unwrap_or(home.as_os_str()).to_string_lossy().into_owned();
    let program = std::env::current_exe().map_err(Failure::failed)?;
    let mut command = Command::new(program);
    command.arg("--home").arg(home).args(["serve", "--stop-with-stdin"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own: Ctrl-C is for this process, which then stops the nodes in order.
    command.process_group(0).kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(|error| Failure::failed(format!("cannot start node {name}: {error}")))?;
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(relay(stdout, name.clone(), said.clone(), true));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(relay(stderr, name.clone(), said.clone(), false));
    }
    Ok(child)
}

/// Hands on what a node says, line by line.
async fn relay(
    stream: impl AsyncRead + Unpin,
    name: String,
    said: mpsc::UnboundedSender<FromNode>,
    tells_end: bool,
) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let said_now = FromNode { name: name.clone(), said: Said::Line(escape(&line)) };
        if said.send(said_now).is_err() {
            return;
        }
    }
    if tells_end {
        // Whoever does not listen any more does not care.
        let _ = said.send(FromNode { name, said: Said::Ended });
    }
}
