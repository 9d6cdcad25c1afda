//! A proof of login that is not for this server, session, purpose, asker, record or time.

use bftkv_protocol::{
    LoginProof, LoginPurpose, ProofBytes, Refusal, RoamingAnswer, RoamingRefusal, RoamingRequest,
    SecretShare,
};
use bftkv_roaming::{Enrolled, Record, Rule};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::support::{
    ALICE, ALICES_PHONE, Answered, Host, MALLORY, NOW, deal, element, enrolled, node, other_rng,
    password, plan, rng, variable,
};

const PASSWORD: &str = "right";

/// One server that holds a share, with one attempt of Alice's that nothing was proven about.
struct Scene {
    host: Host,
    enrolled: Enrolled,
    proof: LoginProof,
}

impl Scene {
    fn new() -> Self {
        let enrolled = enrolled(4, &password(PASSWORD));
        let mut host = Host::new(1);
        host.enrol(&enrolled, 1);
        let proof = Self::attempt(&mut host, &enrolled, ALICE, 1, LoginPurpose::Open);
        Self { host, enrolled, proof }
    }

    /// Asks for an evaluation, and makes the proof for it.
    fn attempt(
        host: &mut Host,
        enrolled: &Enrolled,
        who: u8,
        number: u64,
        purpose: LoginPurpose,
    ) -> LoginProof {
        let record = &enrolled.record;
        let nonce = host.evaluate(who, record, element(number)).unwrap().nonce;
        bftkv_roaming::prove(record, &enrolled.keys, purpose, &node(who), &host.me, nonce)
    }

    fn show(&mut self, who: u8, proof: LoginProof) -> Answered {
        let variable = self.enrolled.record.variable().clone();
        self.host.ask(who, RoamingRequest::Prove { variable, proof })
    }

    /// How many attempts are left to those who are known.
    fn left(&mut self) -> u16 {
        // The same question again is free, so looking costs nothing.
        self.host.guess(ALICE, &self.enrolled.record, 1).unwrap()
    }

    fn refuses(&mut self, who: u8, proof: LoginProof, why: &str) {
        let answer = self.show(who, proof);
        assert_eq!(answer, Err(Refusal::Roaming(RoamingRefusal::BadProof)), "{why}");
        assert_eq!(self.left(), 9, "{why}: it gave something back");
    }
}

#[test]
fn a_proof_gives_its_own_attempt_back_once_however_often_it_comes() {
    let mut scene = Scene::new();
    assert_eq!(scene.left(), 9);
    for _ in 0..3 {
        assert!(scene.show(ALICE, scene.proof.clone()).is_ok());
        assert_eq!(scene.left(), 10, "its own");
    }
    // Two more attempts, by guessing. The old proof gives none of them back.
    let record = scene.enrolled.record.clone();
    scene.host.guess(ALICE, &record, 2).unwrap();
    assert_eq!(scene.host.guess(ALICE, &record, 3), Ok(8));
    assert!(scene.show(ALICE, scene.proof.clone()).is_ok());
    assert_eq!(scene.left(), 8);
}

#[test]
fn a_proof_is_for_one_purpose() {
    let mut scene = Scene::new();
    let changed = LoginProof { purpose: LoginPurpose::Recover, ..scene.proof.clone() };
    scene.refuses(ALICE, changed, "signed for another purpose");
    assert!(scene.show(ALICE, scene.proof.clone()).is_ok());
    // A session that was used for one purpose cannot be used for the other, though well signed.
    let (host, keys) = (&scene.host, &scene.enrolled.keys);
    let nonce = scene.proof.nonce;
    let record = &scene.enrolled.record;
    let second =
        bftkv_roaming::prove(record, keys, LoginPurpose::Recover, &node(ALICE), &host.me, nonce);
    let refused = scene.show(ALICE, second);
    assert_eq!(refused, Err(Refusal::Roaming(RoamingRefusal::BadProof)));
}

#[test]
fn a_proof_is_for_one_asker_and_one_server() {
    let mut scene = Scene::new();
    let stolen = scene.proof.clone();
    for who in [ALICES_PHONE, MALLORY] {
        scene.refuses(who, stolen.clone(), "somebody else's");
    }
    // Another server of the same record, at which Alice has asked as well, under the same nonce.
    let mut second = Host::new(2);
    second.enrol(&scene.enrolled, 1);
    let proof = Scene::attempt(&mut second, &scene.enrolled, ALICE, 1, LoginPurpose::Open);
    assert_eq!(proof.nonce, stolen.nonce);
    let variable = scene.enrolled.record.variable().clone();
    let passed_on = second.ask(ALICE, RoamingRequest::Prove { variable, proof: stolen });
    assert_eq!(passed_on, Err(Refusal::Roaming(RoamingRefusal::BadProof)));
}

#[test]
fn a_proof_ends_with_its_time_and_cannot_ask_for_more() {
    let mut scene = Scene::new();
    assert_eq!(scene.proof.seconds, LoginProof::MAX_SECONDS);
    scene.host.now = NOW + 301;
    scene.refuses(ALICE, scene.proof.clone(), "too late");
    scene.host.now = NOW + 300;
    let longer = LoginProof { seconds: u16::MAX, ..scene.proof.clone() };
    scene.refuses(ALICE, longer, "not what was signed, and too long");
    assert!(scene.show(ALICE, scene.proof.clone()).is_ok(), "just in time");
}

