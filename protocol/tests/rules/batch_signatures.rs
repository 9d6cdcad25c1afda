//! One signature over many messages: what it says of each, and of nothing else.

use std::collections::BTreeSet;

use bftkv_protocol::{
    CertifiedEntry, CollectiveSignature, Configurations, EquivocationProof, MAX_BATCH, ProofError,
    Purpose, ShareStatement, SignatureBytes, SignatureShare, SignedEntry, Verify, VerifyError,
    WriterSignature, decode, encode, sign_batch, verify_certified, verify_writer,
};

use crate::fixtures::{
    ALICE, BOB, CLIQUE, Keys, Person, entry, node, one_group, realm, share_statement, sign,
    sign_by_subkey, variable,
};

fn batch(purpose: Purpose, signer: u8, messages: &[Vec<u8>]) -> Vec<SignatureBytes> {
    let by = |purpose: Purpose, message: &[u8]| Ok::<_, ()>(sign(&node(signer), purpose, message));
    sign_batch(purpose, messages, by).unwrap()
}

/// `count` entries of one writer under one root.
fn entries(writer: Person, count: usize) -> Vec<SignedEntry> {
    let entries: Vec<_> = (0..count)
        .map(|n| {
            let mut made = entry(writer, 1, "v");
            made.variable = variable(&format!("x{n}"));
            made
        })
        .collect();
    let messages: Vec<Vec<u8>> = entries.iter().map(|entry| entry.signed_bytes()).collect();
    let by = |purpose: Purpose, m: &[u8]| Ok::<_, ()>(sign(&writer.id(), purpose, m));
    let signatures = sign_batch(Purpose::Entry, &messages, by).unwrap();
    let pairs = entries.into_iter().zip(signatures);
    pairs
        .map(|(entry, signature)| SignedEntry { entry, signature: WriterSignature::new(signature) })
        .collect()
}

#[test]
fn a_batched_signature_is_good_for_its_own_entry_only() {
    for count in [2, 3, 5, 64, MAX_BATCH] {
        let all = entries(ALICE, count);
        for (index, one) in all.iter().enumerate() {
            assert!(one.signature.packet().is_batched());
            assert_eq!(
                verify_writer(one, &realm(), &Keys::default()),
                Ok(()),
                "{index} of {count}"
            );
            let next = &all[(index + 1) % count];
            let mixed = SignedEntry { entry: next.entry.clone(), ..one.clone() };
            assert!(verify_writer(&mixed, &realm(), &Keys::default()).is_err());
            let mut stolen = one.clone();
            stolen.entry.writer = BOB.id();
            assert!(verify_writer(&stolen, &realm(), &Keys::default()).is_err());
        }
    }
}

#[test]
fn one_message_and_more_than_a_batch() {
    let alone = entries(ALICE, 1);
    assert!(!alone[0].signature.packet().is_batched());
    let many = entries(ALICE, MAX_BATCH + 1);
    assert_eq!(many.iter().filter(|e| !e.signature.packet().is_batched()).count(), 1);
    assert!(many.iter().all(|e| verify_writer(e, &realm(), &Keys::default()).is_ok()));
}

/// An entry's name covers its signature, so nobody but its writer may be able to give it another.
#[test]
fn no_bit_of_a_batched_signature_can_be_changed() {
    let all = entries(ALICE, 7);
    for one in &all {
        let bytes = one.signature.packet().as_bytes();
        for place in 0..bytes.len() * 8 {
            let mut changed = bytes.to_vec();
            changed[place / 8] ^= 1 << (place % 8);
            let signature = WriterSignature::new(SignatureBytes::new(changed).unwrap());
            let changed = SignedEntry { entry: one.entry.clone(), signature };
            assert!(verify_writer(&changed, &realm(), &Keys::default()).is_err(), "bit {place}");
        }
        for length in 1..bytes.len() {
            let signature = WriterSignature::new(SignatureBytes::new(&bytes[..length]).unwrap());
            let cut = SignedEntry { entry: one.entry.clone(), signature };
            assert!(verify_writer(&cut, &realm(), &Keys::default()).is_err(), "{length} bytes");
        }
    }
}

