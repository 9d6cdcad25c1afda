//! The values of the topics of presigning.

use std::collections::BTreeMap;

use bftkv_threshold::SecretBytes;

use super::range::Mark;
use crate::agree::codec::{Malformed, Reader, Writer};
use crate::agree::content::Hash;
use crate::agree::council::Dm;

const FIRST: &[u8] = b"bftkv dm presign first 1";
const CALL: &[u8] = b"bftkv dm presign call 1";
const DEALT: &[u8] = b"bftkv dm presign dealt 1";
const DEALING: &[u8] = b"bftkv dm presign dealing 1";
const COMPLAINT: &[u8] = b"bftkv dm presign complaint 1";
const DONE: &[u8] = b"bftkv dm presign done 1";
const HOLDINGS: &[u8] = b"bftkv dm presign holdings 1";

/// For which key, and how many. While a key changes, DMs with the old one and with the new one do
/// not presign together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    pub(super) key: [u8; 32],
    pub(super) count: u16,
}

impl Shape {
    fn write(&self, out: &mut Writer) {
        out.raw(&self.key).u16(self.count);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { key: from.array()?, count: from.u16()? })
    }
}

/// A DM's commitments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct First {
    pub(super) shape: Shape,
    pub(super) package: Vec<u8>,
}

impl First {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::beginning(FIRST);
        self.shape.write(&mut out);
        out.bytes(&self.package);
        out.finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes, FIRST, "commitments")?;
        let first = Self { shape: Shape::read(&mut from)?, package: from.bytes()?.to_vec() };
        from.end()?;
        Ok(first)
    }
}

/// Who presigns, by the hashes of their [`First`]s.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Call {
    pub(super) shape: Shape,
    pub(super) parties: BTreeMap<Dm, Hash>,
}

impl Call {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::beginning(CALL);
        self.shape.write(&mut out);
        out.count(self.parties.len());
        for (dm, hash) in &self.parties {
            out.u8(dm.number()).raw(&hash.0);
        }
        out.finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes, CALL, "call")?;
        let (shape, mut parties) = (Shape::read(&mut from)?, BTreeMap::new());
        for _ in 0..from.count()? {
            let dm = next_dm(&mut from, &parties)?;
            parties.insert(dm, Hash(from.array()?));
        }
        from.end()?;
        Ok(Self { shape, parties })
    }

    /// All who presign but this one.
    pub(super) fn others(&self, me: Dm) -> impl Iterator<Item = Dm> {
        self.parties.keys().copied().filter(move |dm| *dm != me)
    }
}

/// In ascending order, as all DMs in our values.
fn next_dm<T>(from: &mut Reader<'_>, known: &BTreeMap<Dm, T>) -> Result<Dm, Malformed> {
    let dm = Dm::new(from.u8()?).ok_or(from.malformed())?;
    if known.last_key_value().is_some_and(|(last, _)| *last >= dm) {
        return Err(from.malformed());
    }
    Ok(dm)
}

/// What one DM deals in one round: sealed to each of the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Dealt {
    pub(super) sealed: BTreeMap<Dm, Vec<u8>>,
}

impl Dealt {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::beginning(DEALT);
        out.count(self.sealed.len());
        for (dm, sealed) in &self.sealed {
            out.u8(dm.number()).bytes(sealed);
        }
        out.finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes, DEALT, "dealings")?;
        let mut sealed = BTreeMap::new();
        for _ in 0..from.count()? {
            let dm = next_dm(&mut from, &sealed)?;
            sealed.insert(dm, from.bytes()?.to_vec());
        }
        from.end()?;
        Ok(Self { sealed })
    }
}

/// For what a dealing is. It counts in no other place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) shape: Shape,
    pub(super) batch: u32,
    /// 1 or 2.
    pub(super) round: u8,
    pub(super) from: Dm,
    pub(super) to: Dm,
}

impl Place {
    fn head(&self) -> Vec<u8> {
        let mut out = Writer::beginning(DEALING);
        self.shape.write(&mut out);
        out.u32(self.batch).u8(self.round).u8(self.from.number()).u8(self.to.number());
        out.finish()
    }

    /// What its dealer signs.
    pub(super) fn to_text(self, shares: &[u8]) -> SecretBytes {
        let head = self.head();
        let mut text = Vec::with_capacity(head.len().saturating_add(shares.len()));
        text.extend_from_slice(&head);
        text.extend_from_slice(shares);
        SecretBytes::new(text)
    }

    /// The shares, if it was dealt for this.
    pub(super) fn shares_in(&self, text: &[u8]) -> Option<SecretBytes> {
        Some(SecretBytes::new(text.strip_prefix(self.head().as_slice())?.to_vec()))
    }
}

/// That somebody dealt wrongly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Complaint {
    pub(super) about: Dm,
    /// What it signed. Empty if it could not be opened, which nobody else can check.
    pub(super) signed: Vec<u8>,
}

