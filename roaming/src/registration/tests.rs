//! Registration and recovery, by members who see each other's work only in what is certified.

use std::collections::BTreeSet;

use bftkv_protocol::{
    Address, CertifiedEntry, CollectiveSignature, Configuration, Entry, Group, LoginProof,
    LoginPurpose, NodeId, Nonce, Realm, RecordId, SignatureBytes, SignedEntry, Timestamp, Value,
    Variable, WriterSignature,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::{
    Applicant, ByPassword, CLAIM_SECONDS, Facts, IdentityCheck, MAX_RIVALS, MAX_WAITING, Mode,
    Refused, Registrar, Verdict,
};
use crate::{Enrolled, Password, Plan, Protected, Record, Rule, Stretching, prove, verify};

const NOW: u64 = 1_800_000_000;

fn id(number: u8) -> NodeId {
    NodeId::from_bytes(&[number; 20]).unwrap()
}

fn address() -> Address {
    Address::new("alice@example.org").unwrap()
}

fn applicant(number: u8) -> Applicant {
    Applicant { certificate: id(number), address: address() }
}

fn realm() -> Realm {
    Realm::new("test").unwrap()
}

fn enrol(variable: Variable, epoch: u64, password: &str) -> Enrolled {
    let plan = Plan {
        realm: realm(),
        variable,
        epoch,
        nodes: (0xa1..=0xa4).map(id).collect(),
        rule: Rule::Majority,
        stretching: Stretching::LEAST,
    };
    let mut rng = ChaCha20Rng::seed_from_u64(epoch);
    Record::enrol(plan, &Password::new(password).unwrap(), &mut rng).unwrap()
}

fn alices() -> Enrolled {
    enrol(Variable::of_user(&address()).unwrap(), 1, "correct horse")
}

fn value(enrolled: &Enrolled) -> Value {
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let sealed = Protected::seal(&enrolled.record, &enrolled.keys, 1, b"", &mut rng);
    sealed.unwrap().to_value().unwrap()
}

/// What the members have certified. They check signatures elsewhere.
fn certified(entry: Entry) -> CertifiedEntry {
    let nothing = || SignatureBytes::new([1]).unwrap();
    let clique = Group::new((0xa1..=0xa4).map(id));
    let configuration =
        Configuration::new(realm(), 0, vec![clique.clone()], clique, false).unwrap();
    let signed = SignedEntry { entry, signature: WriterSignature::new(nothing()) };
    CertifiedEntry {
        signed,
        collective: CollectiveSignature::new(configuration.digest(), Vec::new()),
    }
}

fn claim_of(writer: u8, value: Value) -> Entry {
    Entry {
        realm: realm(),
        variable: Variable::of_user(&address()).unwrap(),
        timestamp: Timestamp::new(1),
        value,
        is_final: false,
        writer: id(writer),
        owner: Address::of_applicant(&id(writer)).unwrap(),
    }
}

fn nobody() -> BTreeSet<NodeId> {
    BTreeSet::new()
}

fn facts<'a>(
    certified: &'a BTreeSet<NodeId>,
    latest: Option<&'a CertifiedEntry>,
    now: u64,
) -> Facts<'a> {
    Facts { certified, proofs: &[], latest, now }
}

fn open() -> Registrar {
    Registrar::new(Mode::Open, 0)
}

fn claims(
    member: &mut Registrar,
    who: u8,
    latest: Option<&CertifiedEntry>,
    now: u64,
) -> Result<(), Refused> {
    let nobody = nobody();
    member.claim(&applicant(who), true, &ByPassword, &facts(&nobody, latest, now))
}