#[test]
fn a_root_over_entries_is_no_root_over_shares_and_no_signature_by_itself() {
    let one = entries(ALICE, 4).remove(0);
    let (message, signature) = (one.entry.signed_bytes(), one.signature.packet());
    let keys = Keys::default();
    for purpose in [Purpose::Share, Purpose::Vouch, Purpose::Time, Purpose::Abandon] {
        assert!(keys.verify(&ALICE.id(), purpose, &message, signature).is_err(), "{purpose:?}");
    }
    let inside = signature.detach(Purpose::Entry, &message).unwrap();
    assert_eq!(inside.purpose, Purpose::Batch);
    assert!(keys.verify(&ALICE.id(), Purpose::Entry, &message, &inside.packet).is_err());
    assert!(keys.verify(&ALICE.id(), Purpose::Entry, &inside.message, &inside.packet).is_err());
}

/// Vouches, times and abandons are signed one by one, whatever somebody puts under a root.
#[test]
fn only_entries_and_shares_are_signed_in_batches() {
    let messages = |domain: &str| -> Vec<Vec<u8>> {
        let field = |text: &str| [&(text.len() as u64).to_be_bytes(), text.as_bytes()].concat();
        (0..4).map(|n| [field(domain), field("example"), field(&n.to_string())].concat()).collect()
    };
    for purpose in [Purpose::Vouch, Purpose::Time, Purpose::Abandon, Purpose::Change] {
        let messages = messages(purpose.domain().as_str());
        let signatures = batch(purpose, 1, &messages);
        assert!(signatures.iter().all(|signature| !signature.is_batched()), "{purpose:?}");
    }
    let shares = batch(Purpose::Share, 1, &messages("bftkv 1 share"));
    assert!(shares.iter().all(SignatureBytes::is_batched));
    let of_two_realms =
        [messages("bftkv 1 share"), vec![share_of("x", 1, 1).signed_bytes()]].concat();
    let mut other = of_two_realms;
    other[0] =
        [&13_u64.to_be_bytes(), b"bftkv 1 share".as_slice(), &[0, 0, 0, 0, 0, 0, 0, 1, b'q']]
            .concat();
    assert!(batch(Purpose::Share, 1, &other).iter().all(|signature| !signature.is_batched()));
}

/// What a member states of a made-up entry.
fn share_of(name: &str, at: u64, which: u8) -> ShareStatement {
    let mut made = entry(ALICE, at, &format!("v{which}"));
    made.variable = variable(name);
    let signature = WriterSignature::new(sign(&ALICE.id(), Purpose::Entry, &made.signed_bytes()));
    share_statement(&SignedEntry { entry: made, signature }, &one_group())
}

fn shares_of(member: u8, statements: &[ShareStatement]) -> Vec<(ShareStatement, SignatureBytes)> {
    let messages: Vec<Vec<u8>> = statements.iter().map(ShareStatement::signed_bytes).collect();
    statements.iter().cloned().zip(batch(Purpose::Share, member, &messages)).collect()
}

#[test]
fn two_roots_convict_whoever_put_two_entries_under_them() {
    let keys = Keys::default();
    let known = Configurations::starting_with((*one_group()).clone());
    let guilty = node(CLIQUE[0]);
    let mut first = shares_of(CLIQUE[0], &[share_of("x", 1, 1), share_of("y", 1, 1)]);
    let mut second = shares_of(CLIQUE[0], &[share_of("z", 1, 1), share_of("x", 1, 2)]);
    let (a, b) = (first.remove(0), second.remove(1));
    let proof = EquivocationProof::of_shares(guilty.clone(), a.clone(), b.clone(), &keys).unwrap();
    assert_eq!(*proof.guilty(), guilty);
    assert_eq!(proof.verify(&known, &keys), Ok(()));
    let again: EquivocationProof = decode(&encode(&proof)).unwrap();
    assert_eq!(again.verify(&known, &keys), Ok(()));
    // What an OpenPGP program is shown is the root.
    assert!(proof.signatures().iter().all(|one| one.purpose == Purpose::Batch
        && keys.verify_packet(&guilty, one.purpose, &one.message, &one.packet).is_ok()));
    // Also with a plain share, and with two leaves of one root.
    let plain = share_of("x", 1, 2);
    let signature = sign(&guilty, Purpose::Share, &plain.signed_bytes());
    assert!(EquivocationProof::of_shares(guilty.clone(), a, (plain, signature), &keys).is_ok());
    let mut one_root = shares_of(CLIQUE[0], &[share_of("x", 1, 1), share_of("x", 1, 2)]);
    let (a, b) = (one_root.remove(0), one_root.remove(0));
    assert!(EquivocationProof::of_shares(guilty, a, b, &keys).is_ok());
}

