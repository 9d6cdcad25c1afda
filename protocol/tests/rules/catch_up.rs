//! Catching up: what a quorum of others remembers, and how little a liar can add or hide.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{
    CatchUp, CatchUpAction, CatchUpOptions, Fault, Lost, MAX_UNCERTIFIED, Recovered, Round, Source,
};
use bftkv_protocol::server::MAX_RECALLED;
use bftkv_protocol::{
    Abandon, Answer, CertifiedEntry, Configuration, Marks, NodeId, Recalled, Refusal, Request,
    Response, SignatureBytes, SignedEntry, Slot, Variable, VariableState, WriterSignature,
};

use crate::fixtures::{
    ALICE, BOB, CLIQUE, Keys, MALLORY, People, abandon, alone, certified, certified_by,
    configuration, entry, final_entry, node, one_group, signed, t, variable,
};

const ROUND: Duration = Duration::from_secs(1);
const ME: u8 = CLIQUE[0];
const A: u8 = CLIQUE[1];
const B: u8 = CLIQUE[2];
const LIAR: u8 = CLIQUE[3];

/// What the member catches up from: the test answers for the others.
struct Bench {
    catch_up: CatchUp,
    configuration: Arc<Configuration>,
    keys: Keys,
    asked: BTreeMap<NodeId, (Round, Request)>,
    recovered: Vec<Recovered>,
    fetched: usize,
}

fn options() -> CatchUpOptions {
    let source = Source::Peers;
    CatchUpOptions { me: node(ME), counts_itself: false, source, round_timeout: ROUND }
}

impl Bench {
    fn new(configuration: Arc<Configuration>) -> Self {
        let catch_up = CatchUp::start(Duration::ZERO, alone(&configuration), options());
        let mut bench = Self {
            catch_up,
            configuration,
            keys: Keys::default(),
            asked: BTreeMap::new(),
            recovered: Vec::new(),
            fetched: 0,
        };
        bench.drain();
        bench
    }

