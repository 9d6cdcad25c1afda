//! Rule R4, sentence by sentence: what a server stores.

use bftkv_protocol::{
    CertifiedEntry, CollectiveSignature, Entry, Realm, Request, SignatureShare, WriterSignature,
};

use crate::fixtures::{
    ALICE, BOB, CLIQUE, MALLORY, STORE, abandon, certified, certified_by, entry, forged, node,
    nodes, one_group, signed, two_cliques, two_groups,
};
use crate::member::{Member, Row, State, check};

fn a1() -> Member {
    Member::new(CLIQUE[0], one_group())
}

fn valid(entry: Entry) -> CertifiedEntry {
    certified(entry, &one_group())
}

fn store(entry: CertifiedEntry) -> Request {
    Request::Store { entry }
}

/// "The same entry again, and a lower t, are acknowledged (a lower t goes to the history)."
#[test]
fn certified_entries_are_kept_and_settle_attempts() {
    let five = || State::empty().holds(&valid(entry(ALICE, 5, "v")));
    let seven = signed(entry(ALICE, 7, "v"));
    let open = || State::empty().signed(&seven).signed(&signed(entry(ALICE, 8, "w")));
    let gone = abandon(ALICE, signed(entry(ALICE, 6, "u")).id());
    let other_signers = certified_by(entry(ALICE, 5, "v"), &CLIQUE[1..], &one_group());
    let rows: Vec<Row> = vec![
        (
            "the first",
            State::empty(),
            ALICE,
            store(valid(entry(ALICE, 5, "v"))),
            "keep 5, seen 5 slots [] | done",
        ),
        (
            "from whomever",
            State::empty(),
            MALLORY,
            store(valid(entry(ALICE, 5, "v"))),
            "keep 5, seen 5 slots [] | done",
        ),
        (
            "a higher t",
            five(),
            ALICE,
            store(valid(entry(ALICE, 6, "w"))),
            "keep 6, seen 6 slots [] | done",
        ),
        ("the same again", five(), ALICE, store(valid(entry(ALICE, 5, "v"))), "done"),
        ("the same with other signers", five(), ALICE, store(other_signers), "done"),
        (
            "a lower t, for the history",
            five(),
            ALICE,
            store(valid(entry(ALICE, 3, "u"))),
            "keep 3, seen 5 slots [] | done",
        ),
        (
            "its own attempt is settled, a later one is not",
            open(),
            ALICE,
            store(valid(entry(ALICE, 7, "v"))),
            "keep 7, seen 8 slots [8] | done",
        ),
        (
            "a later entry settles all",
            open(),
            ALICE,
            store(valid(entry(ALICE, 9, "z"))),
            "keep 9, seen 9 slots [] | done",
        ),
        (
            "abandons below it are forgotten",
            State::empty().abandoned(&gone),
            ALICE,
            store(valid(entry(ALICE, 7, "v"))),
            "keep 7, seen 7 slots [] | done",
        ),
        (
            "abandons above it are kept",
            State::empty().abandoned(&gone),
            ALICE,
            store(valid(entry(ALICE, 5, "v"))),
            "keep 5, seen 6 slots [] gone [6] | done",
        ),
    ];
    check(&a1(), rows);
}

/// "Ownership was settled by the signers: a store node does not second-guess it." Nor does it ask
/// for a quorum certificate of today.
#[test]
fn what_was_certified_is_valid_everywhere() {
    let owned = State::empty().holds(&valid(entry(ALICE, 5, "v")));
    let rows: Vec<Row> = vec![
        (
            "another owner",
            owned,
            BOB,
            store(valid(entry(BOB, 6, "w"))),
            "keep 6, seen 6 slots [] | done",
        ),
        (
            "a writer whom nobody certifies today",
            State::empty(),
            MALLORY,
            store(valid(entry(MALLORY, 6, "w"))),
            "keep 6, seen 6 slots [] | done",
        ),
    ];
    check(&a1(), rows);
    let mut member = Member::new(STORE[0], two_groups());
    member.cut.insert(ALICE.id());
    let entry = certified(entry(ALICE, 5, "v"), &two_groups());
    let expected = "keep 5, seen 5 slots [] | done";
    check(&member, vec![("a writer cut out since", State::empty(), BOB, store(entry), expected)]);
}

/// "Store if s_C and S are valid: q distinct signers in every authority clique."
#[test]
fn entries_that_are_not_certified_are_refused() {
    let configuration = one_group();
    let e = || entry(ALICE, 5, "v");
    let mut bad_writer = valid(e());
    bad_writer.signed.signature = WriterSignature::new(forged());
    let elsewhere = valid(Entry { realm: Realm::new("other").unwrap(), ..e() });
    let mut other_value = valid(e());
    other_value.signed = signed(entry(ALICE, 5, "other"));
    let by = |signers: &[u8]| certified_by(e(), signers, &configuration);
    let row = |shows, entry, expected| (shows, State::empty(), ALICE, store(entry), expected);
    let rows: Vec<Row> = vec![
        row("q-1 signers", by(&CLIQUE[..2]), "refused 500"),
        row("nobody", by(&[]), "refused 500"),
        row("q signers and a stranger", by(&[0xa1, 0xa2, 0xa3, 0xc1]), "refused 500"),
        row("shares for another value", other_value, "refused 500"),
        row("s_C does not verify", bad_writer, "refused 301"),
        row("another realm", elsewhere, "refused 200"),
        row("another configuration", certified(e(), &two_groups()), "refused 201"),
        row("t = 0", valid(entry(ALICE, 0, "v")), "refused 402"),
        row("t = 2^64-1", valid(entry(ALICE, u64::MAX, "v")), "refused 402"),
    ];
    check(&a1(), rows);
}

