//! Runs the built program, as a person would.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::indexing_slicing, reason = "a test stops at a surprise")]

pub(crate) mod packets;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// What a command printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    /// Stdout as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Stdout as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap()
    }

    /// Asserts the exit code, and hands itself on.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// The program, without what the environment says of homes.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bftkv"));
    command.env_remove("BFTKV_HOME").env_remove("RUST_LOG");
    command
}

/// Runs the program with these arguments and no stdin.
pub(crate) fn bftkv(arguments: &[&str]) -> Ran {
    bftkv_with(arguments, b"")
}

/// Runs the program with these arguments and this stdin.
pub(crate) fn bftkv_with(arguments: &[&str], stdin: &[u8]) -> Ran {
    let mut command = program();
    command.args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that does not read its stdin closes it early.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A cluster's folder, and the processes if they run. They end with it.
pub(crate) struct Cluster {
    folder: TempDir,
    running: Option<Child>,
}

impl Cluster {
    /// Makes the homes; the system chooses the ports.
    pub(crate) fn create(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c").display().to_string();
        bftkv(&[&["cluster", "create", &path], options].concat()).expect(0);
        Self { folder, running: None }
    }

    /// Starts the nodes, and waits until they listen.
    pub(crate) fn run(&mut self, options: &[&str]) {
        let mut command = program();
        command.args(["cluster", "run"]).arg(self.path("")).args(options);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        self.running = Some(child);
        let mut lines = BufReader::new(stdout).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("nodes listen")), "they never listened");
        // Whatever they say later must not block them.
        std::thread::spawn(move || lines.for_each(drop));
    }

    /// Stops the nodes, and waits until they have ended.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let pid = child.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
            let _ = child.wait();
        }
    }

    /// A path below the cluster's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("c").join(name)
    }

    /// The fingerprint of `who`.
    pub(crate) fn id(&self, who: &str) -> String {
        let graph = self.at(who, &["--json", "graph"]).expect(0).json();
        graph["own"]["fingerprint"].as_str().unwrap().to_owned()
    }

    /// Runs the program with the home of `who`.
    pub(crate) fn at(&self, who: &str, arguments: &[&str]) -> Ran {
        self.at_with(who, arguments, b"")
    }

    /// Runs the program with the home of `who` and this stdin.
    pub(crate) fn at_with(&self, who: &str, arguments: &[&str], stdin: &[u8]) -> Ran {
        let home = self.path(who).display().to_string();
        bftkv_with(&[&["--home", &home], arguments].concat(), stdin)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
