//! Rule R3, sentence by sentence: what a server signs.

use bftkv_protocol::server::MAX_TIMESTAMP_STEP;
use bftkv_protocol::{
    CertifiedEntry, Entry, Evidence, Realm, Request, SignedEntry, SignedTime, Slot, WriterSignature,
};

use crate::fixtures::{
    ALICE, ALICE_MOVED, ALICE2, BOB, CLIQUE, MALLORY, Person, certified, certified_by, entry,
    final_entry, forged, node, one_group, signed, signed_time, two_cliques, two_groups, variable,
};
use crate::member::{Member, Row, State, check};

/// Member a1 of a clique that is the store group too.
fn a1() -> Member {
    Member::new(CLIQUE[0], one_group())
}

fn stored(entry: Entry) -> CertifiedEntry {
    certified(entry, &one_group())
}

fn sign(entry: Entry) -> Request {
    ask(signed(entry), Evidence::default())
}

fn ask(entry: SignedEntry, evidence: Evidence) -> Request {
    Request::Sign { entry, evidence }
}

fn with_latest(entry: Entry, latest: CertifiedEntry) -> Request {
    ask(signed(entry), Evidence { latest: Some(Box::new(latest)), times: vec![] })
}

fn with_times(entry: Entry, times: Vec<SignedTime>) -> Request {
    ask(signed(entry), Evidence { latest: None, times })
}

/// "s_C verifies, and the writer's user ID is certified by more than b members". "The share goes
/// only to the authenticated sender who is the writer of s_C."
#[test]
fn only_a_certified_writer_gets_a_share() {
    let bad =
        SignedEntry { entry: entry(ALICE, 1, "v"), signature: WriterSignature::new(forged()) };
    let elsewhere = Entry { realm: Realm::new("other").unwrap(), ..entry(ALICE, 1, "v") };
    let borrowed = Entry { owner: BOB.owner(), ..entry(ALICE, 1, "v") };
    let empty = State::empty;
    let rows: Vec<Row> = vec![
        (
            "a writer with all papers",
            empty(),
            ALICE,
            sign(entry(ALICE, 1, "v")),
            "seen 1 slots [1] | share 1",
        ),
        ("s_C does not verify", empty(), ALICE, ask(bad, Evidence::default()), "refused 301"),
        ("no quorum certificate", empty(), MALLORY, sign(entry(MALLORY, 1, "v")), "refused 302"),
        ("somebody else's address", empty(), ALICE, sign(borrowed), "refused 302"),
        ("asked by somebody else", empty(), BOB, sign(entry(ALICE, 1, "v")), "refused 303"),
        ("another realm", empty(), ALICE, sign(elsewhere), "refused 200"),
        ("t = 0", empty(), ALICE, sign(entry(ALICE, 0, "v")), "refused 402"),
        ("t = 2^64-1", empty(), ALICE, sign(entry(ALICE, u64::MAX, "v")), "refused 402"),
    ];
    check(&a1(), rows);
}

#[test]
fn a_cut_or_unknown_writer_gets_no_share() {
    let ask = || vec![("", State::empty(), ALICE, sign(entry(ALICE, 1, "v")))];
    let row = |expected| ask().into_iter().map(|(a, b, c, d)| (a, b, c, d, expected)).collect();
    let mut member = a1();
    member.cut.insert(ALICE.id());
    check(&member, row("refused 302"));
    let mut member = a1();
    member.keys.0.insert(ALICE.id());
    check(&member, row("refused 300"));
    check(&Member::new(0xc1, two_groups()), row("refused 202"));
}

