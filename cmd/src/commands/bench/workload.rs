//! Puts and gets by several clients at once, measured.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bftkv::transport::{ClientLimits, HttpTransport};
use bftkv::{Client, ClientParts, Configuration, GetOptions, Home, PutOptions, Value, Variable};
use tokio::task::JoinSet;

use super::process_stat::Process;
use super::report::{Figures, Used};
use crate::failure::Failure;

/// How long to wait for what goes on in the background after the last operation: it belongs to
/// the cost.
const BACKGROUND: Duration = Duration::from_secs(10);

/// How long nodes take at most to finish what they do when nobody asks any more.
const SETTLE: Duration = Duration::from_millis(300);

/// How many operations each client does before anything is measured.
const WARM_UP: usize = 5;

/// Clients and nodes under measurement.
pub(super) struct Bench {
    client: Client,
    transport: Arc<HttpTransport>,
    nodes: Vec<Process>,
    clients: u16,
    value: Value,
    /// How many variables each operation is about.
    batch: usize,
}

/// What a measured phase came to.
pub(super) struct Measured {
    /// For the report.
    pub(super) figures: Figures,
    done_by: Vec<usize>,
}

impl Measured {
    /// How many operations each client has done.
    pub(super) fn per_client(&self) -> &[usize] {
        &self.done_by
    }
}

impl Bench {
    /// A client of this home, whose messages are counted. All clients of the measurement are
    /// clones of it, as in a program that embeds the crate.
    ///
    /// # Errors
    /// Those of [`Client::open`].
    pub(super) async fn open(
        home: &Path,
        pids: Vec<u32>,
        clients: u16,
        value_bytes: usize,
        batch: u16,
    ) -> Result<Self, Failure> {
        let home = Home::open(home)?;
        let (certificates, key) = (home.certificates()?, home.key());
        let connections = usize::from(clients).max(ClientLimits::default().connections_per_node);
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
        let client = Client::assemble(parts).await?;
        let nodes = pids.into_iter().map(Process::other).collect();
        let value = Value::new(vec![b'v'; value_bytes]).map_err(Failure::usage)?;
        Ok(Self { client, transport, nodes, clients, value, batch: usize::from(batch) })
    }

    /// The configuration that is measured.
    ///
    /// # Errors
    /// Never, once the bench is open.
    pub(super) fn configuration(&self) -> Result<Arc<Configuration>, Failure> {
        Ok(self.client.configuration()?)
    }

