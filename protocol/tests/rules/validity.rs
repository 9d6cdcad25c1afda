//! Collective signatures and proofs: counted by distinct full fingerprints in every clique.

use std::collections::BTreeSet;

use bftkv_protocol::{
    CollectiveSignature, EquivocationProof, Group, Invalid, NodeId, ProofError, Purpose,
    SignatureShare, verify_certified,
};
use proptest::prelude::*;

use crate::fixtures::{
    ALICE, CLIQUE, Keys, SECOND, alone, certified, certified_by, entry, forged, node, one_group,
    share, share_statement, sign, sign_by_subkey, signed, two_cliques, two_groups,
};

fn valid(signers: &[u8]) -> Result<(), Invalid> {
    let configuration = two_cliques();
    let entry = certified_by(entry(ALICE, 1, "v"), signers, &configuration);
    verify_certified(&entry, &alone(&configuration), &Keys::default())
}

#[test]
fn just_below_the_quorum_in_one_of_two_cliques() {
    assert_eq!(valid(&[0xa1, 0xa2, 0xa3, 0xb1, 0xb2, 0xb3]), Ok(()));
    let too_few = Err(Invalid::TooFew { have: 2, need: 3, n: 4 });
    assert_eq!(valid(&[0xa1, 0xa2, 0xa3, 0xa4, 0xb1, 0xb2]), too_few);
    assert_eq!(valid(&[0xa1, 0xa2, 0xb1, 0xb2, 0xb3, 0xb4]), too_few);
}

#[test]
fn a_stranger_among_the_signers() {
    let signers = [0xa1, 0xa2, 0xa3, 0xb1, 0xb2, 0xb3, 0xcc];
    assert_eq!(valid(&signers), Err(Invalid::Foreign(node(0xcc))));
}

#[test]
fn a_share_of_one_clique_does_not_count_for_another() {
    let configuration = two_cliques();
    let mut entry =
        certified_by(entry(ALICE, 1, "v"), &[0xa1, 0xa2, 0xa3, 0xb1, 0xb2], &configuration);
    let a4 = share(&entry.signed, 0xa4, &configuration);
    let mut shares = entry.collective.shares().to_vec();
    shares.push(SignatureShare { signer: node(0xb3), ..a4 });
    entry.collective = CollectiveSignature::new(configuration.digest(), shares);
    let result = verify_certified(&entry, &alone(&configuration), &Keys::default());
    assert!(matches!(result, Err(Invalid::Share(_))), "{result:?}");
}

/// A 64-bit key ID is not an identity: two fingerprints may end alike.
#[test]
fn fingerprints_that_end_alike_are_two_nodes() {
    let id = |first: u8| NodeId::from_bytes(&[&[first; 12][..], &[7; 8]].concat()).unwrap();
    let group = Group::new([id(1), id(2)]);
    assert_eq!((group.len(), group.count(&[id(1), id(3)])), (2, 1));
    assert!(!group.contains(&id(3)));
}

/// S with these shares in the place of those of a1, a2, a3.
fn with_shares(shares: Vec<SignatureShare>) -> Result<(), Invalid> {
    let configuration = one_group();
    let mut entry = certified(entry(ALICE, 1, "v"), &configuration);
    entry.collective = CollectiveSignature::new(configuration.digest(), shares);
    verify_certified(&entry, &alone(&configuration), &Keys::default())
}

#[test]
fn a_share_counts_once_and_for_its_signer_only() {
    let configuration = one_group();
    let attempt = signed(entry(ALICE, 1, "v"));
    let of = |signer| share(&attempt, signer, &configuration);
    let have_2 = Err(Invalid::TooFew { have: 2, need: 3, n: 4 });
    assert_eq!(with_shares(vec![of(0xa1), of(0xa2), of(0xa4)]), Ok(()));
    assert_eq!(with_shares(vec![of(0xa1), of(0xa2), of(0xa2)]), have_2, "repeated");
    let renamed = SignatureShare { signer: node(0xa3), ..of(0xa2) };
    let result = with_shares(vec![of(0xa1), of(0xa2), renamed]);
    assert!(matches!(result, Err(Invalid::Share(_))), "another's share under one's own name");
    let bad = SignatureShare { signature: forged(), ..of(0xa4) };
    let result = with_shares(vec![of(0xa1), of(0xa2), of(0xa3), bad]);
    assert!(matches!(result, Err(Invalid::Share(_))), "junk beside a quorum");
}

/// A share is for one entry, one configuration and one purpose.
#[test]
fn a_share_is_worthless_elsewhere() {
    let configuration = one_group();
    let attempt = signed(entry(ALICE, 1, "v"));
    let good = |signer| share(&attempt, signer, &configuration);
    let statement = share_statement(&attempt, &configuration).signed_bytes();
    let signature = sign(&node(0xa3), Purpose::Time, &statement);
    let elsewhere = [
        share(&signed(entry(ALICE, 1, "w")), 0xa3, &configuration),
        share(&signed(entry(ALICE, 2, "v")), 0xa3, &configuration),
        share(&attempt, 0xa3, &two_groups()),
        SignatureShare { signer: node(0xa3), signature },
    ];
    for (at, other) in elsewhere.into_iter().enumerate() {
        let result = with_shares(vec![good(0xa1), good(0xa2), other]);
        assert!(matches!(result, Err(Invalid::Share(_))), "{at}: {result:?}");
    }
}

