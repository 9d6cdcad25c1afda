//! The arithmetic of presigning, which takes long: see [`crate::agree::Job`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bftkv_threshold::ecdsa::{Presign, PresignDealt, PresignProven, PresignShared, Presignatures};
use bftkv_threshold::rand_core::CryptoRngCore;
use bftkv_threshold::{Error, KeyShare, Offence, Party, SecretBytes};

use super::sealing::Sealing;
use super::values::{Dealt, Place, Shape};
use crate::agree::council::Dm;

/// Randomness of a job's own.
pub(super) type Rng = Box<dyn CryptoRngCore + Send>;

/// What a step of presigning needs to compute. It has secrets in it.
pub(in crate::agree) struct PresignJob {
    pub(super) desk: Desk,
    pub(super) step: Step,
}

/// What came of a [`PresignJob`]. It has secrets in it.
pub(in crate::agree) struct Presigned {
    pub(super) batch: u32,
    pub(super) result: Result<Outcome, Trouble>,
}

/// For whom, and in which batch.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) sealing: Arc<dyn Sealing>,
    pub(super) shape: Shape,
    pub(super) batch: u32,
    pub(super) me: Dm,
}

pub(super) type Packages = BTreeMap<Party, Vec<u8>>;

pub(super) enum Step {
    Begin(Arc<dyn KeyShare>, Rng),
    Deal(Presign, Packages),
    Prove(PresignShared, BTreeMap<Dm, Vec<u8>>, Rng),
    DealAgain(PresignProven, Packages),
    Finish(PresignDealt, BTreeMap<Dm, Vec<u8>>),
}

pub(super) enum Outcome {
    Began(Presign, Vec<u8>),
    Dealt(PresignShared, Vec<u8>),
    Proven(PresignProven, Vec<u8>),
    DealtAgain(PresignDealt, Vec<u8>),
    Finished(Presignatures),
}

/// Why there is no outcome.
#[derive(Debug)]
pub(super) enum Trouble {
    /// This is seen from what was certified, by all who presign.
    Caught(Dm, Offence),
    /// It dealt us something wrong: what it signed, or nothing if that could not be opened.
    Complain { round: u8, about: Dm, signed: Vec<u8> },
    /// Nothing that another DM did.
    Failed(String),
}

impl fmt::Debug for PresignJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresignJob").field("batch", &self.desk.batch).finish_non_exhaustive()
    }
}

impl fmt::Debug for Presigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presigned").field("batch", &self.batch).finish_non_exhaustive()
    }
}

impl PresignJob {
    pub(in crate::agree) fn run(self) -> Presigned {
        let Self { desk, step } = self;
        Presigned { batch: desk.batch, result: desk.run(step) }
    }
}

fn trouble(error: Error) -> Trouble {
    match error {
        Error::Caught { party, offence } => match Dm::new(party.number()) {
            Some(dm) => Trouble::Caught(dm, offence),
            None => Trouble::Failed(error.to_string()),
        },
        other => Trouble::Failed(other.to_string()),
    }
}

/// What was dealt to us in one round: the shares, and what their dealers signed.
struct Received {
    shares: BTreeMap<Party, SecretBytes>,
    signed: BTreeMap<Dm, SecretBytes>,
}

impl Received {
    /// The complaint about whoever dealt wrong shares.
    fn complain(&self, round: u8, error: Error) -> Trouble {
        match trouble(error) {
            Trouble::Caught(about, _) => {
                let signed = self.signed.get(&about).map(|signed| signed.to_vec());
                Trouble::Complain { round, about, signed: signed.unwrap_or_default() }
            }
            other => other,
        }
    }
}

impl Desk {
    fn run(&self, step: Step) -> Result<Outcome, Trouble> {
        match step {
            Step::Begin(share, mut rng) => {
                let begun = share.presign(usize::from(self.shape.count), &mut *rng);
                let (presign, package) = begun.map_err(trouble)?;
                Ok(Outcome::Began(presign, package))
            }
            Step::Deal(presign, packages) => {
                let (shared, shares) = presign.deal(&packages).map_err(trouble)?;
                Ok(Outcome::Dealt(shared, self.seal(1, &shares)?))
            }
            Step::Prove(shared, sealed, mut rng) => {
                let received = self.open(1, &sealed)?;
                let proven = shared.prove(&received.shares, &mut *rng);
                let (proven, package) = proven.map_err(|error| received.complain(1, error))?;
                Ok(Outcome::Proven(proven, package))
            }
            Step::DealAgain(proven, packages) => {
                let (dealt, shares) = proven.deal(&packages).map_err(trouble)?;
                Ok(Outcome::DealtAgain(dealt, self.seal(2, &shares)?))
            }
            Step::Finish(dealt, sealed) => {
                let received = self.open(2, &sealed)?;
                let finished = dealt.finish(&received.shares);
                finished.map(Outcome::Finished).map_err(|error| received.complain(2, error))
            }
        }
    }

    fn seal(&self, round: u8, shares: &BTreeMap<Party, SecretBytes>) -> Result<Vec<u8>, Trouble> {
        let mut sealed = BTreeMap::new();
        for (party, shares) in shares {
            let to = Dm::new(party.number());
            let to = to.ok_or_else(|| Trouble::Failed("no such DM".to_owned()))?;
            let text = self.place(round, self.me, to).to_text(shares);
            sealed.insert(to, self.sealing.seal(to, &text).map_err(Trouble::Failed)?);
        }
        Ok(Dealt { sealed }.to_bytes())
    }

    fn place(&self, round: u8, from: Dm, to: Dm) -> Place {
        Place { shape: self.shape, batch: self.batch, round, from, to }
    }

    fn open(&self, round: u8, sealed: &BTreeMap<Dm, Vec<u8>>) -> Result<Received, Trouble> {
        let mut received = Received { shares: BTreeMap::new(), signed: BTreeMap::new() };
        for (from, sealed) in sealed {
            let place = self.place(round, *from, self.me);
            let opened = self.sealing.open(sealed).ok().and_then(|signed| {
                let (by, text) = self.sealing.check(&signed).ok()?;
                let shares = place.shares_in(&text).filter(|_| by == *from)?;
                Some((signed, shares))
            });
            let (Some((signed, shares)), Ok(party)) = (opened, Party::new(from.number())) else {
                return Err(Trouble::Complain { round, about: *from, signed: Vec::new() });
            };
            received.shares.insert(party, shares);
            received.signed.insert(*from, signed);
        }
        Ok(received)
    }
}
