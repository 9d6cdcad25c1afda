//! Rule R3: how an attempt is given up.

use bftkv_protocol::server::MAX_TIMESTAMP_STEP;
use bftkv_protocol::{Abandon, Evidence, Marks, Realm, Request, SignedEntry};

use crate::fixtures::{
    ALICE, ALICE2, BOB, CLIQUE, MALLORY, Person, abandon, certified, entry, final_entry, forged,
    one_group, signed, t, two_groups, variable,
};
use crate::member::{Member, Row, State, check};

fn a1() -> Member {
    Member::new(CLIQUE[0], one_group())
}

fn attempt(writer: Person, t: u64) -> SignedEntry {
    signed(entry(writer, t, "v"))
}

fn tell(abandon: Abandon) -> Request {
    Request::Abandon { abandon, evidence: Evidence::default() }
}

fn given_up(writer: Person, t: u64) -> Abandon {
    abandon(writer, attempt(writer, t).id())
}

/// "Stays outstanding until that very entry is abandoned." "Raises seen(x) to t durably, and is
/// kept until x is certified; whoever was refused may relay it."
#[test]
fn an_abandoned_attempt_frees_its_slot_and_its_timestamp_is_gone() {
    let mine = attempt(ALICE, 7);
    let open = || State::empty().signed(&mine);
    let owned = |t| State::empty().holds(&certified(entry(ALICE, t, "v"), &one_group()));
    let rows: Vec<Row> = vec![
        (
            "the slot is freed, t is gone",
            open(),
            ALICE,
            tell(given_up(ALICE, 7)),
            "seen 7 slots [] gone [7] | done",
        ),
        (
            "relayed by the one who was refused",
            open(),
            BOB,
            tell(given_up(ALICE, 7)),
            "seen 7 slots [] gone [7] | done",
        ),
        (
            "an attempt that never came here",
            State::empty(),
            ALICE,
            tell(given_up(ALICE, 7)),
            "seen 7 slots [] gone [7] | done",
        ),
        (
            "seen never falls",
            State::empty().seen(9),
            ALICE,
            tell(given_up(ALICE, 7)),
            "seen 9 slots [] gone [7] | done",
        ),
        (
            "another attempt at the same t stays",
            open(),
            ALICE,
            tell(abandon(ALICE, signed(entry(ALICE, 7, "other")).id())),
            "seen 7 slots [7] gone [7] | done",
        ),
        (
            "other attempts stay",
            open().signed(&attempt(ALICE, 8)),
            ALICE,
            tell(given_up(ALICE, 7)),
            "seen 8 slots [8] gone [7] | done",
        ),
        (
            "kept once",
            State::empty().abandoned(&given_up(ALICE, 7)),
            ALICE,
            tell(given_up(ALICE, 7)),
            "seen 7 slots [] gone [7] | done",
        ),
        (
            "not kept when x is certified above it",
            owned(9),
            ALICE,
            tell(given_up(ALICE, 7)),
            "seen 9 slots [] | done",
        ),
        (
            "kept above a certified entry",
            owned(5),
            ALICE2,
            tell(given_up(ALICE2, 7)),
            "seen 7 slots [] gone [7] | done",
        ),
    ];
    check(&a1(), rows);
}

/// "Raises seen(x) to t durably."
#[test]
fn a_timestamp_that_was_given_up_is_never_signed() {
    let rows: Vec<Row> = vec![
        (
            "t is never signed afterwards",
            State::empty().abandoned(&given_up(ALICE, 7)),
            ALICE,
            Request::Sign { entry: attempt(ALICE, 7), evidence: Evidence::default() },
            "refused 400 7",
        ),
        (
            "another owner may now sign",
            State::empty().abandoned(&given_up(ALICE, 7)),
            BOB,
            Request::Sign { entry: attempt(BOB, 8), evidence: Evidence::default() },
            "seen 8 slots [8] gone [7] | share 8",
        ),
    ];
    check(&a1(), rows);
}