#[test]
fn nobody_is_convicted_by_leaves_that_do_not_contradict_or_are_not_his() {
    let keys = Keys::default();
    let member = node(CLIQUE[0]);
    let shares = shares_of(
        CLIQUE[0],
        &[share_of("x", 1, 1), share_of("x", 2, 2), share_of("y", 1, 1), share_of("x", 1, 1)],
    );
    for one in &shares {
        for other in &shares {
            let proof =
                EquivocationProof::of_shares(member.clone(), one.clone(), other.clone(), &keys);
            assert_eq!(proof, Err(ProofError::NoContradiction));
        }
    }
    // A path that belongs to another statement proves nothing.
    let forged = (share_of("x", 1, 2), shares[0].1.clone());
    let proof = EquivocationProof::of_shares(member, shares[0].clone(), forged, &keys);
    assert!(matches!(proof, Err(ProofError::Signature(VerifyError::Bad { .. }))));
}

/// Conviction is per key, also behind a path.
#[test]
fn two_keys_of_one_certificate_convict_nobody_under_roots_either() {
    let keys = Keys::default();
    let member = node(CLIQUE[0]);
    let first = shares_of(CLIQUE[0], &[share_of("x", 1, 1), share_of("y", 1, 1)]);
    let statements = [share_of("x", 1, 2), share_of("z", 1, 1)];
    let messages: Vec<Vec<u8>> = statements.iter().map(ShareStatement::signed_bytes).collect();
    let by = |purpose: Purpose, m: &[u8]| Ok::<_, ()>(sign_by_subkey(&member, purpose, m));
    let signature = sign_batch(Purpose::Share, &messages, by).unwrap().remove(0);
    assert!(keys.verify(&member, Purpose::Share, &messages[0], &signature).is_ok());
    let second = (statements[0].clone(), signature);
    let proof = EquivocationProof::of_shares(member.clone(), first[0].clone(), second, &keys);
    assert_eq!(proof, Err(ProofError::TwoKeys));
}

#[test]
fn entries_are_certified_by_shares_under_roots_and_distinct_signers_count() {
    let known = Configurations::starting_with((*one_group()).clone());
    let signed = entries(ALICE, 3);
    let statements: Vec<ShareStatement> =
        signed.iter().map(|one| share_statement(one, &one_group())).collect();
    let certified = |signers: &[u8], index: usize| {
        let shares = signers.iter().map(|signer| SignatureShare {
            signer: node(*signer),
            signature: shares_of(*signer, &statements).remove(index).1,
        });
        CertifiedEntry {
            signed: signed[index].clone(),
            collective: CollectiveSignature::new(one_group().digest(), shares.collect()),
        }
    };
    for index in 0..3 {
        let keys = Keys::default();
        assert_eq!(verify_certified(&certified(&CLIQUE[..3], index), &known, &keys), Ok(()));
        assert!(verify_certified(&certified(&CLIQUE[..2], index), &known, &keys).is_err());
        let encoded = encode(&certified(&CLIQUE[..3], index));
        let decoded: CertifiedEntry = decode(&encoded).unwrap();
        assert_eq!(verify_certified(&decoded, &known, &keys), Ok(()));
    }
    let unknown = Keys(BTreeSet::from([node(CLIQUE[1])]));
    let invalid = verify_certified(&certified(&CLIQUE[..3], 0), &known, &unknown).unwrap_err();
    assert_eq!(invalid.missing_certificate(), Some(&node(CLIQUE[1])));
}
