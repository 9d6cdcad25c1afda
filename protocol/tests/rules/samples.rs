//! One value of every kind that crosses the wire, small enough to read.

use bftkv_protocol::server::{self};
use bftkv_protocol::{
    Announcement, Answer, CertificateBytes, Change, ChangeKind, CollectiveSignature, Configuration,
    ElementBytes, EquivocationProof, Evaluated, Evidence, Groups, Lineage, LoginProof,
    LoginPurpose, Marks, Nonce, Objection, Part, PartAnswer, PartOutcome, ProofBytes, Purpose,
    Recalled, RecordBytes, RecordId, Refusal, RegistrationRefusal, RepairProgress, Request,
    Response, RoamingAnswer, RoamingRefusal, RoamingRequest, SecretShare, SignatureShare,
    SignedChange, Slot, StoreAge, VersionId, VouchStatement, encode,
};

use crate::fixtures::{
    ALICE, BOB, CLIQUE, Keys, abandon, alone, announced, certified, entry, final_entry, node,
    one_group, share, share_statement, sign, signed, signed_time, t, variable, voted,
};

/// A message with its name, as in `testdata/messages.txt`.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// A member's proof: a3 signed two entries for one timestamp.
pub(crate) fn member_proof() -> EquivocationProof {
    let configuration = one_group();
    let side = |value| {
        let entry = signed(entry(ALICE, 7, value));
        let signature = share(&entry, 0xa3, &configuration).signature;
        (share_statement(&entry, &configuration), signature)
    };
    EquivocationProof::of_shares(node(0xa3), side("one"), side("two"), &Keys::default()).unwrap()
}

/// A writer's proof: Alice got two entries certified for one timestamp.
pub(crate) fn writer_proof() -> EquivocationProof {
    let configuration = one_group();
    let side = |value| certified(entry(ALICE, 7, value), &configuration);
    let keys = Keys::default();
    let known = alone(&configuration);
    let proofs = EquivocationProof::of_certified(&side("one"), &side("two"), &known, &keys);
    proofs.into_iter().find(|proof| *proof.guilty() == ALICE.id()).unwrap()
}

pub(crate) fn evidence(configuration: &Configuration) -> Evidence {
    Evidence {
        latest: Some(Box::new(certified(entry(ALICE, 5, "old"), configuration))),
        times: vec![signed_time(0xa1, 5, configuration), signed_time(0xa2, 6, configuration)],
    }
}

fn slot() -> Slot {
    Slot::of(&signed(final_entry(BOB, 7, "his")))
}

/// a1 speaks from its third memory.
pub(crate) fn announcement() -> Announcement {
    announced(0xa1, 3, StoreAge { identity: [7; 16], generation: 2, commits: 300 }, 9)
}

fn version() -> VersionId {
    VersionId { variable: variable("x"), timestamp: t(300) }
}

fn recalled() -> Recalled {
    let marks = Marks {
        seen: t(8),
        slots: vec![slot()],
        abandons: vec![abandon(ALICE, signed(entry(ALICE, 8, "mine")).id())],
    };
    let latest = Some(Box::new(certified(entry(ALICE, 6, "old"), &one_group())));
    Recalled { variable: variable("x"), marks, latest }
}

/// a5 joins the clique and the store group, by the votes of a1, a2, a3.
pub(crate) fn signed_change() -> SignedChange {
    let change = Change { member: node(0xa5), kind: ChangeKind::Add, clique: Some(0), store: true };
    voted(&one_group(), change, &CLIQUE[..3])
}

/// A member's word that it stores Alice's entry.
fn vouch(signer: u8) -> SignatureShare {
    let statement = VouchStatement::about(&signed(entry(ALICE, 7, "mine")), &one_group());
    let signer = node(signer);
    let signature = sign(&signer, Purpose::Vouch, &statement.signed_bytes());
    SignatureShare { signer, signature }
}

fn vouches() -> CollectiveSignature {
    CollectiveSignature::new(one_group().vouched(), vec![vouch(0xa1), vouch(0xa2)])
}

fn repair_progress() -> RepairProgress {
    RepairProgress { done: false, checked: 300, repaired: 7, open: 2, alone: 1 }
}

fn lineage() -> Lineage {
    Lineage { first: Groups::of(&one_group()), changes: vec![signed_change()] }
}

fn certificate() -> CertificateBytes {
    CertificateBytes::new(*b"a certificate").unwrap()
}