impl Complaint {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::beginning(COMPLAINT);
        out.u8(self.about.number()).bytes(&self.signed);
        out.finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes, COMPLAINT, "complaint")?;
        let about = Dm::new(from.u8()?).ok_or(from.malformed())?;
        let signed = from.bytes()?.to_vec();
        from.end()?;
        Ok(Self { about, signed })
    }
}

/// The public parts of a batch that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Done {
    pub(super) public: Vec<Vec<u8>>,
}

impl Done {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::beginning(DONE);
        out.count(self.public.len());
        self.public.iter().for_each(|part| {
            out.bytes(part);
        });
        out.finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes, DONE, "presignatures")?;
        let count = from.count()?;
        let public =
            (0..count).map(|_| from.bytes().map(<[u8]>::to_vec)).collect::<Result<_, _>>()?;
        from.end()?;
        Ok(Self { public })
    }
}

/// What a DM could sign with: what stands in place of its commitments when the key is one that needs
/// presignatures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::agree) struct Holdings {
    /// The presignatures below are spent, or may be, as far as it knows.
    pub(super) spent: Mark,
    /// The batches that it has in memory, in ascending order.
    pub(super) batches: Vec<u32>,
}

impl Holdings {
    /// The most batches that are named.
    pub(super) const MAX: usize = 4096;

    pub(in crate::agree) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::beginning(HOLDINGS);
        self.spent.write(&mut out);
        out.count(self.batches.len());
        self.batches.iter().for_each(|batch| {
            out.u32(*batch);
        });
        out.finish()
    }

    pub(in crate::agree) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes, HOLDINGS, "holdings")?;
        let (spent, count) = (Mark::read(&mut from)?, from.count()?);
        let mut batches: Vec<u32> = Vec::new();
        for _ in 0..count {
            let batch = from.u32()?;
            if batches.last().is_some_and(|last| *last >= batch) || count > Self::MAX {
                return Err(from.malformed());
            }
            batches.push(batch);
        }
        from.end()?;
        Ok(Self { spent, batches })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_written_and_in_no_other_way() {
        let dm = |number| Dm::new(number).unwrap();
        let shape = Shape { key: [7; 32], count: 9 };
        let first = First { shape, package: vec![1, 2] }.to_bytes();
        let parties = [(dm(1), Hash([1; 32])), (dm(3), Hash([2; 32]))].into();
        let call = Call { shape, parties }.to_bytes();
        let dealt = Dealt { sealed: [(dm(2), vec![1]), (dm(4), vec![])].into() }.to_bytes();
        let complaint = Complaint { about: dm(2), signed: vec![5] }.to_bytes();
        let done = Done { public: vec![vec![1], vec![2, 3]] }.to_bytes();
        let spent = Mark { batch: 2, index: 3 };
        let holdings = Holdings { spent, batches: vec![2, 3, 9] }.to_bytes();
        type Again = fn(&[u8]) -> Option<Vec<u8>>;
        let all: [(Vec<u8>, Again); 6] = [
            (first, |b| First::from_bytes(b).ok().map(|it| it.to_bytes())),
            (call, |b| Call::from_bytes(b).ok().map(|it| it.to_bytes())),
            (dealt, |b| Dealt::from_bytes(b).ok().map(|it| it.to_bytes())),
            (complaint, |b| Complaint::from_bytes(b).ok().map(|it| it.to_bytes())),
            (done, |b| Done::from_bytes(b).ok().map(|it| it.to_bytes())),
            (holdings, |b| Holdings::from_bytes(b).ok().map(|it| it.to_bytes())),
        ];
        for (bytes, again) in &all {
            assert_eq!(again(bytes).as_ref(), Some(bytes));
            (0..bytes.len()).for_each(|length| assert_eq!(again(&bytes[..length]), None));
            assert_eq!(again(&[bytes.as_slice(), &[0]].concat()), None);
            for at in 0..bytes.len() * 8 {
                let mut bytes = bytes.clone();
                bytes[at / 8] ^= 1 << (at % 8);
                assert!(again(&bytes).is_none_or(|again| again == bytes));
            }
        }
    }

    #[test]
    fn a_dealing_counts_in_one_place() {
        let dm = |number| Dm::new(number).unwrap();
        let shape = Shape { key: [7; 32], count: 9 };
        let here = Place { shape, batch: 5, round: 1, from: dm(1), to: dm(2) };
        let text = here.to_text(b"shares");
        assert_eq!(here.shares_in(&text).unwrap().as_slice(), b"shares");
        for other in [
            Place { batch: 6, ..here },
            Place { round: 2, ..here },
            Place { from: dm(3), ..here },
            Place { to: dm(3), ..here },
            Place { shape: Shape { count: 8, ..shape }, ..here },
            Place { shape: Shape { key: [8; 32], ..shape }, ..here },
        ] {
            assert!(other.shares_in(&text).is_none(), "{other:?}");
        }
    }
}
