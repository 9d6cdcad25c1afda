//! Byzantine nodes and users at work: what the adversaries want, sent over the network.

use std::collections::BTreeMap;
use std::time::Duration;

use bftkv_protocol::{
    Address, ConfigurationDigest, NodeId, Outcome, Part, Request, Response, Sign, SignedEntry,
    Timestamp, Variable, answer_many,
};

use super::fake_keys::FakeSigner;
use super::ground::{Caller, Event, Ground};
use super::schemers;
use crate::adversary::{
    Adversary, ByzantineServer, Hand, Lair, PasswordLiar, Remembered, any_writer, name_only,
    silent_server,
};

/// A Byzantine node.
#[derive(Debug)]
pub(crate) struct Liar {
    signer: FakeSigner,
    behaviour: Box<dyn ByzantineServer>,
    memory: BTreeMap<Variable, Remembered>,
    passwords: PasswordLiar,
}

impl Liar {
    pub(crate) fn new(signer: FakeSigner, behaviour: Box<dyn ByzantineServer>) -> Self {
        Self { signer, behaviour, memory: BTreeMap::new(), passwords: PasswordLiar::default() }
    }

    pub(crate) fn become_another(&mut self, behaviour: Box<dyn ByzantineServer>) {
        self.behaviour = behaviour;
        self.passwords.become_another(false);
    }

    /// From now on it says nothing.
    pub(crate) fn become_silent(&mut self) {
        self.behaviour = silent_server();
        self.passwords.become_another(true);
    }

    /// A request has arrived.
    pub(crate) fn take(
        &mut self,
        ground: &mut Ground,
        caller: Caller,
        sender: &NodeId,
        request: &Request,
    ) {
        if let (Request::Propose { change, binding: true, .. }, true) =
            (request, ground.faults.compete())
        {
            let outcome = schemers::vote(&self.signer, &ground.configuration, change);
            let configuration = ground.configuration.digest();
            let response = outcome.map(|outcome| Response { configuration, outcome });
            if let Some(response) = response {
                ground.respond(self.signer.id(), sender, caller, Duration::ZERO, &response);
            }
            return;
        }
        let (outcome, delay, mut configuration) = self.act(ground, sender, request);
        if let Some(outcome) = outcome {
            if ground.rng.percent(2) {
                configuration = ConfigurationDigest::from_bytes([7; 32]);
            }
            let response = Response { configuration, outcome };
            ground.respond(self.signer.id(), sender, caller, delay, &response);
        }
    }

    /// What it answers to somebody outside the network.
    pub(crate) fn answer(&mut self, ground: &mut Ground, request: &Request) -> Option<Outcome> {
        let somebody = self.signer.id().clone();
        self.act(ground, &somebody, request).0
    }

    /// What it answers, when, and under which configuration; what it does besides is sent.
    fn act(
        &mut self,
        ground: &mut Ground,
        sender: &NodeId,
        request: &Request,
    ) -> (Option<Outcome>, Duration, ConfigurationDigest) {
        if let Request::Many(parts) = request {
            return self.act_on_many(ground, sender, parts);
        }
        if let Request::Roaming(request) = request {
            let me = self.signer.id();
            let outcome = self.passwords.answer(me, request, &mut ground.rng);
            return (outcome, Duration::ZERO, ground.configuration.digest());
        }
        let mut lair = Lair {
            keys: &ground.keys,
            sybils: &ground.sybils,
            sender,
            delay: Duration::ZERO,
            digest: ground.configuration.digest(),
            signer: &self.signer,
            configuration: &ground.configuration,
            rng: &mut ground.rng,
            loot: &mut ground.loot,
            memory: &mut self.memory,
            posts: Vec::new(),
        };
        let mut outcome = self.behaviour.answer(&mut lair, request);
        if let (Request::Digest { .. }, Some(outcome)) = (request, &mut outcome) {
            name_only(&mut lair, outcome);
        }
        let (delay, digest) = (lair.delay, lair.digest);
        for (to, request) in lair.posts {
            ground.request(self.signer.id(), &to, Caller::Traitor, &request);
        }
        (outcome, delay, digest)
    }
}

impl Liar {
    /// Lies about each part, and now and then about how many there are.
    fn act_on_many(
        &mut self,
        ground: &mut Ground,
        sender: &NodeId,
        parts: &[Part],
    ) -> (Option<Outcome>, Duration, ConfigurationDigest) {
        let (mut outcomes, mut delay) = (Vec::new(), Duration::ZERO);
        let mut digest = ground.configuration.digest();
        for part in parts {
            let (outcome, later, under) = self.act(ground, sender, &part.clone().into());
            (delay, digest) = (delay.max(later), under);
            match outcome {
                Some(outcome) => outcomes.push(outcome),
                None => return (None, delay, digest),
            }
        }
        match ground.rng.below(20) {
            0 => outcomes.truncate(ground.rng.index(outcomes.len())),
            1 => outcomes.extend(outcomes.clone()),
            2 => outcomes.reverse(),
            3 => return (outcomes.pop(), delay, digest),
            _ => {}
        }
        (Some(Ok(answer_many(outcomes))), delay, digest)
    }
}

/// A Byzantine user.
#[derive(Debug)]
pub(crate) struct Traitor {
    pub(crate) signer: FakeSigner,
    pub(crate) owner: Address,
    pub(crate) victim: Address,
    pub(crate) acts: u32,
    pub(crate) attempts: Vec<SignedEntry>,
    /// What it does each time; `None`: whatever it likes.
    pub(crate) habit: Option<Adversary>,
}

impl Traitor {
    /// Does one thing, and plans the next.
    pub(crate) fn act(
        &mut self,
        ground: &mut Ground,
        number: usize,
        variable: &Variable,
        top: Timestamp,
        helpers: &[FakeSigner],
    ) {
        let habit = self.habit.and_then(Adversary::writer);
        let mut writer = habit.unwrap_or_else(|| any_writer(&mut ground.rng));
        let mut hand = Hand {
            signer: &self.signer,
            owner: &self.owner,
            victim: &self.victim,
            configuration: &ground.configuration,
            helpers,
            keys: &ground.keys,
            rng: &mut ground.rng,
            loot: &mut ground.loot,
            variable,
            top,
            attempts: &mut self.attempts,
            posts: Vec::new(),
        };
        writer.act(&mut hand);
        for (to, request) in hand.posts {
            ground.request(self.signer.id(), &to, Caller::Traitor, &request);
        }
        self.acts = self.acts.saturating_sub(1);
        if self.acts > 0 {
            let pause = ground.rng.millis(1, 80);
            ground.clock.after(pause, Event::Mischief { traitor: number });
        }
    }
}
