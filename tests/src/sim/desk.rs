//! Requests under way at a node, and how far each of their parts has come.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::server::Ticket;
use bftkv_protocol::{NodeId, Outcome, Refusal, Request, Variable, answer_many};
use bftkv_roaming::Protected;

use super::ground::Caller;

/// Names an exchange.
pub(super) type Number = u64;

/// A part of an exchange.
pub(super) type Place = (Number, usize);

/// Who asks, and whom the answer goes to.
pub(super) type Call = (Caller, NodeId);

/// What was asked and is not answered yet.
#[derive(Debug, Default)]
pub(super) struct Desk {
    exchanges: BTreeMap<Number, Exchange>,
    last: Number,
    /// For which part the rules work on a ticket.
    places: BTreeMap<Ticket, Place>,
    tickets: Ticket,
}

/// One request: alone, or many in one message.
#[derive(Debug)]
struct Exchange {
    call: Call,
    is_many: bool,
    /// Whether each may be handed to the rules; nothing: nobody has said so yet.
    judged: Vec<Option<Result<Request, Refusal>>>,
    answered: Vec<Option<Outcome>>,
    /// Values under passwords that it stores.
    protected: BTreeSet<Variable>,
}

impl Desk {
    /// A request has arrived.
    pub(super) fn open(&mut self, call: Call, parts: &[Request], is_many: bool) -> Number {
        self.last = self.last.saturating_add(1);
        let exchange = Exchange {
            call,
            is_many,
            judged: parts.iter().map(|_| None).collect(),
            answered: parts.iter().map(|_| None).collect(),
            protected: parts.iter().filter_map(protected_in).collect(),
        };
        self.exchanges.insert(self.last, exchange);
        self.last
    }

    /// Whether this part may be handed to the rules.
    pub(super) fn judge(&mut self, (number, index): Place, verdict: Result<Request, Refusal>) {
        let exchange = self.exchanges.get_mut(&number);
        if let Some(part) = exchange.and_then(|exchange| exchange.judged.get_mut(index)) {
            *part = Some(verdict);
        }
    }

    /// All parts, once each is judged: to be begun together.
    pub(super) fn take_judged(&mut self, number: Number) -> Vec<Result<Request, Refusal>> {
        match self.exchanges.get_mut(&number) {
            Some(exchange) if exchange.judged.iter().all(Option::is_some) => {
                std::mem::take(&mut exchange.judged).into_iter().flatten().collect()
            }
            _ => Vec::new(),
        }
    }

    /// A ticket for what the rules are to do for a part.
    pub(super) fn ticket(&mut self, place: Place) -> Ticket {
        self.tickets = self.tickets.saturating_add(1);
        self.places.insert(self.tickets, place);
        self.tickets
    }

    /// For which part a ticket was.
    pub(super) fn place(&mut self, ticket: Ticket) -> Option<Place> {
        self.places.remove(&ticket)
    }

    pub(super) fn call(&self, number: Number) -> Option<&Call> {
        self.exchanges.get(&number).map(|exchange| &exchange.call)
    }

    /// A part is answered.
    pub(super) fn answer(&mut self, (number, index): Place, outcome: Outcome) {
        let exchange = self.exchanges.get_mut(&number);
        if let Some(part) = exchange.and_then(|exchange| exchange.answered.get_mut(index)) {
            *part = Some(outcome);
        }
    }

    /// The next value under a password of an exchange whose parts are all answered: its share is to be
    /// taken into use before the answer leaves.
    pub(super) fn take_protected(&mut self, number: Number) -> Option<Variable> {
        let exchange = self.exchanges.get_mut(&number)?;
        let is_answered = exchange.answered.iter().all(Option::is_some);
        is_answered.then(|| exchange.protected.pop_first()).flatten()
    }

    /// The answer to an exchange, once all is done. A planted bug `mixes` those to its parts up.
    pub(super) fn close(&mut self, number: Number, mixes: bool) -> Option<(Call, Outcome)> {
        let is_answered = |exchange: &Exchange| exchange.answered.iter().all(Option::is_some);
        self.exchanges.get(&number).filter(|exchange| is_answered(exchange))?;
        let Exchange { call, is_many, answered, .. } = self.exchanges.remove(&number)?;
        let mut outcomes: Vec<Outcome> = answered.into_iter().flatten().collect();
        if mixes {
            outcomes.reverse();
        }
        let outcome = if is_many { Ok(answer_many(outcomes)) } else { outcomes.pop()? };
        Some((call, outcome))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
    }

    /// A crash: nobody is answered. Tickets of before are not given out again.
    pub(super) fn clear(&mut self) {
        self.exchanges.clear();
        self.places.clear();
    }
}

/// The variable in which the request stores a value under a password.
fn protected_in(request: &Request) -> Option<Variable> {
    let Request::Store { entry } = request else { return None };
    Protected::is_one(&entry.entry().value).then(|| entry.variable().clone())
}