#[test]
fn whoever_comes_first_keeps_others_out_until_its_claim_is_stale() {
    let mut member = open();
    assert_eq!(claims(&mut member, 1, None, NOW), Ok(()));
    assert_eq!(claims(&mut member, 1, None, NOW + 1), Ok(()), "again");
    assert_eq!(claims(&mut member, 2, None, NOW + CLAIM_SECONDS), Err(Refused::Taken));
    assert_eq!(claims(&mut member, 2, None, NOW + 1 + CLAIM_SECONDS), Ok(()));
    assert_eq!(claims(&mut member, 1, None, NOW + 1 + CLAIM_SECONDS), Err(Refused::Taken));
}

#[test]
fn a_user_id_that_is_certified_or_has_a_record_is_taken_for_ever() {
    let known = BTreeSet::from([id(7)]);
    let taken = open().claim(&applicant(1), true, &ByPassword, &facts(&known, None, NOW));
    assert_eq!(taken, Err(Refused::Taken));
    let latest = certified(claim_of(2, value(&alices())));
    assert_eq!(claims(&mut open(), 1, Some(&latest), NOW), Err(Refused::Taken));
    assert_eq!(claims(&mut open(), 2, Some(&latest), NOW), Ok(()), "her own, once more");
}

#[test]
fn a_claim_needs_a_share() {
    let (nobody, mut member) = (nobody(), open());
    let facts = facts(&nobody, None, NOW);
    let refused = member.claim(&applicant(1), false, &ByPassword, &facts);
    assert_eq!(refused, Err(Refused::NoShare));
    assert_eq!(member, open(), "and keeps nobody out");
}

#[test]
fn a_member_vouches_only_on_seeing_the_certified_record() {
    let (alice, nobody) = (alices(), nobody());
    let vouches = |latest: Option<&CertifiedEntry>| {
        let mut member = open();
        claims(&mut member, 1, None, NOW).unwrap();
        member.certify(&applicant(1), &ByPassword, &facts(&nobody, latest, NOW))
    };
    let claim = claim_of(1, value(&alice));
    assert_eq!(vouches(Some(&certified(claim.clone()))), Ok(()));
    let of_another = claim_of(2, value(&alice));
    let as_owner = Entry { owner: address(), ..claim.clone() };
    let no_record = claim_of(1, Value::new("no record").unwrap());
    let borrowed = enrol(Variable::new("elsewhere").unwrap(), 1, "x");
    let of_another_variable = claim_of(1, value(&borrowed));
    let elsewhere =
        Entry { variable: Variable::new("elsewhere").unwrap(), ..claim_of(1, value(&borrowed)) };
    assert_eq!(vouches(None), Err(Refused::NoRecord));
    for entry in [of_another, as_owner, no_record, of_another_variable, elsewhere] {
        assert_eq!(vouches(Some(&certified(entry.clone()))), Err(Refused::NoRecord), "{entry:?}");
    }
    let known = BTreeSet::from([id(7)]);
    let latest = certified(claim);
    let refused = open().certify(&applicant(1), &ByPassword, &facts(&known, Some(&latest), NOW));
    assert_eq!(refused, Err(Refused::Taken));
}

/// Squatting: however two applicants share the members between them, no two members that follow
/// the rules vouch for different certificates.
#[test]
fn members_never_vouch_for_two_certificates_of_one_user_id() {
    let content = value(&alices());
    for order in 0..16_u32 {
        let mut members: Vec<Registrar> = (0..4).map(|_| open()).collect();
        let mut accepted = [0; 2];
        for (place, member) in members.iter_mut().enumerate() {
            let first = usize::try_from(order >> place & 1).unwrap();
            for who in [first, 1 - first] {
                let ok = claims(member, u8::try_from(who).unwrap() + 1, None, NOW).is_ok();
                accepted[who] += usize::from(ok);
            }
        }
        // q = 3 of 4 sign the record, or it is not certified.
        let winner =
            (0..2).find(|who| accepted[*who] >= 3).map(|who| u8::try_from(who).unwrap() + 1);
        let latest = winner.map(|who| certified(claim_of(who, content.clone())));
        for who in [1, 2] {
            for member in &mut members {
                let nobody = nobody();
                let facts = facts(&nobody, latest.as_ref(), NOW);
                let vouches = member.certify(&applicant(who), &ByPassword, &facts).is_ok();
                assert_eq!(vouches, winner == Some(who), "order {order:04b}, applicant {who}");
            }
        }
    }
}