/// "x is not sealed, and the writer owns x by the last certified entry, or x has none."
#[test]
fn only_the_owner_of_an_unsealed_variable_gets_a_share() {
    let owned = || State::empty().holds(&stored(entry(ALICE, 5, "v")));
    let sealed = || State::empty().holds(&stored(final_entry(ALICE, 5, "v")));
    let rows: Vec<Row> = vec![
        (
            "the same certificate",
            owned(),
            ALICE,
            sign(entry(ALICE, 6, "w")),
            "seen 6 slots [6] | share 6",
        ),
        (
            "the same address",
            owned(),
            ALICE2,
            sign(entry(ALICE2, 6, "w")),
            "seen 6 slots [6] | share 6",
        ),
        (
            "the same certificate, a new address",
            owned(),
            ALICE_MOVED,
            sign(entry(ALICE_MOVED, 6, "w")),
            "seen 6 slots [6] | share 6",
        ),
        (
            "another owner; the entry proves it",
            owned(),
            BOB,
            sign(entry(BOB, 6, "w")),
            "refused 304 5",
        ),
        (
            "the owner may seal",
            owned(),
            ALICE,
            sign(final_entry(ALICE, 6, "w")),
            "seen 6 slots [6] | share 6",
        ),
        ("sealed: another value", sealed(), ALICE, sign(entry(ALICE, 6, "w")), "refused 305 5"),
        (
            "sealed: another Final",
            sealed(),
            ALICE,
            sign(final_entry(ALICE, 6, "w")),
            "refused 305 5",
        ),
        (
            "sealed: the same value, not Final",
            sealed(),
            ALICE,
            sign(entry(ALICE, 6, "v")),
            "refused 305 5",
        ),
        (
            "sealed: the same Final again",
            sealed(),
            ALICE,
            sign(final_entry(ALICE, 6, "v")),
            "seen 6 slots [6] | share 6",
        ),
        (
            "sealed: the same Final by another owner",
            sealed(),
            BOB,
            sign(final_entry(BOB, 6, "v")),
            "refused 304 5",
        ),
    ];
    check(&a1(), rows);
}

/// "Names that begin with the writer's fingerprint are free of" blocking by other first writers.
#[test]
fn a_name_with_a_fingerprint_belongs_to_its_certificate() {
    let named = |writer: Person| {
        let name = format!("{}/diary", ALICE.id());
        sign(Entry { variable: variable(&name), ..entry(writer, 1, "v") })
    };
    let rows: Vec<Row> = vec![
        ("its own", State::empty(), ALICE, named(ALICE), "seen 1 slots [1] | share 1"),
        ("another's, although it is empty", State::empty(), BOB, named(BOB), "refused 306"),
        ("the other device's", State::empty(), ALICE2, named(ALICE2), "refused 306"),
    ];
    check(&a1(), rows);
}

/// "t is above seen(x), or it is the same signed entry again." A refusal makes nothing durable.
#[test]
fn a_timestamp_is_signed_once() {
    let mine = signed(entry(ALICE, 7, "v"));
    let slot = || State::empty().signed(&mine);
    let rows: Vec<Row> = vec![
        (
            "above",
            State::empty().seen(6),
            ALICE,
            sign(entry(ALICE, 7, "v")),
            "seen 7 slots [7] | share 7",
        ),
        ("equal", State::empty().seen(7), ALICE, sign(entry(ALICE, 7, "v")), "refused 400 7"),
        ("below", State::empty().seen(8), ALICE, sign(entry(ALICE, 7, "v")), "refused 400 8"),
        ("the same signed entry again", slot(), ALICE, sign(entry(ALICE, 7, "v")), "share 7"),
        (
            "another value at a t that was signed",
            slot(),
            ALICE,
            sign(entry(ALICE, 7, "w")),
            "refused 400 7",
        ),
        (
            "the same again, when more was seen",
            slot().seen(9),
            ALICE,
            sign(entry(ALICE, 7, "v")),
            "refused 400 9",
        ),
        (
            "an attempt that was certified",
            State::empty().holds(&stored(entry(ALICE, 7, "v"))),
            ALICE,
            sign(entry(ALICE, 8, "v")),
            "seen 8 slots [8] | share 8",
        ),
    ];
    check(&a1(), rows);
}

