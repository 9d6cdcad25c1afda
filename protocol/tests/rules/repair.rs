//! What a member vouches for when entries are certified again, what a vouch proves and what it does
//! not. docs/adr/0015.

use std::sync::Arc;

use bftkv_protocol::{
    Backing, CertifiedEntry, Change, ChangeKind, CollectiveSignature, Configurations,
    EquivocationProof, Invalid, Purpose, Request, SignatureShare, SignedEntry, VouchStatement,
    verify_certified,
};

use crate::fixtures::{
    ALICE, BOB, CLIQUE, Keys, certified_by, entry, node, nodes, one_group, share, share_statement,
    sign, signed, voted,
};
use crate::member::{Member, Row, State, check};

/// a1 and a2 of the first four were replaced, one after the other, by a5 and a6.
pub(crate) fn replaced() -> Arc<Configurations> {
    let mut known = Configurations::starting_with((*one_group()).clone());
    let steps = [
        (0xa5, ChangeKind::Add),
        (0xa1, ChangeKind::Remove),
        (0xa6, ChangeKind::Add),
        (0xa2, ChangeKind::Remove),
    ];
    for (member, kind) in steps {
        let change = Change { member: node(member), kind, clique: Some(0), store: true };
        let newest = Arc::clone(known.newest());
        let voters: Vec<u8> = newest.authority().iter().map(|id| id.as_bytes()[0]).collect();
        known.extend(voted(&newest, change, &voters), &Keys::default()).unwrap();
    }
    Arc::new(known)
}

/// Who is there now.
pub(crate) const NOW: [u8; 4] = [0xa3, 0xa4, 0xa5, 0xa6];

/// Signed by a1, a2 and a3 when they were members.
pub(crate) fn old_entry() -> CertifiedEntry {
    certified_by(entry(ALICE, 5, "v"), &CLIQUE[..3], &one_group())
}

pub(crate) fn vouch(entry: &SignedEntry, signer: u8, known: &Configurations) -> SignatureShare {
    let bytes = VouchStatement::about(entry, known.newest()).signed_bytes();
    let signer = node(signer);
    SignatureShare { signature: sign(&signer, Purpose::Vouch, &bytes), signer }
}

pub(crate) fn vouches(
    entry: &SignedEntry,
    by: &[u8],
    known: &Configurations,
) -> CollectiveSignature {
    let all = by.iter().map(|signer| vouch(entry, *signer, known)).collect();
    CollectiveSignature::new(known.newest().vouched(), all)
}

/// The entry with vouches as its S.
pub(crate) fn vouched_by(entry: &SignedEntry, by: &[u8], known: &Configurations) -> CertifiedEntry {
    CertifiedEntry { signed: entry.clone(), collective: vouches(entry, by, known) }
}

/// A member of today. a1 and a2 were cut out, so one signer of the old entry is left.
pub(crate) fn member(number: u8) -> Member {
    let mut member = Member::new(number, one_group());
    member.configurations = replaced();
    member.cut = nodes([0xa1, 0xa2]);
    member
}

pub(crate) fn ask(entry: CertifiedEntry, vouches: CollectiveSignature) -> Request {
    Request::Vouch { entry: Box::new(entry), vouches }
}

fn store(entry: CertifiedEntry) -> Request {
    Request::Store { entry }
}

// ----- what a member does -----

