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
        format!("{}/dm-keys/{plan}/1/{what}", self.ids[user - 1])
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
    // Once more changes nothing: all is there.
    members.run(3, "four", &four).expect(0);
    // Whoever lost its folder cannot tell other things.
    let again = members.run(3, "lost", &four).expect(1).stderr;
    assert!(again.contains("another round1 of ours") && again.contains("--attempt"), "{again}");

    std::fs::write(members.cluster.path("zone"), ZONE).unwrap();
    let shares = "--zsk /four-1/zsk.share /four-3/zsk.share --ksk /four-2/offline/ksk.share \
                  /four-4/offline/ksk.share";
    members.dm(1, &format!("sign /zone {shares}")).expect(0);
    members.dm(1, "verify /zone.signed --key /four-2/ksk.key").expect(0);
}

#[test]
fn whoever_lies_to_one_member_is_named_at_all() {
    let members = Members::new();
    let four = members.plan(4);
    // The fourth plays by hand, so that it can lie.
    members.dm(4, &format!("together start /liar {four}")).expect(0);
    members.put(4, &members.variable(4, "liar", "round1"), "liar/dm-4.round1");
    let key = |user: usize| Key::of(&members.cluster.path(&format!("u{user}")));
    let (one, four_key) = (key(1), key(4));
    thread::scope(|scope| {
        let honest =
            scope.spawn(|| members.all(&[1, 2, 3], "keys", |_| format!("{four} --wait 60")));
        for user in 1..=3 {
            let file = format!("dm-{user}.round1");
            let from = members.cluster.path(&format!("keys-{user}/{file}"));
            // The plan is written last.
            while !members.cluster.path(&format!("keys-{user}/plan.txt")).exists() {
                thread::sleep(std::time::Duration::from_millis(50));
            }
            std::fs::copy(&from, members.cluster.path(&format!("liar/{file}"))).unwrap();
        }
        members.dm(4, "together deal /liar").expect(0);
        // Another share to the first than it told, as it signs it.
        let file = members.cluster.path("liar/dm-4-for-dm-1.round2");
        let dealing = one.seal().open(&std::fs::read(&file).unwrap(), 1 << 17).unwrap().plaintext;
        let wrong = bent(&opened(&one, &dealing));
        let wrong = four_key.seal().seal(&[], wrong.as_bytes()).unwrap();
        let to = [one.seal().id().clone()];
        std::fs::write(&file, four_key.seal().seal(&to, &wrong).unwrap()).unwrap();
        for user in 1..=3 {
            let variable = members.variable(4, "liar", &format!("round2/{user}"));
            members.put(4, &variable, &format!("liar/dm-4-for-dm-{user}.round2"));
        }
        let said: Vec<String> =
            honest.join().unwrap().into_iter().map(|ran| ran.expect(1).stderr).collect();
        assert!(
            said[0].contains("dm-4 gave a share that contradicts its commitment"),
            "{}",
            said[0]
        );
        for said in &said[1..] {
            assert!(said.contains("dm-4 LIES: it dealt a share that contradicts"), "{said}");
        }
    });
    // What is no message names its writer, too.
    let five = members.plan(5);
    members.dm(5, &format!("together start /five {five}")).expect(0);
    std::fs::write(members.cluster.path("nothing"), "nothing").unwrap();
    members.put(5, &members.variable(5, "five", "round1"), "nothing");
    let said = members.run(1, "five", &format!("{five} --wait 60")).expect(1).stderr;
    assert!(said.contains("dm-5 sent something that is no message"), "{said}");
}