#[test]
fn a_missing_certificate_is_named_and_strangers_store_nothing() {
    let ask = || store(valid(entry(ALICE, 5, "v")));
    let mut member = a1();
    member.keys.0.insert(node(0xa2));
    check(&member, vec![("a member's", State::empty(), ALICE, ask(), "refused 300")]);
    let mut member = a1();
    member.keys.0.insert(ALICE.id());
    check(&member, vec![("the writer's", State::empty(), ALICE, ask(), "refused 300")]);
    let member = Member::new(0xee, one_group());
    check(&member, vec![("no member", State::empty(), ALICE, ask(), "refused 202")]);
}

/// "In *every* authority clique."
#[test]
fn every_clique_must_have_signed() {
    let configuration = two_cliques();
    let by = |signers: &[u8]| certified_by(entry(ALICE, 5, "v"), signers, &configuration);
    let row = |entry, expected| ("", State::empty(), ALICE, store(entry), expected);
    let rows: Vec<Row> = vec![
        row(by(&[0xa1, 0xa2, 0xa3, 0xb1, 0xb2, 0xb3]), "keep 5, seen 5 slots [] | done"),
        row(by(&[0xa1, 0xa2, 0xa3, 0xb1, 0xb2]), "refused 500"),
        row(by(&[0xa1, 0xa2, 0xa3, 0xa4, 0xb1, 0xb2]), "refused 500"),
        row(by(&[0xa1, 0xa2, 0xa3]), "refused 500"),
    ];
    check(&Member::new(CLIQUE[0], two_cliques()), rows);
}

/// "At least b+1 signers that were not cut must remain."
#[test]
fn signers_cut_out_later_carry_no_entry_alone() {
    let ask = || store(certified_by(entry(ALICE, 5, "v"), &CLIQUE[..3], &one_group()));
    let mut member = a1();
    for (cut, expected) in [
        (vec![0xa1], "keep 5, seen 5 slots [] | done"),
        (vec![0xa1, 0xa2], "refused 502"),
        (vec![0xa1, 0xa4], "keep 5, seen 5 slots [] | done"),
    ] {
        member.cut = nodes(cut);
        check(&member, vec![("", State::empty(), ALICE, ask(), expected)]);
    }
}

/// Whoever signs two entries is convicted by its two shares, also if nobody else helped it.
#[test]
fn a_lone_traitor_is_convicted_by_an_entry_that_is_not_certified() {
    let rival = |signers: &[u8]| store(certified_by(entry(ALICE, 5, "w"), signers, &one_group()));
    let five = || State::empty().holds(&valid(entry(ALICE, 5, "v")));
    let rows: Vec<Row> = vec![
        (
            "a1 to a3 signed v",
            five(),
            BOB,
            rival(&[0xa3, 0xa4]),
            "proofs 1 | refused 501 1 | accuse a3",
        ),
        ("a4 signed only w", five(), BOB, rival(&[0xa4]), "refused 500"),
        ("nothing is stored to compare with", State::empty(), BOB, rival(&[0xa3]), "refused 500"),
    ];
    check(&a1(), rows);
    let mut forged_share = certified_by(entry(ALICE, 5, "w"), &[0xa4], &one_group());
    let mut shares = forged_share.collective.shares().to_vec();
    shares.push(SignatureShare { signer: node(0xa3), signature: forged() });
    forged_share.collective = CollectiveSignature::new(one_group().digest(), shares);
    let row = ("a forged share frames nobody", five(), BOB, store(forged_share), "refused 500");
    check(&a1(), vec![row]);
}

/// One proof against each is kept and told, however many there are.
#[test]
fn a_flood_of_proofs_against_one_key_is_kept_once() {
    let mut member = a1();
    let all = |t| State::empty().holds(&valid(entry(ALICE, t, "v")));
    let rival = |t| store(valid(entry(ALICE, t, "w")));
    member.convicted = nodes([0xa1, 0xa2]);
    member.convicted.insert(ALICE.id());
    let rows = vec![("", all(5), BOB, rival(5), "proofs 1 | refused 501 4 | accuse a3")];
    check(&member, rows);
    member.convicted.insert(node(0xa3));
    check(&member, vec![("", all(6), BOB, rival(6), "refused 501 4")]);
}

/// "Two certified entries with one (x,t) are an equivocation (compare with the history too, never
/// with slots)."
#[test]
fn two_certified_entries_with_one_timestamp_convict_who_signed_both() {
    let rival = valid(entry(ALICE, 5, "other"));
    let with_a4 = certified_by(entry(BOB, 5, "other"), &[0xa2, 0xa3, 0xa4], &one_group());
    let five = || State::empty().holds(&valid(entry(ALICE, 5, "v")));
    let newer = || five().holds(&valid(entry(ALICE, 9, "w")));
    let slot = signed(entry(ALICE, 5, "v"));
    let all = "proofs 4 | refused 501 4 | accuse a1 | accuse a2 | accuse a3 | accuse 01";
    let rows: Vec<Row> = vec![
        ("the newest", five(), ALICE, store(rival.clone()), all),
        ("one in the history", newer(), ALICE, store(rival.clone()), all),
        (
            "only who signed both; other writers are not compared",
            five(),
            ALICE,
            store(with_a4),
            "proofs 2 | refused 501 2 | accuse a2 | accuse a3",
        ),
        (
            "a slot is no certified entry",
            State::empty().signed(&slot),
            ALICE,
            store(rival),
            "keep 5, seen 5 slots [] | done",
        ),
    ];
    check(&a1(), rows);
}
