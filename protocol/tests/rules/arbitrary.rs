//! Arbitrary messages: every kind, every field at any value that its type allows.

use bftkv_protocol::{
    Abandon, Address, Answer, CertificateBytes, CertifiedEntry, Change, ChangeKind,
    CollectiveSignature, ConfigurationDigest, Entry, EntryHash, EntryId, Evidence, Marks, NodeId,
    Objection, Realm, Recalled, Refusal, RepairProgress, Request, Response, SignatureBytes,
    SignatureShare, SignedChange, SignedEntry, SignedTime, Slot, Timestamp, Value, ValueDigest,
    Variable, VersionId, WriterSignature,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::samples::{member_proof, writer_proof};

fn id() -> impl Strategy<Value = NodeId> {
    let v4 = any::<[u8; 20]>().prop_map(|bytes| NodeId::from_bytes(&bytes).unwrap());
    let v6 = any::<[u8; 32]>().prop_map(|bytes| NodeId::from_bytes(&bytes).unwrap());
    prop_oneof![v4, v6]
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![0..300u64, any::<u64>()].prop_map(Timestamp::new)
}

fn variable() -> impl Strategy<Value = Variable> {
    vec(any::<u8>(), 1..=1024).prop_map(|bytes| Variable::new(bytes).unwrap())
}

fn realm() -> impl Strategy<Value = Realm> {
    "[a-z0-9.-]{1,64}".prop_map(|name| Realm::new(name).unwrap())
}

fn owner() -> impl Strategy<Value = Address> {
    "[!-~äß€]{1,80}".prop_map(|address| Address::new(address).unwrap())
}

fn signature() -> impl Strategy<Value = SignatureBytes> {
    vec(any::<u8>(), 1..=1024).prop_map(|bytes| SignatureBytes::new(bytes).unwrap())
}

fn certificate() -> impl Strategy<Value = CertificateBytes> {
    vec(any::<u8>(), 1..2000).prop_map(|bytes| CertificateBytes::new(bytes).unwrap())
}

fn configuration() -> impl Strategy<Value = ConfigurationDigest> {
    any::<[u8; 32]>().prop_map(ConfigurationDigest::from_bytes)
}

fn hash() -> impl Strategy<Value = EntryHash> {
    any::<[u8; 32]>().prop_map(EntryHash::from_bytes)
}

fn entry() -> impl Strategy<Value = Entry> {
    let value = vec(any::<u8>(), 0..3000).prop_map(|bytes| Value::new(bytes).unwrap());
    (realm(), variable(), time(), value, any::<bool>(), id(), owner()).prop_map(
        |(realm, variable, timestamp, value, is_final, writer, owner)| Entry {
            realm,
            variable,
            timestamp,
            value,
            is_final,
            writer,
            owner,
        },
    )
}

fn signed() -> impl Strategy<Value = SignedEntry> {
    (entry(), signature())
        .prop_map(|(entry, s)| SignedEntry { entry, signature: WriterSignature::new(s) })
}

fn share() -> impl Strategy<Value = SignatureShare> {
    (id(), signature()).prop_map(|(signer, signature)| SignatureShare { signer, signature })
}

fn certified() -> impl Strategy<Value = CertifiedEntry> {
    (signed(), configuration(), vec(share(), 0..8)).prop_map(|(signed, digest, shares)| {
        CertifiedEntry { signed, collective: CollectiveSignature::new(digest, shares) }
    })
}

fn boxed() -> impl Strategy<Value = Box<CertifiedEntry>> {
    certified().prop_map(Box::new)
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let answer = (id(), time(), signature()).prop_map(|(signer, seen, signature)| SignedTime {
        signer,
        seen,
        signature,
    });
    (option::of(boxed()), vec(answer, 0..5)).prop_map(|(latest, times)| Evidence { latest, times })
}

fn abandon() -> impl Strategy<Value = Abandon> {
    (realm(), variable(), time(), hash(), id(), owner(), signature()).prop_map(
        |(realm, variable, timestamp, hash, writer, owner, signature)| Abandon {
            realm,
            attempt: EntryId { variable, timestamp, hash },
            writer,
            owner,
            signature,
        },
    )
}

fn slot() -> impl Strategy<Value = Slot> {
    (time(), hash(), id(), owner(), any::<[u8; 32]>(), any::<bool>(), signature()).prop_map(
        |(timestamp, hash, writer, owner, value, is_final, signature)| Slot {
            timestamp,
            hash,
            writer,
            owner,
            value: ValueDigest::from_bytes(value),
            is_final,
            signature: WriterSignature::new(signature),
        },
    )
}

fn recalled() -> impl Strategy<Value = Recalled> {
    let marks = (time(), vec(slot(), 0..3), vec(abandon(), 0..3))
        .prop_map(|(seen, slots, abandons)| Marks { seen, slots, abandons });
    (variable(), marks, option::of(boxed())).prop_map(|(variable, marks, latest)| Recalled {
        variable,
        marks,
        latest,
    })
}

fn version() -> impl Strategy<Value = VersionId> {
    (variable(), time()).prop_map(|(variable, timestamp)| VersionId { variable, timestamp })
}

fn change() -> impl Strategy<Value = Change> {
    let kind = prop_oneof![Just(ChangeKind::Add), Just(ChangeKind::Remove)];
    (id(), kind, option::of(any::<u8>()), any::<bool>())
        .prop_map(|(member, kind, clique, store)| Change { member, kind, clique, store })
}

fn signed_change() -> impl Strategy<Value = SignedChange> {
    (change(), configuration(), vec(share(), 0..8)).prop_map(|(change, predecessor, votes)| {
        SignedChange { change, votes: CollectiveSignature::new(predecessor, votes) }
    })
}

/// Every request. Accusations have no arbitrary form: a proof is made by checking it.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    let proofs = prop_oneof![Just(member_proof()), Just(writer_proof())];
    prop_oneof![
        certificate().prop_map(|certificate| Request::Join { certificate }),
        certificate().prop_map(|certificate| Request::Introduce { certificate }),
        vec(id(), 0..5).prop_map(|ids| Request::Certificates { ids }),
        (variable(), any::<bool>())
            .prop_map(|(variable, evidence)| Request::Time { variable, evidence }),
        (signed(), evidence()).prop_map(|(entry, evidence)| Request::Sign { entry, evidence }),
        certified().prop_map(|entry| Request::Store { entry }),
        (variable(), option::of(time())).prop_map(|(variable, at)| Request::Read { variable, at }),
        (variable(), option::of(time()))
            .prop_map(|(variable, at)| Request::Digest { variable, at }),
        (variable(), option::of(time()), any::<u16>())
            .prop_map(|(variable, below, limit)| Request::Versions { variable, below, limit }),
        (abandon(), evidence())
            .prop_map(|(abandon, evidence)| Request::Abandon { abandon, evidence }),
        variable().prop_map(|variable| Request::Abandoned { variable }),
        proofs.prop_map(|proof| Request::Accuse(Box::new(proof))),
        option::of(id()).prop_map(|after| Request::Revocations { after }),
        any::<u64>().prop_map(|above| Request::Configurations { above }),
        (configuration(), change(), any::<bool>()).prop_map(|(predecessor, change, binding)| {
            Request::Propose { predecessor, change, binding }
        }),
        signed_change().prop_map(|change| Request::Change(Box::new(change))),
        (option::of(version()), any::<u16>())
            .prop_map(|(after, limit)| Request::RecallVersions { after, limit }),
        vec(version(), 0..5).prop_map(|versions| Request::RecallEntries { versions }),
        (boxed(), configuration(), vec(share(), 0..5)).prop_map(|(entry, named, vouches)| {
            Request::Vouch { entry, vouches: CollectiveSignature::new(named, vouches) }
        }),
        any::<bool>().prop_map(|begin| Request::Repair { begin }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        vec(certificate(), 0..4).prop_map(Answer::Certificates),
        (time(), option::of(boxed()), option::of(signature()))
            .prop_map(|(seen, latest, signature)| Answer::Time { seen, latest, signature }),
        share().prop_map(Answer::Share),
        Just(Answer::Done),
        option::of(boxed()).prop_map(Answer::Entry),
        vec(time(), 0..20).prop_map(Answer::Versions),
        vec(abandon(), 0..4).prop_map(Answer::Abandons),
        (vec(recalled(), 0..3), any::<bool>())
            .prop_map(|(variables, more)| Answer::Recalled { variables, more }),
        option::of(share()).prop_map(Answer::Vote),
        (vec(version(), 0..5), any::<bool>())
            .prop_map(|(versions, more)| Answer::RecalledVersions { versions, more }),
        vec(certified(), 0..3).prop_map(Answer::RecalledEntries),
        share().prop_map(Answer::Vouch),
        certified()
            .prop_map(|named| Answer::Digest { timestamp: named.timestamp(), hash: named.hash() }),
        (any::<bool>(), any::<[u64; 4]>()).prop_map(|(done, [checked, repaired, open, alone])| {
            Answer::Repair(RepairProgress { done, checked, repaired, open, alone })
        }),
    ]
}

/// The refusals that carry something; the others are in the vectors.
fn refusal() -> impl Strategy<Value = Refusal> {
    let slots = || vec(slot(), 0..4);
    prop_oneof![
        configuration().prop_map(|ours| Refusal::WrongConfiguration { ours }),
        id().prop_map(Refusal::UnknownWriter),
        id().prop_map(Refusal::Reserved),
        owner().prop_map(|owner| Refusal::NoQuorumCertificate { owner }),
        boxed().prop_map(Refusal::NotOwner),
        boxed().prop_map(Refusal::Sealed),
        time().prop_map(|seen| Refusal::OldTimestamp { seen }),
        time().prop_map(|limit| Refusal::TimestampTooFar { limit }),
        slots().prop_map(Refusal::Outstanding),
        slot().prop_map(|slot| Refusal::OutstandingFinal(Box::new(slot))),
        change().prop_map(|change| Refusal::Objection(Objection::Voted(Box::new(change)))),
        slots().prop_map(Refusal::TooManySlots),
        ".{0,60}".prop_map(Refusal::BadCollectiveSignature),
    ]
}

/// Every response.
pub(crate) fn response() -> impl Strategy<Value = Response> {
    let outcome = prop_oneof![answer().prop_map(Ok), refusal().prop_map(Err)];
    (configuration(), outcome)
        .prop_map(|(configuration, outcome)| Response { configuration, outcome })
}
