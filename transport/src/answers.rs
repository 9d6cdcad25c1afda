//! Answers as they come in.

use bftkv_protocol::{NodeId, Response};
use tokio::sync::mpsc;

use crate::{Peer, TransportError};

/// One node's answer, or why there is none.
pub(crate) type Answer = (NodeId, Result<Response, TransportError>);

/// The answers to one question, in the order in which they arrive.
///
/// Dropping it does to the open questions what [`crate::WhenDropped`] says.
#[derive(Debug)]
pub struct Answers {
    receiver: mpsc::Receiver<Answer>,
    /// Those of other nodes, which are asked in another way.
    others: Option<mpsc::Receiver<Answer>>,
}

impl Answers {
    /// Room for one answer of every peer, so that no answer ever waits for the caller.
    pub(crate) fn channel(peers: usize) -> (mpsc::Sender<Answer>, Self) {
        let (sender, receiver) = mpsc::channel(peers.max(1));
        (sender, Self { receiver, others: None })
    }

    /// The answers to two questions for different nodes.
    pub(crate) fn with(self, others: Self) -> Self {
        Self { others: Some(others.receiver), ..self }
    }

    /// The next answer; `None` when every node has answered or failed. Cancel safe.
    pub async fn next(&mut self) -> Option<(NodeId, Result<Response, TransportError>)> {
        let Some(others) = &mut self.others else { return self.receiver.recv().await };
        tokio::select! {
            Some(answer) = self.receiver.recv() => Some(answer),
            Some(answer) = others.recv() => Some(answer),
            else => None,
        }
    }

    /// Waits for all answers.
    pub async fn collect(mut self) -> Vec<(NodeId, Result<Response, TransportError>)> {
        let mut all = Vec::new();
        while let Some(answer) = self.next().await {
            all.push(answer);
        }
        all
    }
}

/// Each node once, the first mention wins.
pub(crate) fn distinct(peers: Vec<Peer>) -> Vec<Peer> {
    let mut known = std::collections::BTreeSet::new();
    peers.into_iter().filter(|peer| known.insert(peer.node.clone())).collect()
}
