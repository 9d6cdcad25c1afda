//! The values of the topics of signing.

use std::collections::{BTreeMap, BTreeSet};

use super::codec::{Malformed, Reader, Writer};
use super::content::Hash;
use super::council::Dm;
use super::presign::Range;

const NONCES: &[u8] = b"bftkv dm nonces 1";
const SESSION: &[u8] = b"bftkv dm session 2";
const SIGS: &[u8] = b"bftkv dm sigs 2";
const SIGNED: &[u8] = b"bftkv dm signed 1";
const RETRY: &[u8] = b"bftkv dm retry 1";

/// A DM's commitments: for the zone's messages, and for the ZONEMD's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NoncesValue {
    pub(super) stages: [Vec<u8>; 2],
}

impl NoncesValue {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::beginning(NONCES);
        self.stages.iter().for_each(|stage| {
            out.bytes(stage);
        });
        out.finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes, NONCES, "commitments")?;
        let stages = [from.bytes()?.to_vec(), from.bytes()?.to_vec()];
        from.end()?;
        Ok(Self { stages })
    }
}

/// A hash of messages in their order.
pub(super) fn hash_of(messages: &[Vec<u8>]) -> Hash {
    let mut out = Writer::beginning(b"bftkv dm messages 1");
    messages.iter().for_each(|message| {
        out.bytes(message);
    });
    Hash::of(&out.finish())
}

/// Who signs, and with what: written by the proposer, and certified before anybody signs.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::exhaustive_structs, reason = "what stands in the bytes")]
pub struct SessionValue {
    /// A hash of what is signed, in the order of the plan. It follows from the manifest; but signers that came to
    /// other bytes than the others, by another version of the program for instance, must not sign them with the
    /// same presignatures: that gives the key away.
    pub messages: Hash,
    /// The signers, by the hashes of what they gave under [`super::Topic::Nonces`].
    pub signers: BTreeMap<Dm, Hash>,
    /// With a P-256 key: the presignatures, in ascending order, one for each message and one for
    /// the ZONEMD. Only that one if the zone's signatures are certified already.
    pub uses: Vec<Range>,
}

impl SessionValue {
    /// As bytes, in one form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::beginning(SESSION);
        out.raw(&self.messages.0);
        out.count(self.signers.len());
        for (dm, hash) in &self.signers {
            out.u8(dm.number()).raw(&hash.0);
        }
        if !self.uses.is_empty() {
            out.count(self.uses.len());
            self.uses.iter().for_each(|range| range.write(&mut out));
        }
        out.finish()
    }

    /// From bytes.
    ///
    /// # Errors
    /// They are not the one form of a session: its writer's fault.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes, SESSION, "session")?;
        let messages = Hash(from.array()?);
        let mut signers = BTreeMap::new();
        for _ in 0..from.count()? {
            let dm = Dm::new(from.u8()?).ok_or(from.malformed())?;
            if signers.last_key_value().is_some_and(|(last, _)| *last >= dm) {
                return Err(from.malformed());
            }
            signers.insert(dm, Hash(from.array()?));
        }
        let uses = if from.is_empty() { Vec::new() } else { read_uses(&mut from)? };
        from.end()?;
        Ok(Self { messages, signers, uses })
    }
}

fn read_uses(from: &mut Reader<'_>) -> Result<Vec<Range>, Malformed> {
    let mut uses: Vec<Range> = Vec::new();
    let count = from.count()?;
    for _ in 0..count {
        let range = Range::read(from)?;
        if uses.last().is_some_and(|last| last.end() > range.start()) {
            return Err(from.malformed());
        }
        uses.push(range);
    }
    if uses.is_empty() { Err(from.malformed()) } else { Ok(uses) }
}

/// The signatures of a zone, in the order of its plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SigsValue {
    /// A hash of what the ZONEMD's signature is over, which follows from the zone with these.
    pub(super) last: Hash,
    pub(super) sigs: Vec<Vec<u8>>,
}

impl SigsValue {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::beginning(SIGS);
        out.raw(&self.last.0);
        out.count(self.sigs.len());
        self.sigs.iter().for_each(|sig| {
            out.bytes(sig);
        });
        out.finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes, SIGS, "signatures")?;
        let (last, count) = (Hash(from.array()?), from.count()?);
        let sigs: Result<_, _> = (0..count).map(|_| from.bytes().map(<[u8]>::to_vec)).collect();
        let sigs = sigs?;
        from.end()?;
        Ok(Self { last, sigs })
    }
}

/// The signed zone's hash, and the last signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SignedValue {
    pub(super) digest: Hash,
    pub(super) signature: Vec<u8>,
}

impl SignedValue {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::beginning(SIGNED);
        out.raw(&self.digest.0).bytes(&self.signature);
        out.finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes, SIGNED, "signed zone")?;
        let value = Self { digest: Hash(from.array()?), signature: from.bytes()?.to_vec() };
        from.end()?;
        Ok(value)
    }
}

pub(super) fn retry_to_bytes(left_out: &BTreeSet<Dm>) -> Vec<u8> {
    let mut out = Writer::beginning(RETRY);
    out.count(left_out.len());
    left_out.iter().for_each(|dm| {
        out.u8(dm.number());
    });
    out.finish()
}

pub(super) fn retry_from(bytes: &[u8]) -> Result<BTreeSet<Dm>, Malformed> {
    let mut from = Reader::new(bytes, RETRY, "retry")?;
    let mut left_out = BTreeSet::new();
    for _ in 0..from.count()? {
        let dm = Dm::new(from.u8()?).ok_or(from.malformed())?;
        if left_out.last().is_some_and(|last| *last >= dm) {
            return Err(from.malformed());
        }
        left_out.insert(dm);
    }
    from.end()?;
    Ok(left_out)
}