#[test]
fn a_member_vouches_for_what_it_stores_and_for_nothing_else() {
    let (known, old) = (replaced(), old_entry());
    let by = |signers: &[u8]| vouches(&old.signed, signers, &known);
    let shown = |signers: &[u8]| ask(old_entry(), by(signers));
    let other = signed(entry(ALICE, 5, "other"));
    let mut renamed = by(&[0xa3, 0xa4]);
    renamed = CollectiveSignature::new(known.newest().digest(), renamed.shares().to_vec());
    let shares: Vec<_> =
        [0xa3, 0xa4].iter().map(|id| share(&old.signed, *id, known.newest())).collect();
    let shares = CollectiveSignature::new(known.newest().vouched(), shares);
    let rival = certified_by(entry(BOB, 5, "rival"), &CLIQUE[1..], &one_group());
    let has = || State::empty().holds(&old_entry());
    let empty = State::empty;
    let rows: Vec<Row> = vec![
        ("it stores the entry", has(), BOB, shown(&[]), "vouch 5"),
        ("in its history", has().holds(&of(9)), BOB, shown(&[]), "vouch 5"),
        ("it does not", empty(), BOB, shown(&[]), "refused 502"),
        ("b others vouch", empty(), BOB, shown(&[0xa3]), "refused 502"),
        ("b+1 do", empty(), BOB, shown(&[0xa3, 0xa4]), "keep 5, seen 5 slots [] | vouch 5"),
        ("one has left", empty(), BOB, shown(&[0xa1, 0xa3]), "refused 502"),
        ("one is no member", empty(), BOB, shown(&[0xa3, 0xc1]), "refused 502"),
        ("shares are no vouches", empty(), BOB, ask(old_entry(), shares), "refused 502"),
        ("nor under the name of shares", empty(), BOB, ask(old_entry(), renamed), "refused 502"),
        (
            "vouches for another entry",
            empty(),
            BOB,
            ask(old_entry(), vouches(&other, &[0xa3, 0xa4], &known)),
            "refused 502",
        ),
        (
            "nothing that was never certified",
            empty(),
            BOB,
            ask(certified_by(entry(ALICE, 5, "v"), &CLIQUE[..2], &one_group()), by(&[0xa3, 0xa4])),
            "refused 500",
        ),
        (
            "another entry at its place",
            State::empty().holds(&rival),
            BOB,
            shown(&[0xa3, 0xa4]),
            "proofs 2 | refused 501 2 | accuse a2 | accuse a3",
        ),
    ];
    check(&member(0xa5), rows);
    let mut nobody_cut = member(0xa5);
    nobody_cut.cut.clear();
    let row =
        ("with b+1 signers left", empty(), BOB, shown(&[]), "keep 5, seen 5 slots [] | vouch 5");
    check(&nobody_cut, vec![row]);
    let mut a4_cut = member(0xa5);
    a4_cut.cut.insert(node(0xa4));
    let row = ("one of b+1 was cut out", empty(), BOB, shown(&[0xa3, 0xa4]), "refused 502");
    check(&a4_cut, vec![row]);
    let stranger = Member { me: node(0xee), ..member(0xa5) };
    check(&stranger, vec![("no member", has(), BOB, shown(&[]), "refused 202")]);
}

fn of(t: u64) -> CertifiedEntry {
    certified_by(entry(ALICE, t, "w"), &CLIQUE[1..], &one_group())
}

#[test]
fn a_lapsed_entry_that_is_stored_is_acknowledged() {
    let has = || State::empty().holds(&old_entry());
    let rows: Vec<Row> = vec![
        ("it is on disk", has(), BOB, store(old_entry()), "done"),
        ("as a version too", has().holds(&of(9)), BOB, store(old_entry()), "done"),
        ("it is not", State::empty(), BOB, store(old_entry()), "refused 502"),
    ];
    check(&member(0xa5), rows);
}

#[test]
fn of_two_copies_the_better_one_stays() {
    let (known, signed) = (replaced(), old_entry().signed);
    let full = || vouched_by(&signed, &NOW[..3], &known);
    let thin = || certified_by(entry(ALICE, 5, "v"), &[0xa2, 0xa3, 0xa4], &one_group());
    let backing = |entry: &CertifiedEntry| Backing::of(entry, &known, &nodes([0xa1, 0xa2]));
    let classes = [backing(&old_entry()), backing(&thin()), backing(&full())];
    assert_eq!(classes, [Backing::Lapsed, Backing::Thin, Backing::Full]);
    let holds = |entry: CertifiedEntry| State::empty().holds(&entry);
    let rows: Vec<Row> = vec![
        ("full for lapsed", holds(old_entry()), BOB, store(full()), "keep 5 | done"),
        ("thin for lapsed", holds(old_entry()), BOB, store(thin()), "keep 5 | done"),
        ("full for thin", holds(thin()), BOB, store(full()), "keep 5 | done"),
        ("no thin for full", holds(full()), BOB, store(thin()), "done"),
        ("no lapsed for full", holds(full()), BOB, store(old_entry()), "done"),
        ("no full for full", holds(full()), BOB, store(full()), "done"),
        (
            "also when vouching",
            holds(thin()),
            BOB,
            ask(full(), vouches(&signed, &[], &known)),
            "keep 5 | vouch 5",
        ),
    ];
    check(&member(0xa5), rows);
}

