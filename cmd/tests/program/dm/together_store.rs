//! Keys that members make together, with the store between them.

use std::thread;

use bftkv_dm::keys::Plan;

use super::sealed::Key;
use super::together::{bent, opened};
use super::{ZONE, words};
use crate::support::{Cluster, Ran, text};

/// Four nodes and five who may make keys.
struct Members {
    cluster: Cluster,
    ids: Vec<String>,
}

impl Members {
    fn new() -> Self {
        let mut cluster = Cluster::create(&["--users", "5"]);
        cluster.run(&[]);
        let ids = (1..=5).map(|user| cluster.id(&format!("u{user}"))).collect();
        Self { cluster, ids }
    }

    /// Runs `bftkv dm` at a user's home; words with a slash are paths in the cluster's folder.
    fn dm(&self, user: usize, arguments: &str) -> Ran {
        let words = words(arguments, |name| self.cluster.path(name));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.cluster.at(&format!("u{user}"), &[&["dm"], words.as_slice()].concat())
    }

    /// The plan of the first so many.
    fn plan(&self, count: usize) -> String {
        format!("--zone example --threshold 2 --members {}", self.ids[..count].join(" "))
    }

    fn run(&self, user: usize, folder: &str, more: &str) -> Ran {
        self.dm(user, &format!("together run /{folder}-{user} --no-passphrase {more}"))
    }

    /// These run at once, each with its own words.
    fn all(
        &self,
        users: &[usize],
        folder: &str,
        more: impl Fn(usize) -> String + Sync,
    ) -> Vec<Ran> {
        thread::scope(|scope| {
            let more = &more;
            let start = |user: &usize| {
                let user = *user;
                scope.spawn(move || self.run(user, folder, &more(user)))
            };
            let running: Vec<_> = users.iter().map(start).collect();
            running.into_iter().map(|one| one.join().unwrap()).collect()
        })
    }

    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.cluster.path(file)).unwrap()
    }

    /// The name of what a member tells about the plan in this folder.
    fn variable(&self, user: usize, folder: &str, what: &str) -> String {
        let plan = String::from_utf8(self.read(&format!("{folder}/plan.txt"))).unwrap();
        let plan = Plan::from_text(&plan).unwrap().hash();
        format!("{}/dm-keys/{plan}/{what}", self.ids[user - 1])
    }

    fn put(&self, user: usize, variable: &str, file: &str) {
        let file = self.cluster.path(file);
        let words = ["put", "--once", variable, "--file", text(&file)];
        self.cluster.at(&format!("u{user}"), &words).expect(0);
    }
}

#[test]
fn members_make_keys_over_the_store_and_start_again_without_one_who_is_absent() {
    let members = Members::new();
    // The fifth never comes.
    let five = members.plan(5);
    for ran in members.all(&[1, 2, 3, 4], "five", |_| format!("{five} --wait 4")) {
        let said = ran.expect(1).stderr;
        assert!(said.contains("no first round from dm-5"), "{said}");
        assert!(said.contains("start again without it"), "{said}");
    }
    // The first is alone for a while, is stopped so, and goes on later.
    let four = members.plan(4);
    let said = members.run(1, "four", &format!("{four} --wait 1")).expect(1).stderr;
    assert!(said.contains("no first round from dm-2, dm-3, dm-4"), "{said}");
    let other = members.run(1, "four", &five).expect(2).stderr;
    assert!(other.contains("another plan"), "{other}");
    for ran in members.all(&[1, 2, 3, 4], "four", |_| format!("{four} --wait 60")) {
        let said = ran.expect(0).text();
        assert!(said.contains("all members have signed the same transcript"), "{said}");
    }
    let transcript = members.read("four-1/transcript.txt");
    for user in 1..=4 {
        assert_eq!(members.read(&format!("four-{user}/transcript.txt")), transcript);
        assert!(!members.cluster.path(&format!("four-{user}/seed")).exists());
    }
    let all = "/four-2/transcript.txt /four-2/dm-1.signed /four-2/dm-2.signed /four-2/dm-3.signed";
    members.dm(2, &format!("transcript check {all} /four-2/dm-4.signed")).expect(0);
    // Once more changes nothing: all is there; also after a power cut while the seed was forgotten.
    let seed = members.cluster.path("four-3/seed");
    std::fs::write(&seed, "0".repeat(65)).unwrap();
    members.run(3, "four", &four).expect(0);
    assert!(!seed.exists());
    // Whoever lost its folder cannot tell other things.
    let again = members.run(3, "lost", &four).expect(1).stderr;
    assert!(again.contains("another round1 of ours") && again.contains("--attempt"), "{again}");

    std::fs::write(members.cluster.path("zone"), ZONE).unwrap();
    let shares = "--zsk /four-1/zsk.share /four-3/zsk.share --ksk /four-2/offline/ksk.share \
                  /four-4/offline/ksk.share";
    members.dm(1, &format!("sign /zone {shares}")).expect(0);
    members.dm(1, "verify /zone.signed --key /four-2/ksk.key").expect(0);
}

/// What the fourth member deals to the first, as it signs it, in place of what it should.
type Lie = fn(&str) -> String;

