//! Making presignatures together.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use sha2::{Digest, Sha256};

use super::group::{
    Pair, Point, Polynomial, Scalar, coefficient, evaluate, random, read_point, reduce,
    sum_of_products, times_base, write_point,
};
use super::key::ByParty;
use super::presignature::{Commitments, Presignature, Presignatures, PublicPart};
use super::proof::{Context, Opening, Product};
use super::share::EcdsaShare;
use crate::codec::{Reader, Writer};
use crate::rand_core::CryptoRngCore;
use crate::rounds::{check_complete, read_of, transcript};
use crate::{Error, GroupKey, KeyShare, MAX_BATCH, Offence, Party, Roster, SecretBytes};

/// What the two broadcasts begin with.
const FIRST: [u8; 2] = [13, 0xd1];
const SECOND: [u8; 2] = [13, 0xd2];

/// What the parties' parts have in common.
struct Common {
    share: EcdsaShare,
    /// Who presigns.
    roster: Roster,
    count: usize,
}

impl Common {
    fn own(&self) -> Party {
        self.share.party()
    }

    fn k(&self) -> usize {
        self.roster.threshold()
    }

    fn others(&self) -> impl Iterator<Item = &Party> {
        self.roster.parties().iter().filter(|party| **party != self.own())
    }

    /// For each other party, our two polynomials' values for every presignature.
    fn deal(&self, polynomials: &[[Polynomial; 2]]) -> ByParty<SecretBytes> {
        let size = self.count.saturating_mul(4).saturating_mul(super::group::SCALAR);
        let one = |party: &Party| {
            let mut out = Writer::with_capacity(size);
            polynomials.iter().flatten().for_each(|p| p.at(*party).write(&mut out));
            (*party, out.finish())
        };
        self.others().map(one).collect()
    }

    /// Everybody's dealings to us, our own among them, checked against their commitments.
    fn receive<'c>(
        &self,
        given: &ByParty<SecretBytes>,
        own: &[[Polynomial; 2]],
        committed: &dyn Fn(Party, usize) -> Option<[&'c [Point]; 2]>,
        transcript: &[u8; 32],
    ) -> Result<ByParty<Vec<[Pair; 2]>>, Error> {
        check_complete(&self.roster, Some(self.own()), given)?;
        let mut received = BTreeMap::new();
        for (party, bytes) in given.iter().filter(|(party, _)| **party != self.own()) {
            let pairs = read_of(*party, read_pairs(bytes, self.count))?;
            let committed = (0..self.count).map(|place| committed(*party, place));
            let committed: Option<Vec<_>> = committed.collect();
            let committed = committed.ok_or(Error::Inconsistent)?;
            if !all_fit(&pairs, &committed, self.own(), &Mixing::new(transcript, bytes)) {
                return Err(Error::Caught { party: *party, offence: Offence::WrongDealing });
            }
            received.insert(*party, pairs);
        }
        let own = own.iter().map(|[one, two]| [one.at(self.own()), two.at(self.own())]);
        received.insert(self.own(), own.collect());
        Ok(received)
    }
}

fn read_pairs(bytes: &[u8], count: usize) -> Result<Vec<[Pair; 2]>, Error> {
    let mut reader = Reader::new(bytes, "dealt shares");
    let one = |_| Ok([Pair::read(&mut reader)?, Pair::read(&mut reader)?]);
    let all = (0..count).map(one).collect::<Result<_, Error>>()?;
    reader.end()?;
    Ok(all)
}

fn fits(pair: &[Pair; 2], committed: [&[Point]; 2], at: Party) -> bool {
    let mut both = pair.iter().zip(committed);
    both.all(|(pair, commitments)| pair.commit() == evaluate(commitments, at))
}

/// Factors that nobody knows before the commitments and the shares are fixed.
struct Mixing(Sha256);

impl Mixing {
    fn new(transcript: &[u8; 32], shares: &[u8]) -> Self {
        let hash = Sha256::new_with_prefix(b"bftkv threshold ECDSA mixing 1");
        Self(hash.chain_update(transcript).chain_update(shares))
    }

    /// Of 128 bits.
    fn factor(&self, place: usize) -> Scalar {
        let place = u64::try_from(place).unwrap_or(u64::MAX).to_be_bytes();
        let mut hash: [u8; 32] = self.0.clone().chain_update(place).finalize().into();
        hash.iter_mut().take(16).for_each(|byte| *byte = 0);
        reduce(hash)
    }
}