fn deal() -> RoamingRequest {
    let record = RecordBytes::new(*b"a record").unwrap();
    let share = SecretShare::from_bytes([7; 32]);
    RoamingRequest::Deal { variable: variable("x"), record, share }
}

fn evaluate() -> RoamingRequest {
    let (record, element) = (RecordId::from_bytes([8; 32]), ElementBytes::from_bytes([9; 32]));
    RoamingRequest::Evaluate { variable: variable("x"), record, element }
}

fn prove() -> RoamingRequest {
    let proof = LoginProof {
        record: RecordId::from_bytes([8; 32]),
        epoch: 2,
        purpose: LoginPurpose::Recover,
        nonce: Nonce::from_bytes([6; 32]),
        seconds: 300,
        signature: ProofBytes::new([4; 32], [5; 32]),
    };
    RoamingRequest::Prove { variable: variable("x"), proof }
}

fn evaluated() -> Evaluated {
    Evaluated {
        element: ElementBytes::from_bytes([9; 32]),
        proof: ProofBytes::new([4; 32], [5; 32]),
        nonce: Nonce::from_bytes([6; 32]),
        left: 9,
    }
}

/// Every refusal about passwords, in the order of its kind on the wire.
pub(crate) fn roaming_refusals() -> Vec<(&'static str, RoamingRefusal)> {
    vec![
        ("NoShare", RoamingRefusal::NoShare),
        ("OtherRecord", RoamingRefusal::OtherRecord { epoch: Some(3) }),
        ("NoAttempts", RoamingRefusal::NoAttempts { seconds: 86_400 }),
        ("BadElement", RoamingRefusal::BadElement),
        ("BadRecord", RoamingRefusal::BadRecord("its epoch is 0".into())),
        ("BadShare", RoamingRefusal::BadShare),
        ("BadProof", RoamingRefusal::BadProof),
        ("NotOwner", RoamingRefusal::NotOwner),
        ("TooManyPending", RoamingRefusal::TooManyPending),
        ("Registration", RoamingRefusal::Registration(RegistrationRefusal::Closed)),
    ]
}

/// Every refusal of an applicant, in the order of its kind on the wire.
pub(crate) fn registration_refusals() -> Vec<(&'static str, RegistrationRefusal)> {
    vec![
        ("Closed", RegistrationRefusal::Closed),
        ("Waiting", RegistrationRefusal::Waiting),
        ("TooManyWaiting", RegistrationRefusal::TooManyWaiting),
        ("Taken", RegistrationRefusal::Taken),
        ("NoShare", RegistrationRefusal::NoShare),
        ("Identity", RegistrationRefusal::Identity("no DKIM signature".into())),
        ("NoRecord", RegistrationRefusal::NoRecord),
        ("NotProven", RegistrationRefusal::NotProven),
        ("Delayed", RegistrationRefusal::Delayed { seconds: 86_400 }),
    ]
}

