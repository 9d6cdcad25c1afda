//! Enough shares in one process.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_threshold::ecdsa::{EcdsaShare, Presign};
use bftkv_threshold::ed25519::Ed25519Share;
use bftkv_threshold::rand_core::CryptoRngCore;
use bftkv_threshold::rsa::RsaShare;
use bftkv_threshold::{
    Combiner, Error as Failure, GroupKey, KeyShare, MAX_BATCH, Nonces, Party, Session, Step,
    group_key_from_bytes, key_share_from_bytes,
};

use super::{BatchSigner, Error};

/// How many presignatures are made at once. A part of one has about a kilobyte for each party.
const PRESIGN: usize = 256;

/// Signs with shares that are all in this process: for zones that one signs on one machine, for
/// KSK ceremonies, and for tests. Whoever can read the process's memory has the key.
///
/// Exactly k shares sign; others only if one of these turns out to be wrong. Shares of RSA and
/// Ed25519 work on all processors at once.
pub struct ShareSigner<R> {
    key: Box<dyn GroupKey>,
    shares: Shares,
    rng: R,
}

enum Shares {
    Rsa(Vec<RsaShare>),
    Ecdsa(Vec<EcdsaShare>),
    Ed25519(Vec<Ed25519Share>),
}

impl<R> std::fmt::Debug for ShareSigner<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShareSigner").field("key", &self.key.id()).finish_non_exhaustive()
    }
}

impl<R: CryptoRngCore> ShareSigner<R> {
    /// From shares as [`KeyShare::to_secret_bytes`] wrote them.
    ///
    /// # Errors
    ///
    /// [`Error::Threshold`]: no share ([`Failure::TooFew`]), fewer than k, shares of different
    /// keys ([`Failure::OtherKey`]), the same share twice ([`Failure::Repeated`]), or one that
    /// cannot be read.
    pub fn new<B: AsRef<[u8]>>(shares: &[B], rng: R) -> Result<Self, Error> {
        let first = shares.first().ok_or(Failure::TooFew { have: 0, need: 2 })?;
        let key = group_key_from_bytes(&key_share_from_bytes(first.as_ref())?.group().to_bytes())?;
        let shares = match first.as_ref().first() {
            Some(8) => Shares::Rsa(read(&*key, shares, RsaShare::from_secret_bytes)?),
            Some(13) => Shares::Ecdsa(read(&*key, shares, EcdsaShare::from_secret_bytes)?),
            _ => Shares::Ed25519(read(&*key, shares, Ed25519Share::from_secret_bytes)?),
        };
        Ok(Self { key, shares, rng })
    }
}

fn read<B: AsRef<[u8]>, S: KeyShare>(
    key: &dyn GroupKey,
    shares: &[B],
    read: impl Fn(&[u8]) -> Result<S, Failure>,
) -> Result<Vec<S>, Failure> {
    let shares: Vec<S> =
        shares.iter().map(|bytes| read(bytes.as_ref())).collect::<Result<_, _>>()?;
    let mut parties = BTreeSet::new();
    for share in &shares {
        if share.group().id() != key.id() {
            return Err(Failure::OtherKey);
        }
        if !parties.insert(share.party()) {
            return Err(Failure::Repeated(share.party()));
        }
    }
    let (have, need) = (shares.len(), key.roster().threshold());
    if have < need { Err(Failure::TooFew { have, need }) } else { Ok(shares) }
}

impl<R: CryptoRngCore> BatchSigner for ShareSigner<R> {
    fn key(&self) -> &dyn GroupKey {
        &*self.key
    }

    fn sign(&mut self, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
        let mut signatures = Vec::with_capacity(messages.len());
        let size = if matches!(self.shares, Shares::Ecdsa(_)) { PRESIGN } else { MAX_BATCH };
        for batch in messages.chunks(size) {
            let rng = &mut self.rng;
            let mut made = match &self.shares {
                Shares::Rsa(shares) => sign(&*self.key, shares, batch, rng)?,
                Shares::Ed25519(shares) => sign(&*self.key, shares, batch, rng)?,
                Shares::Ecdsa(shares) => sign_ecdsa(&*self.key, shares, batch, rng)?,
            };
            signatures.append(&mut made);
        }
        Ok(signatures)
    }
}

/// One batch by k shares; without those that were caught if some were.
fn sign<S: KeyShare + Sync>(
    key: &dyn GroupKey,
    shares: &[S],
    messages: &[Vec<u8>],
    rng: &mut dyn CryptoRngCore,
) -> Result<Vec<Vec<u8>>, Failure> {
    let k = key.roster().threshold();
    let mut left: Vec<&S> = shares.iter().collect();
    loop {
        if left.len() < k {
            return Err(Failure::TooFew { have: left.len(), need: k });
        }
        let (mut nonces, mut commitments) = (BTreeMap::new(), BTreeMap::new());
        for share in left.iter().take(k) {
            let (nonce, commitment) = share.commit(messages.len(), rng)?;
            nonces.insert(share.party(), nonce);
            // Schemes with one round commit to nothing, and then anybody may sign.
            if !commitment.is_empty() {
                commitments.insert(share.party(), commitment);
            }
        }
        let session = Session::new(key.id(), messages.to_vec(), commitments)?;
        let mut combiner = key.combiner(&session)?;
        let (now, spare) = left.split_at(k);
        add_all(&mut *combiner, now, nonces, &session)?;
        if let Some(signatures) = combine(&mut *combiner, now, spare, &session, rng)? {
            return Ok(signatures);
        }
        let culprits: Vec<Party> = combiner.culprits().keys().copied().collect();
        if culprits.is_empty() {
            return Err(Failure::Inconsistent);
        }
        left.retain(|share| !culprits.contains(&share.party()));
    }
}