/// "At most 2^20 above the largest of seen(x), the t of the latest certified entry that the
/// request carries (it is stored first), and the (b+1)-th of the b+1 signed time answers."
#[test]
fn timestamps_cannot_be_exhausted() {
    let far = |base: u64| entry(ALICE, base + MAX_TIMESTAMP_STEP, "v");
    let too_far = |base: u64| entry(ALICE, base + MAX_TIMESTAMP_STEP + 1, "v");
    let million = || stored(entry(ALICE, 1_000_000, "old"));
    let empty = State::empty;
    let rows: Vec<Row> = vec![
        (
            "2^20 above nothing",
            empty(),
            ALICE,
            sign(far(0)),
            "seen 1048576 slots [1048576] | share 1048576",
        ),
        ("one more", empty(), ALICE, sign(too_far(0)), "refused 401 1048576"),
        (
            "2^20 above seen",
            empty().seen(100),
            ALICE,
            sign(far(100)),
            "seen 1048676 slots [1048676] | share 1048676",
        ),
        ("one more", empty().seen(100), ALICE, sign(too_far(100)), "refused 401 1048676"),
        (
            "the entry that is shown is stored first",
            empty(),
            ALICE,
            with_latest(far(1_000_000), million()),
            "keep 1000000, seen 2048576 slots [2048576] | share 2048576",
        ),
        (
            "and kept although the request is refused",
            empty(),
            ALICE,
            with_latest(too_far(1_000_000), million()),
            "keep 1000000, seen 1000000 slots [] | refused 401 2048576",
        ),
        (
            "an older one changes no bound",
            empty().seen(2_000_000),
            ALICE,
            with_latest(entry(ALICE, 2_000_001, "v"), million()),
            "keep 1000000, seen 2000001 slots [2000001] | share 2000001",
        ),
    ];
    check(&a1(), rows);
}

#[test]
fn time_answers_count_by_distinct_members() {
    let configuration = one_group();
    let time = |signer, seen| signed_time(signer, seen, &configuration);
    let false_time = SignedTime { signature: forged(), ..time(0xa3, 900) };
    let raised = SignedTime { seen: time(0xa3, 900).seen, ..time(0xa3, 0) };
    let of_others = signed_time(0xa3, 900, &two_groups());
    let high = entry(ALICE, 900 + MAX_TIMESTAMP_STEP, "v");
    let row = |shows, times, expected| {
        (shows, State::empty(), ALICE, with_times(high.clone(), times), expected)
    };
    let signed = "seen 1049476 slots [1049476] | share 1049476";
    let refused = "refused 401 1048576";
    let rows: Vec<Row> = vec![
        row("b+1 members", vec![time(0xa2, 900), time(0xa3, 900)], signed),
        row(
            "the smaller of the two counts",
            vec![time(0xa2, 900), time(0xa3, 899)],
            "refused 401 1049475",
        ),
        row(
            "a third, lower one does no harm",
            vec![time(0xa2, 900), time(0xa3, 950), time(0xa4, 1)],
            signed,
        ),
        row("one member alone", vec![time(0xa2, 900)], refused),
        row("one member twice", vec![time(0xa2, 900), time(0xa2, 901)], refused),
        row("a stranger", vec![time(0xa2, 900), time(0xc1, 900)], refused),
        row("a forged answer", vec![time(0xa2, 900), false_time], refused),
        row("an answer with another number", vec![time(0xa2, 900), raised], refused),
        row("an answer of another configuration", vec![time(0xa2, 900), of_others], refused),
    ];
    check(&a1(), rows);
    let mut member = a1();
    member.cut.insert(node(0xa3));
    let with_cut = |seen| vec![time(0xa2, seen), time(0xa3, 900 << 40)];
    check(&member, vec![row("a member that was cut out is one of the b", with_cut(900), signed)]);
    member.cut.insert(node(0xa2));
    check(&member, vec![row("members that were cut out alone", with_cut(900), refused)]);
}

/// An entry has one timestamp for all cliques: what b+1 members of one have seen counts for all.
#[test]
fn time_answers_of_another_clique_count_for_this_one() {
    let configuration = two_cliques();
    let time = |signer, seen| signed_time(signer, seen, &configuration);
    let high = entry(ALICE, 900 + MAX_TIMESTAMP_STEP, "v");
    let row = |shows, times, expected| {
        (shows, State::empty(), ALICE, with_times(high.clone(), times), expected)
    };
    let rows: Vec<Row> = vec![
        row(
            "b+1 members of the other clique",
            vec![time(0xb2, 900), time(0xb3, 900)],
            "seen 1049476 slots [1049476] | share 1049476",
        ),
        row(
            "b+1 members of two cliques together: each may be its clique's faulty one",
            vec![time(0xa2, 900), time(0xb3, 900)],
            "refused 401 1048576",
        ),
    ];
    check(&Member::new(CLIQUE[0], two_cliques()), rows);
}

