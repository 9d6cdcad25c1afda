//! With a memory of trees every signature is judged as it is without one.

use std::cell::{Cell, RefCell};
use std::num::NonZeroUsize;

use bftkv_protocol::{
    LendTrees, NodeId, Purpose, SignatureBytes, TreeMemory, ValueDigest, Verify, VerifyError,
    sign_batch, verify_in_tree,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use crate::fixtures::{ALICE, BOB, CAROL, entry, sign, variable};

/// A memory that one thread lends.
struct Memory(RefCell<TreeMemory>);

impl LendTrees for Memory {
    fn lend<T>(&self, work: impl FnOnce(&mut TreeMemory) -> T) -> T {
        work(&mut self.0.borrow_mut())
    }
}

impl Memory {
    fn new(most: usize) -> Self {
        Self(RefCell::new(TreeMemory::new(NonZeroUsize::new(most).unwrap())))
    }
}

fn message(batch: u8, n: usize) -> Vec<u8> {
    let mut made = entry(ALICE, 1, "v");
    made.variable = variable(&format!("{batch}/{n}"));
    made.signed_bytes()
}

/// A message and its signature, for each leaf of a batch.
fn batch(number: u8, count: usize) -> Vec<(Vec<u8>, SignatureBytes)> {
    let messages: Vec<Vec<u8>> = (0..count).map(|n| message(number, n)).collect();
    let by = |purpose: Purpose, m: &[u8]| Ok::<_, ()>(packet(&ALICE.id(), purpose, m));
    let signatures = sign_batch(Purpose::Entry, &messages, by).unwrap();
    messages.into_iter().zip(signatures).collect()
}

/// What is asked: about a leaf of a batch, tampered with or not.
#[derive(Debug, Clone)]
struct Question {
    batch: prop::sample::Index,
    leaf: prop::sample::Index,
    tampering: Tampering,
}

#[derive(Debug, Clone)]
enum Tampering {
    No,
    /// One bit of the signature: of the place, the count, the path or the packet.
    Bit(prop::sample::Index),
    /// Shorter or longer by so many bytes.
    Length(i8),
    /// The path and place of another leaf.
    OtherLeaf(prop::sample::Index),
    /// The first hashes of the path of another leaf, then its own.
    Mixed(prop::sample::Index),
    /// The packet of another batch.
    OtherPacket(prop::sample::Index),
    /// Another size.
    OtherCount(u8),
    OtherSigner,
    UnknownSigner,
    OtherPurpose,
}

fn tampering() -> impl Strategy<Value = Tampering> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => Just(Tampering::No),
        4 => index().prop_map(Tampering::Bit),
        1 => (-40_i8..40).prop_map(Tampering::Length),
        2 => index().prop_map(Tampering::OtherLeaf),
        2 => index().prop_map(Tampering::Mixed),
        1 => index().prop_map(Tampering::OtherPacket),
        1 => any::<u8>().prop_map(Tampering::OtherCount),
        1 => Just(Tampering::OtherSigner),
        1 => Just(Tampering::UnknownSigner),
        1 => Just(Tampering::OtherPurpose),
    ]
}

/// Signer, purpose, message, signature.
type Asked = (NodeId, Purpose, Vec<u8>, SignatureBytes);

const HEAD: usize = 3;
const PACKET: usize = 32 + BEGINNING.len();