/// Whether all fit, by one equation: a random combination of right ones is right, and one with a
/// wrong one in it is wrong but for a chance of 2^-128. Source: M. Bellare, J. Garay and T. Rabin,
/// *Fast batch verification* (EUROCRYPT 1998), the small exponents test.
fn all_fit(pairs: &[[Pair; 2]], committed: &[[&[Point]; 2]], at: Party, mixing: &Mixing) -> bool {
    let each = pairs.iter().flatten().zip(committed.iter().flatten()).enumerate();
    let (mut sum, mut terms) = (Pair::ZERO, Vec::new());
    for (place, (pair, commitments)) in each {
        let factor = mixing.factor(place);
        sum = sum.plus(pair, &factor);
        terms.push((evaluate(commitments, at), factor));
    }
    pairs.len() == committed.len() && sum.commit() == sum_of_products(&terms)
}

fn read_points(reader: &mut Reader<'_>, k: usize) -> Result<Vec<Point>, Error> {
    (0..k).map(|_| read_point(reader)).collect()
}

/// Commitments to the polynomials of κ and λ, for each presignature.
type First = Vec<[Vec<Point>; 2]>;

fn read_first(bytes: &[u8], count: usize, k: usize) -> Result<First, Error> {
    let mut reader = Reader::new(bytes, "presigning, first package");
    reader.expect(&FIRST)?;
    let one = |_| Ok([read_points(&mut reader, k)?, read_points(&mut reader, k)?]);
    let all = (0..count).map(one).collect::<Result<_, Error>>()?;
    reader.end()?;
    Ok(all)
}

/// κ_i·G with its proof, and commitments to the polynomials of κ_i·λ_i and x_i·λ_i with theirs.
struct Second {
    nonce: Point,
    opening: Opening,
    products: [Vec<Point>; 2],
    proofs: [Product; 2],
}

impl Second {
    fn read(reader: &mut Reader<'_>, k: usize) -> Result<Self, Error> {
        let (nonce, opening) = (read_point(reader)?, Opening::read(reader)?);
        let (first, first_proof) = (read_points(reader, k)?, Product::read(reader)?);
        let (second, second_proof) = (read_points(reader, k)?, Product::read(reader)?);
        let (products, proofs) = ([first, second], [first_proof, second_proof]);
        Ok(Self { nonce, opening, products, proofs })
    }

    fn write(&self, out: &mut Writer) {
        write_point(&self.nonce, out);
        self.opening.write(out);
        for (product, proof) in self.products.iter().zip(&self.proofs) {
            product.iter().for_each(|point| write_point(point, out));
            proof.write(out);
        }
    }

    fn verify(&self, context: Context<'_>, nonce: &Point, lambda: &Point, key: &Point) -> bool {
        let products = self.products.iter().map(|product| product.first());
        let mut each = products.zip(&self.proofs).zip([nonce, key]).enumerate();
        self.opening.verify(context, nonce, &self.nonce)
            && each.all(|(which, ((product, proof), factor))| {
                let context = of_product(context, which);
                product.is_some_and(|product| proof.verify(context, factor, lambda, product))
            })
    }
}

