//! Made-up people, nodes, keys and groups.

use std::collections::BTreeSet;
use std::sync::Arc;

use bftkv_protocol::{
    Abandon, Address, Announcement, CertifiedEntry, Change, ChangeStatement, CollectiveSignature,
    Configuration, Configurations, Entry, EntryId, Group, Identities, NodeId, Purpose, Realm,
    ShareStatement, SignatureBytes, SignatureShare, SignedChange, SignedEntry, SignedTime,
    StoreAge, TimeStatement, Timestamp, Value, ValueDigest, Variable, Verify, VerifyError,
    WriterSignature,
};

/// A user or a device: a certificate and the address in its user ID.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person {
    pub(crate) number: u8,
    pub(crate) address: &'static str,
}

/// Owns what the tests write.
pub(crate) const ALICE: Person = Person { number: 0x01, address: "alice@example.org" };
/// Alice's other device: another certificate with the same address.
pub(crate) const ALICE2: Person = Person { number: 0x02, address: "alice@example.org" };
/// Alice's first device under her new address.
pub(crate) const ALICE_MOVED: Person = Person { number: 0x01, address: "alice@example.net" };
/// Somebody else.
pub(crate) const BOB: Person = Person { number: 0x03, address: "bob@example.org" };
/// Nobody certified this one.
pub(crate) const MALLORY: Person = Person { number: 0x04, address: "mallory@example.org" };

impl Person {
    pub(crate) fn id(self) -> NodeId {
        node(self.number)
    }

    pub(crate) fn owner(self) -> Address {
        Address::new(self.address).unwrap()
    }
}

/// The node with this number: a fingerprint of twenty equal bytes.
pub(crate) fn node(number: u8) -> NodeId {
    NodeId::from_bytes(&[number; 20]).unwrap()
}

