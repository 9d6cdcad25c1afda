//! The server's machine: one change of a variable at a time, and nothing said before it is durable.

use bftkv_protocol::server::{Loaded, MAX_QUEUE, Server, ServerAction, Ticket};
use bftkv_protocol::{Entry, Evidence, Request, StoreError};

use crate::fixtures::{ALICE, CLIQUE, Keys, alone, entry, one_group, signed, variable};
use crate::member::{Member, tell_reply};

/// A server whose disk answers when the test says so.
struct Slow {
    member: Member,
    server: Server,
}

impl Slow {
    fn new() -> Self {
        let member = Member::new(CLIQUE[0], one_group());
        let server = Server::new(alone(&one_group()));
        Self { member, server }
    }

    fn ask(&mut self, ticket: Ticket, request: Request) -> Vec<String> {
        let admitted = self.member.admit(ALICE, request).unwrap();
        self.server.handle_request(ticket, admitted);
        self.told()
    }

    fn loaded(&mut self, ticket: Ticket, state: Result<Loaded, StoreError>) -> Vec<String> {
        self.server.handle_loaded(ticket, state, &Keys::default());
        self.told()
    }

    fn persisted(&mut self, ticket: Ticket, outcome: Result<(), StoreError>) -> Vec<String> {
        self.server.handle_persisted(ticket, outcome);
        self.told()
    }

    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(action) = self.server.poll() {
            told.push(match action {
                ServerAction::Load { ticket, .. } => format!("load {ticket}"),
                ServerAction::Persist { ticket, .. } => format!("persist {ticket}"),
                ServerAction::Reply { ticket, reply } => {
                    format!("{ticket}: {}", tell_reply(&reply))
                }
                other => panic!("{other:?}"),
            });
        }
        told
    }
}

fn sign(name: &str, t: u64) -> Request {
    let entry = Entry { variable: variable(name), ..entry(ALICE, t, "v") };
    Request::Sign { entry: signed(entry), evidence: Evidence::default() }
}

fn read(name: &str) -> Request {
    Request::Read { variable: variable(name), at: None }
}

fn broken<T>() -> Result<T, StoreError> {
    Err(StoreError::Io("no space left".into()))
}

#[test]
fn a_share_leaves_when_its_slot_is_durable() {
    let mut server = Slow::new();
    assert_eq!(server.ask(1, sign("x", 1)), ["load 1"]);
    assert_eq!(server.loaded(1, Ok(Loaded::default())), ["persist 1"]);
    assert_eq!(server.persisted(1, Ok(())), ["1: share 1"]);
}

#[test]
fn a_share_never_leaves_when_its_slot_is_not_durable() {
    let mut server = Slow::new();
    server.ask(1, sign("x", 1));
    server.loaded(1, Ok(Loaded::default()));
    assert_eq!(server.persisted(1, broken()), ["1: refused 103"]);
    assert!(server.persisted(1, Ok(())).is_empty(), "it is over");
}

#[test]
fn a_state_that_cannot_be_read_is_no_empty_state() {
    let mut server = Slow::new();
    server.ask(1, sign("x", 1));
    assert_eq!(server.loaded(1, broken()), ["1: refused 103"]);
    server.ask(2, read("x"));
    assert_eq!(server.loaded(2, broken()), ["2: refused 103"]);
}

#[test]
fn changes_of_one_variable_run_one_at_a_time_in_order() {
    let mut server = Slow::new();
    assert_eq!(server.ask(1, sign("x", 1)), ["load 1"]);
    assert!(server.ask(2, sign("x", 2)).is_empty() && server.ask(3, sign("x", 3)).is_empty());
    assert_eq!(server.loaded(1, Ok(Loaded::default())), ["persist 1"]);
    assert_eq!(server.persisted(1, Ok(())), ["1: share 1", "load 2"]);
    assert_eq!(server.loaded(2, broken()), ["2: refused 103", "load 3"], "a failure blocks nobody");
    assert_eq!(server.loaded(3, Ok(Loaded::default())), ["persist 3"]);
    assert_eq!(server.persisted(3, broken()), ["3: refused 103"]);
    assert_eq!(server.ask(4, sign("x", 4)), ["load 4"], "the variable is free again");
}

#[test]
fn other_variables_and_readers_do_not_wait() {
    let mut server = Slow::new();
    assert_eq!(server.ask(1, sign("x", 1)), ["load 1"]);
    assert_eq!(server.ask(2, sign("y", 1)), ["load 2"]);
    assert_eq!(server.ask(3, read("x")), ["load 3"]);
    assert_eq!(server.loaded(3, Ok(Loaded::default())), ["3: absent"]);
    assert_eq!(server.loaded(2, Ok(Loaded::default())), ["persist 2"]);
}

#[test]
fn the_queue_of_a_variable_is_limited() {
    let mut server = Slow::new();
    server.ask(0, sign("x", 1));
    for ticket in 1..=u64::try_from(MAX_QUEUE).unwrap() {
        assert!(server.ask(ticket, sign("x", 1)).is_empty(), "{ticket} waits");
    }
    assert_eq!(server.ask(1000, sign("x", 1)), ["1000: refused 102"]);
    assert_eq!(server.ask(1001, sign("y", 1)), ["load 1001"], "others do not suffer");
    server.loaded(0, broken());
    assert!(server.ask(1002, sign("x", 1)).is_empty(), "there is room again");
}

#[test]
fn answers_of_the_disk_to_nobody_are_ignored() {
    let mut server = Slow::new();
    assert!(server.loaded(9, Ok(Loaded::default())).is_empty());
    assert!(server.persisted(9, Ok(())).is_empty());
    server.ask(1, sign("x", 1));
    assert!(server.persisted(1, Ok(())).is_empty(), "it was not asked for yet");
    assert_eq!(server.loaded(1, Ok(Loaded::default())), ["persist 1"]);
    assert!(server.loaded(1, Ok(Loaded::default())).is_empty(), "asked and answered");
}
