//! Puts and gets by several clients of one process at once.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bftkv::transport::{ClientLimits, HttpTransport};
use bftkv::{Client, ClientParts, GetOptions, Home, PutOptions, Value, Variable, storage};
use tokio::task::JoinSet;

use super::phase::{Outcome, Phase, Work};
use super::process_stat::Process;
use super::shape::Shape;
use crate::failure::Failure;

/// How long to wait for what goes on in the background after the last operation: it belongs to
/// the cost.
const BACKGROUND: Duration = Duration::from_secs(10);

/// How long nodes take at most to finish what they do when nobody asks any more.
const SETTLE: Duration = Duration::from_millis(300);

/// How many operations each client does before anything is measured.
const WARM_UP: usize = 5;

/// A step that visits the numbers from 0 to 99 once each, well mixed.
const MIX_STEP: usize = 37;

/// The clients of one process. All are clones of one client, as in a program that embeds the crate.
pub(super) struct Clients {
    client: Client,
    transport: Arc<HttpTransport>,
    value: Value,
    /// For each client at once, how many variables it has put.
    written: Vec<usize>,
    /// How many variables each operation is about.
    batch: usize,
    /// After so many a client begins again with its first.
    variables: usize,
}

impl Clients {
    /// Clients of this home, whose messages are counted.
    ///
    /// # Errors
    /// Those of [`Client::open`].
    pub(super) async fn open(home: &Path, clients: u16, shape: Shape) -> Result<Self, Failure> {
        let home = Home::open(home)?;
        let (client, transport) = counted_client(&home, clients).await?;
        let size = usize::try_from(shape.value_bytes).map_err(Failure::failed)?;
        let value = Value::new(vec![b'v'; size]).map_err(Failure::usage)?;
        let (written, batch) = (vec![0; usize::from(clients)], usize::from(shape.batch.max(1)));
        let variables = shape.variables.map_or(Ok(usize::MAX), usize::try_from);
        let variables = variables.map_err(Failure::failed)?;
        Ok(Self { client, transport, value, written, batch, variables })
    }

