//! The client's side: dealing shares, and logging in. State machines without IO.
//!
//! Call a `handle_*` method for everything that happens, then drain `poll` for actions.

mod dealing;
mod login;

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::client::{Fault, Lost};
use bftkv_protocol::{
    Answer, NodeId, Refusal, RegistrationRefusal, Response, RoamingAnswer, RoamingRefusal,
    RoamingRequest,
};

pub use self::dealing::{Dealing, DealingAction, Dealt};
pub use self::login::{LoggedIn, Login, LoginAction, LoginOptions, Stretch};
use crate::Error;

/// Why a login, or dealing shares, failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The password was wrong. The person's fault; try again while attempts are left.
    #[error("wrong password; {}", attempts(*.left))]
    WrongPassword {
        /// How many more attempts the servers allow now.
        left: u16,
    },
    /// Too many attempts were used: wait, or have the owner's key give them back.
    #[error(
        "no attempts are left: {exhausted} servers refuse, and only {have} of the {need} needed \
         answered; the next attempt comes back in {}", duration(*.seconds)
    )]
    NoAttempts {
        /// How many servers refuse.
        exhausted: usize,
        /// How many answered.
        have: usize,
        /// t.
        need: usize,
        /// When there will be an attempt again, in seconds, as the servers say.
        seconds: u64,
    },
    /// Too few servers answered before the deadline; try again when they are back.
    #[error(
        "only {have} of the {need} servers needed answered{}; the attempt counts at those that did",
        names(.missing)
    )]
    TooFew {
        /// How many answered well.
        have: usize,
        /// How many are needed.
        need: usize,
        /// Who did not, or hold no share.
        missing: BTreeSet<NodeId>,
    },
    /// More than b servers say that the password record was replaced meanwhile: read it again.
    #[error("the password was changed meanwhile: read the variable again")]
    Outdated,
    /// More than b servers refused, all for one reason.
    #[error("the servers refused: {0}")]
    Refused(String),
    /// More than b servers do not register the asker, or do not vouch for it.
    #[error("{refusal}")]
    Registration {
        /// Why. It says whether trying again later may help.
        refusal: RegistrationRefusal,
        /// Who says so.
        by: BTreeSet<NodeId>,
    },
    /// Something here is wrong, or in the record.
    #[error(transparent)]
    Local(#[from] Error),
    /// The operation was given up before it was over. The caller's doing.
    #[error("the operation was given up before it was over")]
    Unfinished,
}

impl Problem {
    /// The reason that more than b servers give, if there is one: an honest one does.
    #[must_use]
    pub fn agreed<'a>(
        refusals: impl IntoIterator<Item = (&'a NodeId, Refusal)>,
        b: usize,
    ) -> Option<Self> {
        let mut reasons: BTreeMap<String, (Refusal, BTreeSet<NodeId>)> = BTreeMap::new();
        for (node, refusal) in refusals {
            // How long it takes differs from one to the next.
            let reason = match &refusal {
                Refusal::Roaming(RoamingRefusal::Registration(RegistrationRefusal::Delayed {
                    ..
                })) => String::new(),
                other => other.to_string(),
            };
            let (_, by) = reasons.entry(reason).or_insert_with(|| (refusal, BTreeSet::new()));
            by.insert(node.clone());
        }
        let (refusal, by) = reasons.into_values().find(|(_, by)| by.len() > b)?;
        Some(match refusal {
            Refusal::Roaming(RoamingRefusal::Registration(refusal)) => {
                Self::Registration { refusal, by }
            }
            other => Self::Refused(other.to_string()),
        })
    }
}

/// What failed, and every server that was found lying on the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
#[allow(clippy::exhaustive_structs, reason = "it has these two parts")]
pub struct Failure {
    /// What went wrong.
    pub problem: Problem,
    /// Who lied, and how. They need not have caused the problem.
    pub culprits: BTreeMap<NodeId, Fault>,
}

impl From<Problem> for Failure {
    /// A problem that nobody was caught lying about.
    fn from(problem: Problem) -> Self {
        Self { problem, culprits: BTreeMap::new() }
    }
}

fn attempts(left: u16) -> String {
    match left {
        0 => "no attempts are left: the next one comes back within a day".to_owned(),
        1 => "1 attempt is left".to_owned(),
        n => format!("{n} attempts are left"),
    }
}

fn duration(seconds: u64) -> String {
    let minutes = seconds.div_ceil(60);
    let (hours, minutes) =
        (minutes.checked_div(60).unwrap_or(0), minutes.checked_rem(60).unwrap_or(0));
    if hours == 0 { format!("{minutes} min") } else { format!("{hours} h {minutes} min") }
}

fn names(missing: &BTreeSet<NodeId>) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let list: Vec<String> = missing.iter().take(8).map(ToString::to_string).collect();
    let more = if missing.len() > list.len() { ", ..." } else { "" };
    format!(" (missing: {}{more})", list.join(", "))
}

/// Makes a request of the protocol.
fn request(request: RoamingRequest) -> Box<bftkv_protocol::Request> {
    Box::new(bftkv_protocol::Request::Roaming(request))
}

/// What a server said, if it is an answer about passwords at all. The configuration under which it
/// is given does not matter: who holds which share is in the record.
fn open(response: Result<Response, Lost>) -> Heard {
    match response {
        Ok(Response { outcome: Ok(Answer::Roaming(answer)), .. }) => Heard::Answer(answer),
        Ok(Response { outcome: Err(refusal), .. }) => Heard::Refusal(refusal),
        Ok(_) | Err(Lost::Lied) => Heard::Lie,
        Err(Lost::Silent) => Heard::Nothing,
    }
}

enum Heard {
    Answer(RoamingAnswer),
    Refusal(Refusal),
    Lie,
    Nothing,
}
