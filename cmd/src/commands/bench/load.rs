//! Where the clients are: in this process, or in processes of their own.

use std::path::PathBuf;

use super::ClusterArgs;
use super::phase::{Outcome, Phase};
use super::worker::Worker;
use super::workload::Clients;
use crate::failure::Failure;

/// All clients of a measurement.
pub(super) enum Load {
    Here(Box<Clients>),
    Elsewhere(Vec<Worker>),
}

impl Load {
    /// Clients in this process, if there is one home, else in a process for each home.
    ///
    /// # Errors
    /// Those of [`Clients::open`], or a process cannot be started.
    pub(super) async fn start(homes: &[PathBuf], args: &ClusterArgs) -> Result<Self, Failure> {
        let ClusterArgs { clients, shape, .. } = *args;
        if let [home] = homes {
            return Ok(Self::Here(Box::new(Clients::open(home, clients, shape).await?)));
        }
        let count = u16::try_from(homes.len()).map_err(Failure::usage)?;
        let (each, more) = (clients / count.max(1), clients % count.max(1));
        let workers = (0..count).zip(homes).map(|(number, home)| {
            Worker::start(home, each.saturating_add(u16::from(number < more)), shape)
        });
        Ok(Self::Elsewhere(workers.collect::<Result<_, _>>()?))
    }

    /// Opens connections and fills caches.
    ///
    /// # Errors
    /// An operation failed.
    pub(super) async fn warm_up(&mut self) -> Result<(), Failure> {
        match self {
            Self::Here(clients) => clients.warm_up().await,
            Self::Elsewhere(workers) => {
                for worker in workers.iter_mut() {
                    worker.order_warm_up().await?;
                }
                sum(workers).await.map(drop)
            }
        }
    }

    /// Works through a phase, all clients at once.
    ///
    /// # Errors
    /// An operation failed, or a value is not what was put.
    pub(super) async fn run(&mut self, phase: Phase) -> Result<Outcome, Failure> {
        match self {
            Self::Here(clients) => clients.run(phase).await,
            Self::Elsewhere(workers) => {
                for worker in workers.iter_mut() {
                    worker.order_run(phase).await?;
                }
                sum(workers).await
            }
        }
    }
}

async fn sum(workers: &mut [Worker]) -> Result<Outcome, Failure> {
    let mut sum = Outcome::default();
    for worker in workers {
        sum.add(worker.answer().await?);
    }
    Ok(sum)
}