fn asked(question: &Question, batches: &[Vec<(Vec<u8>, SignatureBytes)>]) -> Asked {
    let own = question.batch.get(batches);
    let (message, signature) = question.leaf.get(own);
    let (mut signer, mut purpose) = (ALICE.id(), Purpose::Entry);
    let mut bytes = signature.as_bytes().to_vec();
    let end = bytes.len();
    match &question.tampering {
        Tampering::No => {}
        Tampering::Bit(at) => {
            let at = at.index(end * 8);
            bytes[at / 8] ^= 1 << (at % 8);
        }
        Tampering::Length(by) if *by < 0 => {
            bytes.truncate(end.saturating_sub(usize::from(by.unsigned_abs())).max(1));
        }
        Tampering::Length(by) => bytes.extend(std::iter::repeat_n(9, usize::from(*by as u8))),
        Tampering::OtherLeaf(other) => bytes = other.get(own).1.as_bytes().to_vec(),
        Tampering::Mixed(other) => {
            let other = other.get(own).1.as_bytes();
            let path = (end - PACKET).min(other.len() - PACKET);
            let half = HEAD + (path - HEAD) / 64 * 32;
            bytes[HEAD..half].copy_from_slice(&other[HEAD..half]);
        }
        Tampering::OtherPacket(other) => {
            let packet = other.get(batches)[0].1.as_bytes();
            bytes[end - PACKET..].copy_from_slice(&packet[packet.len() - PACKET..]);
        }
        Tampering::OtherCount(count) => bytes[2] = *count,
        Tampering::OtherSigner => signer = BOB.id(),
        Tampering::UnknownSigner => signer = CAROL.id(),
        Tampering::OtherPurpose => purpose = Purpose::Share,
    }
    (signer, purpose, message.clone(), SignatureBytes::new(bytes).unwrap())
}

/// Trees are found by the end of their packets; what packets begin with counts as well.
const BEGINNING: &[u8] = &[0xc2, 0x5e, 4, 0];

fn packet(signer: &NodeId, purpose: Purpose, message: &[u8]) -> SignatureBytes {
    let digest = sign(signer, purpose, message);
    SignatureBytes::new([BEGINNING, digest.as_bytes()].concat()).unwrap()
}

/// Checks those. Carol's certificate is not known.
struct Packets;

impl Verify for Packets {
    fn verify_packet(
        &self,
        signer: &NodeId,
        purpose: Purpose,
        message: &[u8],
        signature: &SignatureBytes,
    ) -> Result<(), VerifyError> {
        if !is_known(signer) {
            return Err(VerifyError::UnknownCertificate(signer.clone()));
        }
        let bad = VerifyError::Bad { signer: signer.clone(), reason: "made up".into() };
        (*signature == packet(signer, purpose, message)).then_some(()).ok_or(bad)
    }
}

fn is_known(signer: &NodeId) -> bool {
    *signer != CAROL.id()
}

fn judged_alike(memory: &Memory, asked: &Asked) -> TestCaseResult {
    let (signer, purpose, message, signature) = asked;
    let with = verify_in_tree(memory, &Packets, is_known, (signer, *purpose), message, signature);
    prop_assert_eq!(with, Packets.verify(signer, *purpose, message, signature));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_memory_changes_no_answer(
        sizes in prop::collection::vec(2_usize..=256, 1..5),
        most in 1_usize..4,
        questions in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), tampering()),
            1..120,
        ),
    ) {
        let numbered = sizes.iter().zip(0_u8..);
        let batches: Vec<_> = numbered.map(|(size, number)| batch(number, *size)).collect();
        let memory = Memory::new(most);
        for (batch, leaf, tampering) in questions {
            judged_alike(&memory, &asked(&Question { batch, leaf, tampering }, &batches))?;
        }
        // Whatever was asked before, what is right is still right.
        for own in &batches {
            for (message, signature) in own {
                judged_alike(&memory, &(ALICE.id(), Purpose::Entry, message.clone(), signature.clone()))?;
            }
        }
    }
}

/// Every bit of every signature of a batch whose whole tree is known.
#[test]
fn no_bit_can_be_changed_although_all_is_known() {
    let own = batch(0, 11);
    let memory = Memory::new(1);
    let judge = |message: &[u8], signature: &SignatureBytes| {
        verify_in_tree(
            &memory,
            &Packets,
            is_known,
            (&ALICE.id(), Purpose::Entry),
            message,
            signature,
        )
    };
    assert!(own.iter().all(|(message, signature)| judge(message, signature).is_ok()));
    for (message, signature) in &own {
        for at in 0..signature.as_bytes().len() * 8 {
            let mut bytes = signature.as_bytes().to_vec();
            bytes[at / 8] ^= 1 << (at % 8);
            let changed = SignatureBytes::new(bytes).unwrap();
            assert!(judge(message, &changed).is_err(), "bit {at}");
        }
    }
    assert!(own.iter().all(|(message, signature)| judge(message, signature).is_ok()));
}