/// "A Final cannot be abandoned (else its owner could break its own seal)."
#[test]
fn a_signed_final_is_not_given_up() {
    let mine = signed(final_entry(ALICE, 7, "v"));
    let rows: Vec<Row> = vec![(
        "",
        State::empty().signed(&mine),
        ALICE,
        tell(abandon(ALICE, mine.id())),
        "refused 406",
    )];
    check(&a1(), rows);
}

/// "An abandon message passes the same checks and bound."
#[test]
fn abandons_pass_the_checks_of_signing() {
    let mine = attempt(ALICE, 7);
    let open = || State::empty().signed(&mine);
    let owned = || State::empty().holds(&certified(entry(ALICE, 5, "v"), &one_group()));
    let far = |step| given_up(ALICE, MAX_TIMESTAMP_STEP + step);
    let forged = Abandon { signature: forged(), ..given_up(ALICE, 7) };
    let moved = Abandon { realm: Realm::new("other").unwrap(), ..given_up(ALICE, 7) };
    let mut later = given_up(ALICE, 7);
    later.attempt.timestamp = t(8);
    let million = certified(entry(ALICE, 1_000_000, "v"), &one_group());
    let shown = Request::Abandon {
        abandon: far(1_000_000),
        evidence: Evidence { latest: Some(Box::new(million)), times: vec![] },
    };
    let rows: Vec<Row> = vec![
        ("forged", open(), ALICE, tell(forged), "refused 301"),
        ("signed for another t", open(), ALICE, tell(later), "refused 301"),
        ("another realm", open(), ALICE, tell(moved), "refused 200"),
        ("t = 0", open(), ALICE, tell(given_up(ALICE, 0)), "refused 402"),
        ("t = 2^64-1", open(), ALICE, tell(given_up(ALICE, u64::MAX)), "refused 402"),
        ("no quorum certificate", open(), MALLORY, tell(given_up(MALLORY, 7)), "refused 302"),
        ("somebody else's attempt", open(), BOB, tell(abandon(BOB, mine.id())), "refused 303"),
        ("somebody else's variable", owned(), BOB, tell(given_up(BOB, 7)), "refused 304 5"),
        (
            "2^20 above seen",
            State::empty(),
            ALICE,
            tell(far(0)),
            "seen 1048576 slots [] gone [1048576] | done",
        ),
        ("one more", State::empty(), ALICE, tell(far(1)), "refused 401 1048576"),
        (
            "with evidence, which is stored",
            State::empty(),
            ALICE,
            shown,
            "keep 1000000, seen 2048576 slots [] gone [2048576] | done",
        ),
    ];
    check(&a1(), rows);
    let store_node = Member::new(0xc1, two_groups());
    let ask = tell(given_up(ALICE, 7));
    check(&store_node, vec![("", State::empty(), ALICE, ask, "refused 202")]);
}

#[test]
fn nobody_raises_the_timestamp_of_a_name_with_a_fingerprint() {
    let mut attempt = attempt(BOB, 7).id();
    attempt.variable = variable(&format!("{}/diary", ALICE.id()));
    let ask = tell(abandon(BOB, attempt));
    check(&a1(), vec![("", State::empty(), BOB, ask, "refused 306")]);
}

/// Whoever names another's attempt as its own gains nothing by it: the true message is kept too.
#[test]
fn a_false_abandon_does_not_keep_the_true_one_out() {
    let mine = attempt(ALICE, 7);
    let poisoned = State::empty().abandoned(&abandon(BOB, mine.id()));
    let rows: Vec<Row> = vec![(
        "",
        poisoned,
        ALICE,
        tell(abandon(ALICE, mine.id())),
        "seen 7 slots [] gone [7 7] | done",
    )];
    check(&a1(), rows);
}

#[test]
fn the_newest_abandons_are_kept() {
    let limit = u64::try_from(Marks::MAX_ABANDONS).unwrap();
    let full = (1..=limit).fold(State::empty(), |state, t| state.abandoned(&given_up(ALICE, t)));
    let told = a1().ask(&full, ALICE, tell(given_up(ALICE, limit + 1)));
    assert!(told.starts_with("seen 33 slots [] gone [2 3 4 "), "{told}");
    assert!(told.ends_with(" 32 33] | done"), "{told}");
}