#[test]
fn a_proof_needs_two_signatures_that_contradict_each_other() {
    let configuration = one_group();
    let side = |t, value, configuration: &_| {
        let entry = signed(entry(ALICE, t, value));
        let signature = share(&entry, 0xa3, configuration).signature;
        (share_statement(&entry, configuration), signature)
    };
    let prove = |guilty, a, b| {
        EquivocationProof::of_shares(node(guilty), a, b, &Keys::default())
            .map(|p| p.guilty().clone())
    };
    let one = || side(1, "one", &configuration);
    assert_eq!(prove(0xa3, one(), side(1, "two", &configuration)), Ok(node(0xa3)));
    let elsewhere = side(1, "two", &two_groups());
    assert_eq!(prove(0xa3, one(), elsewhere), Ok(node(0xa3)), "in two configurations");
    let none = Err(ProofError::NoContradiction);
    assert_eq!(prove(0xa3, one(), one()), none, "the same entry twice");
    assert_eq!(prove(0xa3, one(), side(2, "two", &configuration)), none, "two timestamps");
    let framed = prove(0xa4, one(), side(1, "two", &configuration));
    assert!(matches!(framed, Err(ProofError::Signature(_))), "signed by somebody else");
    let (statement, _) = side(1, "two", &configuration);
    let made_up = prove(0xa3, one(), (statement, forged()));
    assert!(matches!(made_up, Err(ProofError::Signature(_))), "one of them made up");
}

/// A member that lost its memory signs with a fresh key of its certificate.
#[test]
fn a_proof_convicts_one_key() {
    let configuration = one_group();
    let side = |value, sign: fn(&_, _, &[u8]) -> _| {
        let statement = share_statement(&signed(entry(ALICE, 1, value)), &configuration);
        let signature = sign(&node(0xa3), Purpose::Share, &statement.signed_bytes());
        (statement, signature)
    };
    let prove = |a, b| {
        EquivocationProof::of_shares(node(0xa3), a, b, &Keys::default()).map(|p| p.guilty().clone())
    };
    let two = prove(side("one", sign), side("two", sign_by_subkey));
    assert_eq!(two, Err(ProofError::TwoKeys), "before and after it lost its memory");
    let one = prove(side("one", sign_by_subkey), side("two", sign_by_subkey));
    assert_eq!(one, Ok(node(0xa3)));
}

/// Anybody can make keys that sign everything, and other realms have members of their own.
#[test]
fn only_members_of_the_realm_are_convicted_by_shares() {
    let proof = |realm: &str, signer: u8| {
        let side = |value| {
            let mut entry = entry(ALICE, 1, value);
            entry.realm = bftkv_protocol::Realm::new(realm).unwrap();
            let entry = signed(entry);
            let signature = share(&entry, signer, &one_group()).signature;
            (share_statement(&entry, &one_group()), signature)
        };
        let keys = Keys::default();
        EquivocationProof::of_shares(node(signer), side("one"), side("two"), &keys).unwrap()
    };
    let verify = |proof: EquivocationProof| proof.verify(&alone(&one_group()), &Keys::default());
    let own = one_group().realm().clone();
    assert_eq!(verify(proof(own.as_str(), 0xa3)), Ok(()));
    assert_eq!(verify(proof("elsewhere", 0xa3)), Err(ProofError::Realm));
    assert_eq!(verify(proof(own.as_str(), 0xd1)), Err(ProofError::NotMember(node(0xd1))));
}

/// A crash between two attempts leaves two writer signatures over one (x,t): no crime. A member
/// that helped both is a traitor all the same.
#[test]
fn an_entry_that_is_not_certified_convicts_no_writer() {
    let configuration = one_group();
    let keys = Keys::default();
    let convicted = |a: &_, b: &_| -> BTreeSet<_> {
        let proofs = EquivocationProof::of_certified(a, b, &alone(&configuration), &keys);
        proofs.iter().map(|proof| proof.guilty().clone()).collect()
    };
    let one = certified(entry(ALICE, 1, "one"), &configuration);
    let two = certified_by(entry(ALICE, 1, "two"), &[0xa2, 0xa3, 0xa4], &configuration);
    let few = certified_by(entry(ALICE, 1, "two"), &[0xa2, 0xa3], &configuration);
    assert_eq!(convicted(&one, &two), BTreeSet::from([node(0xa2), node(0xa3), ALICE.id()]));
    assert_eq!(convicted(&one, &few), BTreeSet::from([node(0xa2), node(0xa3)]));
    assert!(convicted(&one, &one).is_empty());
    let later = certified(entry(ALICE, 2, "two"), &configuration);
    assert!(convicted(&one, &later).is_empty());
}

proptest! {
    /// Valid exactly when every clique has q distinct members among the signers.
    #[test]
    fn valid_means_a_quorum_of_every_clique(first: [bool; 4], second: [bool; 4]) {
        let chosen = |ids: [u8; 4], flags: [bool; 4]| -> Vec<u8> {
            ids.into_iter().zip(flags).filter_map(|(id, flag)| flag.then_some(id)).collect()
        };
        let (a, b) = (chosen(CLIQUE, first), chosen(SECOND, second));
        let enough = a.len() >= 3 && b.len() >= 3;
        prop_assert_eq!(valid(&[a, b].concat()).is_ok(), enough);
    }
}
