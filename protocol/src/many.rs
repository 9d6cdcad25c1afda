//! Many requests in one message (docs/adr/0016).
//!
//! Each part is a request of its own: it is checked, decided and answered as if it had come alone, and
//! one that is refused says nothing about the others. Parts cannot be nested.

use serde::{Deserialize, Serialize};

use crate::{
    Answer, CertifiedEntry, EntryHash, Evidence, Outcome, Refusal, Request, SignatureBytes,
    SignatureShare, SignedEntry, Timestamp, Variable, encoded_len,
};

/// How many parts one message has at most: as many as go under one root.
pub const MAX_PARTS: usize = crate::MAX_BATCH;

/// How many bytes of parts a message has before no further one is put in: a message with one more
/// of the largest stays within [`crate::MAX_MESSAGE_BYTES`].
pub const MAX_PARTS_BYTES: usize = 1024 * 1024;

/// A request that may be asked together with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Part {
    /// As [`Request::Time`].
    Time {
        /// x.
        variable: Variable,
        /// Whether the answer shall be signed and carry the latest certified entry in full.
        evidence: bool,
    },
    /// As [`Request::Sign`].
    Sign {
        /// <x,t,v,s_C>.
        entry: SignedEntry,
        /// What proves the timestamp to a lagging member.
        evidence: Evidence,
    },
    /// As [`Request::Store`].
    Store {
        /// <x,t,v,s_C,S>.
        entry: CertifiedEntry,
    },
    /// As [`Request::Read`].
    Read {
        /// x.
        variable: Variable,
        /// Exactly this version instead of the newest.
        at: Option<Timestamp>,
    },
    /// As [`Request::Digest`].
    Digest {
        /// x.
        variable: Variable,
        /// Exactly this version instead of the newest.
        at: Option<Timestamp>,
    },
}

impl TryFrom<Request> for Part {
    type Error = Request;

    /// The request as a part; given back if it is none that may be asked together with others.
    fn try_from(request: Request) -> Result<Self, Request> {
        match request {
            Request::Time { variable, evidence } => Ok(Self::Time { variable, evidence }),
            Request::Sign { entry, evidence } => Ok(Self::Sign { entry, evidence }),
            Request::Store { entry } => Ok(Self::Store { entry }),
            Request::Read { variable, at } => Ok(Self::Read { variable, at }),
            Request::Digest { variable, at } => Ok(Self::Digest { variable, at }),
            other => Err(other),
        }
    }
}

impl From<Part> for Request {
    fn from(part: Part) -> Self {
        match part {
            Part::Time { variable, evidence } => Self::Time { variable, evidence },
            Part::Sign { entry, evidence } => Self::Sign { entry, evidence },
            Part::Store { entry } => Self::Store { entry },
            Part::Read { variable, at } => Self::Read { variable, at },
            Part::Digest { variable, at } => Self::Digest { variable, at },
        }
    }
}

/// What is answered to one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PartAnswer {
    /// As [`Answer::Time`].
    Time {
        /// seen(x).
        seen: Timestamp,
        /// The latest certified entry, if evidence was asked for.
        latest: Option<Box<CertifiedEntry>>,
        /// The signature over the time statement, if evidence was asked for.
        signature: Option<SignatureBytes>,
    },
    /// As [`Answer::Share`].
    Share(SignatureShare),
    /// As [`Answer::Done`].
    Done,
    /// As [`Answer::Entry`].
    Entry(Option<Box<CertifiedEntry>>),
    /// As [`Answer::Digest`].
    Digest {
        /// t.
        timestamp: Timestamp,
        /// The hash of the signed entry.
        hash: EntryHash,
    },
}

impl From<PartAnswer> for Answer {
    fn from(answer: PartAnswer) -> Self {
        match answer {
            PartAnswer::Time { seen, latest, signature } => Self::Time { seen, latest, signature },
            PartAnswer::Share(share) => Self::Share(share),
            PartAnswer::Done => Self::Done,
            PartAnswer::Entry(entry) => Self::Entry(entry),
            PartAnswer::Digest { timestamp, hash } => Self::Digest { timestamp, hash },
        }
    }
}

/// An answer to a part, or its refusal.
pub type PartOutcome = Result<PartAnswer, Refusal>;

/// Puts the answers to the parts of one request together, in the order of the parts: those from the
/// first on that fit. There is always one.
#[must_use]
pub fn answer_many(outcomes: impl IntoIterator<Item = Outcome>) -> Answer {
    let mut list = Vec::new();
    let mut bytes = 0_usize;
    for outcome in outcomes {
        let outcome = part_outcome(outcome);
        bytes = bytes.saturating_add(encoded_len(&outcome));
        // A single answer may have many slots or proofs: its transport refuses what is too large.
        if bytes > MAX_PARTS_BYTES && !list.is_empty() {
            break;
        }
        list.push(outcome);
    }
    Answer::Many(list)
}

fn part_outcome(outcome: Outcome) -> PartOutcome {
    match outcome? {
        Answer::Time { seen, latest, signature } => {
            Ok(PartAnswer::Time { seen, latest, signature })
        }
        Answer::Share(share) => Ok(PartAnswer::Share(share)),
        Answer::Done => Ok(PartAnswer::Done),
        Answer::Entry(entry) => Ok(PartAnswer::Entry(entry)),
        Answer::Digest { timestamp, hash } => Ok(PartAnswer::Digest { timestamp, hash }),
        // No part has such an answer.
        _ => Err(Refusal::Malformed),
    }
}
