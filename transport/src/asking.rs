//! Asking a group: one task for each node, one deadline, and what happens when nobody waits.

use std::future::Future;
use std::time::Duration;

use bftkv_protocol::Response;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::answers::{Answer, distinct};
use crate::{Answers, AskOptions, Peer, TransportError, WhenDropped};

/// How long an exchange may still run after its caller has left: the answer is usually on its way,
/// and reading it is cheaper than closing the connection and opening another.
const LINGER: Duration = Duration::from_millis(500);

/// Tells an exchange whether anybody still wants its answer.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    sender: mpsc::Sender<Answer>,
    when_dropped: WhenDropped,
}

impl Wanted {
    /// Whether the answer is of no use any more, so that opening it is a waste.
    pub(crate) fn is_given_up(&self) -> bool {
        self.when_dropped == WhenDropped::Cancel && self.sender.is_closed()
    }

    /// Returns when the exchange shall stop.
    async fn stop(&self) {
        match self.when_dropped {
            WhenDropped::Continue => std::future::pending().await,
            WhenDropped::Cancel => {
                self.sender.closed().await;
                sleep(LINGER).await;
            }
        }
    }
}

/// Runs one exchange for each peer.
pub(crate) fn ask_each<F, R>(to: Vec<Peer>, options: AskOptions, exchange: F) -> Answers
where
    F: Fn(Peer, Wanted) -> R,
    R: Future<Output = Result<Response, TransportError>> + Send + 'static,
{
    let peers = distinct(to);
    let (sender, answers) = Answers::channel(peers.len());
    for peer in peers {
        let wanted = Wanted { sender: sender.clone(), when_dropped: options.when_dropped };
        let node = peer.node.clone();
        let work = timeout(options.deadline, exchange(peer, wanted.clone()));
        tokio::spawn(async move {
            tokio::select! {
                biased;
                outcome = work => {
                    let outcome = outcome.unwrap_or(Err(TransportError::TimedOut));
                    // The channel has room for one answer of each node; an error here means that
                    // the caller has left.
                    let _ = wanted.sender.try_send((node, outcome));
                }
                () = wanted.stop() => {}
            }
        });
    }
    answers
}