/// The places of the two products of one presignature.
fn of_product(context: Context<'_>, which: usize) -> Context<'_> {
    Context { place: context.place.wrapping_mul(2).wrapping_add(which), ..context }
}

fn read_second(bytes: &[u8], count: usize, k: usize) -> Result<Vec<Second>, Error> {
    let mut reader = Reader::new(bytes, "presigning, second package");
    reader.expect(&SECOND)?;
    let all = (0..count).map(|_| Second::read(&mut reader, k)).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(all)
}

/// Whether a party whose first package is this dealt these shares to `to` rightly: for everybody
/// to judge, when the receiver complains by publishing what the dealer signed.
///
/// # Errors
///
/// [`Error::Malformed`] if the package is.
pub fn first_dealing_is_right(
    roster: &Roster,
    count: usize,
    package: &[u8],
    to: Party,
    shares: &[u8],
) -> Result<bool, Error> {
    let package = read_first(package, count, roster.threshold())?;
    let Ok(pairs) = read_pairs(shares, count) else { return Ok(false) };
    let mut both = pairs.iter().zip(&package);
    Ok(both.all(|(pair, [kappa, lambda])| fits(pair, [kappa, lambda], to)))
}

/// As [`first_dealing_is_right`], for the second.
///
/// # Errors
///
/// [`Error::Malformed`] if the package is.
pub fn second_dealing_is_right(
    roster: &Roster,
    count: usize,
    package: &[u8],
    to: Party,
    shares: &[u8],
) -> Result<bool, Error> {
    let package = read_second(package, count, roster.threshold())?;
    let Ok(pairs) = read_pairs(shares, count) else { return Ok(false) };
    let mut both = pairs.iter().zip(&package);
    Ok(both.all(|(pair, Second { products: [one, two], .. })| fits(pair, [one, two], to)))
}

/// One party's part in presigning.
///
/// ```text
///   Presign::start             -- package --> all who presign, the same to all
///   Presign::deal(packages)    -- shares -> each other, sealed
///   PresignShared::prove(shares)  -- package --> all, the same to all
///   PresignProven::deal(packages) -- shares -> each other, sealed
///   PresignDealt::finish(shares)  -> Presignatures; all compare their transcript
/// ```
///
/// Those whose first packages are handed to [`Presign::deal`] presign together, and all of them
/// must take part to the end. If one is absent or caught, the rest starts again without it, as long
/// as 2k-1 are left. Each part has a copy of the share, wiped when it is dropped.
pub struct Presign {
    share: EcdsaShare,
    count: usize,
    polynomials: Vec<[Polynomial; 2]>,
    package: Vec<u8>,
}

/// A party that has dealt shares of κ and λ.
pub struct PresignShared {
    common: Common,
    polynomials: Vec<[Polynomial; 2]>,
    packages: ByParty<First>,
    transcript: [u8; 32],
}

/// What everybody knows of one presignature after the first dealings: commitments to the
/// polynomials of κ and λ.
type Sums = Vec<[Vec<Point>; 2]>;

/// A party that has proven its κ_i·G and products.
pub struct PresignProven {
    common: Common,
    /// Of the products.
    polynomials: Vec<[Polynomial; 2]>,
    /// Our λ_i.
    lambdas: Vec<Pair>,
    sums: Sums,
    package: Vec<u8>,
    transcript: [u8; 32],
}

/// A party that has dealt shares of its products.
pub struct PresignDealt {
    common: Common,
    polynomials: Vec<[Polynomial; 2]>,
    lambdas: Vec<Pair>,
    sums: Sums,
    packages: ByParty<Vec<Second>>,
    transcript: [u8; 32],
}

macro_rules! redacted {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut out = f.debug_struct(stringify!($name));
                out.field("party", &self.party()).finish_non_exhaustive()
            }
        }
    )*};
}

redacted!(Presign, PresignShared, PresignProven, PresignDealt);

impl Presign {
    /// Begins to make `count` presignatures.
    ///
    /// # Errors
    ///
    /// [`Error::BatchSize`].
    pub fn start(
        share: &EcdsaShare,
        count: usize,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Self, Vec<u8>), Error> {
        if count == 0 || count > MAX_BATCH {
            return Err(Error::BatchSize);
        }
        let k = share.public().roster().threshold();
        let polynomials: Vec<[Polynomial; 2]> = (0..count)
            .map(|_| [(); 2].map(|()| Polynomial::new(Pair::random(rng), k, rng)))
            .collect();
        let mut out = Writer::default();
        out.bytes(&FIRST);
        for point in polynomials.iter().flatten().flat_map(Polynomial::commitments) {
            write_point(&point, &mut out);
        }
        let package = out.finish_public();
        let share = share.copy();
        Ok((Self { share, count, polynomials, package: package.clone() }, package))
    }

    fn party(&self) -> Party {
        self.share.party()
    }

    /// Takes the first packages of all who presign, our own among them, and deals.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchParty`] for one without a share; [`Error::TooFew`]: 2k-1 are needed;
    /// [`Error::OtherNonces`] if our own package is missing or another one; [`Error::Caught`]: start
    /// again without that party.
    pub fn deal(
        self,
        packages: &ByParty<Vec<u8>>,
    ) -> Result<(PresignShared, ByParty<SecretBytes>), Error> {
        let Self { share, count, polynomials, package } = self;
        let all = share.public().roster();
        packages.keys().try_for_each(|party| all.check(*party))?;
        let need = all.threshold().saturating_mul(2).saturating_sub(1);
        if packages.len() < need {
            return Err(Error::TooFew { have: packages.len(), need });
        }
        if packages.get(&share.party()) != Some(&package) {
            return Err(Error::OtherNonces);
        }
        let roster = all.with(packages.keys().copied().collect())?;
        let common = Common { share, roster, count };
        let mut read = BTreeMap::new();
        for (party, bytes) in packages {
            read.insert(*party, read_of(*party, read_first(bytes, common.count, common.k()))?);
        }
        let mut label = b"bftkv threshold presigning 1".to_vec();
        label.extend_from_slice(common.share.public().id().as_bytes());
        let transcript = transcript(&label, &common.roster, packages);
        let shares = common.deal(&polynomials);
        Ok((PresignShared { common, polynomials, packages: read, transcript }, shares))
    }
}

