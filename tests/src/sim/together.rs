//! A client process that writes or reads many values at once: the real `client::Many`, whose messages carry
//! a part of each operation.

use std::collections::BTreeSet;
use std::time::Duration;

use bftkv_protocol::client::{Action, Lost, Many, ManyAction, Reserve};
use bftkv_protocol::{Entry, EntryId, NodeId, Part, Request, Response, SignedEntry};

use super::ground::{Caller, Event, Ground, OpId, TogetherWork};
use super::machine::Machine;
use super::process::{Fate, Process, Todo};
use crate::invariants::Observation;

/// Writes, or reads, that are under way together.
#[derive(Debug)]
pub(super) struct Together {
    /// That of the first of them names all.
    ops: Vec<OpId>,
    many: Many<Machine>,
    ended: BTreeSet<usize>,
    planned: Option<Duration>,
}

impl Together {
    fn number(&self) -> OpId {
        self.ops.first().copied().unwrap_or_default()
    }
}

impl Process {
    /// Begins all of these.
    pub(super) fn begin_together(&mut self, ground: &mut Ground, todos: Vec<Todo>) {
        let started = todos.into_iter().map(|todo| self.start(ground, todo));
        let (ops, machines): (Vec<OpId>, Vec<Machine>) = started.unzip();
        let (_, begun) = &mut ground.together_counts;
        *begun = begun.saturating_add(ops.len() as u64);
        let (many, ended) = (Many::start(machines), BTreeSet::new());
        self.together = Some(Together { ops, many, ended, planned: None });
        self.pump_together(ground);
    }

    /// Those of this number, if they are still under way.
    fn together(&mut self, number: OpId) -> Option<&mut Together> {
        self.together.as_mut().filter(|together| together.number() == number)
    }

    /// An answer to one of their messages has arrived.
    pub(crate) fn take_together(
        &mut self,
        ground: &mut Ground,
        (number, message): (OpId, u64),
        from: &NodeId,
        response: Result<Response, Lost>,
    ) {
        let response = self.tampered(ground, response);
        let (now, known) = (self.now(ground), self.known.clone());
        let keys = ground.keys.seen_by(&known);
        let Some(together) = self.together(number) else { return };
        together.many.handle_response(now, message, from, response, &keys);
        self.pump_together(ground);
    }

    /// Something else has happened to them.
    pub(crate) fn together_done(&mut self, ground: &mut Ground, number: OpId, work: TogetherWork) {
        match work {
            TogetherWork::Wake => self.wake_together(ground, number),
            TogetherWork::Fetched { index, ids, answered } => {
                self.learn_keys(ground, &ids, &answered);
                let (now, known) = (self.now(ground), self.known.clone());
                let keys = ground.keys.seen_by(&known);
                let Some(together) = self.together(number) else { return };
                together.many.handle_fetched(now, index, &answered.into_iter().collect(), &keys);
            }
            TogetherWork::Refreshed => {
                let (now, known) = (self.now(ground), self.refreshed_configurations(ground));
                let Some(together) = self.together(number) else { return };
                together.many.handle_configurations(now, &known);
            }
            TogetherWork::Reserve { ops, entries } => {
                self.reserve_together(ground, number, &ops, entries);
            }
            TogetherWork::Assembled(attempts) => {
                self.record_together(ground, number, attempts);
            }
        }
        self.pump_together(ground);
    }

    fn wake_together(&mut self, ground: &Ground, number: OpId) {
        let (now, known) = (self.now(ground), self.known.clone());
        let keys = ground.keys.seen_by(&known);
        let Some(together) = self.together(number) else { return };
        if together.many.wake_at().is_some_and(|wake| wake <= now) {
            together.planned = None;
            together.many.handle_timeout(now, &keys);
        }
    }

    /// The home signs them, or what of them it can. The process may have died meanwhile: then it is on the
    /// disk, or it is not.
    fn reserve_together(
        &mut self,
        ground: &mut Ground,
        number: OpId,
        ops: &[OpId],
        entries: Vec<(usize, Entry)>,
    ) {
        if self.together(number).is_none() && ground.rng.percent(50) {
            return;
        }
        let mut reserved: Vec<(usize, Result<SignedEntry, Reserve>)> = Vec::new();
        for (index, entry) in entries {
            let op = ops.get(index).copied().unwrap_or_default();
            reserved.push((index, self.reserve(ground, op, entry)));
        }
        let now = self.now(ground);
        if let Some(together) = self.together(number) {
            together.many.handle_reserved(now, reserved);
        }
    }