#[test]
fn a_proof_is_for_one_variable_and_one_record() {
    let mut scene = Scene::new();
    // Another variable, with the same password, and an attempt under the same nonce.
    let other = bftkv_roaming::Plan { variable: variable("y"), ..plan(4, Rule::Majority, 1) };
    let other = Record::enrol(other, &password(PASSWORD), &mut rng()).unwrap();
    let mut host = Host::new(1);
    host.enrol(&other, 1);
    let proof = Scene::attempt(&mut host, &other, ALICE, 1, LoginPurpose::Open);
    assert_eq!(proof.nonce, scene.proof.nonce);
    let y = RoamingRequest::Prove { variable: variable("y"), proof: scene.proof.clone() };
    assert!(matches!(
        host.ask(ALICE, y),
        Err(Refusal::Roaming(RoamingRefusal::OtherRecord { .. }))
    ));
    let renamed = LoginProof { record: other.record.id(), ..scene.proof.clone() };
    let y = RoamingRequest::Prove { variable: variable("y"), proof: renamed };
    assert_eq!(host.ask(ALICE, y), Err(Refusal::Roaming(RoamingRefusal::BadProof)));
    let epoch = LoginProof { epoch: 2, ..scene.proof.clone() };
    scene.refuses(ALICE, epoch, "another epoch");
    scene.refuses(
        ALICE,
        LoginProof { signature: ProofBytes::new([0; 32], [0; 32]), ..scene.proof.clone() },
        "a signature of zeros",
    );
}

/// After a change of the password the old proof, the old nonce and the old share are worth
/// nothing, although the attempt and the change are but a second apart.
#[test]
fn after_a_change_of_password_nothing_of_before_counts() {
    let mut scene = Scene::new();
    let next =
        Record::enrol(plan(4, Rule::Majority, 2), &password("new"), &mut other_rng()).unwrap();
    let dealt = scene.host.ask(ALICE, deal(&next, &next.shares[0]));
    assert!(dealt.is_ok());
    // Until the new record is certified, the old one holds: a change may fail half way.
    assert!(scene.show(ALICE, scene.proof.clone()).is_ok());
    assert_eq!(scene.host.guess(ALICE, &scene.enrolled.record, 2), Ok(9));

    scene.host.certify(&next, 2);
    let refused = scene.show(ALICE, scene.proof.clone());
    let changed = Err(Refusal::Roaming(RoamingRefusal::OtherRecord { epoch: Some(2) }));
    assert_eq!(refused, changed);
    let renamed = LoginProof { record: next.record.id(), epoch: 2, ..scene.proof.clone() };
    let refused = scene.show(ALICE, renamed.clone());
    assert_eq!(refused, Err(Refusal::Roaming(RoamingRefusal::BadProof)));
    let old = scene.host.evaluate(ALICE, &scene.enrolled.record, element(1));
    assert_eq!(old.unwrap_err(), Refusal::Roaming(RoamingRefusal::OtherRecord { epoch: Some(2) }));

    // With the first question under the new record the old share is off the disk, and the sessions
    // of before: the old proof finds none.
    let share = scene.enrolled.shares[0].secret();
    let holds = |host: &Host| {
        let vault = &host.disk.vaults[scene.enrolled.record.variable()];
        vault.as_bytes().windows(32).any(|window| window == share.as_bytes())
    };
    assert!(holds(&scene.host));
    scene.host.guess(ALICE, &next.record, 5).unwrap();
    assert!(!holds(&scene.host));
    assert_eq!(scene.show(ALICE, renamed), Err(Refusal::Roaming(RoamingRefusal::BadProof)));
}

/// Two devices deal at once. The server stores one record, then the other: what is of before is erased
/// at once, and what waits for the other record is not.
#[test]
fn at_the_switch_the_old_share_goes_and_that_of_a_rival_waits_on() {
    let mut scene = Scene::new();
    let plan = plan(4, Rule::Majority, 2);
    let first =
        Record::enrol(plan.clone(), &password("new"), &mut ChaCha20Rng::seed_from_u64(9)).unwrap();
    let second = Record::enrol(plan, &password("newer"), &mut other_rng()).unwrap();
    for (dealer, one) in [(ALICE, &first), (ALICES_PHONE, &second)] {
        assert_eq!(scene.host.ask(dealer, deal(one, &one.shares[0])), Ok(RoamingAnswer::Done));
    }
    let x = variable("x");
    let old = scene.enrolled.shares[0].secret();
    let shares = [old, first.shares[0].secret(), second.shares[0].secret()];
    let held = |host: &Host| {
        let vault = host.disk.vaults[&x].as_bytes();
        let is_in = |share: &SecretShare| vault.windows(32).any(|part| part == share.as_bytes());
        shares.each_ref().map(is_in)
    };
    assert_eq!(held(&scene.host), [true, true, true]);
    // Something else was stored: nothing changes.
    scene.host.settle(&variable("y"));
    scene.host.settle(&x);
    assert_eq!(held(&scene.host), [true, true, true]);
    scene.host.certify(&first, 2);
    scene.host.settle(&x);
    assert_eq!(held(&scene.host), [false, true, true]);
    scene.host.certify(&second, 3);
    scene.host.settle(&x);
    assert_eq!(held(&scene.host), [false, false, true]);
    // A switch gives no attempts: those that were used stay so.
    assert_eq!(scene.host.guess(ALICE, &second.record, 50), Ok(8));
}
