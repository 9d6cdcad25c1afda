//! Signatures over sets, and the bytes that they are over.

use domain::base::Ttl;
use domain::base::iana::Rtype;
use domain::rdata::ZoneRecordData;
use domain::rdata::dnssec::{ProtoRrsig, Timestamp};

pub(crate) use crate::zone::is_after;
use crate::zone::{Key, Name, RrSet};

use super::{Checked, Dnskey, Error, Terms};

/// A set that is to be signed, and by which key.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) key: Key,
    ttl: u32,
    /// The RRSIG's data without the signature.
    head: Vec<u8>,
    message: Vec<u8>,
    by: Dnskey,
}

impl Task {
    pub(crate) fn new(apex: &Name, key: &Key, set: &RrSet, by: &Dnskey, terms: &Terms) -> Self {
        let proto = ProtoRrsig::new(
            key.rtype(),
            by.algorithm(),
            key.name().rrsig_labels(),
            Ttl::from_secs(set.ttl()),
            Timestamp::from(terms.expiration),
            Timestamp::from(terms.inception),
            by.tag(),
            apex.as_domain(),
        );
        let mut head = Vec::new();
        let Ok(()) = proto.compose_canonical(&mut head);
        let message = message(&head, key, set);
        Self { key: key.clone(), ttl: set.ttl(), head, message, by: by.clone() }
    }

    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }

    /// The set of the one signature, if it is one.
    pub(crate) fn signed(&self, signature: &[u8], checked: &Checked) -> Option<(Key, RrSet)> {
        if !checked.verify(&self.by, &self.message, signature) {
            return None;
        }
        let rdata = [self.head.as_slice(), signature].concat();
        let set = RrSet::single(self.ttl, rdata).ok()?;
        Some((Key::signatures_over(&self.key), set))
    }
}

/// What is signed: the RRSIG's data without the signature, then each record in canonical form
/// (RFC 4034 section 3.1.8.1). Wildcards are signed as they are here, because a zone has them
/// unexpanded.
fn message(head: &[u8], key: &Key, set: &RrSet) -> Vec<u8> {
    let mut out = head.to_vec();
    for rdata in set.records() {
        record(&mut out, key, set.ttl(), rdata);
    }
    out
}

/// A record in canonical form.
pub(crate) fn record(out: &mut Vec<u8>, key: &Key, ttl: u32, rdata: &[u8]) {
    let length = u16::try_from(rdata.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(key.name().as_wire());
    out.extend_from_slice(&key.rtype().to_int().to_be_bytes());
    out.extend_from_slice(&key.class().to_int().to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(rdata);
}

/// A signature that is there already.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(crate) covered: Rtype,
    pub(crate) algorithm: u8,
    pub(crate) labels: u8,
    pub(crate) original_ttl: u32,
    pub(crate) expiration: u32,
    pub(crate) inception: u32,
    pub(crate) tag: u16,
    pub(crate) signer: Name,
    signature: Vec<u8>,
    head: Vec<u8>,
}

impl Signature {
    pub(crate) fn read(rdata: &[u8]) -> Option<Self> {
        let Some(ZoneRecordData::Rrsig(data)) = crate::zone::parse(Rtype::RRSIG, rdata) else {
            return None;
        };
        let signature = data.signature().to_vec();
        let end = rdata.len().checked_sub(signature.len())?;
        Some(Self {
            covered: data.type_covered(),
            algorithm: data.algorithm().to_int(),
            labels: data.labels(),
            original_ttl: data.original_ttl().as_secs(),
            expiration: data.expiration().into_int(),
            inception: data.inception().into_int(),
            tag: data.key_tag(),
            signer: Name::of(data.signer_name()),
            head: rdata.get(..end)?.to_vec(),
            signature,
        })
    }

    /// Whether this is this key's signature over the set, whatever the time is.
    pub(crate) fn is_by(&self, by: &Dnskey, apex: &Name, key: &Key, set: &RrSet) -> bool {
        self.is_found_by(by, (apex, key, set), &Checked::default())
    }

    /// The same, unless it was found before.
    pub(crate) fn is_found_by(
        &self,
        by: &Dnskey,
        (apex, key, set): (&Name, &Key, &RrSet),
        checked: &Checked,
    ) -> bool {
        self.fits(by, apex, key, set)
            && checked.verify(by, &message(&self.head, key, set), &self.signature)
    }

    /// Whether everything but the signature itself is right.
    pub(crate) fn fits(&self, by: &Dnskey, apex: &Name, key: &Key, set: &RrSet) -> bool {
        let about_key = (self.algorithm, self.tag) == (by.algorithm().to_int(), by.tag());
        let about_set = (self.covered, self.labels, self.original_ttl)
            == (key.rtype(), key.name().rrsig_labels(), set.ttl());
        about_key && about_set && self.signer == *apex
    }
}

/// One task in a batch of tasks, with the signature that was made for it.
pub(crate) fn put_together(
    tasks: &[Task],
    signatures: &[Vec<u8>],
    checked: &Checked,
) -> Result<Vec<(Key, RrSet)>, Error> {
    if tasks.len() != signatures.len() {
        return Err(Error::WrongSignature(tasks.len().min(signatures.len())));
    }
    let both = tasks.iter().zip(signatures).enumerate();
    both.map(|(place, (task, signature))| {
        task.signed(signature, checked).ok_or(Error::WrongSignature(place))
    })
    .collect()
}
