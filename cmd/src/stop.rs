//! When to stop: SIGINT, SIGTERM, or the end of stdin.

use std::io::BufRead as _;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::failure::Failure;
use crate::node_figures;

/// Waits for the word to stop.
#[derive(Debug)]
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    stdin: Option<oneshot::Receiver<()>>,
}

impl Stop {
    /// Listens for signals from now on; with `with_stdin` also for the end of stdin, so that
    /// nodes end with the process that started them, however that ends.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn listen(with_stdin: bool) -> Result<Self, Failure> {
        let interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
        let terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
        Ok(Self { interrupt, terminate, stdin: with_stdin.then(end_of_stdin) })
    }

    /// Waits for the first word.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = ended(&mut self.stdin) => {}
        }
    }

    /// Waits for another signal: somebody does not want to wait.
    pub(crate) async fn wait_for_signal(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ends when stdin has ended; never, if nobody watches it.
async fn ended(stdin: &mut Option<oneshot::Receiver<()>>) {
    match stdin {
        // The sender is dropped when its thread ends, which is an end of stdin as well.
        Some(end) => drop(end.await),
        None => std::future::pending().await,
    }
}

/// Reads stdin to its end on a thread of its own, which does not hold up the end of the program.
fn end_of_stdin() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            let Ok(line) = line else { break };
            node_figures::answer(&line);
        }
        let _ = sender.send(());
    });
    receiver
}