/// A writer may know no other entry than a lapsed one, and must not be stopped by that.
#[test]
fn lapsed_evidence_counts_as_not_shown() {
    let known = replaced();
    let evidence = bftkv_protocol::Evidence { latest: Some(Box::new(old_entry())), times: vec![] };
    let sign =
        |t| Request::Sign { entry: signed(entry(ALICE, t, "w")), evidence: evidence.clone() };
    let row = ("", State::empty(), ALICE, sign(6), "seen 6 slots [6] | share 6");
    check(&member(0xa5), vec![row]);
    let mut before = member(0xa5);
    before.cut.clear();
    let expected = "keep 5, seen 6 slots [6] | share 6";
    check(&before, vec![("it was stored before", State::empty(), ALICE, sign(6), expected)]);
    assert_eq!(known.newest().number(), 5);
}

// ----- what a vouch proves -----

#[test]
fn vouches_certify_as_shares_do_and_neither_passes_as_the_other() {
    let (known, signed, keys) = (replaced(), old_entry().signed, Keys::default());
    let verdict = |entry: &CertifiedEntry| verify_certified(entry, &known, &keys);
    assert_eq!(verdict(&vouched_by(&signed, &NOW[..3], &known)), Ok(()));
    let few = vouched_by(&signed, &NOW[..2], &known);
    assert_eq!(verdict(&few), Err(Invalid::TooFew { have: 2, need: 3, n: 4 }));
    let former = vouched_by(&signed, &[0xa1, 0xa2, 0xa3], &known);
    assert_eq!(verdict(&former), Err(Invalid::Foreign(node(0xa1))));

    let (newest, named) = (known.newest(), known.newest().digest());
    let all = |make: &dyn Fn(u8) -> SignatureShare| NOW.iter().map(|id| make(*id)).collect();
    let vouches = all(&|id| vouch(&signed, id, &known));
    let shares = all(&|id| share(&signed, id, newest));
    for (named, signatures) in [(named, vouches), (newest.vouched(), shares)] {
        let collective = CollectiveSignature::new(named, signatures);
        let crossed = CertifiedEntry { signed: signed.clone(), collective };
        assert!(matches!(verdict(&crossed), Err(Invalid::Share(_))), "{crossed:?}");
    }
    let another = crate::fixtures::signed(entry(ALICE, 5, "another"));
    let moved = CertifiedEntry { signed: another, ..vouched_by(&signed, &NOW, &known) };
    assert!(matches!(verdict(&moved), Err(Invalid::Share(_))));
}

/// A member gives its share to one entry at (x,t), stores the other and vouches for it; another
/// vouches for both, if it is a traitor. Nobody is convicted by a vouch.
#[test]
fn no_vouch_convicts_anybody() {
    let (known, keys) = (replaced(), Keys::default());
    let (one, two) = (signed(entry(ALICE, 5, "one")), signed(entry(BOB, 5, "two")));
    let shared = |entry: &SignedEntry| certified_by(entry.entry.clone(), &NOW[..3], known.newest());
    let vouched = |entry: &SignedEntry| vouched_by(entry, &NOW[..3], &known);
    let proofs = |a: &CertifiedEntry, b: &CertifiedEntry| {
        EquivocationProof::of_certified(a, b, &known, &keys).len()
    };
    assert_eq!(proofs(&shared(&one), &shared(&two)), 3, "shares do");
    assert_eq!(proofs(&vouched(&one), &vouched(&two)), 0);
    assert_eq!(proofs(&vouched(&one), &shared(&two)), 0);
    assert_eq!(proofs(&shared(&one), &vouched(&two)), 0);
    // Nor if it is offered as a share, whatever configuration is named.
    let (digest, name) = (known.newest().digest(), known.newest().vouched());
    for configuration in [digest, name] {
        let side = |entry: &SignedEntry| {
            let mut statement = share_statement(entry, known.newest());
            statement.configuration = configuration;
            (statement, vouch(entry, 0xa3, &known).signature)
        };
        assert!(EquivocationProof::of_shares(node(0xa3), side(&one), side(&two), &keys).is_err());
    }
    // A writer that had both certified is one, as ever.
    let again = signed(entry(ALICE, 5, "again"));
    assert_eq!(proofs(&vouched(&one), &vouched(&again)), 1);
}