#[test]
fn the_operator_chooses_among_those_who_wait() {
    let mut member = Registrar::new(Mode::default(), 0);
    for who in 1..=4 {
        assert_eq!(claims(&mut member, who, None, NOW), Err(Refused::Waiting));
        assert_eq!(claims(&mut member, who, None, NOW), Err(Refused::Waiting), "once");
    }
    assert_eq!(claims(&mut member, 5, None, NOW), Err(Refused::TooManyWaiting));
    assert_eq!(member.waiting().len(), MAX_RIVALS);
    assert!(!member.approve(&applicant(9)));
    assert!(member.approve(&applicant(2)));
    assert_eq!(claims(&mut member, 2, None, NOW), Ok(()));
    assert_eq!(claims(&mut member, 1, None, NOW), Err(Refused::Taken));

    // A record that the others have certified is not enough: this operator is asked, too.
    let (nobody, latest) = (nobody(), certified(claim_of(1, value(&alices()))));
    let facts = facts(&nobody, Some(&latest), NOW);
    let mut member = Registrar::new(Mode::Approve, 0);
    assert_eq!(member.certify(&applicant(1), &ByPassword, &facts), Err(Refused::Waiting));
    assert!(member.approve(&applicant(1)));
    assert_eq!(member.certify(&applicant(1), &ByPassword, &facts), Ok(()));
    let mut closed = Registrar::new(Mode::Closed, 0);
    assert_eq!(closed.certify(&applicant(1), &ByPassword, &facts), Err(Refused::Closed));
    assert_eq!(claims(&mut closed, 1, None, NOW), Err(Refused::Closed));
}

#[test]
fn another_identity_check_can_be_put_in() {
    struct SignedByMail;
    impl IdentityCheck for SignedByMail {
        fn check(&self, _: &Applicant, proofs: &[Vec<u8>]) -> Verdict {
            match proofs.iter().any(|proof| proof == b"DKIM") {
                true => Verdict::Accept,
                false => Verdict::Refuse("no DKIM signature".to_owned()),
            }
        }
    }
    let nobody = nobody();
    let without = facts(&nobody, None, NOW);
    let refused = open().claim(&applicant(1), true, &SignedByMail, &without);
    assert_eq!(refused, Err(Refused::Identity("no DKIM signature".to_owned())));
    let proofs = [b"DKIM".to_vec()];
    let with = Facts { proofs: &proofs, ..without };
    assert_eq!(open().claim(&applicant(1), true, &SignedByMail, &with), Ok(()));
}

#[test]
fn what_is_kept_survives_a_restart() {
    let mut member = open();
    claims(&mut member, 1, None, NOW).unwrap();
    let mut again = Registrar::from_bytes(Mode::Open, 0, &member.to_bytes()).unwrap();
    assert_eq!(again, member);
    assert_eq!(claims(&mut again, 2, None, NOW), Err(Refused::Taken));
    assert!(Registrar::from_bytes(Mode::Open, 0, b"\xff\xff\xff").is_none());
}

/// What the member `server` takes a proof for.
fn shown(
    record: &Record,
    proof: &LoginProof,
    requester: u8,
    server: u8,
) -> Option<(RecordId, LoginPurpose)> {
    let valid = verify(record, proof, &id(requester), &id(server)).is_ok();
    valid.then_some((proof.record, proof.purpose))
}