/// Answers of other cliques come before those of this one, and are more than it has members.
#[test]
fn time_answers_of_other_cliques_do_not_crowd_out_ours() {
    let configuration = one_group();
    let mut times: Vec<SignedTime> =
        (0..400).map(|_| signed_time(0xb1, 900, &configuration)).collect();
    times.extend([0xa2, 0xa3].map(|signer| signed_time(signer, 900, &configuration)));
    let high = entry(ALICE, 900 + MAX_TIMESTAMP_STEP, "v");
    let expected = "seen 1049476 slots [1049476] | share 1049476";
    check(&a1(), vec![("", State::empty(), ALICE, with_times(high, times), expected)]);
}

/// "No slot of another owner is outstanding. It blocks other owners even if x has a certified
/// entry, and never the owner itself."
#[test]
fn an_attempt_of_another_owner_blocks() {
    let his = signed(entry(BOB, 6, "his"));
    let mine = signed(entry(ALICE, 6, "mine"));
    let blocked = || State::empty().signed(&his);
    let own = || State::empty().signed(&mine);
    let owned = stored(entry(ALICE, 5, "v"));
    let rows: Vec<Row> = vec![
        ("another owner's", blocked(), ALICE, sign(entry(ALICE, 7, "v")), "refused 403 [6]"),
        (
            "even if x has an owner",
            blocked().holds(&owned),
            ALICE,
            sign(entry(ALICE, 7, "v")),
            "refused 403 [6]",
        ),
        (
            "its own writer goes on",
            own(),
            ALICE,
            sign(entry(ALICE, 7, "v")),
            "seen 7 slots [6 7] | share 7",
        ),
        (
            "the owner's other device goes on",
            own(),
            ALICE2,
            sign(entry(ALICE2, 7, "v")),
            "seen 7 slots [6 7] | share 7",
        ),
        (
            "a certified entry at its t settles it",
            blocked(),
            ALICE,
            with_latest(entry(ALICE, 7, "v"), stored(entry(ALICE, 6, "w"))),
            "keep 6, seen 7 slots [7] | share 7",
        ),
        (
            "one below does not",
            blocked(),
            ALICE,
            with_latest(entry(ALICE, 7, "v"), owned.clone()),
            "keep 5, seen 6 slots [6] | refused 403 [6]",
        ),
    ];
    check(&a1(), rows);
}

/// "After signing a Final it signs only the same value with Final, at a higher t, until an entry
/// with t at least that one is certified."
/// "Revoking a writer on proof frees its slots on empty variables."
#[test]
fn what_a_convicted_writer_left_behind_blocks_nobody() {
    let left = signed(entry(ALICE, 5, "v"));
    let left_final = signed(final_entry(ALICE, 6, "v"));
    let slots = || State::empty().signed(&left).signed(&left_final);
    let owned = || slots().holds(&stored(entry(ALICE, 3, "u")));
    let rows = |freed: [&'static str; 4]| -> Vec<Row> {
        vec![
            ("above its timestamps", slots(), BOB, sign(entry(BOB, 7, "w")), freed[0]),
            ("never at them", slots(), BOB, sign(entry(BOB, 6, "w")), freed[1]),
            ("what it owns stays its", owned(), BOB, sign(entry(BOB, 7, "w")), freed[2]),
            ("its owner's new key", owned(), ALICE2, sign(entry(ALICE2, 7, "w")), freed[3]),
        ]
    };
    let blocked = "refused 403 [5 6]";
    let not_free = "refused 404 6";
    check(&a1(), rows([blocked, "refused 400 6", "refused 304 3", not_free]));
    let mut member = a1();
    member.convicted.insert(ALICE.id());
    let freed = "seen 7 slots [7] | share 7";
    check(&member, rows([freed, "refused 400 6", "refused 304 3", not_free]));
}

