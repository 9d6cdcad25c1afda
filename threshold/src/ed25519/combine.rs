//! Puts FROST's partial signatures together, and names who spoils them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use frost_ed25519::round2::SignatureShare;
use frost_ed25519::{CheaterDetection, Identifier, SigningPackage, aggregate_custom};

use super::group::{SIZE, identifier, party_of};
use super::key::Ed25519Key;
use crate::session::MOST_EXAMINED;
use crate::{Combiner, Error, Offence, Party, Session, Step};

/// All signers of the session are needed. The result is verified, and only if it is wrong are the
/// partial signatures, one by one; for that no further message is needed.
pub(super) struct Ed25519Combiner {
    key: Ed25519Key,
    session: Session,
    partials: BTreeMap<Party, Vec<SignatureShare>>,
    given_up: BTreeSet<Party>,
    culprits: BTreeMap<Party, Offence>,
    done: Option<Vec<Vec<u8>>>,
}

impl fmt::Debug for Ed25519Combiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Ed25519Combiner");
        out.field("key", &self.key).field("culprits", &self.culprits).finish_non_exhaustive()
    }
}

impl Ed25519Combiner {
    /// The session's commitments have been checked by the caller.
    pub(super) fn new(key: Ed25519Key, session: Session) -> Self {
        Self {
            key,
            session,
            partials: BTreeMap::new(),
            given_up: BTreeSet::new(),
            culprits: BTreeMap::new(),
            done: None,
        }
    }

    fn read(&self, bytes: &[u8]) -> Option<Vec<SignatureShare>> {
        if Some(bytes.len()) != self.session.messages().len().checked_mul(SIZE) {
            return None;
        }
        let partials =
            bytes.chunks_exact(SIZE).map(|bytes| SignatureShare::deserialize(bytes).ok());
        partials.collect()
    }

    /// The signatures, or nothing if one came out wrong. All messages are looked at, so that
    /// every liar is named at once.
    fn combine(&mut self) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let mut signatures = Vec::new();
        let mut liars = BTreeSet::new();
        let mut examined = 0usize;
        let commitments = self.key.commitments(&self.session)?;
        for (number, (message, commitments)) in
            self.session.messages().iter().zip(commitments).enumerate()
        {
            let package = SigningPackage::new(commitments.clone(), message);
            let partials = self.partials_of(number)?;
            let detection = CheaterDetection::AllCheaters;
            match aggregate_custom(&package, &partials, self.key.package(), detection) {
                Ok(signature) => {
                    signatures.push(signature.serialize().map_err(|_| Error::Inconsistent)?);
                }
                Err(error) if error.culprits().is_empty() => return Err(Error::Inconsistent),
                Err(error) => {
                    let names = error.culprits();
                    let named = names.iter().filter_map(|n| party_of(self.partials.keys(), n));
                    liars.extend(named);
                    examined = examined.saturating_add(1);
                    if examined == MOST_EXAMINED {
                        break;
                    }
                }
            }
        }
        if liars.is_empty() {
            return Ok(Some(signatures));
        }
        self.culprits.extend(liars.into_iter().map(|liar| (liar, Offence::WrongPartial)));
        Ok(None)
    }

    fn partials_of(&self, number: usize) -> Result<BTreeMap<Identifier, SignatureShare>, Error> {
        let one = |(party, all): (&Party, &Vec<SignatureShare>)| {
            let partial = all.get(number).copied().ok_or(Error::BatchSize)?;
            Ok((identifier(*party)?, partial))
        };
        self.partials.iter().map(one).collect()
    }
}

impl Combiner for Ed25519Combiner {
    fn add(&mut self, party: Party, partials: &[u8]) -> Result<(), Error> {
        if !self.session.commitments().contains_key(&party) {
            return Err(Error::NoSuchParty(party.number()));
        }
        if self.culprits.contains_key(&party) || self.partials.contains_key(&party) {
            return Err(Error::Repeated(party));
        }
        let Some(partials) = self.read(partials) else {
            self.culprits.insert(party, Offence::Malformed);
            return Err(Error::Caught { party, offence: Offence::Malformed });
        };
        self.partials.insert(party, partials);
        Ok(())
    }

    fn add_proof(&mut self, _: Party, _: usize, _: &[u8]) -> Result<(), Error> {
        Err(Error::Unasked)
    }

    fn give_up(&mut self, party: Party) {
        self.given_up.insert(party);
    }

    fn step(&mut self) -> Result<Step, Error> {
        if let Some(signatures) = &self.done {
            return Ok(Step::Done(signatures.clone()));
        }
        let missing = self.session.commitments().keys();
        let missing: Vec<&Party> =
            missing.filter(|party| !self.partials.contains_key(party)).collect();
        let gone = missing.iter().any(|party| self.given_up.contains(party));
        if gone || !self.culprits.is_empty() {
            return Ok(Step::Restart);
        }
        if !missing.is_empty() {
            return Ok(Step::Wait { more: missing.len() });
        }
        self.done = self.combine()?;
        Ok(self.done.clone().map_or(Step::Restart, Step::Done))
    }

    fn culprits(&self) -> &BTreeMap<Party, Offence> {
        &self.culprits
    }
}