/// The partial signatures of all of these, each on a thread of its own.
fn add_all<S: KeyShare + Sync>(
    combiner: &mut dyn Combiner,
    shares: &[&S],
    mut nonces: BTreeMap<Party, Nonces>,
    session: &Session,
) -> Result<(), Failure> {
    let partials: Vec<(Party, Result<Vec<u8>, Failure>)> = std::thread::scope(|scope| {
        let mut running = Vec::new();
        for share in shares {
            let Some(nonces) = nonces.remove(&share.party()) else { continue };
            running.push((share.party(), scope.spawn(move || share.sign(nonces, session))));
        }
        let done = running
            .into_iter()
            .map(|(party, thread)| (party, thread.join().unwrap_or(Err(Failure::Inconsistent))));
        done.collect()
    });
    for (party, partial) in partials {
        // A share that cannot give its part, or whose part is malformed, is one less.
        match partial.and_then(|partial| combiner.add(party, &partial)) {
            Ok(()) | Err(Failure::Caught { .. }) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// Asks for proofs and for spare shares until the signatures are there; `None` if it needs
/// another session.
fn combine<S: KeyShare>(
    combiner: &mut dyn Combiner,
    now: &[&S],
    spare: &[&S],
    session: &Session,
    rng: &mut dyn CryptoRngCore,
) -> Result<Option<Vec<Vec<u8>>>, Failure> {
    let mut spare = spare.iter();
    loop {
        match combiner.step()? {
            Step::Done(signatures) => return Ok(Some(signatures)),
            Step::Prove { message, from } => {
                for party in from {
                    let mut all = now.iter().chain(spare.as_slice());
                    match all.find(|share| share.party() == party) {
                        Some(share) => {
                            let proof = share.prove(session, message, rng)?;
                            // Caught or not: the combiner remembers.
                            let _ = combiner.add_proof(party, message, &proof);
                        }
                        None => combiner.give_up(party),
                    }
                }
            }
            Step::Wait { .. } => {
                let Some(share) = spare.next() else { return Ok(None) };
                let (nonces, _) = share.commit(session.messages().len(), rng)?;
                let partial = share.sign(nonces, session)?;
                let _ = combiner.add(share.party(), &partial);
            }
            _ => return Ok(None),
        }
    }
}

/// One batch with presignatures that are made for it: by 2k-1 shares, as the scheme wants.
fn sign_ecdsa(
    key: &dyn GroupKey,
    shares: &[EcdsaShare],
    messages: &[Vec<u8>],
    rng: &mut dyn CryptoRngCore,
) -> Result<Vec<Vec<u8>>, Failure> {
    let k = key.roster().threshold();
    let need = k.saturating_mul(2).saturating_sub(1);
    if shares.len() < need {
        return Err(Failure::TooFew { have: shares.len(), need });
    }
    let (now, _) = shares.split_at(need);
    let mut nonces = presign(now, messages.len(), rng)?;
    let named = |(party, (_, names)): (&Party, &(Nonces, Vec<u8>))| (*party, names.clone());
    let commitments = nonces.iter().map(named).collect();
    let session = Session::new(key.id(), messages.to_vec(), commitments)?;
    let mut combiner = key.combiner(&session)?;
    for share in now {
        let Some((nonces, _)) = nonces.remove(&share.party()) else { continue };
        combiner.add(share.party(), &share.sign(nonces, &session)?)?;
        if let Step::Done(signatures) = combiner.step()? {
            return Ok(signatures);
        }
    }
    Err(Failure::Inconsistent)
}

/// All parties' presigning in one process: two broadcasts and two dealings.
fn presign(
    shares: &[EcdsaShare],
    count: usize,
    rng: &mut dyn CryptoRngCore,
) -> Result<BTreeMap<Party, (Nonces, Vec<u8>)>, Failure> {
    let (mut packages, mut running) = (BTreeMap::new(), Vec::new());
    for share in shares {
        let (presign, package) = Presign::start(share, count, rng)?;
        packages.insert(share.party(), package);
        running.push((share.party(), presign));
    }
    let mut dealt = BTreeMap::new();
    let mut shared = Vec::new();
    for (party, presign) in running {
        let (next, to) = presign.deal(&packages)?;
        hand_out(&mut dealt, party, to);
        shared.push((party, next));
    }
    let (mut packages, mut proven) = (BTreeMap::new(), Vec::new());
    for (party, presign) in shared {
        let received = dealt.remove(&party).unwrap_or_default();
        let (next, package) = presign.prove(&received, rng)?;
        packages.insert(party, package);
        proven.push((party, next));
    }
    let mut dealt = BTreeMap::new();
    let mut last = Vec::new();
    for (party, presign) in proven {
        let (next, to) = presign.deal(&packages)?;
        hand_out(&mut dealt, party, to);
        last.push((party, next));
    }
    let mut made = BTreeMap::new();
    for (party, presign) in last {
        let mut presignatures = presign.finish(&dealt.remove(&party).unwrap_or_default())?;
        made.insert(party, presignatures.take(0, count)?);
    }
    Ok(made)
}

/// Shares by their receivers, and there by their givers.
type Dealt = BTreeMap<Party, BTreeMap<Party, bftkv_threshold::SecretBytes>>;

fn hand_out(dealt: &mut Dealt, from: Party, to: BTreeMap<Party, bftkv_threshold::SecretBytes>) {
    for (party, share) in to {
        dealt.entry(party).or_default().insert(from, share);
    }
}
