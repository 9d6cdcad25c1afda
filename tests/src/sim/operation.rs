//! What a client process begins: the real machine for one thing to do, with the options that chance
//! and planted bugs give it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{Consistency, Hedge, ListVersions, Options, Read, ReadOptions, Write};
use bftkv_protocol::{NodeId, SMALL_VALUE_BYTES, Timestamp, Value, Variable};

use super::ground::Ground;
use super::machine::Machine;
use super::plant::Plant;
use super::process::{Process, ROUND, Todo};
use crate::oracle::Kind;

/// The unit of the backoff between attempts.
const BACKOFF: Duration = Duration::from_millis(40);

impl Process {
    /// The machine for one thing to do.
    pub(super) fn machine(
        &mut self,
        ground: &mut Ground,
        todo: Todo,
        deadline: Duration,
    ) -> (Variable, Kind, Machine) {
        match todo {
            Todo::Write { variable, is_final } => {
                let value = self.fresh_value(ground);
                self.write(ground, variable, value, is_final, deadline)
            }
            Todo::WriteThis { variable, value, is_final } => {
                self.write(ground, variable, value, is_final, deadline)
            }
            Todo::Read { variable, consistency, proof } => {
                self.read(ground, variable, None, consistency, proof, deadline)
            }
            Todo::ReadAgain { variable } => {
                let at = self.last_seen.get(&variable).copied();
                self.read(ground, variable, at, Consistency::Linearizable, false, deadline)
            }
            Todo::List { variable } => {
                let configuration = Arc::clone(self.configurations(ground).newest());
                let limit = 64;
                let list = ListVersions::start(
                    configuration,
                    variable.clone(),
                    None,
                    limit,
                    &self.cut,
                    deadline,
                );
                (variable, Kind::List { limit }, Machine::List(Box::new(list)))
            }
        }
    }

    /// In a third of all runs the members are not all asked at once; then how soon the others
    /// are, and who counts as slow, changes from one operation to the next. Nothing is drawn
    /// for it, so the other runs are what they were before there was such a thing.
    fn hedge(&self, ground: &Ground) -> Hedge {
        if !ground.hedges {
            return Hedge::default();
        }
        let chance = ground.now().as_micros().wrapping_add(u128::from(self.id));
        let after = match chance % 4 {
            0 => None,
            1 => Some(Duration::ZERO),
            2 => Some(ROUND / 16),
            _ => Some(ROUND),
        };
        let members = ground.configuration.everyone().into_iter().zip(2_u32..);
        let is_slow = |bit: u32| chance.wrapping_shr(bit) & 1 == 1;
        let slow = members.filter(|(_, bit)| is_slow(*bit)).map(|(id, bit)| (id, bit % 3 + 1));
        let slow: BTreeMap<NodeId, u32> = slow.collect();
        // One in so many slow nodes is asked too.
        let also = slow.keys().zip(0_u32..).filter(|(_, bit)| is_slow(bit + 17));
        let also = also.map(|(id, _)| id.clone()).collect();
        let turn = usize::try_from(chance % 64).unwrap_or_default();
        Hedge { after, slow, also, turn }
    }

    /// In the same runs only one member is asked for the whole entry, five times of six.
    fn whole(&self, ground: &Ground) -> Hedge {
        let chance = ground.now().as_micros().wrapping_add(u128::from(self.id));
        let usual = self.hedge(ground);
        let after = match chance % 6 {
            0 => None,
            1 | 2 => Some(Duration::ZERO),
            3 => Some(ROUND / 16),
            _ => Some(ROUND / 4),
        };
        let slow = usual.slow.into_iter().map(|(id, strikes)| (id, strikes % 3)).collect();
        Hedge { after: after.filter(|_| ground.hedges), slow, ..usual }
    }

    /// In a half of these runs every second value is too large to be sent for a digest.
    fn fresh_value(&mut self, ground: &Ground) -> Value {
        self.values = self.values.saturating_add(1);
        let mut bytes = format!("{}.{}", self.name, self.values).into_bytes();
        if ground.large_values && self.values % 2 == 1 {
            bytes.resize(SMALL_VALUE_BYTES.saturating_add(1), b'.');
        }
        Value::new(bytes).expect("a few KiB are within every limit")
    }

    fn write(
        &mut self,
        ground: &mut Ground,
        variable: Variable,
        value: Value,
        is_final: bool,
        deadline: Duration,
    ) -> (Variable, Kind, Machine) {
        let forgets = ground.plant == Some(Plant::AbandonAssembled);
        let leftovers = self.home(ground).leftovers(&variable, self.id, self.incarnation, forgets);
        let options = Options {
            me: self.key().clone(),
            owner: self.owner.clone(),
            deadline,
            round_timeout: ROUND,
            backoff: BACKOFF,
            seed: ground.rng.number(),
            cut: self.cut.clone(),
            hedge: self.hedge(ground),
            last: self
                .own
                .get(&variable)
                .copied()
                .filter(|_| ground.remembers && leftovers.is_empty()),
            leftovers,
        };
        let configurations = self.configurations(ground);
        let kind = Kind::Write { value: value.clone(), is_final };
        let now = self.now(ground);
        let write = Write::start(now, configurations, variable.clone(), value, is_final, options);
        (variable, kind, Machine::Write(Box::new(write)))
    }

    fn read(
        &mut self,
        ground: &Ground,
        variable: Variable,
        at: Option<Timestamp>,
        consistency: Consistency,
        proof: bool,
        deadline: Duration,
    ) -> (Variable, Kind, Machine) {
        let hasty = ground.plant == Some(Plant::NoWriteBack);
        let options = ReadOptions {
            at,
            consistency: if hasty { Consistency::Regular } else { consistency },
            proof,
            cut: self.cut.clone(),
            hedge: self.hedge(ground),
            whole: self.whole(ground),
            deadline,
            round_timeout: ROUND,
        };
        let configurations = self.configurations(ground);
        let kind = Kind::Read { regular: consistency == Consistency::Regular, at };
        let read = Read::start(self.now(ground), configurations, variable.clone(), options);
        (variable, kind, Machine::Read(Box::new(read)))
    }
}
