//! What a server answers to those who only ask, and to accusations.

use bftkv_protocol::server::MAX_VERSIONS_LISTED;
use bftkv_protocol::{
    CertificateBytes, EquivocationProof, Request, SMALL_VALUE_BYTES, decode, encode,
};

use crate::fixtures::{
    ALICE, BOB, CLIQUE, abandon, certified, entry, one_group, signed, t, two_groups, variable,
};
use crate::member::{Member, Row, State, check};
use crate::samples::{member_proof, writer_proof};

fn a1() -> Member {
    Member::new(CLIQUE[0], one_group())
}

fn x() -> bftkv_protocol::Variable {
    variable("x")
}

fn read(at: Option<u64>) -> Request {
    Request::Read { variable: x(), at: at.map(t) }
}

/// "A pending slot never hides the certified entry from readers." "Absent" and "empty value" are
/// different answers.
#[test]
fn readers_see_certified_entries_only() {
    let valid = |t, v| certified(entry(ALICE, t, v), &one_group());
    let both = || State::empty().holds(&valid(5, "old")).holds(&valid(6, ""));
    let pending = signed(entry(ALICE, 9, "pending"));
    let rows: Vec<Row> = vec![
        ("nothing", State::empty(), BOB, read(None), "absent"),
        ("the newest, which is empty", both(), BOB, read(None), "entry 6 of 0 bytes"),
        ("a version", both(), BOB, read(Some(5)), "entry 5 of 3 bytes"),
        ("no such version", both(), BOB, read(Some(4)), "absent"),
        (
            "a pending attempt hides nothing",
            both().signed(&pending),
            BOB,
            read(None),
            "entry 6 of 0 bytes",
        ),
        ("and is not shown", State::empty().signed(&pending), BOB, read(None), "absent"),
    ];
    check(&a1(), rows);
}

/// Which entry it is, if its value is large; and then the same question for the whole brings it.
#[test]
fn a_large_value_is_named_and_a_small_one_shown() {
    let holds = |t, length| {
        State::empty().holds(&certified(entry(ALICE, t, &"v".repeat(length)), &one_group()))
    };
    let digest = |at: Option<u64>| Request::Digest { variable: x(), at: at.map(t) };
    let (small, large) = (SMALL_VALUE_BYTES, SMALL_VALUE_BYTES + 1);
    let both = || holds(5, large).holds(&certified(entry(ALICE, 6, "v"), &one_group()));
    let rows: Vec<Row> = vec![
        ("nothing", State::empty(), BOB, digest(None), "absent"),
        ("small enough", holds(5, small), BOB, digest(None), "entry 5 of 4096 bytes"),
        ("too large", holds(5, large), BOB, digest(None), "digest 5"),
        ("a version", both(), BOB, digest(Some(5)), "digest 5"),
        ("another version", both(), BOB, digest(Some(6)), "entry 6 of 1 bytes"),
        ("no such version", both(), BOB, digest(Some(4)), "absent"),
        ("the whole of it", holds(5, large), BOB, read(None), "entry 5 of 4097 bytes"),
    ];
    check(&a1(), rows);
}

#[test]
fn time_answers_name_what_was_seen() {
    let five = || State::empty().holds(&certified(entry(ALICE, 5, "v"), &one_group())).seen(7);
    let time = |evidence| Request::Time { variable: x(), evidence };
    let gone = abandon(ALICE, signed(entry(ALICE, 6, "v")).id());
    let rows: Vec<Row> = vec![
        ("bare", five(), BOB, time(false), "time 7"),
        ("with evidence: to be signed, with the entry", five(), BOB, time(true), "time 7 with 5"),
        ("of nothing", State::empty(), BOB, time(true), "time 0 with nothing"),
        (
            "abandons are listed",
            five().abandoned(&gone),
            BOB,
            Request::Abandoned { variable: x() },
            "abandons [6]",
        ),
    ];
    check(&a1(), rows);
    let rows: Vec<Row> = vec![
        ("a store node gives no time", State::empty(), BOB, time(false), "refused 202"),
        (
            "nor lists abandons",
            State::empty(),
            BOB,
            Request::Abandoned { variable: x() },
            "refused 202",
        ),
        ("but it is read", State::empty(), BOB, read(None), "absent"),
    ];
    check(&Member::new(0xc1, two_groups()), rows);
}

#[test]
fn lists_of_versions_are_limited() {
    let ask = |limit| Request::Versions { variable: x(), below: None, limit };
    let rows: Vec<Row> = vec![
        ("as asked", State::empty(), BOB, ask(7), "list below None limit 7 | versions [2 1]"),
        (
            "no more than the server likes",
            State::empty(),
            BOB,
            ask(u16::MAX),
            "list below None limit 1024 | versions [2 1]",
        ),
    ];
    check(&a1(), rows);
    assert_eq!(MAX_VERSIONS_LISTED, 1024);
}

/// The same proof, with one bit of its last signature changed.
fn spoilt(proof: &EquivocationProof) -> EquivocationProof {
    let mut bytes = encode(proof);
    *bytes.last_mut().unwrap() ^= 1;
    decode(&bytes).unwrap()
}

/// "Proof objects are verified by whoever receives one, stored, gossiped once."
#[test]
fn accusations_are_believed_with_proof_only() {
    let accuse = |proof| Request::Accuse(Box::new(proof));
    let row = |shows, proof, expected| (shows, State::empty(), BOB, accuse(proof), expected);
    let rows: Vec<Row> = vec![
        row("a member", member_proof(), "proofs 1 | done | accuse a3"),
        row("a writer", writer_proof(), "proofs 1 | done | accuse 01"),
        row("a changed signature", spoilt(&member_proof()), "refused 100"),
        row("a changed share of an entry", spoilt(&writer_proof()), "refused 100"),
    ];
    check(&a1(), rows);
}

/// Certificates are the keyring's business: the driver answers these.
#[test]
fn membership_requests_never_reach_the_rules() {
    let certificate = CertificateBytes::new(*b"c").unwrap();
    let rows: Vec<Row> = vec![
        (
            "",
            State::empty(),
            BOB,
            Request::Join { certificate: certificate.clone() },
            "refused 100",
        ),
        ("", State::empty(), BOB, Request::Introduce { certificate }, "refused 100"),
        ("", State::empty(), BOB, Request::Certificates { ids: vec![] }, "refused 100"),
        ("", State::empty(), BOB, Request::Revocations { after: None }, "refused 100"),
    ];
    check(&a1(), rows);
}
