//! One put, alone or with others that come at the same time (docs/adr/0016).
//!
//! There are no decisions in here; they are in `bftkv_protocol::client`: which of both in `Convoys`, what is then sent in
//! `Write` and `Many`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bftkv_protocol::client::{
    ClientError, Convoys, Due, Hedge, Many, Options, Problem, Write, Written,
};
use bftkv_protocol::{
    Address, Configurations, EntryId, MAX_PARTS, NodeId, Sign as _, Timestamp, Value, Variable,
};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::drive::drive;
use super::inner::Inner;
use super::many::{Each, alone, drive_many};
use super::pace::Work;
use crate::Error;

/// Who waits for a convoy waits at most so long. On a local network one takes half of it.
const PATIENCE: Duration = Duration::from_millis(25);

/// How long the next convoy waits for those of the last to come back.
const GATHERING: Duration = Duration::from_millis(1);

/// A value of so many bytes goes by itself: there is nothing to save, and it would hold up the
/// others.
const LARGE: usize = 64 * 1024;

/// How many bytes of values are under way at once, or a single larger one.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A put that is to be made.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) variable: Variable,
    pub(super) value: Value,
    pub(super) is_final: bool,
    pub(super) owner: Address,
    pub(super) deadline: Duration,
}

/// A put that waits for the next convoy, and who is to be told what came of it.
#[derive(Debug)]
pub(super) struct Booking {
    wanted: Wanted,
    tell: oneshot::Sender<Each<Written>>,
}

/// What puts that begin together have in common.
#[derive(Clone)]
struct Common {
    known: Arc<Configurations>,
    cut: BTreeSet<NodeId>,
    hedge: Hedge,
    seed: u64,
}

/// A put that has begun, above this timestamp if that is known.
struct Begun {
    variable: Variable,
    last: Option<Timestamp>,
}

/// A convoy of one. It is done when this is dropped.
struct Alone {
    inner: Arc<Inner>,
    number: u64,
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.inner.done(self.number);
    }
}

/// Which puts may go together: few enough, and of distinct variables.
#[derive(Default)]
pub(super) struct Room {
    names: BTreeSet<Variable>,
    bytes: usize,
}

impl Room {
    /// Whether there is room for one more. It is then taken.
    pub(super) fn takes(&mut self, variable: &Variable, value: &Value) -> bool {
        self.bytes = self.bytes.saturating_add(value.as_bytes().len());
        let is_first = self.names.is_empty();
        let has_room = self.names.len() < MAX_PARTS && self.bytes <= MAX_BYTES;
        self.names.insert(variable.clone()) && (is_first || has_room)
    }
}

impl Inner {
    /// Makes it, alone if nothing else is under way, else with what comes meanwhile.
    pub(super) async fn put(self: &Arc<Self>, wanted: Wanted) -> Result<Written, Error> {
        if wanted.value.as_bytes().len() >= LARGE {
            return self.put_alone(wanted).await;
        }
        let alone = self.convoys().go_alone();
        if let Some(number) = alone {
            let _alone = Alone { inner: Arc::clone(self), number };
            return self.put_alone(wanted).await;
        }
        let (tell, mut told) = oneshot::channel();
        let (ticket, due) = self.convoys().wait(Booking { wanted, tell });
        self.let_go(due);
        let told = match timeout(PATIENCE, &mut told).await {
            Ok(told) => told,
            Err(_) => {
                if self.convoys().is_waiting(ticket) {
                    self.depart();
                }
                told.await
            }
        };
        Ok(told.unwrap_or_else(|_| {
            let problem = Problem::Own("the program is ending".to_owned());
            Err(ClientError { problem, culprits: BTreeMap::new() })
        })?)
    }

    async fn put_alone(self: &Arc<Self>, wanted: Wanted) -> Result<Written, Error> {
        let leftovers = self.leftovers(&wanted.variable).await;
        let (begun, mut write) = self.start(wanted, leftovers, self.common()?);
        drive(&mut write, self).await;
        let result = write.into_result();
        self.own.note(&begun.variable, begun.last, result.as_ref().ok().map(|it| it.timestamp));
        Ok(result?)
    }