/// One ceremony of four, in which the fourth plays by hand and lies to the first. What the others say at the end.
fn lied_to(members: &Members, attempt: u32, lie: Lie) -> Vec<String> {
    let four = format!("{} --attempt {attempt}", members.plan(4));
    let (keys, liar) = (format!("keys{attempt}"), format!("liar{attempt}"));
    members.dm(4, &format!("together start /{liar} {four}")).expect(0);
    members.put(4, &members.variable(4, &liar, "round1"), &format!("{liar}/dm-4.round1"));
    let key = |user: usize| Key::of(&members.cluster.path(&format!("u{user}")));
    let (one, four_key) = (key(1), key(4));
    thread::scope(|scope| {
        let honest =
            scope.spawn(|| members.all(&[1, 2, 3], &keys, |_| format!("{four} --wait 60")));
        for user in 1..=3 {
            // The plan is written last.
            while !members.cluster.path(&format!("{keys}-{user}/plan.txt")).exists() {
                thread::sleep(std::time::Duration::from_millis(50));
            }
            let file = format!("dm-{user}.round1");
            let from = members.cluster.path(&format!("{keys}-{user}/{file}"));
            std::fs::copy(&from, members.cluster.path(&format!("{liar}/{file}"))).unwrap();
        }
        members.dm(4, &format!("together deal /{liar}")).expect(0);
        let file = members.cluster.path(&format!("{liar}/dm-4-for-dm-1.round2"));
        let dealing = one.seal().open(&std::fs::read(&file).unwrap(), 1 << 17).unwrap().plaintext;
        let wrong = four_key.seal().seal(&[], lie(&opened(&one, &dealing)).as_bytes()).unwrap();
        let to = [one.seal().id().clone()];
        std::fs::write(&file, four_key.seal().seal(&to, &wrong).unwrap()).unwrap();
        for user in 1..=3 {
            let variable = members.variable(4, &liar, &format!("round2/{user}"));
            members.put(4, &variable, &format!("{liar}/dm-4-for-dm-{user}.round2"));
        }
        honest.join().unwrap().into_iter().map(|ran| ran.expect(1).stderr).collect()
    })
}

#[test]
fn whoever_lies_to_one_member_is_named_at_all() {
    let members = Members::new();
    let told_others = |text: &str| {
        let at = text.find("seen: ").unwrap() + 6;
        let other = if &text[at..=at] == "0" { "1" } else { "0" };
        format!("{}{other}{}", &text[..at], &text[at + 1..])
    };
    let for_another = |text: &str| text.replacen("to: 1", "to: 2", 1);
    let long = |text: &str| text.to_owned() + &"00\n".repeat(8_000);
    let proven = "dm-1 about dm-4: dm-4 LIES: it";
    let unproven = "dm-1 about dm-4: one of the two LIES";
    let scenes: [(Lie, &str, String); 4] = [
        (
            bent,
            "gave a share that contradicts its commitment",
            format!("{proven} dealt a share that"),
        ),
        (
            told_others,
            "says that it was told other things",
            format!("{proven} says that it was told"),
        ),
        (for_another, "dealt this to another member", unproven.to_owned()),
        (long, "dealt something that is not signed", unproven.to_owned()),
    ];
    for (attempt, (lie, at_one, at_others)) in (1..).zip(scenes) {
        let said = lied_to(&members, attempt, lie);
        assert!(said[0].contains(&format!("dm-4 {at_one}")), "{}", said[0]);
        for said in &said[1..] {
            assert!(said.contains(&at_others), "{attempt}: {said}");
        }
    }
}

#[test]
fn whoever_puts_something_else_in_place_of_a_message_is_named() {
    let members = Members::new();
    std::fs::write(members.cluster.path("nothing"), "nothing").unwrap();
    // In the place of its first message.
    let five = members.plan(5);
    members.dm(5, &format!("together start /five {five}")).expect(0);
    members.put(5, &members.variable(5, "five", "round1"), "nothing");
    let said = members.run(1, "five", &format!("{five} --wait 60")).expect(1).stderr;
    assert!(said.contains("dm-5 sent something that is no message"), "{said}");

    // In the place of a complaint: nothing, and what another member has signed.
    for (attempt, stolen) in [(1, false), (2, true)] {
        let four = format!("{} --attempt {attempt}", members.plan(4));
        let (keys, liar) = (format!("keys{attempt}"), format!("liar{attempt}"));
        members.dm(4, &format!("together start /{liar} {four}")).expect(0);
        members.put(4, &members.variable(4, &liar, "round1"), &format!("{liar}/dm-4.round1"));
        members.dm(3, &format!("together start /{keys}-3 {four}")).expect(0);
        let what = if stolen { format!("{keys}-3/dm-3.round1") } else { "nothing".to_owned() };
        members.put(4, &members.variable(4, &liar, "complaint"), &what);
        let expected = if stolen {
            "passes on what somebody else signed"
        } else {
            "sent something that is no message"
        };
        for ran in members.all(&[1, 2, 3], &keys, |_| format!("{four} --wait 60")) {
            let said = ran.expect(1).stderr;
            assert!(said.contains(&format!("the complaint of dm-4: dm-4 {expected}")), "{said}");
        }
    }
}
