//! What a node that was killed waits for until it serves again: the processor, the disk, or others
//! that are down as well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::process::{PATIENCE, Process};

/// How often it is looked whether the others listen.
const LOOK: Duration = Duration::from_millis(10);

/// Which nodes listen.
#[derive(Debug)]
pub(crate) struct Listening(Vec<AtomicBool>);

impl Listening {
    pub(crate) fn nobody(nodes: usize) -> Self {
        Self((0..nodes).map(|_| AtomicBool::new(false)).collect())
    }

    pub(crate) fn set(&self, node: usize, listens: bool) {
        self.0[node].store(listens, Ordering::SeqCst);
    }

    /// Whether so many others listen that one of them is honest: before that nobody can know whether
    /// its memory is whole.
    fn suffices_for(&self, node: usize) -> bool {
        let others = self.0.iter().enumerate().filter(|(other, _)| *other != node);
        let b = (self.0.len() - 1) / 3;
        others.filter(|(_, listens)| listens.load(Ordering::SeqCst)).count() > b
    }
}

/// One start of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restart {
    /// Until it served.
    pub(crate) took: Duration,
    /// Until it listened: it had opened its store.
    pub(crate) listened: Duration,
    /// How long after that too few others listened.
    pub(crate) alone: Duration,
    /// How long its threads ran on a processor, and how long they could have, but others did.
    pub(crate) ran: Duration,
    pub(crate) queued: Duration,
}

impl Restart {
    /// How much of it the node itself answers for: neither the others nor the processor was missing.
    pub(crate) fn own(&self) -> Duration {
        self.took.saturating_sub(self.alone)
    }

    /// Starts node `number` and waits until it serves.
    pub(crate) async fn of(node: &mut Process, number: usize, listening: &Listening) -> Self {
        let listened = node.listening().await;
        let listened = listened.unwrap_or_else(|| panic!("node {number} does not start again"));
        listening.set(number, true);
        let mut alone = Duration::ZERO;
        let mut looked = Instant::now();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let took = {
            let mut serving = std::pin::pin!(node.serving(PATIENCE));
            loop {
                tokio::select! {
                    took = &mut serving => break took,
                    _ = ticks.tick() => {}
                }
                let since = looked.elapsed();
                looked = Instant::now();
                if !listening.suffices_for(number) {
                    alone += since;
                }
            }
        };
        let took = took.unwrap_or_else(|| panic!("node {number} stays silent"));
        let [ran, queued] = node.scheduled();
        Self { took, listened, alone, ran, queued }
    }
}