    /// Makes these together; `tell` is told of each as soon as it is done. They are of distinct
    /// variables.
    pub(super) async fn put_together(
        self: &Arc<Self>,
        group: Vec<Wanted>,
        mut tell: impl FnMut(usize, &Each<Written>),
    ) -> Result<(), Error> {
        let names: BTreeSet<Variable> =
            group.iter().map(|wanted| wanted.variable.clone()).collect();
        let inner = Arc::clone(self);
        let look = move || inner.leftovers_of(&names);
        let mut leftovers: BTreeMap<Variable, Vec<EntryId>> = BTreeMap::new();
        for attempt in tokio::task::spawn_blocking(look).await.unwrap_or_default() {
            leftovers.entry(attempt.variable.clone()).or_default().push(attempt);
        }
        // What all of them ask goes to the same nodes.
        let common = self.common()?;
        let start = |(wanted, number): (Wanted, u64)| {
            let leftovers = leftovers.remove(&wanted.variable).unwrap_or_default();
            let seed = common.seed.wrapping_add(number);
            self.start(wanted, leftovers, Common { seed, ..common.clone() })
        };
        let (begun, writes): (Vec<Begun>, Vec<Write>) =
            group.into_iter().zip(0..).map(start).unzip();
        let mut open: BTreeMap<usize, Begun> = begun.into_iter().enumerate().collect();
        drive_many(&mut Many::start(writes), self, |many: &Many<Write>| {
            open.retain(|index, begun| {
                let Some(result) = many.operations().get(*index).and_then(Write::result) else {
                    return true;
                };
                let written = result.as_ref().ok().map(|written| written.timestamp);
                self.own.note(&begun.variable, begun.last, written);
                tell(*index, result);
                false
            });
        })
        .await;
        Ok(())
    }

    /// The next convoy goes.
    fn depart(self: &Arc<Self>) {
        let mut room = Room::default();
        let fits = |it: &Booking| room.takes(&it.wanted.variable, &it.wanted.value);
        let Some((number, group)) = self.convoys().depart(fits) else { return };
        let inner = Arc::clone(self);
        let (group, tell): (Vec<Wanted>, Vec<_>) =
            group.into_iter().map(|Booking { wanted, tell }| (wanted, Some(tell))).unzip();
        tokio::spawn(async move { inner.convoy(number, group, tell).await });
    }

    async fn convoy(
        self: Arc<Self>,
        number: u64,
        group: Vec<Wanted>,
        mut tell: Vec<Option<oneshot::Sender<Each<Written>>>>,
    ) {
        let mut told = |index: usize, result: &Each<Written>| {
            if let Some(tell) = tell.get_mut(index).and_then(Option::take) {
                // Whoever gave up is not told.
                let _ = tell.send(result.clone());
                self.done(number);
            }
        };
        let outcome = self.put_together(group, &mut told).await;
        // Without a configuration nothing began.
        if let Err(error) = alone(outcome) {
            (0..MAX_PARTS).for_each(|index| told(index, &Err(error.clone())));
        }
    }

    /// One of that convoy is done.
    fn done(self: &Arc<Self>, number: u64) {
        let due = self.convoys().done(number);
        self.let_go(due);
    }

    fn let_go(self: &Arc<Self>, due: Due) {
        // A put may be given up outside of the runtime. Whoever waits goes by itself then, a little later.
        let Ok(runtime) = Handle::try_current() else { return };
        match due {
            Due::No => {}
            Due::Now => self.depart(),
            Due::Soon(number) => {
                let inner = Arc::clone(self);
                runtime.spawn(async move {
                    sleep(GATHERING).await;
                    if inner.convoys().is_newest(number) {
                        inner.depart();
                    }
                });
            }
        }
    }

    fn convoys(&self) -> MutexGuard<'_, Convoys<Booking>> {
        // Poisoned or not, they are whole: they are changed in single steps.
        self.convoys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn common(&self) -> Result<Common, Error> {
        Ok(Common {
            known: self.configurations()?,
            cut: self.cut(),
            hedge: self.pace.hedge(Work::Keep, Instant::now()),
            seed: Self::seed(),
        })
    }

    /// The machine of a put.
    fn start(&self, wanted: Wanted, leftovers: Vec<EntryId>, common: Common) -> (Begun, Write) {
        let Wanted { variable, value, is_final, owner, deadline } = wanted;
        let Common { known, cut, hedge, seed } = common;
        let last = self.own.last(&variable).filter(|_| leftovers.is_empty());
        let options = Options {
            me: self.key.id().clone(),
            owner,
            deadline,
            round_timeout: self.settings.round(),
            backoff: self.settings.backoff(),
            seed,
            cut,
            hedge,
            leftovers,
            last,
        };
        let begun = Begun { variable: variable.clone(), last };
        (begun, Write::start(self.now(), known, variable, value, is_final, options))
    }
}
