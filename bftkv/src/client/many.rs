//! Many puts or gets at once (docs/adr/0016).
//!
//! As in `drive`, there are no decisions in here; they are in `bftkv_protocol::client::Many`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{
    ClientError, Found, Lost, Many, ManyAction, Problem, Read, Reserve, Single, Written,
};
use bftkv_protocol::{
    Configurations, Entry, EntryId, MAX_PARTS, NodeId, Response, SignedEntry, Value, Variable,
};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::drive::{perform_aside, send};
use super::inner::Inner;
use super::puts::{Room, Wanted};
use super::{Client, GetOptions, PutOptions};
use crate::Error;

/// What happened.
enum Event {
    Response(u64, NodeId, Result<Response, Lost>),
    Reserved(Vec<(usize, Result<SignedEntry, Reserve>)>),
    Recorded(Vec<(usize, Result<(), String>)>),
    Fetched(usize, BTreeSet<NodeId>),
    Refreshed(Arc<Configurations>),
}

/// What came of one of many operations.
pub(super) type Each<T> = Result<T, ClientError>;

impl Client {
    /// Writes many values. Each is written as [`Client::put`] writes it: it is atomic on its own, and has
    /// a result of its own, in the order of `entries`. What the writes have in common is done
    /// once: up to 256 of them have one signature of the writer, and each node is asked once for
    /// each step of them all.
    ///
    /// Values for one variable are written one after the other, in their order. The deadline holds
    /// for each 256 writes. Dropping the future may leave some written and some not.
    ///
    /// # Errors
    /// The own certificate has no address, or no configuration is known: then nothing was written.
    pub async fn put_many(
        &self,
        entries: Vec<(Variable, Value)>,
        options: PutOptions,
    ) -> Result<Vec<Each<Written>>, Error> {
        let mut results = Vec::with_capacity(entries.len());
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let (mut group, mut room) = (Vec::new(), Room::default());
            let mut fits = |(variable, value): &(Variable, Value)| room.takes(variable, value);
            while let Some(entry) = entries.next_if(&mut fits) {
                group.push(entry);
            }
            let first = self.try_to_put(group.clone(), options).await?;
            let joined = self.join_if_it_may_help(&first).await;
            for (result, (variable, value)) in first.into_iter().zip(group) {
                let again = joined && may_help(&result);
                let put = async || alone(self.put(&variable, value, options).await);
                results.push(if again { put().await } else { result });
            }
        }
        Ok(results)
    }

    /// Reads many variables. Each is read as [`Client::get`] reads it and has a result of its own, in the
    /// order of `variables`; each node is asked once for 256 of them.
    ///
    /// # Errors
    /// No configuration is known.
    pub async fn get_many(
        &self,
        variables: Vec<Variable>,
        options: GetOptions,
    ) -> Result<Vec<Each<Found>>, Error> {
        let mut results = Vec::with_capacity(variables.len());
        for group in variables.chunks(MAX_PARTS) {
            let first = self.try_to_get(group, options).await?;
            let joined = self.join_if_it_may_help(&first).await;
            for (result, variable) in first.into_iter().zip(group) {
                let again = joined && may_help(&result);
                let get = async || alone(self.get(variable, options).await);
                results.push(if again { get().await } else { result });
            }
        }
        Ok(results)
    }

    /// Once for all of them, as a single operation does it once.
    async fn join_if_it_may_help<T>(&self, results: &[Each<T>]) -> bool {
        results.iter().any(may_help) && self.join_again().await
    }

    async fn try_to_put(
        &self,
        group: Vec<(Variable, Value)>,
        put: PutOptions,
    ) -> Result<Vec<Each<Written>>, Error> {
        let inner = &self.inner;
        let (owner, deadline) = (inner.owner()?, inner.deadline(put.deadline));
        let wanted = |(variable, value)| {
            let owner = owner.clone();
            Wanted { variable, value, is_final: put.once, owner, deadline }
        };
        let group: Vec<Wanted> = group.into_iter().map(wanted).collect();
        let mut results = BTreeMap::new();
        let told =
            |index: usize, result: &Each<Written>| drop(results.insert(index, result.clone()));
        inner.put_together(group, told).await?;
        Ok(results.into_values().collect())
    }

    async fn try_to_get(
        &self,
        group: &[Variable],
        get: GetOptions,
    ) -> Result<Vec<Each<Found>>, Error> {
        let inner = &self.inner;
        let options = inner.read_options(get, inner.deadline(get.deadline));
        let (known, now) = (inner.configurations()?, inner.now());
        let start =
            |name: &Variable| Read::start(now, Arc::clone(&known), name.clone(), options.clone());
        let mut many = Many::start(group.iter().map(start).collect());
        drive_many(&mut many, inner, |_| ()).await;
        Ok(many.into_operations().into_iter().map(Read::into_result).collect())
    }
}