fn requests() -> Vec<(&'static str, Request)> {
    let configuration = one_group();
    let evidence = evidence(&configuration);
    let attempt = signed(entry(ALICE, 7, "mine"));
    let abandon = abandon(ALICE, attempt.id());
    let x = || variable("x");
    vec![
        ("Join", Request::Join { certificate: certificate() }),
        ("Introduce", Request::Introduce { certificate: certificate() }),
        ("Certificates", Request::Certificates { ids: vec![ALICE.id(), BOB.id()] }),
        ("Time", Request::Time { variable: x(), evidence: true }),
        ("Sign bare", Request::Sign { entry: attempt.clone(), evidence: Evidence::default() }),
        ("Sign", Request::Sign { entry: attempt, evidence: evidence.clone() }),
        ("Store", Request::Store { entry: certified(entry(ALICE, 7, "mine"), &configuration) }),
        ("Read newest", Request::Read { variable: x(), at: None }),
        ("Read", Request::Read { variable: x(), at: Some(t(7)) }),
        ("Versions", Request::Versions { variable: x(), below: Some(t(300)), limit: 200 }),
        ("Abandon", Request::Abandon { abandon, evidence }),
        ("Abandoned", Request::Abandoned { variable: x() }),
        ("Recall", Request::Recall { after: Some(x()), limit: 200 }),
        ("Accuse member", Request::Accuse(Box::new(member_proof()))),
        ("Accuse writer", Request::Accuse(Box::new(writer_proof()))),
        ("Revocations all", Request::Revocations { after: None }),
        ("Revocations", Request::Revocations { after: Some(BOB.id()) }),
        ("Configurations", Request::Configurations { above: 300 }),
        (
            "Propose",
            Request::Propose {
                predecessor: configuration.digest(),
                change: signed_change().change,
                binding: true,
            },
        ),
        ("Change", Request::Change(Box::new(signed_change()))),
        ("Announce", Request::Announce(Box::new(announcement()))),
        ("RecallVersions all", Request::RecallVersions { after: None, limit: 200 }),
        ("RecallVersions", Request::RecallVersions { after: Some(version()), limit: 200 }),
        ("RecallEntries", Request::RecallEntries { versions: vec![version()] }),
        (
            "Vouch",
            Request::Vouch {
                entry: Box::new(certified(entry(ALICE, 7, "mine"), &configuration)),
                vouches: vouches(),
            },
        ),
        ("Repair", Request::Repair { begin: true }),
        ("Roaming deal", Request::Roaming(deal())),
        ("Roaming evaluate", Request::Roaming(evaluate())),
        ("Roaming prove", Request::Roaming(prove())),
        ("Roaming reset", Request::Roaming(RoamingRequest::Reset { variable: x() })),
        ("Roaming certify", Request::Roaming(RoamingRequest::Certify { variable: x() })),
        ("Many", Request::Many(parts())),
        ("Digest newest", Request::Digest { variable: x(), at: None }),
        ("Digest", Request::Digest { variable: x(), at: Some(t(7)) }),
    ]
}

fn parts() -> Vec<Part> {
    let configuration = one_group();
    let mine = || signed(entry(ALICE, 7, "mine"));
    vec![
        Part::Time { variable: variable("x"), evidence: false },
        Part::Sign { entry: mine(), evidence: Evidence::default() },
        Part::Store { entry: certified(entry(ALICE, 7, "mine"), &configuration) },
        Part::Read { variable: variable("x"), at: None },
        Part::Digest { variable: variable("x"), at: None },
    ]
}

fn part_outcomes() -> Vec<PartOutcome> {
    let configuration = one_group();
    let attempt = signed(entry(ALICE, 7, "mine"));
    vec![
        Ok(PartAnswer::Time { seen: t(7), latest: None, signature: None }),
        Ok(PartAnswer::Share(share(&attempt, 0xa1, &configuration))),
        Ok(PartAnswer::Done),
        Ok(PartAnswer::Entry(None)),
        Ok(PartAnswer::Digest { timestamp: t(7), hash: attempt.hash() }),
        Err(Refusal::OldTimestamp { seen: t(7) }),
    ]
}

fn answers() -> Vec<(&'static str, Answer)> {
    let configuration = one_group();
    let stored = || Box::new(certified(entry(ALICE, 7, "mine"), &configuration));
    let attempt = signed(entry(ALICE, 7, "mine"));
    let signature = signed_time(0xa1, 7, &configuration).signature;
    let evident = Answer::Time { seen: t(7), latest: Some(stored()), signature: Some(signature) };
    vec![
        ("Certificates", Answer::Certificates(vec![certificate(), certificate()])),
        ("Time bare", Answer::Time { seen: t(7), latest: None, signature: None }),
        ("Time", evident),
        ("Share", Answer::Share(share(&attempt, 0xa1, &configuration))),
        ("Done", Answer::Done),
        ("Entry absent", Answer::Entry(None)),
        ("Entry", Answer::Entry(Some(stored()))),
        ("Versions", Answer::Versions(vec![t(300), t(7), t(1)])),
        ("Abandons", Answer::Abandons(vec![abandon(ALICE, attempt.id())])),
        ("Proofs none", Answer::Proofs { proofs: vec![], more: false }),
        ("Proofs", Answer::Proofs { proofs: vec![writer_proof(), member_proof()], more: true }),
        ("Recalled", Answer::Recalled { variables: vec![recalled()], more: true }),
        (
            "Configurations",
            Answer::Configurations {
                lineage: Box::new(lineage()),
                newest: configuration.digest(),
                serving: true,
            },
        ),
        ("Vote", Answer::Vote(Some(share(&attempt, 0xa1, &configuration)))),
        ("Vote none", Answer::Vote(None)),
        (
            "RecalledVersions",
            Answer::RecalledVersions { versions: vec![version(), version()], more: true },
        ),
        ("RecalledEntries", Answer::RecalledEntries(vec![*stored()])),
        ("Vouch", Answer::Vouch(vouch(0xa1))),
        ("Repair", Answer::Repair(repair_progress())),
        ("Roaming done", Answer::Roaming(RoamingAnswer::Done)),
        ("Roaming evaluated", Answer::Roaming(RoamingAnswer::Evaluated(evaluated()))),
        ("Roaming certified", Answer::Roaming(RoamingAnswer::Certified(certificate()))),
        ("Many", Answer::Many(part_outcomes())),
        ("Digest", Answer::Digest { timestamp: t(7), hash: attempt.hash() }),
    ]
}