    fn record_together(
        &mut self,
        ground: &mut Ground,
        number: OpId,
        attempts: Vec<(usize, EntryId)>,
    ) {
        if self.together(number).is_none() && ground.rng.percent(50) {
            return;
        }
        for (_, attempt) in &attempts {
            self.home(ground).assembled(attempt);
            ground.observe(&Observation::Assembled { attempt });
        }
        let now = self.now(ground);
        if let Some(together) = self.together(number) {
            let recorded = attempts.into_iter().map(|(index, _)| (index, Ok(())));
            together.many.handle_recorded(now, recorded.collect());
        }
    }

    /// Does what they want, until they want nothing or the process dies.
    fn pump_together(&mut self, ground: &mut Ground) {
        let Some(mut together) = self.together.take() else { return };
        while let Some(action) = together.many.poll() {
            if self.act_together(ground, &mut together, action) == Fate::Dies {
                return self.die_together(ground, &together);
            }
        }
        let mut ended = Vec::new();
        for (index, machine) in together.many.operations().iter().enumerate() {
            if let Some(result) = machine.result().filter(|_| !together.ended.contains(&index)) {
                ended.push((index, result));
            }
        }
        together.ended.extend(ended.iter().map(|(index, _)| *index));
        let wake = together.many.wake_at();
        if let Some(time) = wake.filter(|_| wake != together.planned) {
            let time = time.saturating_sub(self.ahead());
            self.later_together(ground, time, together.number(), TogetherWork::Wake);
            together.planned = wake;
        }
        let ops = together.ops.clone();
        self.together = Some(together).filter(|together| together.ended.len() < ops.len());
        for (index, (outcome, culprits)) in ended {
            if let Some(op) = ops.get(index) {
                self.end(ground, *op, outcome, &culprits);
            }
        }
    }

    fn later_together(&self, ground: &mut Ground, at: Duration, number: OpId, work: TogetherWork) {
        ground.clock.at(at, Event::Together { process: self.id, number, work });
    }

    fn ask_home_together(&self, ground: &mut Ground, number: OpId, work: TogetherWork) -> Fate {
        let at = ground.now().saturating_add(ground.rng.millis(0, 8));
        self.later_together(ground, at, number, work);
        if self.is_unlucky(ground) { Fate::Dies } else { Fate::Lives }
    }

    fn act_together(
        &mut self,
        ground: &mut Ground,
        together: &mut Together,
        action: ManyAction,
    ) -> Fate {
        let number = together.number();
        match action {
            ManyAction::Send { message, to, request } => {
                let caller = Caller::Together { process: self.id, number, message };
                let dies = stores(&request) && self.is_unlucky(ground);
                let to = if dies { self.some_of(ground, &to) } else { to.into_iter().collect() };
                self.send(ground, &to, &caller, &request);
                if dies { Fate::Dies } else { Fate::Lives }
            }
            ManyAction::Reserve(entries) => {
                let work = TogetherWork::Reserve { ops: together.ops.clone(), entries };
                self.ask_home_together(ground, number, work)
            }
            ManyAction::RecordAssembled(attempts) => {
                self.ask_home_together(ground, number, TogetherWork::Assembled(attempts))
            }
            ManyAction::Settle(attempts) => {
                attempts.iter().for_each(|attempt| self.home(ground).settle(attempt));
                Fate::Lives
            }
            ManyAction::One(index, action) => match *action {
                Action::Fetch(ids) => {
                    let (at, answered) = self.fetched_by(ground);
                    let ids = ids.into_iter().collect();
                    let work = TogetherWork::Fetched { index, ids, answered };
                    self.later_together(ground, at, number, work);
                    Fate::Lives
                }
                Action::Refresh if ground.faults.change_members() => {
                    let at = ground.now().saturating_add(ground.rng.millis(2, 60));
                    self.later_together(ground, at, number, TogetherWork::Refreshed);
                    Fate::Lives
                }
                Action::Refresh => {
                    // Members do not change here: the digest of another configuration is a lie.
                    together.many.handle_configurations(self.now(ground), &ground.configurations);
                    Fate::Lives
                }
                other => {
                    let op = together.ops.get(index).copied().unwrap_or_default();
                    self.act(ground, op, other)
                }
            },
            _ => Fate::Lives,
        }
    }

    /// The machine crashes in the middle of them.
    fn die_together(&mut self, ground: &mut Ground, together: &Together) {
        let open = together.ops.iter().enumerate().filter(|(i, _)| !together.ended.contains(i));
        let open: Vec<OpId> = open.map(|(_, op)| *op).collect();
        self.die(ground, &open);
    }
}

/// Whether something is stored by it.
fn stores(request: &Request) -> bool {
    match request {
        Request::Many(parts) => parts.iter().any(|part| matches!(part, Part::Store { .. })),
        other => matches!(other, Request::Store { .. }),
    }
}
