//! Puts partial P-256 signatures together, and names who spoils them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::group::{Pair, Point, Scalar, add_commitments, coefficient, evaluate, invert_all};
use super::key::EcdsaKey;
use super::presignature::{Binding, Commitments, PublicPart};
use crate::codec::Reader;
use crate::session::MOST_EXAMINED;
use crate::{Combiner, Error, GroupKey, Offence, Party, Session, Step};

/// ν_i and μ_i with their blinds.
type Partial = [Pair; 2];

/// Any k of the session's signers. The result is verified, and only if it is wrong are the
/// partial signatures, against the presignatures' commitments; no further message is needed.
pub(super) struct EcdsaCombiner {
    key: EcdsaKey,
    messages: Vec<Vec<u8>>,
    signers: BTreeSet<Party>,
    /// For each message.
    presignatures: Vec<(PublicPart, Binding)>,
    partials: BTreeMap<Party, Vec<Partial>>,
    out: BTreeSet<Party>,
    culprits: BTreeMap<Party, Offence>,
    signatures: Vec<Option<Vec<u8>>>,
}

impl fmt::Debug for EcdsaCombiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("EcdsaCombiner");
        out.field("key", &self.key).field("culprits", &self.culprits).finish_non_exhaustive()
    }
}

/// Commitments to the polynomials of ν = h·λ + r·xλ and μ = κλ + δ·λ.
fn expected(commitments: Commitments, binding: &Binding) -> [Vec<Point>; 2] {
    let Commitments { lambda, nonce_lambda, key_lambda } = commitments;
    let mut upper = vec![Point::IDENTITY; lambda.len()];
    add_commitments(&mut upper, &lambda, &binding.hash);
    add_commitments(&mut upper, &key_lambda, &binding.r);
    let mut lower = nonce_lambda;
    add_commitments(&mut lower, &lambda, &binding.shift);
    [upper, lower]
}

impl EcdsaCombiner {
    pub(super) fn new(
        key: EcdsaKey,
        session: &Session,
        presignatures: Vec<PublicPart>,
    ) -> Result<Self, Error> {
        let bindings = Binding::all(session, presignatures.iter())?;
        Ok(Self {
            key,
            messages: session.messages().to_vec(),
            signers: session.commitments().keys().copied().collect(),
            presignatures: presignatures.into_iter().zip(bindings).collect(),
            partials: BTreeMap::new(),
            out: BTreeSet::new(),
            culprits: BTreeMap::new(),
            signatures: vec![None; session.messages().len()],
        })
    }

    fn read(&self, bytes: &[u8]) -> Result<Vec<Partial>, Error> {
        let mut reader = Reader::new(bytes, "partial signatures");
        let one = |_| Ok([Pair::read(&mut reader)?, Pair::read(&mut reader)?]);
        let all = (0..self.messages.len()).map(one).collect::<Result<_, Error>>()?;
        reader.end()?;
        Ok(all)
    }

    /// For each message that has none yet: its signature s = ν/μ, interpolated from these parties;
    /// nothing if that does not verify.
    fn combine(&self, parties: &BTreeSet<Party>) -> Vec<(usize, Option<Vec<u8>>)> {
        let factors: Vec<_> =
            parties.iter().map(|party| (*party, coefficient(parties, *party))).collect();
        let open = self.signatures.iter().enumerate().filter(|(_, done)| done.is_none());
        let sums = open.map(|(number, _)| (number, self.sums(number, &factors)));
        let (numbers, sums): (Vec<usize>, Vec<[Scalar; 2]>) = sums.unzip();
        let lower: Vec<Scalar> = sums.iter().map(|[_, lower]| *lower).collect();
        let quotients = sums.iter().zip(invert_all(&lower));
        let quotients = quotients.map(|([upper, _], inverse)| inverse.map(|it| it * upper));
        let signature = |(number, s): (usize, Option<Scalar>)| {
            (number, s.and_then(|s| self.signature(number, &s)))
        };
        numbers.into_iter().zip(quotients).map(signature).collect()
    }