/// Every refusal, in the order of its kind on the wire.
pub(crate) fn refusals() -> Vec<(&'static str, Refusal)> {
    let configuration = one_group();
    let stored = || Box::new(certified(entry(ALICE, 7, "mine"), &configuration));
    let sealed = Box::new(certified(final_entry(ALICE, 7, "for ever"), &configuration));
    let limit = t(server::MAX_TIMESTAMP_STEP);
    vec![
        ("Malformed", Refusal::Malformed),
        ("UnknownSender", Refusal::UnknownSender),
        ("Busy", Refusal::Busy),
        ("StorageUnavailable", Refusal::StorageUnavailable),
        ("WrongRealm", Refusal::WrongRealm),
        ("WrongConfiguration", Refusal::WrongConfiguration { ours: configuration.digest() }),
        ("NotMember", Refusal::NotMember),
        ("UnknownWriter", Refusal::UnknownWriter(BOB.id())),
        ("BadWriterSignature", Refusal::BadWriterSignature),
        ("NoQuorumCertificate", Refusal::NoQuorumCertificate { owner: BOB.owner() }),
        ("SenderNotWriter", Refusal::SenderNotWriter),
        ("NotOwner", Refusal::NotOwner(stored())),
        ("Sealed", Refusal::Sealed(sealed)),
        ("OldTimestamp", Refusal::OldTimestamp { seen: t(7) }),
        ("TimestampTooFar", Refusal::TimestampTooFar { limit }),
        ("UnusableTimestamp", Refusal::UnusableTimestamp),
        ("Outstanding", Refusal::Outstanding(vec![slot(), slot()])),
        ("OutstandingFinal", Refusal::OutstandingFinal(Box::new(slot()))),
        ("TooManySlots", Refusal::TooManySlots(vec![slot()])),
        ("FinalStays", Refusal::FinalStays),
        ("BadCollectiveSignature", Refusal::BadCollectiveSignature("2 of 3".into())),
        ("Equivocation", Refusal::Equivocation(vec![member_proof(), writer_proof()])),
        ("Reserved", Refusal::Reserved(BOB.id())),
        ("Changing", Refusal::Changing),
        ("Objection", Refusal::Objection(Objection::StillCertified(node(0xa1)))),
        ("CatchingUp", Refusal::CatchingUp),
        ("Outdated", Refusal::Outdated(Box::new(announcement()))),
        ("Lapsed", Refusal::Lapsed),
        ("Roaming", Refusal::Roaming(RoamingRefusal::NoShare)),
        ("Declined", Refusal::Declined("not yet".to_owned())),
    ]
}

/// Every message of `testdata/messages.txt`. Answers and refusals stand in a response.
pub(crate) fn samples() -> Vec<Sample> {
    let configuration = one_group().digest();
    let respond = |outcome| encode(&Response { configuration, outcome });
    let named = |kind: &str, name: &str, bytes| Sample { name: format!("{kind} {name}"), bytes };
    let requests = requests().into_iter().map(|(n, r)| named("request", n, encode(&r)));
    let answers = answers().into_iter().map(|(n, a)| named("answer", n, respond(Ok(a))));
    let refusals = refusals().into_iter().map(|(n, r)| named("refusal", n, respond(Err(r))));
    let roaming = roaming_refusals()
        .into_iter()
        .map(|(n, r)| named("refusal Roaming", n, respond(Err(Refusal::Roaming(r)))));
    let registration = registration_refusals().into_iter().map(|(n, r)| {
        let refusal = Refusal::Roaming(RoamingRefusal::Registration(r));
        named("refusal Registration", n, respond(Err(refusal)))
    });
    requests.chain(answers).chain(refusals).chain(roaming).chain(registration).collect()
}
