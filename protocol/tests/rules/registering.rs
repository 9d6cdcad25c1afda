//! How a user ID is claimed by somebody whom nobody has certified yet.

use bftkv_protocol::{Abandon, Address, Entry, Evidence, Purpose, Request, SignedEntry, Variable};

use crate::fixtures::{
    ALICE, BOB, CAROL, CAROL_TOO, CLIQUE, MALLORY, Person, certified, entry, one_group, realm,
    sign as sign_bytes, signed, variable,
};
use crate::member::{Member, Row, State, check};

fn a1() -> Member {
    Member::new(CLIQUE[0], one_group())
}

/// Claims the user ID of `user` for `writer`.
fn claim_of(user: Person, writer: Person, t: u64, value: &str) -> Entry {
    Entry {
        variable: Variable::of_user(&user.owner()).unwrap(),
        owner: Address::of_applicant(&writer.id()).unwrap(),
        ..entry(writer, t, value)
    }
}

fn claim(writer: Person, t: u64) -> Entry {
    claim_of(writer, writer, t, "record")
}

/// What somebody with a quorum certificate writes at the name of `user`.
fn ordinary(user: Person, writer: Person, t: u64) -> Entry {
    Entry { variable: Variable::of_user(&user.owner()).unwrap(), ..entry(writer, t, "record") }
}

fn ask(entry: Entry) -> Request {
    Request::Sign { entry: signed(entry), evidence: Evidence::default() }
}

fn given_up(attempt: &SignedEntry) -> Request {
    let entry = &attempt.entry;
    let (writer, owner) = (entry.writer.clone(), entry.owner.clone());
    let bytes = Abandon::statement(&realm(), &attempt.id(), &writer, &owner);
    let signature = sign_bytes(&writer, Purpose::Abandon, &bytes);
    let abandon = Abandon { realm: realm(), attempt: attempt.id(), writer, owner, signature };
    Request::Abandon { abandon, evidence: Evidence::default() }
}

/// A claim is signed for whom the identity check accepts, at that user ID's name and nowhere else.
#[test]
fn only_an_accepted_applicant_claims_and_only_its_own_user_id() {
    let empty = State::empty;
    let final_claim = Entry { is_final: true, ..claim(CAROL, 1) };
    let elsewhere = Entry { variable: variable("x"), ..claim(CAROL, 1) };
    let as_carol = Entry { owner: CAROL.owner(), ..claim(CAROL, 1) };
    let for_another =
        Entry { owner: Address::of_applicant(&CAROL.id()).unwrap(), ..claim(CAROL_TOO, 1) };
    let rows: Vec<Row> = vec![
        ("her own user ID", empty(), CAROL, ask(claim(CAROL, 1)), "seen 1 slots [1] | share 1"),
        ("not accepted", empty(), MALLORY, ask(claim(MALLORY, 1)), "refused 302"),
        ("another's", empty(), CAROL, ask(claim_of(ALICE, CAROL, 1, "r")), "refused 302"),
        ("another variable", empty(), CAROL, ask(elsewhere), "refused 302"),
        ("as if certified", empty(), CAROL, ask(as_carol), "refused 302"),
        ("in another's name", empty(), CAROL_TOO, ask(for_another), "refused 302"),
        ("for ever", empty(), CAROL, ask(final_claim), "refused 302"),
        ("asked by somebody else", empty(), BOB, ask(claim(CAROL, 1)), "refused 303"),
    ];
    check(&a1(), rows);
    let mut member = a1();
    member.cut.insert(CAROL.id());
    check(&member, vec![("cut", empty(), CAROL, ask(claim(CAROL, 1)), "refused 302")]);
}

/// Squatting: neither somebody with a quorum certificate for another user ID nor a second
/// applicant gets in the way of whoever came first, before or after the record is certified.
#[test]
fn a_user_id_cannot_be_squatted() {
    let first = signed(claim(CAROL, 1));
    let pending = || State::empty().signed(&first);
    let record = certified(claim(CAROL, 1), &one_group());
    let certified = || State::empty().holds(&record);
    let rows: Vec<Row> = vec![
        ("by a stranger", State::empty(), BOB, ask(ordinary(CAROL, BOB, 1)), "refused 302"),
        ("by a stranger, later", certified(), BOB, ask(ordinary(CAROL, BOB, 2)), "refused 302"),
        ("by another applicant", pending(), CAROL_TOO, ask(claim(CAROL_TOO, 2)), "refused 403 [1]"),
        ("after the record", certified(), CAROL_TOO, ask(claim(CAROL_TOO, 2)), "refused 304 1"),
        (
            "the first goes on",
            pending(),
            CAROL,
            ask(claim_of(CAROL, CAROL, 2, "again")),
            "seen 2 slots [1 2] | share 2",
        ),
        (
            "a user ID that is certified gets a record from its own key",
            State::empty(),
            ALICE,
            ask(ordinary(ALICE, ALICE, 1)),
            "seen 1 slots [1] | share 1",
        ),
    ];
    check(&a1(), rows);
}

/// Two who have split the clique can be told apart again: the loser gives its claim up.
#[test]
fn a_claim_can_be_given_up_by_its_writer_alone() {
    let first = signed(claim(CAROL, 1));
    let pending = || State::empty().signed(&first);
    let not_hers = {
        let mut request = given_up(&first);
        if let Request::Abandon { abandon, .. } = &mut request {
            abandon.writer = CAROL_TOO.id();
            let bytes =
                Abandon::statement(&realm(), &abandon.attempt, &abandon.writer, &abandon.owner);
            abandon.signature = sign_bytes(&abandon.writer, Purpose::Abandon, &bytes);
        }
        request
    };
    let of_nobody = given_up(&signed(claim(MALLORY, 1)));
    let rows: Vec<Row> = vec![
        ("her own", pending(), CAROL, given_up(&first), "seen 1 slots [] gone [1] | done"),
        ("relayed", pending(), CAROL_TOO, given_up(&first), "seen 1 slots [] gone [1] | done"),
        ("by another", pending(), CAROL_TOO, not_hers, "refused 302"),
        ("of somebody who may not claim", State::empty(), MALLORY, of_nobody, "refused 302"),
    ];
    check(&a1(), rows);
}

/// However two applicants share the members between them, at most one gets a quorum: no member that
/// follows the rules signs for both.
#[test]
fn of_two_claims_at_most_one_is_certified() {
    let requests = [(CAROL, claim(CAROL, 1)), (CAROL_TOO, claim(CAROL_TOO, 2))];
    for order in 0..16_u32 {
        let mut shares = [0; 2];
        for (place, member) in CLIQUE.iter().enumerate() {
            let member = Member::new(*member, one_group());
            let first = usize::try_from(order >> place & 1).unwrap();
            let mut state = State::empty();
            for who in [first, 1 - first] {
                let (sender, entry) = &requests[who];
                let told = member.ask(&state, *sender, ask(entry.clone()));
                if told.contains("share") {
                    shares[who] += 1;
                    state = state.signed(&signed(entry.clone()));
                }
            }
        }
        assert_eq!(shares.iter().sum::<usize>(), CLIQUE.len(), "each member signs one");
        assert!(shares.iter().filter(|count| **count >= 3).count() <= 1, "{shares:?}");
    }
}