    /// Opens connections and fills caches.
    ///
    /// # Errors
    /// An operation failed.
    pub(super) async fn warm_up(&self) -> Result<(), Failure> {
        let mut tasks = JoinSet::new();
        for number in 0..self.clients {
            let (client, value) = (self.client.clone(), self.value.clone());
            tasks.spawn(async move {
                for n in 0..WARM_UP {
                    let variable = name("warm", number, n)?;
                    client.put(&variable, value.clone(), PutOptions::default()).await?;
                    client.get(&variable, GetOptions::default()).await?;
                }
                Ok::<(), Failure>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(Failure::failed)??;
        }
        Ok(())
    }

    /// Puts, each to a fresh variable.
    ///
    /// # Errors
    /// An operation failed.
    pub(super) async fn put(&self, time: Duration) -> Result<Measured, Failure> {
        self.measure(time, |_| Work::Put).await
    }

    /// Gets what each client has put.
    ///
    /// # Errors
    /// An operation failed, or a value is not what was put.
    pub(super) async fn get(&self, time: Duration, put: &[usize]) -> Result<Measured, Failure> {
        let written = |number: u16| put.get(usize::from(number)).copied().unwrap_or_default();
        self.measure(time, |number| Work::Get { written: written(number) }).await
    }

    async fn measure(
        &self,
        time: Duration,
        work: impl Fn(u16) -> Work,
    ) -> Result<Measured, Failure> {
        let before = self.used()?;
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for number in 0..self.clients {
            let (client, value) = (self.client.clone(), self.value.clone());
            let worker = Worker { client, value, number, work: work(number), batch: self.batch };
            tasks.spawn(worker.work_until(began, time));
        }
        let mut done_by = vec![0; usize::from(self.clients)];
        let mut latencies = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let (number, mut more) = done.map_err(Failure::failed)??;
            if let Some(count) = done_by.get_mut(usize::from(number)) {
                *count = more.len();
            }
            latencies.append(&mut more);
        }
        let elapsed = began.elapsed();
        self.client.finish(BACKGROUND).await;
        tokio::time::sleep(SETTLE).await;
        let used = self.used()?.since(before);
        Ok(Measured { figures: Figures::of(latencies, elapsed, used), done_by })
    }

    fn used(&self) -> Result<Used, Failure> {
        let mut nodes_cpu = Duration::ZERO;
        for node in &self.nodes {
            nodes_cpu = nodes_cpu.saturating_add(node.cpu()?);
        }
        let traffic = self.transport.traffic();
        let (messages, bytes) = (traffic.messages, traffic.bytes);
        Ok(Used { nodes_cpu, client_cpu: Process::own().cpu()?, messages, bytes })
    }

    /// The resident memory of each node, in MB.
    pub(super) fn resident_mb(&self) -> Vec<f64> {
        let kib = self.nodes.iter().filter_map(|node| node.resident_kib().ok());
        kib.map(|kib| kib as f64 * 1024.0 / 1e6).collect()
    }
}

/// What a worker does.
#[derive(Debug, Clone, Copy)]
enum Work {
    Put,
    Get { written: usize },
}

/// One of the clients at once.
struct Worker {
    client: Client,
    value: Value,
    number: u16,
    work: Work,
    batch: usize,
}

impl Worker {
    /// Works until the time is over; gives its number and how long each operation took: for each of
    /// a batch, as long as the whole batch.
    async fn work_until(
        self,
        began: Instant,
        time: Duration,
    ) -> Result<(u16, Vec<Duration>), Failure> {
        let mut latencies = Vec::new();
        while began.elapsed() < time {
            let from = Instant::now();
            match self.work {
                Work::Put if self.batch > 1 => self.put_many(latencies.len()).await?,
                Work::Put => self.put(latencies.len()).await?,
                Work::Get { written } => {
                    let first = latencies.len().checked_rem(written).unwrap_or_default();
                    if self.batch > 1 {
                        self.get_many(first).await?;
                    } else {
                        self.get(first).await?;
                    }
                }
            }
            latencies.extend(std::iter::repeat_n(from.elapsed(), self.batch));
        }
        Ok((self.number, latencies))
    }

    fn names(&self, first: usize) -> Result<Vec<Variable>, Failure> {
        (0..self.batch).map(|n| name("bench", self.number, first.saturating_add(n))).collect()
    }

    async fn put_many(&self, first: usize) -> Result<(), Failure> {
        let names = self.names(first)?.into_iter();
        let entries = names.map(|name| (name, self.value.clone())).collect();
        let written = self.client.put_many(entries, PutOptions::default()).await?;
        written.into_iter().try_for_each(|one| one.map(drop)).map_err(Failure::failed)
    }

    async fn get_many(&self, first: usize) -> Result<(), Failure> {
        for found in self.client.get_many(self.names(first)?, GetOptions::default()).await? {
            match found.map_err(Failure::failed)?.entry {
                Some(entry) if entry.entry().value == self.value => {}
                _ => return Err(Failure::failed("a variable is not what was put")),
            }
        }
        Ok(())
    }

    async fn put(&self, n: usize) -> Result<(), Failure> {
        let variable = name("bench", self.number, n)?;
        self.client.put(&variable, self.value.clone(), PutOptions::default()).await?;
        Ok(())
    }

    async fn get(&self, n: usize) -> Result<(), Failure> {
        let variable = name("bench", self.number, n)?;
        let found = self.client.get(&variable, GetOptions::default()).await?;
        match found.entry {
            Some(entry) if entry.entry().value == self.value => Ok(()),
            _ => Err(Failure::failed(format!("{variable} is not what was put"))),
        }
    }
}

/// Variables of this run only: a cluster that was measured before has others.
fn name(kind: &str, number: u16, n: usize) -> Result<Variable, Failure> {
    let run = std::process::id();
    Variable::new(format!("{kind}/{run}/{number}/{n}")).map_err(Failure::failed)
}