/// A replayed proof, one of another purpose, of another asker, for another member, of the password
/// before: none recovers anything.
#[test]
fn only_the_password_shown_for_this_recovery_recovers() {
    let (old, nobody) = (alices(), nobody());
    let new = enrol(old.record.variable().clone(), 2, "battery staple");
    let latest = certified(claim_of(1, value(&new)));
    let nonce = Nonce::from_bytes([3; 32]);
    let recover = |with: &Enrolled, purpose, requester: u8, server: u8, asker: u8| {
        let proof = prove(&with.record, &with.keys, purpose, &id(requester), &id(server), nonce);
        let proven = shown(&with.record, &proof, asker, 0xa1);
        open().recover(&applicant(asker), proven, &facts(&nobody, Some(&latest), NOW))
    };
    let purpose = LoginPurpose::Recover;
    assert_eq!(recover(&new, purpose, 5, 0xa1, 5), Ok(()));
    let not_proven = Err(Refused::NotProven);
    assert_eq!(recover(&new, LoginPurpose::Open, 5, 0xa1, 5), not_proven, "another purpose");
    assert_eq!(recover(&new, purpose, 5, 0xa2, 5), not_proven, "for another member");
    assert_eq!(recover(&new, purpose, 5, 0xa1, 6), not_proven, "somebody else's");
    assert_eq!(recover(&old, purpose, 5, 0xa1, 5), not_proven, "of the password before");
    let mut member = open();
    let without = facts(&nobody, None, NOW);
    let proven = Some((new.record.id(), purpose));
    assert_eq!(member.recover(&applicant(5), proven, &without), Err(Refused::NoRecord));
}

#[test]
fn a_recovery_can_be_delayed_and_a_change_of_password_stops_it() {
    let (alice, nobody) = (alices(), nobody());
    let changed = enrol(alice.record.variable().clone(), 2, "battery staple");
    let mut member = Registrar::new(Mode::Open, 100);
    let at = |member: &mut Registrar, with: &Enrolled, who, now| {
        let latest = certified(claim_of(1, value(with)));
        let proven = Some((with.record.id(), LoginPurpose::Recover));
        member.vouch(&applicant(who), proven, &ByPassword, &facts(&nobody, Some(&latest), now))
    };
    assert_eq!(at(&mut member, &alice, 5, NOW), Err(Refused::Delayed { seconds: 100 }));
    assert_eq!(at(&mut member, &alice, 5, NOW + 60), Err(Refused::Delayed { seconds: 40 }));
    assert_eq!(at(&mut member, &changed, 5, NOW + 70), Err(Refused::Delayed { seconds: 100 }));
    assert_eq!(at(&mut member, &changed, 6, NOW + 70), Err(Refused::Delayed { seconds: 100 }));
    assert_eq!(at(&mut member, &changed, 6, NOW + 170), Ok(()));
}

/// Strangers who come and go neither fill the register nor stay in anybody's way.
#[test]
fn accepted_claims_are_limited_and_go_stale() {
    let mut member = open();
    let nobody = nobody();
    let apply = |member: &mut Registrar, number: usize, now| {
        let address = Address::new(format!("user{number}@example.org")).unwrap();
        let one = Applicant { certificate: id(1), address };
        member.apply(&one, &ByPassword, &facts(&nobody, None, now))
    };
    for number in 0..MAX_WAITING {
        assert_eq!(apply(&mut member, number, NOW), Ok(()));
    }
    assert_eq!(apply(&mut member, MAX_WAITING, NOW), Err(Refused::TooManyWaiting));
    assert_eq!(apply(&mut member, MAX_WAITING, NOW + CLAIM_SECONDS), Ok(()));
}

#[test]
fn a_claim_that_is_given_up_keeps_nobody_out() {
    let mut member = open();
    assert_eq!(claims(&mut member, 1, None, NOW), Ok(()));
    member.give_up(&applicant(2));
    assert_eq!(claims(&mut member, 2, None, NOW), Err(Refused::Taken));
    member.give_up(&applicant(1));
    assert_eq!(claims(&mut member, 2, None, NOW), Ok(()));
}
