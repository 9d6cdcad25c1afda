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
}

impl Topic {
    /// The zone's serial.
    #[must_use]
    pub fn serial(&self) -> u32 {
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
            | Self::Signed { serial } => serial,
        }
    }

    /// Who writes it. Nobody else's value counts.
    #[must_use]
    pub fn writer(&self, council: Council) -> Dm {
        match *self {
            Self::View { dm, .. }
            | Self::Nonces { dm, .. }
            | Self::Share { dm, .. }
            | Self::Proof { dm, .. } => dm,
            other => council.proposer(other.serial()),
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
        let dm = |text: &str| text.parse().ok().and_then(Dm::new).ok_or(NoTopic);
        let (serial, rest) = parts.split_first().ok_or(NoTopic)?;
        let serial = number(serial)?;
        let topic = match *rest {
            ["view", who] => Self::View { serial, dm: dm(who)? },
            ["chunk", index] => Self::Chunk { serial, index: number(index)? },
            ["manifest"] => Self::Manifest { serial },
            ["nonces", attempt, who] => {
                Self::Nonces { serial, attempt: number(attempt)?, dm: dm(who)? }
            }
            ["session", attempt] => Self::Session { serial, attempt: number(attempt)? },
            ["share", attempt, stage, who] => Self::Share {
                serial,
                attempt: number(attempt)?,
                stage: number(stage).ok().filter(|stage| *stage < 2).ok_or(NoTopic)?,
                dm: dm(who)?,
            },
            ["retry", attempt] => Self::Retry { serial, attempt: number(attempt)? },
            ["proof", attempt, stage, who] => Self::Proof {
                serial,
                attempt: number(attempt)?,
                stage: number(stage).ok().filter(|stage| *stage < 2).ok_or(NoTopic)?,
                dm: dm(who)?,
            },
            ["sigs"] => Self::Sigs { serial },
            ["signed"] => Self::Signed { serial },
            _ => return Err(NoTopic),
        };
        // One name for one topic: no leading zeros or signs.
        if topic.to_string() == text { Ok(topic) } else { Err(NoTopic) }
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, NoTopic> {
    text.parse().map_err(|_| NoTopic)
}