    /// Opens connections and fills caches.
    ///
    /// # Errors
    /// An operation failed.
    pub(super) async fn warm_up(&self) -> Result<(), Failure> {
        let mut tasks = JoinSet::new();
        for worker in self.workers(Work::Put) {
            tasks.spawn(async move {
                for n in 0..WARM_UP {
                    let variable = name("warm", worker.number, n)?;
                    worker.put(&variable).await?;
                    worker.get(&variable).await?;
                }
                Ok::<(), Failure>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(Failure::failed)??;
        }
        Ok(())
    }

    /// Works through a phase.
    ///
    /// # Errors
    /// An operation failed, or a value is not what was put.
    pub(super) async fn run(&mut self, phase: Phase) -> Result<Outcome, Failure> {
        let (cpu, traffic) = (Process::own().cpu()?, self.transport.traffic());
        let syncs = storage::syncs();
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for worker in self.workers(phase.work) {
            tasks.spawn(worker.work_until(began, phase));
        }
        let mut outcome = Outcome::default();
        while let Some(done) = tasks.join_next().await {
            let (worker, latencies) = done.map_err(Failure::failed)??;
            if let Some(written) = self.written.get_mut(worker.number) {
                *written = worker.written;
            }
            outcome.latencies_us.extend(latencies.iter().map(|latency| micros(*latency)));
        }
        outcome.elapsed = began.elapsed();
        self.client.finish(BACKGROUND).await;
        tokio::time::sleep(SETTLE).await;
        let after = self.transport.traffic();
        outcome.client_cpu = Process::own().cpu()?.saturating_sub(cpu);
        outcome.messages = after.messages.saturating_sub(traffic.messages);
        outcome.bytes = after.bytes.saturating_sub(traffic.bytes);
        outcome.syncs = storage::syncs().saturating_sub(syncs);
        outcome.resident_bytes = Process::own().resident_bytes().unwrap_or_default();
        Ok(outcome)
    }

    fn workers(&self, work: Work) -> Vec<Worker> {
        let worker = |(number, written): (usize, &usize)| Worker {
            client: self.client.clone(),
            value: self.value.clone(),
            number,
            at_once: self.written.len(),
            written: *written,
            work,
            batch: self.batch,
            variables: self.variables,
        };
        self.written.iter().enumerate().map(worker).collect()
    }
}

/// A client of this home for so many operations at once, and what counts its messages.
///
/// # Errors
/// Those of [`Client::open`].
pub(super) async fn counted_client(
    home: &Home,
    at_once: u16,
) -> Result<(Client, Arc<HttpTransport>), Failure> {
    let (certificates, key) = (home.certificates()?, home.key());
    let connections = usize::from(at_once).max(ClientLimits::default().connections_per_node);
    let limits = ClientLimits {
        connections_per_node: connections,
        idle_per_node: connections,
        ..ClientLimits::default()
    };
    let transport = Arc::new(certificates.transport(&key, limits)?);
    let parts = ClientParts {
        configurations: None,
        certificates,
        key,
        transport: transport.clone(),
        memory: home.writer_log()?,
        realm: home.config().realm.clone(),
        settings: home.config().client.clone(),
    };
    Ok((Client::assemble(parts).await?, transport))
}

/// One of the clients at once.
struct Worker {
    client: Client,
    value: Value,
    number: usize,
    at_once: usize,
    written: usize,
    work: Work,
    batch: usize,
    variables: usize,
}

impl Worker {
    /// Works until the time is over; gives itself back and how long each operation took: for each of
    /// a batch, as long as the whole batch.
    async fn work_until(
        mut self,
        began: Instant,
        phase: Phase,
    ) -> Result<(Self, Vec<Duration>), Failure> {
        let mut latencies = Vec::new();
        loop {
            let n = latencies.len() / self.batch;
            let due = match phase.every {
                None => Instant::now(),
                Some(every) => began + every.mul_f64(self.turns(n)),
            };
            if due.saturating_duration_since(began) >= phase.time {
                break;
            }
            tokio::time::sleep_until(due.into()).await;
            self.operation(n).await?;
            latencies.extend(std::iter::repeat_n(due.elapsed(), self.batch));
        }
        Ok((self, latencies))
    }

    /// When the `n`th operation is due, in units of the pause between two operations of a client.
    /// The clients begin one after the other, so that their operations are spread evenly.
    fn turns(&self, n: usize) -> f64 {
        n as f64 + self.number as f64 / self.at_once.max(1) as f64
    }

    async fn operation(&mut self, n: usize) -> Result<(), Failure> {
        let gets = match self.work {
            Work::Put => false,
            Work::Get => true,
            Work::Mix { reads } => n.wrapping_mul(MIX_STEP) % 100 < usize::from(reads),
        };
        if gets {
            let there = self.written.min(self.variables);
            let first = n.saturating_mul(self.batch).checked_rem(there).unwrap_or_default();
            return match self.names(first)?.as_slice() {
                [one] => self.get(one).await,
                many => self.get_many(many.to_vec()).await,
            };
        }
        let first = self.written.checked_rem(self.variables).unwrap_or_default();
        match self.names(first)?.as_slice() {
            [one] => self.put(one).await?,
            many => self.put_many(many.to_vec()).await?,
        }
        self.written = self.written.saturating_add(self.batch);
        Ok(())
    }

    fn names(&self, first: usize) -> Result<Vec<Variable>, Failure> {
        (0..self.batch).map(|n| name("bench", self.number, first.saturating_add(n))).collect()
    }

    async fn put_many(&self, names: Vec<Variable>) -> Result<(), Failure> {
        let entries = names.into_iter().map(|name| (name, self.value.clone())).collect();
        let written = self.client.put_many(entries, PutOptions::default()).await?;
        written.into_iter().try_for_each(|one| one.map(drop)).map_err(Failure::failed)
    }

    async fn get_many(&self, names: Vec<Variable>) -> Result<(), Failure> {
        for found in self.client.get_many(names, GetOptions::default()).await? {
            match found.map_err(Failure::failed)?.entry {
                Some(entry) if entry.entry().value == self.value => {}
                _ => return Err(Failure::failed("a variable is not what was put")),
            }
        }
        Ok(())
    }

    async fn put(&self, variable: &Variable) -> Result<(), Failure> {
        self.client.put(variable, self.value.clone(), PutOptions::default()).await?;
        Ok(())
    }

    async fn get(&self, variable: &Variable) -> Result<(), Failure> {
        let found = self.client.get(variable, GetOptions::default()).await?;
        match found.entry {
            Some(entry) if entry.entry().value == self.value => Ok(()),
            _ => Err(Failure::failed(format!("{variable} is not what was put"))),
        }
    }
}

/// Variables of this process and run only: a cluster that was measured before has others.
fn name(kind: &str, number: usize, n: usize) -> Result<Variable, Failure> {
    let run = std::process::id();
    Variable::new(format!("{kind}/{run}/{number}/{n}")).map_err(Failure::failed)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_has_the_share_of_gets_that_was_asked_for() {
        for reads in [0, 5, 50, 95, 100] {
            let gets = (0..100).filter(|n: &usize| n.wrapping_mul(MIX_STEP) % 100 < reads).count();
            assert_eq!(gets, reads);
        }
    }
}
