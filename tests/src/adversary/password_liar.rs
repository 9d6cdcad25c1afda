//! A Byzantine server asked about passwords.

use std::collections::BTreeMap;

use bftkv_protocol::{
    Answer, ElementBytes, Evaluated, NodeId, Nonce, Outcome, ProofBytes, RecordBytes, RecordId,
    Refusal, RoamingAnswer, RoamingRefusal, RoamingRequest, SecretShare,
};
use bftkv_roaming::rand_core::RngCore as _;
use bftkv_roaming::{Record, Share, evaluate};

use crate::sim::Rng;

/// What it does with evaluations and shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Answers everybody truly, and counts nothing.
    CountsNothing,
    /// Another element, with the proof of the right one.
    OtherElement,
    /// The evaluation of another share, truly proven.
    OtherShare,
    /// Bytes that are no element, or the identity.
    NoElement,
    /// Acknowledges shares and keeps none.
    KeepsNothing,
    /// Takes no share.
    TakesNothing,
    /// Says that no attempts are left.
    Exhausted,
    /// Says that another record is certified, a newer one or an older.
    OtherRecord,
    /// Answers another question.
    Confused,
    Silent,
    /// Another of these each time.
    Mixed,
}

const HABITS: [Habit; 11] = [
    Habit::CountsNothing,
    Habit::OtherElement,
    Habit::OtherShare,
    Habit::NoElement,
    Habit::KeepsNothing,
    Habit::TakesNothing,
    Habit::Exhausted,
    Habit::OtherRecord,
    Habit::Confused,
    Habit::Silent,
    Habit::Mixed,
];

/// The shares of a Byzantine server, and how it lies about them. It is drawn when it is asked first.
#[derive(Debug, Default)]
pub(crate) struct PasswordLiar {
    habit: Option<Habit>,
    shares: BTreeMap<RecordId, Share>,
}

impl PasswordLiar {
    /// From now on it lies in another way, or says nothing.
    pub(crate) fn become_another(&mut self, silent: bool) {
        self.habit = silent.then_some(Habit::Silent);
    }

    /// Answers, or not.
    pub(crate) fn answer(
        &mut self,
        me: &NodeId,
        request: &RoamingRequest,
        rng: &mut Rng,
    ) -> Option<Outcome> {
        let habit = match self.habit {
            Some(habit) => habit,
            None => *self.habit.insert(rng.pick(&HABITS).copied()?),
        };
        let habit = match habit {
            Habit::Mixed => rng.pick(&HABITS).copied().filter(|one| *one != Habit::Mixed)?,
            one => one,
        };
        if habit == Habit::Silent {
            return None;
        }
        let answered = match request {
            RoamingRequest::Deal { record, share, .. } => self.take(me, habit, record, share),
            RoamingRequest::Evaluate { record, element, .. } => {
                self.evaluate(habit, *record, element, rng)
            }
            _ if habit == Habit::Confused => Ok(RoamingAnswer::Evaluated(nonsense(rng))),
            _ if habit == Habit::Exhausted => Err(RoamingRefusal::BadProof),
            _ => Ok(RoamingAnswer::Done),
        };
        Some(answered.map(Answer::Roaming).map_err(Refusal::Roaming))
    }

    fn take(
        &mut self,
        me: &NodeId,
        habit: Habit,
        bytes: &RecordBytes,
        share: &SecretShare,
    ) -> Result<RoamingAnswer, RoamingRefusal> {
        match habit {
            Habit::TakesNothing => return Err(RoamingRefusal::TooManyPending),
            Habit::KeepsNothing => return Ok(RoamingAnswer::Done),
            _ => {}
        }
        if let Ok(record) = Record::from_bytes(bytes)
            && let Some(index) = record.index_of(me)
            && let Ok(share) = Share::new(index, share, record.commitments())
        {
            self.shares.insert(record.id(), share);
        }
        Ok(RoamingAnswer::Done)
    }

    fn evaluate(
        &self,
        habit: Habit,
        record: RecordId,
        element: &ElementBytes,
        rng: &mut Rng,
    ) -> Result<RoamingAnswer, RoamingRefusal> {
        match habit {
            Habit::Exhausted => {
                return Err(RoamingRefusal::NoAttempts { seconds: rng.number() });
            }
            Habit::OtherRecord => {
                let epoch = rng.pick(&[None, Some(0), Some(1), Some(1000), Some(u64::MAX)]);
                return Err(RoamingRefusal::OtherRecord { epoch: epoch.copied().flatten() });
            }
            Habit::Confused => return Ok(RoamingAnswer::Done),
            Habit::NoElement => return Ok(RoamingAnswer::Evaluated(nonsense(rng))),
            _ => {}
        }
        let other = self.shares.iter().find(|(id, _)| **id != record).map(|(_, share)| share);
        let right = self.shares.get(&record);
        let share = if habit == Habit::OtherShare { other } else { right };
        let made = share.and_then(|share| evaluate(share, element, rng).ok());
        let (true_element, proof) = made.ok_or(RoamingRefusal::NoShare)?;
        let element = if habit == Habit::OtherElement { *element } else { true_element };
        let proof = proof.to_bytes();
        Ok(RoamingAnswer::Evaluated(Evaluated { element, proof, nonce: nonce(rng), left: 10 }))
    }
}

fn nonce(rng: &mut Rng) -> Nonce {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    Nonce::from_bytes(bytes)
}

fn nonsense(rng: &mut Rng) -> Evaluated {
    let byte = rng.pick(&[0, 1, 255]).copied().unwrap_or(0);
    let (element, proof) =
        (ElementBytes::from_bytes([byte; 32]), ProofBytes::new([0; 32], [0; 32]));
    Evaluated { element, proof, nonce: nonce(rng), left: u16::MAX }
}
