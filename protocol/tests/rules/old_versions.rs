//! Reading back old versions: none that was acknowledged is missing, each travels once, and liars
//! gain nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{
    CatchUpOptions, Fault, Lost, OldVersions, OldVersionsAction, Round, Source, absent, kept,
};
use bftkv_protocol::server::{MAX_RECALLED_ENTRIES, MAX_RECALLED_VERSIONS, Recall, page};
use bftkv_protocol::{
    Answer, CertifiedEntry, Configuration, Entry, Marks, NodeId, Refusal, Request, Response, Slot,
    Store as _, Thresholds, VersionId,
};

use crate::fixtures::{
    ALICE, CLIQUE, Keys, alone, certified, certified_by, configuration, entry, node, nodes,
    one_group, signed, t, variable,
};
use crate::shelf::Shelf;

const ROUND: Duration = Duration::from_secs(1);
const ME: u8 = CLIQUE[0];
const A: u8 = CLIQUE[1];
const B: u8 = CLIQUE[2];
const LIAR: u8 = CLIQUE[3];

/// A member that reads back, and the others, of which each answers from its shelf when the test
/// lets it.
struct Bench {
    machine: OldVersions,
    configuration: Arc<Configuration>,
    keys: Keys,
    mine: Shelf,
    others: BTreeMap<NodeId, Shelf>,
    asked: BTreeMap<NodeId, (Round, Request)>,
    /// How many versions were asked for by name.
    entries_asked: usize,
    fetched: usize,
}

impl Bench {
    fn new(configuration: Arc<Configuration>, mine: Shelf) -> Self {
        let (me, source) = (node(ME), Source::Peers);
        let options = CatchUpOptions { me, counts_itself: false, source, round_timeout: ROUND };
        let machine = OldVersions::start(Duration::ZERO, alone(&configuration), options);
        let mut bench = Self {
            machine,
            configuration,
            keys: Keys::default(),
            mine,
            others: BTreeMap::new(),
            asked: BTreeMap::new(),
            entries_asked: 0,
            fetched: 0,
        };
        bench.drain();
        bench
    }

    fn of_four(mine: Shelf) -> Self {
        Self::new(one_group(), mine)
    }

    fn knows(mut self, who: u8, entries: impl IntoIterator<Item = CertifiedEntry>) -> Self {
        self.others.insert(node(who), Shelf::with(entries));
        self
    }