#[test]
fn a_signed_final_binds_its_writer() {
    let mine = signed(final_entry(ALICE, 6, "v"));
    let bound = || State::empty().signed(&mine);
    let rows: Vec<Row> = vec![
        (
            "the same value, Final: it takes the place of the older try",
            bound(),
            ALICE,
            sign(final_entry(ALICE, 7, "v")),
            "seen 7 slots [7] | share 7",
        ),
        (
            "by the other device",
            bound(),
            ALICE2,
            sign(final_entry(ALICE2, 7, "v")),
            "seen 7 slots [7] | share 7",
        ),
        (
            "a refused one takes no place",
            bound(),
            ALICE,
            sign(final_entry(ALICE, 5, "v")),
            "refused 400 6",
        ),
        ("the same value, not Final", bound(), ALICE, sign(entry(ALICE, 7, "v")), "refused 404 6"),
        ("another value, Final", bound(), ALICE, sign(final_entry(ALICE, 7, "w")), "refused 404 6"),
        (
            "an entry was certified since",
            bound(),
            ALICE,
            with_latest(entry(ALICE, 8, "w"), stored(entry(ALICE, 7, "x"))),
            "keep 7, seen 8 slots [8] | share 8",
        ),
        (
            "one below changes nothing",
            bound(),
            ALICE,
            with_latest(entry(ALICE, 8, "w"), stored(entry(ALICE, 5, "x"))),
            "keep 5, seen 6 slots [6] | refused 404 6",
        ),
        (
            "another owner is blocked",
            bound(),
            BOB,
            sign(final_entry(BOB, 7, "v")),
            "refused 403 [6]",
        ),
    ];
    check(&a1(), rows);
}

/// "Slots are limited per owner; the refusal lists them."
#[test]
fn slots_are_limited_per_owner() {
    let limit = u64::try_from(Slot::MAX_PER_OWNER).unwrap();
    let full = |count| {
        (1..=count).fold(State::empty(), |state, t| state.signed(&signed(entry(ALICE, t, "v"))))
    };
    let owned = |count| full(count).holds(&stored(entry(ALICE, 0x01, "v")));
    let rows: Vec<Row> = vec![
        (
            "on the owner's variable the oldest yields",
            owned(limit),
            ALICE,
            sign(entry(ALICE, 17, "v")),
            "seen 17 slots [2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17] | share 17",
        ),
        (
            "the last that fits",
            full(limit - 1),
            ALICE,
            sign(entry(ALICE, 16, "v")),
            "seen 16 slots [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16] | share 16",
        ),
        (
            "one more",
            full(limit),
            ALICE,
            sign(entry(ALICE, 17, "v")),
            "refused 405 [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]",
        ),
        (
            "one more by the other device",
            full(limit),
            ALICE2,
            sign(entry(ALICE2, 17, "v")),
            "refused 405 [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]",
        ),
        ("the same again", full(limit), ALICE, sign(entry(ALICE, 16, "v")), "share 16"),
    ];
    check(&a1(), rows);
}

/// What a request shows must be true and of this variable.
#[test]
fn false_evidence_is_refused() {
    let next = || entry(ALICE, 9, "v");
    let too_few = certified_by(entry(ALICE, 5, "v"), &[0xa1, 0xa2], &one_group());
    let elsewhere = certified(entry(ALICE, 5, "v"), &two_groups());
    let other = stored(Entry { variable: variable("y"), ..entry(ALICE, 5, "v") });
    let rows: Vec<Row> = vec![
        ("too few signers", State::empty(), ALICE, with_latest(next(), too_few), "refused 500"),
        (
            "another configuration",
            State::empty(),
            ALICE,
            with_latest(next(), elsewhere),
            "refused 201",
        ),
        ("another variable", State::empty(), ALICE, with_latest(next(), other), "refused 100"),
        (
            "known already",
            State::empty().holds(&stored(entry(ALICE, 5, "v"))),
            ALICE,
            with_latest(next(), stored(entry(ALICE, 5, "v"))),
            "seen 9 slots [9] | share 9",
        ),
        (
            "another entry at its t: equivocation",
            State::empty().holds(&stored(entry(ALICE, 5, "v"))),
            ALICE,
            with_latest(next(), stored(entry(ALICE, 5, "w"))),
            "proofs 4 | refused 501 4 | accuse a1 | accuse a2 | accuse a3 | accuse 01",
        ),
    ];
    check(&a1(), rows);
}