    fn drain(&mut self) {
        while let Some(action) = self.catch_up.poll() {
            match action {
                CatchUpAction::Ask { round, to, request } => {
                    self.asked.insert(to, (round, *request));
                }
                CatchUpAction::Persist(batch) => self.recovered.extend(batch),
                CatchUpAction::Fetch(_) => {
                    self.fetched += 1;
                    self.catch_up.handle_fetched(&self.keys, &People);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn is_asked(&self, from: u8) -> bool {
        self.asked.contains_key(&node(from))
    }

    fn respond(&mut self, from: u8, response: Result<Response, Lost>) {
        let (round, _) = self.asked.remove(&node(from)).expect("it was asked");
        self.catch_up.handle_response(round, &node(from), response, &self.keys, &People);
        self.drain();
    }

    fn page(&mut self, from: u8, variables: Vec<Recalled>, more: bool) {
        let outcome = Ok(Answer::Recalled { variables, more });
        let configuration = self.configuration.digest();
        self.respond(from, Ok(Response { configuration, outcome }));
    }

    /// All that this member knows, in one page.
    fn tell(&mut self, from: u8, variables: Vec<Recalled>) {
        self.page(from, variables, false);
    }

    fn only(self) -> Recovered {
        assert!(self.catch_up.is_done(), "waits for {:?}", self.catch_up.waits_for());
        assert_eq!(self.recovered.len(), 1);
        self.recovered.into_iter().next().unwrap()
    }

    fn fault(&self, of: u8) -> Option<Fault> {
        self.catch_up.culprits().get(&node(of)).copied()
    }
}

fn know(latest: Option<CertifiedEntry>, seen: u64, slots: &[&SignedEntry]) -> Recalled {
    let slots = slots.iter().map(|signed| Slot::of(signed)).collect();
    let marks = Marks { seen: t(seen), slots, abandons: Vec::new() };
    Recalled { variable: variable("x"), marks, latest: latest.map(Box::new) }
}

fn named(name: &str, recalled: Recalled) -> Recalled {
    Recalled { variable: variable(name), ..recalled }
}

fn times(recovered: &Recovered) -> (u64, Vec<u64>) {
    let slots = recovered.marks.slots.iter().map(|slot| slot.timestamp.get());
    (recovered.marks.seen.get(), slots.collect())
}

#[test]
fn it_takes_a_quorum_of_others_and_one_honest_word() {
    let mut bench = Bench::new(one_group());
    assert!(!bench.is_asked(ME), "it does not ask itself");
    let old = certified(entry(ALICE, 5, "old"), &one_group());
    let new = certified(entry(ALICE, 6, "new"), &one_group());
    let open = signed(entry(ALICE, 8, "open"));
    bench.tell(A, vec![know(Some(new.clone()), 8, &[&open])]);
    bench.tell(LIAR, Vec::new());
    assert!(!bench.catch_up.is_done(), "two of three");
    bench.tell(B, vec![know(Some(old), 5, &[])]);
    let found = bench.only();
    assert_eq!(found.latest, Some(new));
    assert_eq!(times(&found), (8, vec![8]), "the slot that only one of them told");
}

#[test]
fn an_invented_slot_is_left_out_and_its_teller_named() {
    let real = signed(entry(ALICE, 7, "real"));
    let forged = |change: fn(&mut Slot)| {
        let mut slot = Slot::of(&signed(entry(ALICE, 9, "invented")));
        change(&mut slot);
        slot
    };
    let garbage = || WriterSignature::new(SignatureBytes::new(*b"forged").unwrap());
    let cases: [(&str, Slot); 5] = [
        ("no signature", Slot { signature: garbage(), ..Slot::of(&real) }),
        ("another timestamp", forged(|slot| slot.timestamp = t(1 << 60))),
        ("another owner", forged(|slot| slot.owner = BOB.owner())),
        ("final", forged(|slot| slot.is_final = true)),
        ("of another variable", {
            let other = bftkv_protocol::Entry { variable: variable("y"), ..entry(ALICE, 9, "y") };
            Slot::of(&signed(other))
        }),
    ];
    for (shows, slot) in cases {
        let mut bench = Bench::new(one_group());
        let mut lie = know(None, 9, &[]);
        lie.marks.slots = vec![slot];
        bench.tell(LIAR, vec![lie]);
        bench.tell(A, vec![know(None, 7, &[&real])]);
        bench.tell(B, vec![know(None, 7, &[&real])]);
        assert_eq!(bench.fault(LIAR), Some(Fault::BadMemory), "{shows}");
        let found = bench.only();
        assert_eq!(times(&found), (9, vec![7]), "{shows}: seen is believed a little");
    }
}

/// Anybody can make a key and sign with it: such attempts block nothing. Nobody is named for it, as
/// an honest member may know certifications that are unknown here.
#[test]
fn attempts_of_writers_that_nobody_certified_do_not_count() {
    let mut bench = Bench::new(one_group());
    let stranger = signed(entry(MALLORY, 1 << 60, "mine"));
    let mut lie = know(None, 1 << 60, &[&stranger]);
    lie.marks.abandons = vec![abandon(MALLORY, stranger.id())];
    bench.tell(LIAR, vec![lie]);
    bench.tell(A, vec![know(None, 7, &[])]);
    bench.tell(B, vec![know(None, 7, &[])]);
    assert!(bench.fetched > 0, "it looks for certifications first");
    assert_eq!(bench.fault(LIAR), None);
    assert_eq!(times(&bench.only()), (7 + (1 << 15), vec![]));
}

#[test]
fn a_huge_timestamp_is_believed_only_a_little_beyond_what_is_proven() {
    let latest = certified(entry(ALICE, 5, "v"), &one_group());
    let cases: [(&str, u64, u64, u64); 3] = [
        ("proven by the entry", 5, 5, 5 + (1 << 15)),
        ("said by b+1 with the liar", 900, 5, 900 + (1 << 15)),
        ("by nobody", 0, 0, 5 + (1 << 15)),
    ];
    for (shows, by_a, by_b, expected) in cases {
        // b+1 = 2 members have an honest one among them: the liar's own word is one of two.
        let mut bench = Bench::new(one_group());
        bench.tell(LIAR, vec![know(None, u64::MAX, &[])]);
        bench.tell(A, vec![know(Some(latest.clone()), by_a, &[])]);
        bench.tell(B, vec![know(Some(latest.clone()), by_b, &[])]);
        assert_eq!(times(&bench.only()), (expected, vec![]), "{shows}");
    }
}

#[test]
fn what_is_settled_is_not_taken_over() {
    let (gone, lost) = (signed(entry(ALICE, 9, "gone")), signed(entry(ALICE, 4, "lost")));
    let seal = signed(final_entry(ALICE, 10, "seal"));
    let latest = certified(entry(ALICE, 5, "v"), &one_group());
    let given_up = |attempt: &SignedEntry| -> Vec<Abandon> { vec![abandon(ALICE, attempt.id())] };
    let mut bench = Bench::new(one_group());
    bench.tell(A, vec![know(None, 10, &[&lost, &gone, &seal])]);
    let mut settled = know(Some(latest), 9, &[]);
    settled.marks.abandons = given_up(&gone);
    bench.tell(B, vec![settled]);
    let mut lie = know(None, 10, &[]);
    lie.marks.abandons = given_up(&seal);
    bench.tell(LIAR, vec![lie]);
    let found = bench.only();
    assert_eq!(times(&found), (10, vec![10]), "a Final stays although its owner gave it up");
    assert_eq!(found.marks.abandons.len(), 2);
}

#[test]
fn an_entry_counts_only_with_its_quorum_of_signatures() {
    let real = certified(entry(ALICE, 5, "real"), &one_group());
    let two = certified_by(entry(ALICE, 9, "two signers"), &[A, LIAR], &one_group());
    let mut bench = Bench::new(one_group());
    bench.tell(LIAR, vec![know(Some(two), 9, &[])]);
    bench.tell(A, vec![know(Some(real.clone()), 5, &[])]);
    bench.tell(B, vec![know(Some(real.clone()), 5, &[])]);
    assert_eq!(bench.fault(LIAR), Some(Fault::BadEntry));
    assert_eq!(bench.only().latest, Some(real));
}

/// Two certified entries with one timestamp prove who signed both.
#[test]
fn an_equivocation_that_shows_up_is_told() {
    let entries = ["one", "two"].map(|v| certified(entry(ALICE, 5, v), &one_group()));
    let [one, two] = entries;
    let mut catch_up = CatchUp::start(Duration::ZERO, alone(&one_group()), options());
    let mut accused = 0;
    let mut claims =
        [know(Some(one), 5, &[]), know(Some(two), 5, &[]), know(None, 0, &[])].into_iter();
    while let Some(action) = catch_up.poll() {
        match action {
            CatchUpAction::Ask { round, to, .. } => {
                let outcome =
                    Ok(Answer::Recalled { variables: vec![claims.next().unwrap()], more: false });
                let response = Response { configuration: one_group().digest(), outcome };
                catch_up.handle_response(round, &to, Ok(response), &Keys::default(), &People);
            }
            CatchUpAction::Accuse(proof) => {
                accused += 1;
                let members =
                    proof.guilty() == &ALICE.id() || CLIQUE.map(node).contains(proof.guilty());
                assert!(members);
            }
            _ => {}
        }
    }
    assert_eq!(accused, 4, "three members and the writer");
}

#[test]
fn pages_go_on_until_everybody_has_told_all() {
    let names: Vec<String> = (0..600).map(|i| format!("v{i:04}")).collect();
    let page = |from: usize| -> Vec<Recalled> {
        let of = |name: &String| {
            let x = variable(name);
            let e = bftkv_protocol::Entry { variable: x, ..entry(ALICE, 5, "v") };
            named(name, know(Some(certified(e, &one_group())), 5, &[]))
        };
        names.iter().skip(from).take(usize::from(MAX_RECALLED)).map(of).collect()
    };
    let mut bench = Bench::new(one_group());
    while !bench.catch_up.is_done() {
        let asked: Vec<(NodeId, Request)> =
            bench.asked.iter().map(|(id, (_, request))| (id.clone(), request.clone())).collect();
        assert!(!asked.is_empty(), "it never stands still");
        for (id, request) in asked {
            let Request::Recall { after, limit } = request else { panic!("{request:?}") };
            assert_eq!(limit, MAX_RECALLED);
            let known = |x: &Variable| names.iter().filter(|n| variable(n) <= *x).count();
            let from = after.as_ref().map_or(0, known);
            let page = page(from);
            let more = from + page.len() < names.len();
            bench.page(id.as_bytes()[0], page, more);
        }
    }
    assert_eq!(bench.recovered.len(), 600);
    assert_eq!(bench.catch_up.variables(), 600);
}

/// Pages that are no pages: their sender counts as one that knows nothing, and holds nobody up.
#[test]
fn bad_pages_convict_their_sender_and_do_not_stop_the_others() {
    let know = |name: &str| named(name, know(None, 5, &[]));
    let many = || (0..300).map(|i| know(&format!("v{i:04}"))).collect();
    let cases: [(&str, Vec<Recalled>, bool); 4] = [
        ("not ascending", vec![know("b"), know("a")], false),
        ("twice the same", vec![know("a"), know("a")], false),
        ("too many", many(), false),
        ("pages of one, for ever", vec![know("a")], true),
    ];
    for (shows, page, more) in cases {
        let mut bench = Bench::new(one_group());
        bench.page(LIAR, page, more);
        assert_eq!(bench.fault(LIAR), Some(Fault::BadAnswer), "{shows}");
        assert!(!bench.is_asked(LIAR), "{shows}: it is not asked again");
        bench.tell(A, Vec::new());
        bench.tell(B, Vec::new());
        assert!(bench.catch_up.is_done(), "{shows}");
    }
}

#[test]
fn a_page_once_more_is_a_lie() {
    let page = |from: usize| -> Vec<Recalled> {
        (from..from + 256).map(|i| named(&format!("v{i:06}"), know(None, 1, &[]))).collect()
    };
    let mut bench = Bench::new(one_group());
    bench.tell(A, Vec::new());
    bench.tell(B, Vec::new());
    bench.page(LIAR, page(0), true);
    bench.page(LIAR, page(0), true);
    assert_eq!(bench.fault(LIAR), Some(Fault::BadAnswer));
    assert!(bench.catch_up.is_done());
}

/// A liar invents variables for ever: there is an end to what one member may name without proof.
#[test]
fn endless_pages_come_to_an_end() {
    let mut bench = Bench::new(one_group());
    bench.tell(A, Vec::new());
    bench.tell(B, Vec::new());
    let mut pages = 0;
    while !bench.catch_up.is_done() {
        let page = (0..256).map(|i| named(&format!("{:08}", pages * 256 + i), know(None, 1, &[])));
        bench.page(LIAR, page.collect(), true);
        bench.recovered.clear();
        pages += 1;
        assert!(pages <= MAX_UNCERTIFIED / 256 + 1, "no end");
    }
    assert_eq!(bench.fault(LIAR), Some(Fault::BadAnswer));
}

#[test]
fn who_is_silent_is_asked_again_and_who_is_needed_is_named() {
    let mut bench = Bench::new(one_group());
    bench.tell(A, Vec::new());
    bench.respond(B, Err(Lost::Silent));
    let configuration = one_group().digest();
    bench.respond(LIAR, Ok(Response { configuration, outcome: Err(Refusal::Busy) }));
    assert!(!bench.is_asked(B), "not at once");
    assert_eq!(bench.catch_up.waits_for(), [node(B), node(LIAR)].into());
    assert_eq!(bench.catch_up.wake_at(), Some(ROUND));
    bench.catch_up.handle_timeout(ROUND);
    bench.drain();
    assert!(bench.is_asked(B) && bench.is_asked(LIAR));
    bench.tell(B, Vec::new());
    bench.tell(LIAR, Vec::new());
    assert!(bench.catch_up.is_done());
    assert_eq!(bench.catch_up.wake_at(), None);
}

/// A page may take longer than the time after which its member is asked again.
#[test]
fn a_slow_answer_still_counts_and_only_once() {
    let mut bench = Bench::new(one_group());
    let (first, _) = bench.asked[&node(A)].clone();
    for round in [1, 2] {
        bench.catch_up.handle_timeout(ROUND * round);
        bench.drain();
    }
    let (second, _) = bench.asked[&node(A)].clone();
    assert_ne!(first, second, "it was asked again");
    let configuration = one_group().digest();
    for round in [first, second] {
        let outcome = Ok(Answer::Recalled { variables: vec![know(None, 5, &[])], more: false });
        let response = Ok(Response { configuration, outcome });
        bench.catch_up.handle_response(round, &node(A), response, &bench.keys, &People);
    }
    bench.drain();
    assert!(bench.catch_up.culprits().is_empty(), "the second is not held against it");
    bench.tell(B, Vec::new());
    bench.tell(LIAR, Vec::new());
    assert!(bench.catch_up.is_done());
}

#[test]
fn an_answer_under_another_configuration_does_not_count() {
    let mut bench = Bench::new(one_group());
    let other = configuration(&[&CLIQUE], &[0xc1]).digest();
    let outcome = || Ok(Answer::Recalled { variables: Vec::new(), more: false });
    for from in [A, B, LIAR] {
        bench.respond(from, Ok(Response { configuration: other, outcome: outcome() }));
    }
    assert!(!bench.catch_up.is_done());
    assert!(bench.catch_up.culprits().is_empty());
}

#[test]
fn an_old_copy_keeps_what_it_knows() {
    let mut bench = Bench::new(one_group());
    let new = certified(entry(ALICE, 6, "new"), &one_group());
    let (open, own) = (signed(entry(ALICE, 8, "open")), signed(entry(ALICE, 9, "own")));
    for from in [A, B, LIAR] {
        bench.tell(from, vec![know(Some(new.clone()), 8, &[&open])]);
    }
    let (settled, seen) = (signed(entry(ALICE, 3, "settled")), t(9));
    let slots = vec![Slot::of(&settled), Slot::of(&own)];
    let marks = Marks { seen, slots, abandons: Vec::new() };
    let latest = Some(certified(entry(ALICE, 2, "older"), &one_group()));
    let batch = bench.only().join(&VariableState { latest, marks });
    let (_, marks) = &batch.marks[0];
    let slots: Vec<u64> = marks.slots.iter().map(|slot| slot.timestamp.get()).collect();
    assert_eq!((marks.seen, slots), (t(9), vec![8, 9]));
    assert_eq!(batch.entries, vec![new]);
}

/// Two members tell of two values at one timestamp. Both block; neither lies at seen(x) or above,
/// where the sign rule would repeat it.
#[test]
fn what_others_signed_lies_below_seen_and_is_never_repeated() {
    let (one, two) = (signed(entry(ALICE, 8, "one")), signed(entry(BOB, 8, "two")));
    let mut bench = Bench::new(one_group());
    bench.tell(A, vec![know(None, 8, &[&one])]);
    bench.tell(B, vec![know(None, 8, &[&two])]);
    bench.tell(LIAR, Vec::new());
    let batch = bench.only().join(&VariableState::default());
    let (_, marks) = &batch.marks[0];
    assert_eq!((marks.slots.len(), marks.seen), (2, t(9)));
    // What it signed itself is no news: an old copy of its own may be repeated.
    let own = VariableState { latest: None, marks: know(None, 8, &[&one]).marks };
    let mut bench = Bench::new(one_group());
    [A, B, LIAR].into_iter().for_each(|id| bench.tell(id, vec![know(None, 8, &[&one])]));
    assert_eq!(bench.only().join(&own).marks[0].1, own.marks);
}

/// Every quorum of signers with the forgetful member, every quorum of others that it then asks, and
/// every b liars among them that hide all: the attempt is known afterwards. Where n = 3b+1, one
/// member less does not do.
#[test]
fn what_could_be_certified_with_the_forgotten_share_is_known_afterwards() {
    for n in 4u32..=7 {
        let members: Vec<u8> = (1..=u8::try_from(n).unwrap()).map(|i| 0xa0 + i).collect();
        let thresholds = bftkv_protocol::Thresholds::of(members.len());
        let (b, q) = (thresholds.b(), thresholds.q());
        let sets = |size: usize| -> Vec<u32> {
            (0..1u32 << (n - 1)).filter(|s| s.count_ones() as usize == size).collect()
        };
        let hidden = |asked: usize| {
            let cases = sets(q - 1)
                .into_iter()
                .flat_map(|signers| sets(asked).into_iter().map(move |told| (signers, told)));
            cases
                .flat_map(|(signers, told)| sets(b).into_iter().map(move |l| (signers, told, l)))
                .filter(|(signers, told, liars)| signers & told & !liars == 0)
                .count()
        };
        assert_eq!(hidden(q), 0, "n = {n}");
        let tight = n as usize == 3 * b + 1;
        assert!(!tight || hidden(q - 1) > 0, "n = {n}: q-1 others are too few");
        real_machine_finds_it(&members, q, b);
    }
}

/// The worst case once with the real machine: the liars signed, and hide it; one honest member
/// that signed is asked.
fn real_machine_finds_it(members: &[u8], q: usize, b: usize) {
    let group = configuration(&[members], members);
    let mut bench = Bench::new(Arc::clone(&group));
    let attempt = signed(entry(ALICE, 7, "in flight"));
    // Signers: the forgetful one, all b liars and q-1-b honest ones, from the end of the list.
    let others = &members[1..];
    let (liars, honest) = others.split_at(b);
    let signers = &honest[honest.len() - (q - 1 - b)..];
    // Asked: the liars, the honest ones that did not sign, and as few that signed as possible.
    let asked: Vec<u8> = liars.iter().chain(honest).take(q).copied().collect();
    for id in asked {
        let knows = signers.contains(&id).then(|| know(None, 7, &[&attempt]));
        bench.tell(id, knows.into_iter().collect());
    }
    let found = bench.only();
    assert_eq!(times(&found), (7, vec![7]), "n = {}", members.len());
}