/// Counts how often it is asked, and says no until it is told to say yes.
#[derive(Default)]
struct Asking {
    says_yes: Cell<bool>,
    times: Cell<u32>,
}

impl Verify for Asking {
    fn verify_packet(
        &self,
        signer: &NodeId,
        _: Purpose,
        _: &[u8],
        _: &SignatureBytes,
    ) -> Result<(), VerifyError> {
        self.times.set(self.times.get() + 1);
        let no = VerifyError::Bad { signer: signer.clone(), reason: "not yet".into() };
        self.says_yes.get().then_some(()).ok_or(no)
    }
}

#[test]
fn nothing_is_believed_before_the_root_is_and_then_the_keys_are_asked_once() {
    let (own, memory, asking) = (batch(0, 64), Memory::new(1), Asking::default());
    let judge = |known: bool, (message, signature): &(Vec<u8>, SignatureBytes)| {
        verify_in_tree(
            &memory,
            &asking,
            |_| known,
            (&ALICE.id(), Purpose::Entry),
            message,
            signature,
        )
    };
    assert!(own.iter().all(|one| judge(true, one).is_err()));
    assert_eq!(asking.times.get(), 64);
    asking.says_yes.set(true);
    assert!(own.iter().all(|one| judge(true, one).is_ok()));
    assert_eq!(asking.times.get(), 65);
    // Whose certificate was forgotten meanwhile is asked for it.
    let forgotten = Err(VerifyError::UnknownCertificate(ALICE.id()));
    assert_eq!(judge(false, &own[3]), forgotten);
    assert_eq!(asking.times.get(), 65);
}

fn field(bytes: &[u8]) -> Vec<u8> {
    [(bytes.len() as u64).to_be_bytes().as_slice(), bytes].concat()
}

/// A dishonest signer puts leaves of two purposes and realms under one root, and says of it that it
/// is over entries of one realm.
#[test]
fn a_known_tree_is_of_one_purpose_and_realm() {
    let of = |domain: &str, realm: &str| -> Vec<u8> {
        [field(domain.as_bytes()), field(realm.as_bytes()), field(b"x")].concat()
    };
    let own = of("bftkv 1 entry", "r");
    for (purpose, other) in
        [(Purpose::Share, of("bftkv 1 share", "r")), (Purpose::Entry, of("bftkv 1 entry", "q"))]
    {
        let hash = |parts: &[&[u8]]| *ValueDigest::of(&parts.concat()).as_bytes();
        let leaves = [&own, &other].map(|message| hash(&[&[0], message]));
        let root = hash(&[&[1], &leaves[0], &leaves[1]]);
        let (domain, count) = (b"bftkv 1 entry", 2_u64.to_be_bytes());
        let fields: [&[u8]; 5] = [b"bftkv 1 batch", b"r", domain, &count, &root];
        let packet = packet(&ALICE.id(), Purpose::Batch, &fields.map(field).concat());
        let signature = |index: u8, beside: &[u8]| {
            let bytes = [&[0x42, index, 1], beside, packet.as_bytes()].concat();
            SignatureBytes::new(bytes).unwrap()
        };
        let memory = Memory::new(1);
        let judge = |purpose, message: &[u8], signature: &SignatureBytes| {
            verify_in_tree(&memory, &Packets, is_known, (&ALICE.id(), purpose), message, signature)
        };
        assert_eq!(judge(Purpose::Entry, &own, &signature(0, &leaves[1])), Ok(()));
        assert!(judge(purpose, &other, &signature(1, &leaves[0])).is_err(), "{purpose:?}");
    }
}