pub(crate) fn nodes(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<NodeId> {
    numbers.into_iter().map(node).collect()
}

pub(crate) fn realm() -> Realm {
    Realm::new("example").unwrap()
}

pub(crate) fn variable(name: &str) -> Variable {
    Variable::new(name).unwrap()
}

pub(crate) const fn t(number: u64) -> Timestamp {
    Timestamp::new(number)
}

/// The clique a1 to a4.
pub(crate) const CLIQUE: [u8; 4] = [0xa1, 0xa2, 0xa3, 0xa4];
/// The second clique b1 to b4.
pub(crate) const SECOND: [u8; 4] = [0xb1, 0xb2, 0xb3, 0xb4];
/// The store group c1 to c4.
pub(crate) const STORE: [u8; 4] = [0xc1, 0xc2, 0xc3, 0xc4];

/// A configuration of these cliques and this store group.
pub(crate) fn configuration(cliques: &[&[u8]], store: &[u8]) -> Arc<Configuration> {
    let group = |numbers: &[u8]| Group::new(nodes(numbers.iter().copied()));
    let cliques = cliques.iter().map(|numbers| group(numbers)).collect();
    Arc::new(Configuration::new(realm(), 1, cliques, group(store), false).unwrap())
}

/// Only this configuration is known.
pub(crate) fn alone(configuration: &Configuration) -> Arc<Configurations> {
    Arc::new(Configurations::starting_with(configuration.clone()))
}

/// One clique that is the store group too.
pub(crate) fn one_group() -> Arc<Configuration> {
    configuration(&[&CLIQUE], &CLIQUE)
}

/// One clique and another store group.
pub(crate) fn two_groups() -> Arc<Configuration> {
    configuration(&[&CLIQUE], &STORE)
}

/// Two cliques, of which the first is the store group.
pub(crate) fn two_cliques() -> Arc<Configuration> {
    configuration(&[&CLIQUE, &SECOND], &CLIQUE)
}

/// A made-up signature: a digest of signer, purpose and message. Nobody here forges.
pub(crate) fn sign(signer: &NodeId, purpose: Purpose, message: &[u8]) -> SignatureBytes {
    let domain = purpose.domain().as_str().as_bytes();
    let mut digest = *ValueDigest::of(&[signer.as_bytes(), domain, message].concat()).as_bytes();
    // As in a packet, the first byte is never the mark of a signature over a root.
    if digest[0] == 0x42 {
        digest[0] = 0xc2;
    }
    SignatureBytes::new(digest).unwrap()
}

/// The same, made with a subkey of the certificate.
pub(crate) fn sign_by_subkey(signer: &NodeId, purpose: Purpose, message: &[u8]) -> SignatureBytes {
    let by_primary = sign(signer, purpose, message);
    SignatureBytes::new([by_primary.as_bytes(), SUBKEY].concat()).unwrap()
}

/// How signatures by a subkey end.
const SUBKEY: &[u8] = b"subkey";

/// What a forger sends.
pub(crate) fn forged() -> SignatureBytes {
    SignatureBytes::new(*b"forged").unwrap()
}

/// Checks made-up signatures. The certificates in the set are not known.
#[derive(Debug, Default)]
pub(crate) struct Keys(pub(crate) BTreeSet<NodeId>);

impl Verify for Keys {
    fn verify_packet(
        &self,
        signer: &NodeId,
        purpose: Purpose,
        message: &[u8],
        signature: &SignatureBytes,
    ) -> Result<(), VerifyError> {
        if self.0.contains(signer) {
            return Err(VerifyError::UnknownCertificate(signer.clone()));
        }
        let made = [sign(signer, purpose, message), sign_by_subkey(signer, purpose, message)];
        if made.contains(signature) {
            return Ok(());
        }
        Err(VerifyError::Bad { signer: signer.clone(), reason: "made up".into() })
    }

    fn packet_made_by(&self, signer: &NodeId, signature: &SignatureBytes) -> Option<NodeId> {
        let by_subkey = signature.as_bytes().ends_with(SUBKEY);
        Some(if by_subkey { node(0xee) } else { signer.clone() })
    }
}

/// Alice (both devices and addresses) and Bob have quorum certificates.
#[derive(Debug)]
pub(crate) struct People;

impl Identities for People {
    fn has_quorum_certificate(&self, writer: &NodeId, address: &Address) -> bool {
        let certified = |p: &Person| p.id() == *writer && p.owner() == *address;
        [ALICE, ALICE2, ALICE_MOVED, BOB].iter().any(certified)
    }

    fn is_known(&self, _: &NodeId) -> bool {
        true
    }
}

/// <x,t,v> for the variable "x".
pub(crate) fn entry(writer: Person, t: u64, value: &str) -> Entry {
    Entry {
        realm: realm(),
        variable: variable("x"),
        timestamp: Timestamp::new(t),
        value: Value::new(value).unwrap(),
        is_final: false,
        writer: writer.id(),
        owner: writer.owner(),
    }
}

/// The same entry with the `Final` mark.
pub(crate) fn final_entry(writer: Person, t: u64, value: &str) -> Entry {
    Entry { is_final: true, ..entry(writer, t, value) }
}

/// Signs an entry as its writer.
pub(crate) fn signed(entry: Entry) -> SignedEntry {
    let signature = sign(&entry.writer, Purpose::Entry, &entry.signed_bytes());
    SignedEntry { entry, signature: WriterSignature::new(signature) }
}

/// What members sign for an entry.
pub(crate) fn share_statement(
    entry: &SignedEntry,
    configuration: &Configuration,
) -> ShareStatement {
    ShareStatement {
        realm: entry.entry.realm.clone(),
        configuration: configuration.digest(),
        variable: entry.entry.variable.clone(),
        timestamp: entry.entry.timestamp,
        entry: entry.hash(),
    }
}

/// One member's share.
pub(crate) fn share(
    entry: &SignedEntry,
    signer: u8,
    configuration: &Configuration,
) -> SignatureShare {
    let statement = share_statement(entry, configuration).signed_bytes();
    let signer = node(signer);
    SignatureShare { signature: sign(&signer, Purpose::Share, &statement), signer }
}

/// An entry with the shares of exactly these members.
pub(crate) fn certified_by(
    entry: Entry,
    signers: &[u8],
    configuration: &Configuration,
) -> CertifiedEntry {
    let signed = signed(entry);
    let shares = signers.iter().map(|id| share(&signed, *id, configuration)).collect();
    CertifiedEntry { collective: CollectiveSignature::new(configuration.digest(), shares), signed }
}

/// An entry that a quorum of the first clique has certified: a1, a2, a3.
pub(crate) fn certified(entry: Entry, configuration: &Configuration) -> CertifiedEntry {
    certified_by(entry, &CLIQUE[..3], configuration)
}

/// A change of `predecessor` with the votes of exactly these members.
pub(crate) fn voted(predecessor: &Configuration, change: Change, voters: &[u8]) -> SignedChange {
    let successor = change.apply(predecessor, true).unwrap();
    let statement = ChangeStatement::of(predecessor, &successor).signed_bytes();
    let vote = |voter: &u8| {
        let signer = node(*voter);
        SignatureShare { signature: sign(&signer, Purpose::Change, &statement), signer }
    };
    let votes = voters.iter().map(vote).collect();
    SignedChange { change, votes: CollectiveSignature::new(predecessor.digest(), votes) }
}

/// The writer's word that it gave an attempt up.
pub(crate) fn abandon(writer: Person, attempt: EntryId) -> Abandon {
    let bytes = Abandon::statement(&realm(), &attempt, &writer.id(), &writer.owner());
    let signature = sign(&writer.id(), Purpose::Abandon, &bytes);
    Abandon { realm: realm(), attempt, writer: writer.id(), owner: writer.owner(), signature }
}

/// A member's signed time answer for the variable "x".
pub(crate) fn signed_time(signer: u8, seen: u64, configuration: &Configuration) -> SignedTime {
    let statement = TimeStatement {
        realm: realm(),
        configuration: configuration.digest(),
        variable: variable("x"),
        seen: t(seen),
    };
    let signature = sign(&node(signer), Purpose::Time, &statement.signed_bytes());
    SignedTime { signer: node(signer), seen: t(seen), signature }
}

/// A node's word on its memory.
pub(crate) fn announced(number: u8, epoch: u64, age: StoreAge, session: u8) -> Announcement {
    let (node, session) = (node(number), [session; 16]);
    let bytes = Announcement::statement(&realm(), &node, epoch, &age, &session);
    let signature = sign(&node, Purpose::Announcement, &bytes);
    Announcement { realm: realm(), node, epoch, age, session, signature }
}
