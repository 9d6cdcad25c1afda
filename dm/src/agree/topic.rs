//! What the DMs write, and where.

use std::fmt;
use std::str::FromStr;

use super::council::{Council, Dm};

/// A value that a DM writes once. Which of them writes it follows from the topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "serial, attempt and DM mean the same everywhere")]
#[non_exhaustive]
pub enum Topic {
    /// What a DM sees. ([`super::View`])
    View { serial: u32, dm: Dm },
    /// A piece of the proposer's content.
    Chunk { serial: u32, index: u16 },
    /// What is proposed. ([`super::Manifest`])
    Manifest { serial: u32 },
    /// A DM's commitments to nonces, for both stages.
    Nonces { serial: u32, attempt: u8, dm: Dm },
    /// Who signs, under which commitments.
    Session { serial: u32, attempt: u8 },
    /// A signer's partial signatures. Stage 0 is the zone, 1 the ZONEMD over it.
    Share { serial: u32, attempt: u8, stage: u8, dm: Dm },
    /// The attempt failed; its value names those that are left out. When it names nobody, the
    /// signers prove their parts.
    Retry { serial: u32, attempt: u8 },
    /// A signer's proof of its part of the first message whose signature came out wrong.
    Proof { serial: u32, attempt: u8, stage: u8, dm: Dm },
    /// The signatures of the zone.
    Sigs { serial: u32 },
    /// The signature over the ZONEMD, and the hash of the signed zone: it can be published.
    Signed { serial: u32 },
    /// A DM's commitments, for making presignatures. ([`super::Sealing`])
    First { batch: u32, dm: Dm },
    /// Who presigns in this batch.
    Call { batch: u32 },
    /// What a DM deals in round 1 or 2: sealed to each of the others.
    Dealt { batch: u32, round: u8, dm: Dm },
    /// A DM's products, with proofs.
    Second { batch: u32, dm: Dm },
    /// That somebody dealt wrongly to this DM.
    Complaint { batch: u32, round: u8, dm: Dm },
    /// The public parts of a batch: it can be used.
    Done { batch: u32 },
}

impl Topic {
    /// The zone's serial; `None` if it is about a batch of presignatures.
    #[must_use]
    pub fn serial(&self) -> Option<u32> {
        match *self {
            Self::View { serial, .. }
            | Self::Chunk { serial, .. }
            | Self::Manifest { serial }
            | Self::Nonces { serial, .. }
            | Self::Session { serial, .. }
            | Self::Share { serial, .. }
            | Self::Retry { serial, .. }
            | Self::Proof { serial, .. }
            | Self::Sigs { serial }
            | Self::Signed { serial } => Some(serial),
            _ => None,
        }
    }

    /// The number of the batch of presignatures, if it is about one.
    #[must_use]
    pub fn batch(&self) -> Option<u32> {
        match *self {
            Self::First { batch, .. }
            | Self::Call { batch }
            | Self::Dealt { batch, .. }
            | Self::Second { batch, .. }
            | Self::Complaint { batch, .. }
            | Self::Done { batch } => Some(batch),
            _ => None,
        }
    }

    /// Who writes it. Nobody else's value counts.
    #[must_use]
    pub fn writer(&self, council: Council) -> Dm {
        match *self {
            Self::View { dm, .. }
            | Self::Nonces { dm, .. }
            | Self::Share { dm, .. }
            | Self::Proof { dm, .. }
            | Self::First { dm, .. }
            | Self::Dealt { dm, .. }
            | Self::Second { dm, .. }
            | Self::Complaint { dm, .. } => dm,
            // Each has one of the two.
            other => council.proposer(other.serial().or(other.batch()).unwrap_or_default()),
        }
    }
}

