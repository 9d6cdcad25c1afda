//! Child processes.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::child::{HOME, POINT, PREFIX, ROLE};

/// Generous: whoever waits so long has found a fault.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often something is tried that must work, before it counts as a fault: a campaign may be
/// stopped and go on later, and then every deadline has passed at once.
pub(crate) const TRIES: usize = 3;

/// A running child. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    _stdin: ChildStdin,
    begun: Instant,
}

/// What a child is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Orders<'a> {
    pub(crate) role: &'a str,
    pub(crate) home: &'a Path,
    /// Where it dies.
    pub(crate) point: Option<&'a str>,
    pub(crate) prefix: &'a str,
}

impl<'a> Orders<'a> {
    pub(crate) fn node(home: &'a Path) -> Self {
        Self { role: "node", home, point: None, prefix: "" }
    }
}

impl Process {
    pub(crate) fn start(orders: &Orders<'_>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, orders.role).env(HOME, orders.home).env(PREFIX, orders.prefix);
        if let Some(point) = orders.point {
            command.env(POINT, point);
        }
        // Its last words are only wanted when somebody looks for a fault.
        let stderr = if std::env::var_os("CHAOS_STDERR").is_some() {
            Stdio::inherit()
        } else {
            Stdio::null()
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stdin = child.stdin.take().unwrap();
        Self { child, lines, _stdin: stdin, begun: Instant::now() }
    }

    /// Starts a node, and waits until it listens.
    pub(crate) async fn node(home: &Path) -> Self {
        let mut node = Self::start(&Orders::node(home));
        node.listening().await.expect("it does not start");
        node
    }

    /// How long it took until it listened; `None` if it died before.
    pub(crate) async fn listening(&mut self) -> Option<Duration> {
        self.said("listening").await
    }

    /// How long it took until it had heard from the others that its memory is whole, and served;
    /// `None` if not so soon.
    pub(crate) async fn serving(&mut self, patience: Duration) -> Option<Duration> {
        timeout(patience, self.said("ready")).await.ok().flatten()
    }

    async fn said(&mut self, word: &str) -> Option<Duration> {
        while let Some(line) = self.line().await {
            if line == word {
                return Some(self.begun.elapsed());
            }
        }
        None
    }

    /// The next line; `None` when it has ended.
    pub(crate) async fn line(&mut self) -> Option<String> {
        for _ in 0..TRIES {
            if let Ok(line) = timeout(PATIENCE, self.lines.next_line()).await {
                return line.ok().flatten();
            }
        }
        panic!("it says nothing");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> ExitStatus {
        let _ = self.child.start_kill();
        self.child.wait().await.unwrap()
    }

    /// Waits until it has died by itself, at most so long.
    pub(crate) async fn death(&mut self, patience: Duration) -> Option<ExitStatus> {
        timeout(patience, self.child.wait()).await.ok().map(Result::unwrap)
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends it a signal by name, such as "STOP".
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().await;
        assert!(sent.unwrap().success());
    }

    /// A line of `/proc/PID/status` in KiB, such as "VmHWM".
    pub(crate) fn memory_kib(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// How long its threads ran, and how long they waited for a processor, from
    /// `/proc/PID/task/*/schedstat`. Threads that have ended are not in it.
    pub(crate) fn scheduled(&self) -> [Duration; 2] {
        let mut sum = [Duration::ZERO; 2];
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        for task in tasks.map(Result::unwrap) {
            // A thread may end just now.
            let line = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let times = line.split_whitespace().map(|word| word.parse().unwrap());
            for (total, nanoseconds) in sum.iter_mut().zip(times) {
                *total += Duration::from_nanos(nanoseconds);
            }
        }
        sum
    }
}
