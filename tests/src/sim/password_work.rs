//! The machines of `bftkv_roaming::client` behind a driver that does what they say.

use std::collections::BTreeSet;
use std::time::Duration;

use bftkv_protocol::client::Lost;
use bftkv_protocol::{CertifiedEntry, NodeId, Request, Response};
use bftkv_roaming::client::{
    Dealing, DealingAction, Dealt, Failure, LoggedIn, Login, LoginAction, Stretch,
};
use bftkv_roaming::{Enrolled, Protected};

use super::ground::{Caller, Event, Ground, PasswordWork, ProcessId};
use super::process::ROUND;

/// Whose work it is.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) process: ProcessId,
    pub(super) me: NodeId,
    /// Which of its works.
    pub(super) number: u64,
}

impl Worker {
    fn send(&self, ground: &mut Ground, to: &NodeId, shows: bool, request: &Request) {
        let caller = Caller::Password { process: self.process, number: self.number, shows };
        ground.request(&self.me, to, caller, request);
    }

    fn later(&self, ground: &mut Ground, at: Duration, work: PasswordWork) {
        let (process, number) = (self.process, self.number);
        ground.clock.at(at, Event::Password { process, number, work });
    }

    fn wake_at(&self, ground: &mut Ground, wake: Option<Duration>, planned: &mut Option<Duration>) {
        if let Some(time) = wake.filter(|_| wake != *planned) {
            self.later(ground, time, PasswordWork::Wake);
            *planned = wake;
        }
    }
}

/// A login.
#[derive(Debug)]
pub(super) struct LoginWork {
    pub(super) machine: Login,
    /// The entry with the record, as it was read.
    pub(super) entry: CertifiedEntry,
    pub(super) protected: Protected,
    stretch: Option<Box<Stretch>>,
    /// To whom the entry is on its way.
    showing: BTreeSet<NodeId>,
    is_told: bool,
    planned: Option<Duration>,
}

impl LoginWork {
    pub(super) fn new(machine: Login, entry: CertifiedEntry, protected: Protected) -> Self {
        let (stretch, showing, is_told, planned) = (None, BTreeSet::new(), false, None);
        Self { machine, entry, protected, stretch, showing, is_told, planned }
    }

    /// An answer has arrived: to a question, or to the entry that was shown.
    pub(super) fn take(&mut self, shows: bool, from: &NodeId, response: Result<Response, Lost>) {
        if shows {
            self.shown(from);
        } else {
            self.machine.handle_response(from, response);
        }
    }

    pub(super) fn happen(&mut self, ground: &Ground, work: PasswordWork) {
        match work {
            PasswordWork::Wake => {
                if self.machine.wake_at().is_some_and(|wake| wake <= ground.now()) {
                    self.planned = None;
                    self.machine.handle_timeout(ground.now());
                }
            }
            PasswordWork::Shown(node) => self.shown(&node),
            PasswordWork::Stretched => {
                if let Some(stretch) = self.stretch.take() {
                    self.machine.handle_stretched(stretch.run());
                }
            }
        }
    }

    fn shown(&mut self, node: &NodeId) {
        if self.showing.remove(node) {
            self.machine.handle_shown(node);
        }
    }

    /// Does what the machine wants. The result comes once, and the machine goes on.
    pub(super) fn pump(
        &mut self,
        ground: &mut Ground,
        worker: &Worker,
    ) -> Option<Result<LoggedIn, Failure>> {
        while let Some(action) = self.machine.poll() {
            match action {
                LoginAction::Send { to, request } => {
                    to.iter().for_each(|node| worker.send(ground, node, false, &request));
                }
                LoginAction::Show(node) => {
                    let request = Request::Store { entry: self.entry.clone() };
                    worker.send(ground, &node, true, &request);
                    self.showing.insert(node.clone());
                    let at = ground.now().saturating_add(ROUND);
                    worker.later(ground, at, PasswordWork::Shown(node));
                }
                LoginAction::Stretch(stretch) => {
                    self.stretch = Some(stretch);
                    let at = ground.now().saturating_add(ground.rng.millis(1, 30));
                    worker.later(ground, at, PasswordWork::Stretched);
                }
            }
        }
        worker.wake_at(ground, self.machine.wake_at(), &mut self.planned);
        let result = self.machine.result().filter(|_| !self.is_told).cloned();
        self.is_told |= result.is_some();
        result
    }
}

/// What is written once the shares of a new record are dealt.
#[derive(Debug)]
pub(super) struct Sealing {
    pub(super) enrolled: Enrolled,
    /// The number of the password.
    pub(super) password: u32,
    pub(super) version: u64,
    pub(super) text: Vec<u8>,
    /// The value whose password is changed by it.
    pub(super) replaces: Option<CertifiedEntry>,
}

/// Shares on their way.
#[derive(Debug)]
pub(super) struct DealingWork {
    pub(super) machine: Dealing,
    pub(super) sealing: Sealing,
    planned: Option<Duration>,
}

impl DealingWork {
    pub(super) fn new(machine: Dealing, sealing: Sealing) -> Self {
        Self { machine, sealing, planned: None }
    }

    pub(super) fn happen(&mut self, ground: &Ground) {
        if self.machine.wake_at().is_some_and(|wake| wake <= ground.now()) {
            self.planned = None;
            self.machine.handle_timeout(ground.now());
        }
    }

    /// Does what the machine wants; at most so many of the shares leave before the device dies.
    pub(super) fn pump(
        &mut self,
        ground: &mut Ground,
        worker: &Worker,
        most: usize,
    ) -> Option<Result<Dealt, Failure>> {
        let mut sent: usize = 0;
        while let Some(DealingAction { to, request }) = self.machine.poll() {
            if sent < most {
                worker.send(ground, &to, false, &request);
            }
            sent = sent.saturating_add(1);
        }
        worker.wake_at(ground, self.machine.wake_at(), &mut self.planned);
        self.machine.result().cloned()
    }
}