    fn drain(&mut self) {
        while let Some(action) = self.machine.poll() {
            match action {
                OldVersionsAction::Ask { round, to, request } => {
                    if let Request::RecallEntries { versions } = &*request {
                        self.entries_asked += versions.len();
                    }
                    self.asked.insert(to, (round, *request));
                }
                OldVersionsAction::Compare { from, versions } => {
                    let absent = absent(&self.mine, versions).unwrap();
                    self.machine.handle_absent(&from, absent);
                }
                OldVersionsAction::Persist(entries) => {
                    self.mine.commit(kept(&self.mine, entries).unwrap()).unwrap();
                }
                OldVersionsAction::Fetch(_) => {
                    self.fetched += 1;
                    self.keys.0.clear();
                    self.machine.handle_fetched();
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn respond(&mut self, from: u8, response: Result<Response, Lost>) {
        let (round, _) = self.asked.remove(&node(from)).expect("it was asked");
        self.machine.handle_response(round, &node(from), response, &self.keys);
        self.drain();
    }

    fn say(&mut self, from: u8, answer: Answer) {
        let configuration = self.configuration.digest();
        self.respond(from, Ok(Response { configuration, outcome: Ok(answer) }));
    }

    fn names(&mut self, from: u8, versions: Vec<VersionId>) {
        self.say(from, Answer::RecalledVersions { versions, more: false });
    }

    /// What an honest server answers to what this member was asked.
    fn honest_answer(&self, from: u8) -> Answer {
        let what = match self.asked[&node(from)].1.clone() {
            Request::RecallVersions { after, limit } => Recall::Versions { after, limit },
            Request::RecallEntries { versions } => {
                assert!(versions.len() <= MAX_RECALLED_ENTRIES);
                Recall::Entries(versions)
            }
            other => panic!("{other:?}"),
        };
        page(&self.others[&node(from)], &what).unwrap()
    }

    /// These members answer honestly until nobody of them is asked any more.
    fn answer(&mut self, honest: &[u8]) {
        while let Some(from) = honest.iter().find(|id| self.asked.contains_key(&node(**id))) {
            self.say(*from, self.honest_answer(*from));
        }
    }

    fn timeout(&mut self, round: u32) {
        self.machine.handle_timeout(ROUND * round);
        self.drain();
    }

    fn fault(&self, of: u8) -> Option<Fault> {
        self.machine.culprits().get(&node(of)).copied()
    }

    fn has(&self, name: &str, time: u64) -> bool {
        self.mine.version(&variable(name), t(time)).unwrap().is_some()
    }
}

fn at(name: &str, time: u64) -> VersionId {
    VersionId { variable: variable(name), timestamp: t(time) }
}

/// A version of this variable, certified by three of the four.
fn version(name: &str, time: u64) -> CertifiedEntry {
    version_in(&one_group(), name, time, &CLIQUE[..3])
}

fn version_in(group: &Configuration, name: &str, time: u64, signers: &[u8]) -> CertifiedEntry {
    let named = Entry { variable: variable(name), ..entry(ALICE, time, name) };
    certified_by(named, signers, group)
}

fn subsets(of: &[u8], size: usize) -> Vec<Vec<u8>> {
    let all = 0..1u32 << of.len();
    let chosen = all.filter(|set| set.count_ones() as usize == size);
    let members = |set: u32| (0..of.len()).filter(move |i| set & (1 << i) != 0).map(|i| of[i]);
    chosen.map(|set| members(set).collect()).collect()
}

/// Every quorum with the forgetful member that holds an old version, every q others that answer,
/// and every b liars among them that hold it and hide it: it is here afterwards. With q-1 others
/// nobody ends.
#[test]
fn no_version_that_a_quorum_held_is_missing_afterwards() {
    for n in 4..=7u8 {
        let members: Vec<u8> = (1..=n).map(|i| 0xa0 + i).collect();
        let (b, q) = {
            let thresholds = Thresholds::of(members.len());
            (thresholds.b(), thresholds.q())
        };
        let group = configuration(&[&members], &members);
        let old = version_in(&group, "x", 1, &members[..q]);
        let new = version_in(&group, "x", 2, &members[..q]);
        for holders in subsets(&members[1..], q - 1) {
            for told in subsets(&members[1..], q) {
                for liars in subsets(&told, b) {
                    let mut bench = Bench::new(Arc::clone(&group), Shelf::with([new.clone()]));
                    for id in &members[1..] {
                        let hides = liars.contains(id) || !holders.contains(id);
                        let old = (!hides).then(|| old.clone());
                        bench = bench.knows(*id, old.into_iter().chain([new.clone()]));
                    }
                    bench.answer(&told[1..]);
                    assert!(!bench.machine.is_done(), "n={n}: {} others do not do", q - 1);
                    bench.answer(&told);
                    assert!(bench.machine.is_done(), "n={n} {holders:?} {told:?} {liars:?}");
                    assert!(bench.has("x", 1), "n={n} {holders:?} {told:?} {liars:?}");
                }
            }
        }
    }
}

/// Many variables, one with more versions than a page has names; an old copy of the store that has
/// half of it. Every version is here afterwards, and only what was missing has travelled, once.
#[test]
fn pages_go_on_until_everything_is_here_and_each_entry_travels_once() {
    let few = (0..300).map(|i| version(&format!("v{i:04}"), 1 + i % 7));
    let many = (1..=1500).map(|time| version("v0007", time));
    let all: Vec<CertifiedEntry> = few.chain(many).collect();
    let half = all.iter().filter(|e| e.timestamp().get() % 2 == 0).cloned();
    let everything = Shelf::with(all.clone()).len();
    let mine = Shelf::with(half);
    let missing = everything - mine.len();
    let mut bench = Bench::of_four(mine);
    for id in [A, B, LIAR] {
        bench = bench.knows(id, all.clone());
    }
    bench.answer(&[A, B, LIAR]);
    assert!(bench.machine.is_done(), "waits for {:?}", bench.machine.waits_for());
    assert_eq!(bench.mine.len(), everything);
    assert_eq!(bench.entries_asked, missing);
    assert_eq!(bench.machine.taken(), missing as u64);
    assert_eq!(bench.machine.named(), 3 * everything as u64);
}

/// Stopped in the middle and begun anew: what is here already is not asked for again.
#[test]
fn who_was_interrupted_goes_on_where_it_was() {
    let all: Vec<CertifiedEntry> = (1..=600).map(|time| version("x", time)).collect();
    let mut bench = Bench::of_four(Shelf::default()).knows(A, all.clone());
    bench.say(A, bench.honest_answer(A));
    bench.say(A, bench.honest_answer(A));
    let here = bench.mine.len();
    assert_eq!(here, MAX_RECALLED_ENTRIES);
    let mut again = Bench::of_four(bench.mine);
    for id in [A, B, LIAR] {
        again = again.knows(id, all.clone());
    }
    again.answer(&[A, B, LIAR]);
    assert!(again.machine.is_done());
    assert_eq!((again.mine.len(), again.entries_asked), (600, 600 - here));
}

#[test]
fn who_names_what_it_cannot_show_is_convicted_and_holds_nobody_up() {
    let real = version("x", 1);
    let unsigned = certified_by(entry(ALICE, 9, "v"), &[A, LIAR], &one_group());
    let other = version("x", 1);
    let cases: [(&str, Vec<CertifiedEntry>, Fault); 4] = [
        ("nothing", vec![], Fault::BadAnswer),
        ("another version", vec![other], Fault::BadAnswer),
        ("more than was asked for", vec![version("x", 9), version("x", 8)], Fault::BadAnswer),
        ("too few signers", vec![unsigned], Fault::BadEntry),
    ];
    for (shows, shown, fault) in cases {
        let mut bench = Bench::of_four(Shelf::default());
        bench = bench.knows(A, [real.clone()]).knows(B, [real.clone()]);
        bench.names(LIAR, vec![at("x", 9)]);
        bench.say(LIAR, Answer::RecalledEntries(shown));
        assert_eq!(bench.fault(LIAR), Some(fault), "{shows}");
        bench.answer(&[A, B]);
        assert!(bench.machine.is_done(), "{shows}");
        assert_eq!(bench.mine.len(), 1, "{shows}");
    }
}

#[test]
fn bad_pages_convict_their_sender_and_do_not_stop_the_others() {
    let many = |count: u64| (0..count).map(|i| at("x", 5000 - i)).collect::<Vec<_>>();
    let limit = u64::from(MAX_RECALLED_VERSIONS);
    let cases: [(&str, Vec<VersionId>, bool); 5] = [
        ("variables not ascending", vec![at("b", 1), at("a", 1)], false),
        ("oldest first", vec![at("a", 1), at("a", 2)], false),
        ("twice the same", vec![at("a", 1), at("a", 1)], false),
        ("too many", many(limit + 1), false),
        ("pages of one, for ever", vec![at("a", 1)], true),
    ];
    for (shows, versions, more) in cases {
        let mut bench = Bench::of_four(Shelf::default()).knows(A, []).knows(B, []);
        bench.say(LIAR, Answer::RecalledVersions { versions, more });
        assert_eq!(bench.fault(LIAR), Some(Fault::BadAnswer), "{shows}");
        assert!(!bench.asked.contains_key(&node(LIAR)), "{shows}: it is not asked again");
        bench.answer(&[A, B]);
        assert!(bench.machine.is_done(), "{shows}");
    }
}

#[test]
fn a_page_once_more_is_a_lie() {
    let entries: Vec<CertifiedEntry> = (1..=2000).map(|time| version("x", time)).collect();
    let mut bench = Bench::of_four(Shelf::with(entries.clone())).knows(LIAR, entries);
    let first = bench.honest_answer(LIAR);
    bench.say(LIAR, first.clone());
    bench.say(LIAR, first);
    assert_eq!(bench.fault(LIAR), Some(Fault::BadAnswer));
}

/// One of them names a version and is silent when it is to show it: another one shows it.
#[test]
fn a_version_that_one_does_not_show_comes_from_another() {
    let real = version("x", 1);
    let mut bench = Bench::of_four(Shelf::default());
    for id in [A, B, LIAR] {
        bench = bench.knows(id, [real.clone()]);
    }
    bench.say(LIAR, bench.honest_answer(LIAR));
    bench.answer(&[A, B]);
    assert!(!bench.has("x", 1), "the first who named it is asked");
    bench.timeout(1);
    bench.answer(&[A, B]);
    assert!(bench.has("x", 1));
    assert!(!bench.machine.is_done(), "two have told");
    // Its answer comes late, to a question of long ago.
    let (first, _) = bench.asked[&node(LIAR)].clone();
    bench.timeout(2);
    let (second, _) = bench.asked[&node(LIAR)].clone();
    assert_ne!(first, second, "it was asked again");
    let (configuration, outcome) =
        (one_group().digest(), Ok(Answer::RecalledEntries(vec![real.clone()])));
    let response = Ok(Response { configuration, outcome });
    bench.machine.handle_response(first, &node(LIAR), response, &bench.keys);
    bench.drain();
    assert!(bench.machine.is_done());
    assert!(bench.machine.culprits().is_empty());
}

#[test]
fn who_is_silent_is_asked_again_and_who_is_needed_is_named() {
    let mut bench = Bench::of_four(Shelf::default()).knows(A, []).knows(B, []).knows(LIAR, []);
    bench.answer(&[A]);
    bench.respond(B, Err(Lost::Silent));
    let configuration = one_group().digest();
    bench.respond(LIAR, Ok(Response { configuration, outcome: Err(Refusal::Busy) }));
    assert!(!bench.asked.contains_key(&node(B)), "not at once");
    assert_eq!(bench.machine.waits_for(), nodes([B, LIAR]));
    bench.timeout(1);
    bench.answer(&[B, LIAR]);
    assert!(bench.machine.is_done());
    assert_eq!(bench.machine.wake_at(), None);
    assert!(bench.machine.culprits().is_empty());
}

#[test]
fn an_answer_under_another_configuration_does_not_count() {
    let mut bench = Bench::of_four(Shelf::default());
    let configuration = configuration(&[&CLIQUE], &[0xc1]).digest();
    for from in [A, B, LIAR] {
        let outcome = Ok(Answer::RecalledVersions { versions: Vec::new(), more: false });
        bench.respond(from, Ok(Response { configuration, outcome }));
    }
    assert!(!bench.machine.is_done());
    assert!(bench.machine.culprits().is_empty());
}

/// The certificate of an entry's writer is not known here: it is looked for, and nobody is blamed.
#[test]
fn an_entry_whose_certificates_are_missing_is_asked_for_again() {
    let real = version("x", 1);
    let mut bench = Bench::of_four(Shelf::default());
    for id in [A, B, LIAR] {
        bench = bench.knows(id, [real.clone()]);
    }
    bench.keys.0.insert(ALICE.id());
    bench.answer(&[A, B, LIAR]);
    assert_eq!(bench.fetched, 1);
    assert!(bench.machine.is_done() && bench.has("x", 1));
    assert!(bench.machine.culprits().is_empty());
}

/// A version above the newest one that is here counts as if it were stored: it settles attempts and
/// raises seen(x). An old one changes nothing but the history.
#[test]
fn what_is_newer_settles_attempts_and_what_is_older_does_not() {
    let open = Slot::of(&signed(entry(ALICE, 6, "open")));
    let marks = Marks { seen: t(6), slots: vec![open], abandons: Vec::new() };
    let shelf = Shelf::with([version("x", 5)]);
    shelf.set_marks(&variable("x"), marks.clone());
    shelf.commit(kept(&shelf, vec![version("x", 3)]).unwrap()).unwrap();
    assert_eq!(shelf.load(&variable("x")).unwrap().marks, marks);
    shelf.commit(kept(&shelf, vec![version("x", 8), version("x", 4)]).unwrap()).unwrap();
    let state = shelf.load(&variable("x")).unwrap();
    assert_eq!(state.latest, Some(version("x", 8)));
    assert_eq!((state.marks.seen, state.marks.slots), (t(8), Vec::new()));
    assert_eq!(shelf.len(), 4);
}

/// A page of the server is what the asker takes for one, whatever lies before and behind it.
#[test]
fn a_server_shows_as_much_as_was_asked_for() {
    let entries = ["a", "b", "c"].into_iter().flat_map(|name| (1..=3).map(|t| version(name, t)));
    let shelf = Shelf::with(entries);
    shelf.set_marks(&variable("aa"), Marks { seen: t(9), ..Marks::default() });
    let names = |after, limit| match page(&shelf, &Recall::Versions { after, limit }).unwrap() {
        Answer::RecalledVersions { versions, more } => (versions, more),
        other => panic!("{other:?}"),
    };
    let all: Vec<VersionId> =
        ["a", "b", "c"].into_iter().flat_map(|n| (1..=3).rev().map(|t| at(n, t))).collect();
    assert_eq!(names(None, 9), (all.clone(), false));
    assert_eq!(names(None, 8), (all[..8].to_vec(), true));
    for from in 0..8 {
        assert_eq!(names(Some(all[from].clone()), 1), (vec![all[from + 1].clone()], from < 7));
    }
    assert_eq!(names(Some(at("c", 1)), 5), (vec![], false));
    let shown = page(&shelf, &Recall::Entries(vec![at("b", 2), at("b", 7), at("a", 1)])).unwrap();
    assert_eq!(shown, Answer::RecalledEntries(vec![version("b", 2)]), "up to what it has not");
}

/// Values of 300 KiB: an answer ends at the first that makes it a MiB.
#[test]
fn an_answer_fits_into_a_message() {
    let large = |time| {
        let value = bftkv_protocol::Value::new(vec![7; 300 * 1024]).unwrap();
        certified(Entry { value, ..entry(ALICE, time, "") }, &one_group())
    };
    let shelf = Shelf::with((1..=9).map(large));
    let wanted = (1..=9).map(|time| at("x", time)).collect();
    let Answer::RecalledEntries(shown) = page(&shelf, &Recall::Entries(wanted)).unwrap() else {
        panic!("no entries")
    };
    assert_eq!(shown, (1..=4).map(large).collect::<Vec<_>>());
}
