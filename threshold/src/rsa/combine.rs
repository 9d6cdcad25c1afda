//! Puts partial RSA signatures together, and names who spoils them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crypto_bigint::modular::BoxedMontyParams;

use super::key::RsaKey;
use super::number::{
    Coefficient, Residue, bezout, coefficient, common_divisor, pow_public, product_of_powers,
};
use super::proof;
use crate::{Combiner, Error, GroupKey, Offence, Party, Session, Step};

/// The optimistic combination: combine, verify the signatures, and only if one is wrong ask the
/// parties for the proof of that one.
pub(super) struct RsaCombiner {
    key: RsaKey,
    /// x of each message.
    messages: Vec<Residue>,
    /// What came, of parties that are neither caught nor given up.
    partials: BTreeMap<Party, Vec<Residue>>,
    /// Whose partial signatures are no longer taken.
    out: BTreeSet<Party>,
    culprits: BTreeMap<Party, Offence>,
    signatures: Vec<Option<Vec<u8>>>,
    dispute: Option<Dispute>,
}

/// One message whose signature came out wrong.
struct Dispute {
    message: usize,
    /// Who has been asked and has not answered.
    asked: BTreeSet<Party>,
    /// Whose partial signature of this message is proven.
    proven: BTreeSet<Party>,
}

impl fmt::Debug for RsaCombiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RsaCombiner");
        out.field("key", &self.key).field("culprits", &self.culprits).finish_non_exhaustive()
    }
}

impl RsaCombiner {
    pub(super) fn new(key: RsaKey, session: &Session) -> Result<Self, Error> {
        let messages = session.messages().iter().map(|message| key.encode(message));
        let messages: Vec<Residue> = messages.collect::<Result<_, _>>()?;
        Ok(Self {
            signatures: vec![None; messages.len()],
            key,
            messages,
            partials: BTreeMap::new(),
            out: BTreeSet::new(),
            culprits: BTreeMap::new(),
            dispute: None,
        })
    }

    fn drop_party(&mut self, party: Party) {
        self.out.insert(party);
        self.partials.remove(&party);
        if let Some(dispute) = &mut self.dispute {
            dispute.asked.remove(&party);
        }
    }

    fn catch(&mut self, party: Party, offence: Offence) -> Error {
        self.culprits.insert(party, offence);
        self.drop_party(party);
        Error::Caught { party, offence }
    }

    /// Fills in the signatures that these parties' partial signatures give.
    fn combine(&mut self, parties: &[Party]) {
        let open = self.signatures.iter().enumerate().filter(|(_, s)| s.is_none());
        let open: Vec<usize> = open.map(|(number, _)| number).collect();
        let fractions: Vec<_> = {
            let combination = Combination::new(&self.key, parties, &self.partials);
            let messages = open.iter().filter_map(|j| Some((*j, self.messages.get(*j)?)));
            messages.map(|(j, message)| combination.fraction(j, message)).collect()
        };
        for (number, signature) in open.into_iter().zip(divide(&self.key, fractions)) {
            let message = self.messages.get(number);
            let right = |y: &Residue| message.is_some_and(|x| self.key.is_root(y, x));
            if let Some(place) = self.signatures.get_mut(number) {
                *place = signature.filter(right).map(|y| self.key.numbers().write(&y));
            }
        }
    }

    /// Asks those of the parties for a proof that have not proven this message yet.
    fn open_dispute(&mut self, message: usize, parties: &[Party]) -> Result<Step, Error> {
        let before = self.dispute.take().filter(|dispute| dispute.message == message);
        let proven = before.map(|dispute| dispute.proven).unwrap_or_default();
        let asked: BTreeSet<Party> =
            parties.iter().copied().filter(|party| !proven.contains(party)).collect();
        if asked.is_empty() {
            return Err(Error::Inconsistent);
        }
        let from = asked.iter().copied().collect();
        self.dispute = Some(Dispute { message, asked, proven });
        Ok(Step::Prove { message, from })
    }
}

/// How k parties' partial signatures are put together.
struct Combination<'a> {
    params: &'a BoxedMontyParams,
    /// With the coefficient divided by what all have in common.
    parts: Vec<(&'a [Residue], Coefficient)>,
    /// 2a times what they have in common.
    twice_a: u128,
    b: u128,
}