    /// ν and μ.
    fn sums(&self, number: usize, factors: &[(Party, Scalar)]) -> [Scalar; 2] {
        let mut sums = [Scalar::ZERO; 2];
        for (party, factor) in factors {
            let partial = self.partials.get(party).and_then(|all| all.get(number));
            for (sum, pair) in sums.iter_mut().zip(partial.into_iter().flatten()) {
                *sum += pair.value * factor;
            }
        }
        sums
    }

    fn signature(&self, number: usize, s: &Scalar) -> Option<Vec<u8>> {
        let r = &self.presignatures.get(number)?.1.r;
        let signature = [r.to_bytes(), s.to_bytes()].concat();
        let right = self.key.verify(self.messages.get(number)?, &signature);
        right.then_some(signature)
    }

    /// Which of these parties' partial signatures of the message contradict the commitments.
    fn liars(&self, number: usize, parties: &BTreeSet<Party>) -> BTreeSet<Party> {
        let Some((public, binding)) = self.presignatures.get(number) else {
            return BTreeSet::new();
        };
        // Those who presigned have certified points; if they are none, nobody here lied.
        let Ok(commitments) = public.commitments() else { return BTreeSet::new() };
        let expected = expected(commitments, binding);
        let is_right = |party: &Party| {
            let partial = self.partials.get(party).and_then(|all| all.get(number));
            partial.is_some_and(|partial| {
                let mut each = partial.iter().zip(&expected);
                each.all(|(pair, commitments)| pair.commit() == evaluate(commitments, *party))
            })
        };
        parties.iter().copied().filter(|party| !is_right(party)).collect()
    }
}

impl Combiner for EcdsaCombiner {
    fn add(&mut self, party: Party, partials: &[u8]) -> Result<(), Error> {
        if !self.signers.contains(&party) {
            return Err(Error::NoSuchParty(party.number()));
        }
        if self.out.contains(&party) || self.partials.contains_key(&party) {
            return Err(Error::Repeated(party));
        }
        let Ok(partials) = self.read(partials) else {
            self.culprits.insert(party, Offence::Malformed);
            self.out.insert(party);
            return Err(Error::Caught { party, offence: Offence::Malformed });
        };
        self.partials.insert(party, partials);
        Ok(())
    }

    fn add_proof(&mut self, _: Party, _: usize, _: &[u8]) -> Result<(), Error> {
        Err(Error::Unasked)
    }

    fn give_up(&mut self, party: Party) {
        self.out.insert(party);
        self.partials.remove(&party);
    }

    fn step(&mut self) -> Result<Step, Error> {
        let k = self.key.roster().threshold();
        loop {
            if self.signatures.iter().all(Option::is_some) {
                return Ok(Step::Done(self.signatures.iter().flatten().cloned().collect()));
            }
            let parties: BTreeSet<Party> = self.partials.keys().copied().take(k).collect();
            if parties.len() < k {
                return Ok(Step::Wait { more: k.saturating_sub(parties.len()) });
            }
            let (mut liars, mut examined) = (BTreeSet::new(), 0);
            for (number, signature) in self.combine(&parties) {
                // Each message names whoever spoiled it.
                if signature.is_none() && examined < MOST_EXAMINED {
                    liars.extend(self.liars(number, &parties));
                    examined = examined.saturating_add(1);
                }
                if let Some(place) = self.signatures.get_mut(number) {
                    *place = signature;
                }
            }
            let done = self.signatures.iter().all(Option::is_some);
            if liars.is_empty() && !done {
                return Err(Error::Inconsistent);
            }
            for liar in liars {
                self.culprits.insert(liar, Offence::WrongPartial);
                self.give_up(liar);
            }
        }
    }

    fn culprits(&self) -> &BTreeMap<Party, Offence> {
        &self.culprits
    }
}