fn may_help<T>(result: &Each<T>) -> bool {
    result.as_ref().is_err_and(|error| super::wants_to_join(&error.problem))
}

/// What came of an operation that was tried again by itself.
pub(super) fn alone<T>(result: Result<T, Error>) -> Each<T> {
    result.map_err(|error| match error {
        Error::Operation(operation) => operation,
        error => {
            ClientError { problem: Problem::Own(error.to_string()), culprits: BTreeMap::new() }
        }
    })
}

/// Runs the machines to their end; `look` sees them after each step.
pub(super) async fn drive_many<M: Single + Send>(
    many: &mut Many<M>,
    inner: &Arc<Inner>,
    mut look: impl FnMut(&Many<M>),
) {
    let (sender, mut events) = mpsc::unbounded_channel();
    loop {
        while let Some(action) = many.poll() {
            perform(action, inner, &sender);
        }
        look(many);
        if many.is_over() {
            return;
        }
        let wake = inner.instant(many.wake_at().unwrap_or(Duration::ZERO));
        tokio::select! {
            Some(event) = events.recv() => handle(many, event, inner),
            () = sleep_until(wake.into()) => many.handle_timeout(inner.now(), inner.keys()),
        }
    }
}

fn handle<M: Single>(many: &mut Many<M>, event: Event, inner: &Inner) {
    let now = inner.now();
    match event {
        Event::Response(message, from, response) => {
            many.handle_response(now, message, &from, response, inner.keys());
        }
        Event::Reserved(reserved) => many.handle_reserved(now, reserved),
        Event::Recorded(recorded) => many.handle_recorded(now, recorded),
        Event::Fetched(index, answered) => many.handle_fetched(now, index, &answered, inner.keys()),
        Event::Refreshed(known) => many.handle_configurations(now, &known),
    }
}

/// Starts what the action asks for; its outcome comes back as an event.
fn perform(action: ManyAction, inner: &Arc<Inner>, events: &mpsc::UnboundedSender<Event>) {
    let (inner, events) = (Arc::clone(inner), events.clone());
    match action {
        ManyAction::Send { message, to, request } => {
            let event = move |node, response| Event::Response(message, node, response);
            tokio::spawn(send(event, to, *request, inner, events));
        }
        ManyAction::Reserve(wanted) => {
            tokio::task::spawn_blocking(move || {
                let _ = events.send(Event::Reserved(reserve(&inner, wanted)));
            });
        }
        ManyAction::RecordAssembled(attempts) => {
            tokio::task::spawn_blocking(move || {
                let (indices, attempts): (Vec<usize>, Vec<EntryId>) = attempts.into_iter().unzip();
                let recorded = inner.record_all_assembled(&attempts);
                let _ = events.send(Event::Recorded(indices.into_iter().zip(recorded).collect()));
            });
        }
        ManyAction::Settle(attempts) => {
            tokio::task::spawn_blocking(move || inner.settle_all(&attempts));
        }
        ManyAction::One(index, action) => {
            let fetched = move |answered| Event::Fetched(index, answered);
            perform_aside(*action, &inner, events, fetched, Event::Refreshed);
        }
        other => tracing::error!(?other, "an action of the protocol is not known here"),
    }
}

fn reserve(
    inner: &Inner,
    wanted: Vec<(usize, Entry)>,
) -> Vec<(usize, Result<SignedEntry, Reserve>)> {
    let (indices, entries): (Vec<usize>, Vec<Entry>) = wanted.into_iter().unzip();
    let reserved = match inner.reserve_many(entries) {
        Ok(each) => each,
        Err(error) => indices.iter().map(|_| Err(error.clone())).collect(),
    };
    indices.into_iter().zip(reserved).collect()
}