impl PresignShared {
    fn party(&self) -> Party {
        self.common.own()
    }

    /// Takes the shares that were dealt to us, and proves what we make of them.
    ///
    /// # Errors
    ///
    /// [`Error::TooFew`], [`Error::NoSuchParty`]; [`Error::Caught`]: complain by publishing the
    /// shares, which [`first_dealing_is_right`] judges.
    pub fn prove(
        self,
        shares: &ByParty<SecretBytes>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(PresignProven, Vec<u8>), Error> {
        let Self { common, polynomials, packages, transcript } = self;
        let committed = |party, place: usize| {
            let [kappa, lambda] = packages.get(&party)?.get(place)?;
            Some([kappa.as_slice(), lambda.as_slice()])
        };
        let received = common.receive(shares, &polynomials, &committed, &transcript)?;
        let sums: Sums =
            (0..common.count).map(|place| sum_up(&packages, place, common.k())).collect();
        let mut out = Writer::default();
        out.bytes(&SECOND);
        let (mut lambdas, mut products) = (Vec::new(), Vec::new());
        for place in 0..common.count {
            let mine = received.values().filter_map(|all| all.get(place));
            let zero = (Pair::ZERO, Pair::ZERO);
            let (kappa, lambda) = mine.fold(zero, |(kappa, lambda), [one, two]| {
                (kappa.plus(one, &Scalar::ONE), lambda.plus(two, &Scalar::ONE))
            });
            let context = Context { transcript: &transcript, party: common.own(), place };
            let sums = sums.get(place).ok_or(Error::Inconsistent)?;
            let (second, polynomials) = common.second(context, [&kappa, &lambda], sums, rng)?;
            second.write(&mut out);
            lambdas.push(lambda);
            products.push(polynomials);
        }
        let package = out.finish_public();
        let polynomials = products;
        let proven = PresignProven {
            common,
            polynomials,
            lambdas,
            sums,
            package: package.clone(),
            transcript,
        };
        Ok((proven, package))
    }
}

/// The commitments of all parties for one presignature, added up.
fn sum_up(packages: &ByParty<First>, place: usize, k: usize) -> [Vec<Point>; 2] {
    let mut sums = [(); 2].map(|()| vec![Point::IDENTITY; k]);
    for both in packages.values().filter_map(|all| all.get(place)) {
        for (sum, more) in sums.iter_mut().zip(both) {
            sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
    }
    sums
}

impl Common {
    /// κ_i·G and the products, with their proofs and the polynomials that share them.
    fn second(
        &self,
        context: Context<'_>,
        [kappa, lambda]: [&Pair; 2],
        [of_kappa, of_lambda]: &[Vec<Point>; 2],
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Second, [Polynomial; 2]), Error> {
        // The shares that were dealt to us fit, so these are the commitments to their sums.
        let (own, key) = (self.own(), self.share.public().check_of(self.own())?);
        let (of_kappa, of_lambda) = (evaluate(of_kappa, own), evaluate(of_lambda, own));
        let nonce = times_base(&kappa.value);
        let opening = Opening::prove(context, kappa, &of_kappa, &nonce, rng);
        let mut product = |which, factor: &Pair, of_factor: &Point| {
            let product = Pair { value: factor.value * lambda.value, blind: random(rng) };
            let context = of_product(context, which);
            let polynomial = Polynomial::new(product.clone(), self.k(), rng);
            let commitments = polynomial.commitments();
            let of_product = commitments.first().ok_or(Error::Inconsistent)?;
            let points = [of_factor, &of_lambda, of_product];
            let proof = Product::prove(context, [factor, lambda, &product], points, rng);
            Ok((polynomial, commitments, proof))
        };
        let (one, of_one, one_proof) = product(0, kappa, &of_kappa)?;
        let (two, of_two, two_proof) = product(1, self.share.secret(), &key)?;
        let (products, proofs) = ([of_one, of_two], [one_proof, two_proof]);
        Ok((Second { nonce, opening, products, proofs }, [one, two]))
    }
}

impl PresignProven {
    fn party(&self) -> Party {
        self.common.own()
    }

    /// Takes everybody's second packages, our own among them, checks all proofs, and deals.
    ///
    /// # Errors
    ///
    /// [`Error::TooFew`], [`Error::NoSuchParty`], [`Error::OtherNonces`]; [`Error::Caught`], also
    /// with [`Offence::WrongProof`].
    pub fn deal(
        self,
        packages: &ByParty<Vec<u8>>,
    ) -> Result<(PresignDealt, ByParty<SecretBytes>), Error> {
        let Self { common, polynomials, lambdas, sums, package, transcript: before } = self;
        check_complete(&common.roster, None, packages)?;
        if packages.get(&common.own()) != Some(&package) {
            return Err(Error::OtherNonces);
        }
        let mut read = BTreeMap::new();
        for (party, bytes) in packages {
            let theirs = read_of(*party, read_second(bytes, common.count, common.k()))?;
            let key = common.share.public().check_of(*party)?;
            // Our own proofs are right.
            let checked = if *party == common.own() { 0 } else { common.count };
            let each = theirs.iter().zip(&sums).enumerate().take(checked);
            for (place, (second, [kappa, lambda])) in each {
                let context = Context { transcript: &before, party: *party, place };
                let (kappa, lambda) = (evaluate(kappa, *party), evaluate(lambda, *party));
                if !second.verify(context, &kappa, &lambda, &key) {
                    return Err(Error::Caught { party: *party, offence: Offence::WrongProof });
                }
            }
            read.insert(*party, theirs);
        }
        let transcript = transcript(&before, &common.roster, packages);
        let shares = common.deal(&polynomials);
        let dealt = PresignDealt { common, polynomials, lambdas, sums, packages: read, transcript };
        Ok((dealt, shares))
    }
}

impl PresignDealt {
    fn party(&self) -> Party {
        self.common.own()
    }

    /// A hash of everything that was broadcast. All must have the same before one of the
    /// presignatures is used.
    #[must_use]
    pub fn transcript(&self) -> [u8; 32] {
        self.transcript
    }

    /// Takes the shares that were dealt to us. They are ours to keep only in memory.
    ///
    /// # Errors
    ///
    /// [`Error::TooFew`], [`Error::NoSuchParty`]; [`Error::Caught`]: complain by publishing the
    /// shares, which [`second_dealing_is_right`] judges.
    pub fn finish(self, shares: &ByParty<SecretBytes>) -> Result<Presignatures, Error> {
        let committed = |party, place: usize| {
            let [one, two] = &self.packages.get(&party)?.get(place)?.products;
            Some([one.as_slice(), two.as_slice()])
        };
        let transcript = &self.transcript;
        let received = self.common.receive(shares, &self.polynomials, &committed, transcript)?;
        let parties = self.common.roster.parties();
        let factors = parties.iter().map(|party| (*party, coefficient(parties, *party))).collect();
        let mut left = VecDeque::with_capacity(self.common.count);
        for (place, (lambda, [_, lambdas])) in self.lambdas.iter().zip(&self.sums).enumerate() {
            left.push_back(self.presignature(place, (lambda, lambdas), &received, &factors)?);
        }
        let key = self.common.share.public().id();
        Ok(Presignatures { key, transcript: self.transcript, next: 0, left })
    }

    /// Interpolates at 0 what all have dealt: products of degree 2k-2 become degree k-1.
    fn presignature(
        &self,
        place: usize,
        (lambda, lambdas): (&Pair, &[Point]),
        received: &ByParty<Vec<[Pair; 2]>>,
        factors: &ByParty<Scalar>,
    ) -> Result<Presignature, Error> {
        let mut ours = [Pair::ZERO, Pair::ZERO];
        let mut nonce = Vec::new();
        let mut terms = [(); 2].map(|()| vec![Vec::new(); self.common.k()]);
        for (party, factor) in factors {
            let theirs = self.packages.get(party).and_then(|all| all.get(place));
            let dealt = received.get(party).and_then(|all| all.get(place));
            let (theirs, dealt) = theirs.zip(dealt).ok_or(Error::Inconsistent)?;
            nonce.push((theirs.nonce, *factor));
            for (terms, product) in terms.iter_mut().zip(&theirs.products) {
                for (terms, point) in terms.iter_mut().zip(product) {
                    terms.push((*point, *factor));
                }
            }
            for (sum, more) in ours.iter_mut().zip(dealt) {
                *sum = sum.plus(more, factor);
            }
        }
        let nonce = sum_of_products(&nonce);
        let sum = |terms: Vec<Vec<_>>| terms.iter().map(|terms| sum_of_products(terms)).collect();
        let ([nonce_lambda, key_lambda], [our_nonce_lambda, our_key_lambda]) =
            (terms.map(sum), ours);
        let commitments = Commitments { lambda: lambdas.to_vec(), nonce_lambda, key_lambda };
        Ok(Presignature {
            public: PublicPart::new(nonce, &commitments),
            lambda: lambda.clone(),
            nonce_lambda: our_nonce_lambda,
            key_lambda: our_key_lambda,
        })
    }
}