impl<'a> Combination<'a> {
    fn new(key: &'a RsaKey, parties: &[Party], all: &'a BTreeMap<Party, Vec<Residue>>) -> Self {
        let (a, b) = bezout(key.delta());
        let part = |party: &Party| {
            let partials = all.get(party).map(Vec::as_slice).unwrap_or_default();
            (partials, coefficient(key.delta(), parties, *party, 0))
        };
        let mut parts: Vec<_> = parties.iter().map(part).collect();
        let common = parts.iter().fold(0, |common, (_, c)| common_divisor(common, c.size)).max(1);
        for (_, c) in &mut parts {
            c.size = c.size.checked_div(common).unwrap_or_default();
        }
        // It divides Δ, which is the sum of the λ; Δ is below 2^62 and a below 2^17.
        let twice_a = a.saturating_mul(2).saturating_mul(common);
        Self { params: key.numbers().params(), parts, twice_a, b }
    }

    /// y = w^a x^b with w = ∏ x_i^(2λ_i), as a fraction, because b is negative and some λ are.
    fn fraction(&self, number: usize, message: &Residue) -> (Residue, Residue) {
        let side = |negative: bool| {
            let on_it = self.parts.iter().filter(|(_, c)| c.negative == negative);
            let powers: Vec<(&Residue, u128)> =
                on_it.filter_map(|(partials, c)| Some((partials.get(number)?, c.size))).collect();
            product_of_powers(self.params, &powers)
        };
        let below = [(&side(true), self.twice_a), (message, self.b)];
        (pow_public(&side(false), self.twice_a), product_of_powers(self.params, &below))
    }
}

/// Divides each fraction, with one inversion for all (Montgomery's trick). Nobody who cannot
/// factor N has a denominator without an inverse; if there is one, then each is inverted alone.
fn divide(key: &RsaKey, fractions: Vec<(Residue, Residue)>) -> Vec<Option<Residue>> {
    let mut product = key.numbers().one();
    let mut before = Vec::with_capacity(fractions.len());
    for (_, below) in &fractions {
        before.push(product.clone());
        product = product.mul(below);
    }
    let Some(mut inverse) = product.invert_vartime().into_option() else {
        let alone = |(above, below): (Residue, Residue)| {
            below.invert_vartime().into_option().map(|inverse| above.mul(&inverse))
        };
        return fractions.into_iter().map(alone).collect();
    };
    let mut quotients = Vec::with_capacity(fractions.len());
    for ((above, below), before) in fractions.into_iter().zip(before).rev() {
        quotients.push(Some(above.mul(&inverse.mul(&before))));
        inverse = inverse.mul(&below);
    }
    quotients.reverse();
    quotients
}

impl Combiner for RsaCombiner {
    fn add(&mut self, party: Party, partials: &[u8]) -> Result<(), Error> {
        self.key.roster().check(party)?;
        if self.out.contains(&party) || self.partials.contains_key(&party) {
            return Err(Error::Repeated(party));
        }
        let Some(partials) = self.key.read_batch(partials, self.messages.len()) else {
            return Err(self.catch(party, Offence::Malformed));
        };
        self.partials.insert(party, partials);
        Ok(())
    }

    fn add_proof(&mut self, party: Party, message: usize, proof: &[u8]) -> Result<(), Error> {
        let dispute = self.dispute.as_mut().filter(|dispute| dispute.message == message);
        let dispute = dispute.filter(|dispute| dispute.asked.contains(&party));
        let dispute = dispute.ok_or(Error::Unasked)?;
        let given = self.partials.get(&party).and_then(|partials| partials.get(message));
        let statement = self.messages.get(message).zip(given).ok_or(Error::Unasked)?;
        if proof::verify(&self.key, party, statement.0, statement.1, proof) {
            dispute.asked.remove(&party);
            dispute.proven.insert(party);
            return Ok(());
        }
        Err(self.catch(party, Offence::WrongProof))
    }

    fn give_up(&mut self, party: Party) {
        self.drop_party(party);
    }

    fn step(&mut self) -> Result<Step, Error> {
        let open = self.dispute.as_ref().filter(|dispute| !dispute.asked.is_empty());
        if let Some(dispute) = open {
            let from = dispute.asked.iter().copied().collect();
            return Ok(Step::Prove { message: dispute.message, from });
        }
        if self.signatures.iter().all(Option::is_some) {
            return Ok(Step::Done(self.signatures.iter().flatten().cloned().collect()));
        }
        let k = self.key.roster().threshold();
        let parties: Vec<Party> = self.partials.keys().copied().take(k).collect();
        if parties.len() < k {
            return Ok(Step::Wait { more: k.saturating_sub(parties.len()) });
        }
        self.combine(&parties);
        match self.signatures.iter().position(Option::is_none) {
            Some(message) => self.open_dispute(message, &parties),
            None => Ok(Step::Done(self.signatures.iter().flatten().cloned().collect())),
        }
    }

    fn culprits(&self) -> &BTreeMap<Party, Offence> {
        &self.culprits
    }
}