impl fmt::Display for Topic {
    /// In the form that [`Topic::from_str`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View { serial, dm } => write!(f, "{serial}/view/{}", dm.number()),
            Self::Chunk { serial, index } => write!(f, "{serial}/chunk/{index}"),
            Self::Manifest { serial } => write!(f, "{serial}/manifest"),
            Self::Nonces { serial, attempt, dm } => {
                write!(f, "{serial}/nonces/{attempt}/{}", dm.number())
            }
            Self::Session { serial, attempt } => write!(f, "{serial}/session/{attempt}"),
            Self::Share { serial, attempt, stage, dm } => {
                write!(f, "{serial}/share/{attempt}/{stage}/{}", dm.number())
            }
            Self::Retry { serial, attempt } => write!(f, "{serial}/retry/{attempt}"),
            Self::Proof { serial, attempt, stage, dm } => {
                write!(f, "{serial}/proof/{attempt}/{stage}/{}", dm.number())
            }
            Self::Sigs { serial } => write!(f, "{serial}/sigs"),
            Self::Signed { serial } => write!(f, "{serial}/signed"),
            Self::First { batch, dm } => write!(f, "presign/{batch}/first/{}", dm.number()),
            Self::Call { batch } => write!(f, "presign/{batch}/call"),
            Self::Dealt { batch, round, dm } => {
                write!(f, "presign/{batch}/dealt/{round}/{}", dm.number())
            }
            Self::Second { batch, dm } => write!(f, "presign/{batch}/second/{}", dm.number()),
            Self::Complaint { batch, round, dm } => {
                write!(f, "presign/{batch}/complaint/{round}/{}", dm.number())
            }
            Self::Done { batch } => write!(f, "presign/{batch}/done"),
        }
    }
}

/// The text names no topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no topic")]
pub struct NoTopic;

impl FromStr for Topic {
    type Err = NoTopic;

    fn from_str(text: &str) -> Result<Self, NoTopic> {
        let parts: Vec<&str> = text.split('/').collect();
        let topic = match parts.as_slice() {
            ["presign", batch, rest @ ..] => of_batch(number(batch)?, rest)?,
            [serial, rest @ ..] => of_serial(number(serial)?, rest)?,
            [] => return Err(NoTopic),
        };
        // One name for one topic: no leading zeros or signs.
        if topic.to_string() == text { Ok(topic) } else { Err(NoTopic) }
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, NoTopic> {
    text.parse().map_err(|_| NoTopic)
}

fn dm(text: &str) -> Result<Dm, NoTopic> {
    text.parse().ok().and_then(Dm::new).ok_or(NoTopic)
}

/// One of two.
fn one_of(text: &str, from: u8) -> Result<u8, NoTopic> {
    number(text).ok().filter(|it| *it == from || *it == from.saturating_add(1)).ok_or(NoTopic)
}

fn of_serial(serial: u32, rest: &[&str]) -> Result<Topic, NoTopic> {
    Ok(match *rest {
        ["view", who] => Topic::View { serial, dm: dm(who)? },
        ["chunk", index] => Topic::Chunk { serial, index: number(index)? },
        ["manifest"] => Topic::Manifest { serial },
        ["nonces", attempt, who] => {
            Topic::Nonces { serial, attempt: number(attempt)?, dm: dm(who)? }
        }
        ["session", attempt] => Topic::Session { serial, attempt: number(attempt)? },
        ["share", attempt, stage, who] => {
            let (attempt, stage) = (number(attempt)?, one_of(stage, 0)?);
            Topic::Share { serial, attempt, stage, dm: dm(who)? }
        }
        ["retry", attempt] => Topic::Retry { serial, attempt: number(attempt)? },
        ["proof", attempt, stage, who] => {
            let (attempt, stage) = (number(attempt)?, one_of(stage, 0)?);
            Topic::Proof { serial, attempt, stage, dm: dm(who)? }
        }
        ["sigs"] => Topic::Sigs { serial },
        ["signed"] => Topic::Signed { serial },
        _ => return Err(NoTopic),
    })
}

fn of_batch(batch: u32, rest: &[&str]) -> Result<Topic, NoTopic> {
    Ok(match *rest {
        ["first", who] => Topic::First { batch, dm: dm(who)? },
        ["call"] => Topic::Call { batch },
        ["dealt", round, who] => Topic::Dealt { batch, round: one_of(round, 1)?, dm: dm(who)? },
        ["second", who] => Topic::Second { batch, dm: dm(who)? },
        ["complaint", round, who] => {
            Topic::Complaint { batch, round: one_of(round, 1)?, dm: dm(who)? }
        }
        ["done"] => Topic::Done { batch },
        _ => return Err(NoTopic),
    })
}
