//! Keys that four members make together, and signed transcripts.

use crate::homes::Folder;

use super::{ZONE, words};

const MEMBERS: [&str; 4] = ["one", "two", "three", "four"];

/// Four homes that know each other's certificates, in the order of the parties.
fn members() -> (Folder, Vec<String>) {
    let folder = Folder::new();
    let ids: Vec<_> = MEMBERS
        .iter()
        .map(|name| folder.init(name, &format!("{name} <{name}@example.org>")))
        .collect();
    for from in MEMBERS {
        let certificate = folder.at(from, &["cert", "export"]).expect(0).stdout;
        for to in MEMBERS.iter().filter(|to| **to != from) {
            folder.at_with(to, &["cert", "import", "-"], &certificate).expect(0);
        }
    }
    (folder, ids)
}

impl Folder {
    /// Runs `bftkv dm` at a member's home; words with a slash are paths in the folder.
    fn dm(&self, member: &str, arguments: &str) -> crate::support::Ran {
        let words = words(arguments, |name| self.path(name));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.at(member, &[&["dm"], words.as_slice()].concat())
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
    }
}

#[test]
fn members_make_keys_together_and_all_sign_what_they_made() {
    let (folder, ids) = members();
    let list = ids.join(" ");
    let start = |member: &str, threshold: u8| {
        let fixed = format!("together start /keys-{member} --zone example");
        folder.dm(member, &format!("{fixed} --threshold {threshold} --members {list}"))
    };
    for member in MEMBERS {
        start(member, 2).expect(0);
    }
    let waits = folder.dm("one", "together deal /keys-one").expect(1).stderr;
    assert!(waits.contains("too few parties: 1 of 4"), "{waits}");
    for (number, from) in (1..).zip(MEMBERS) {
        for to in MEMBERS.iter().filter(|to| **to != from) {
            let file = format!("dm-{number}.round1");
            folder.copy(&format!("keys-{from}/{file}"), &format!("keys-{to}/{file}"));
        }
    }
    for (number, from) in (1..).zip(MEMBERS) {
        folder.dm(from, &format!("together deal /keys-{from}")).expect(0);
        for (other, to) in (1..).zip(MEMBERS).filter(|(other, _)| *other != number) {
            let file = format!("dm-{number}-for-dm-{other}.round2");
            folder.copy(&format!("keys-{from}/{file}"), &format!("keys-{to}/{file}"));
        }
    }
    for (number, member) in (1..).zip(MEMBERS) {
        folder.dm(member, &format!("together finish /keys-{member} --no-passphrase")).expect(0);
        assert!(!folder.path(&format!("keys-{member}/seed")).exists());
        folder.copy(&format!("keys-{member}/dm-{number}.signed"), &format!("dm-{number}.signed"));
    }
    let transcript = |member: &str| {
        std::fs::read_to_string(folder.path(&format!("keys-{member}/transcript.txt"))).unwrap()
    };
    assert!(MEMBERS.iter().all(|member| transcript(member) == transcript("one")));

    // Everybody's signature, or it is said whose is missing.
    let check = |signed: &str| folder.dm("two", &format!("transcript check {signed}"));
    let all = "/keys-one/transcript.txt /dm-1.signed /dm-2.signed /dm-3.signed";
    assert!(check(&format!("{all} /dm-4.signed")).expect(0).text().contains("signed by all"));
    let missing = check(all).expect(7).text();
    assert!(missing.contains(&format!("MISSING {}", ids[3])), "{missing}");
    let forged = transcript("one").replace("threshold: 2", "threshold: 3");
    std::fs::write(folder.path("forged"), forged).unwrap();
    let wrong = check("/forged /dm-1.signed /dm-2.signed /dm-3.signed /dm-4.signed").expect(7);
    assert!(wrong.text().contains("has signed another transcript"));

    // Two of the four sign a zone.
    std::fs::write(folder.path("zone"), ZONE).unwrap();
    let shares = "--zsk /keys-one/zsk.share /keys-three/zsk.share --ksk \
                  /keys-two/offline/ksk.share /keys-four/offline/ksk.share";
    folder.dm("one", &format!("sign /zone {shares}")).expect(0);
    folder.dm("one", "verify /zone.signed --key /keys-two/ksk.key").expect(0);
}

#[test]
fn whoever_sends_something_else_is_named() {
    let (folder, ids) = members();
    let list = ids.join(" ");
    for (member, threshold) in [("one", 2), ("two", 2), ("three", 3), ("four", 2)] {
        let fixed = format!("together start /keys-{member} --zone example");
        let more = format!("--threshold {threshold} --members {list}");
        folder.dm(member, &format!("{fixed} {more}")).expect(0);
    }
    let put = |file: &str, as_file: &str| folder.copy(file, &format!("keys-one/{as_file}"));
    put("keys-two/dm-2.round1", "dm-2.round1");
    put("keys-four/dm-4.round1", "dm-4.round1");
    let deal = || folder.dm("one", "together deal /keys-one").expect(1).stderr;
    put("keys-three/dm-3.round1", "dm-3.round1");
    assert!(deal().contains("dm-3 has another plan"), "{}", deal());
    // One member's message under another's name is still its own.
    put("keys-four/dm-4.round1", "dm-3.round1");
    assert!(deal().contains("too few parties: 3 of 4"), "{}", deal());
    // Somebody who was started again with the same plan tells different things.
    folder
        .dm("two", &format!("together start /again --zone example --threshold 2 --members {list}"))
        .expect(0);
    put("again/dm-2.round1", "dm-3.round1");
    assert!(deal().contains("dm-2 told different things"), "{}", deal());
    let mut damaged = std::fs::read(folder.path("keys-two/dm-2.round1")).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(folder.path("keys-one/dm-3.round1"), damaged).unwrap();
    deal();
    // A stranger starts nothing.
    folder.init("five", "five <five@example.org>");
    let five = format!("together start /keys-five --threshold 2 --members {list}");
    assert!(folder.dm("five", &five).expect(1).stderr.contains("is no member"));
}

#[test]
fn a_dealers_transcript_is_signed_by_whoever_has_its_shares() {
    let (folder, _) = members();
    folder
        .dm("one", "keygen /keys --zone example --shares 4 --threshold 2 --no-passphrase")
        .expect(0);
    for (number, member) in (1..).zip(MEMBERS) {
        let sign =
            format!("transcript sign /keys/dm-{number}/transcript.txt --out /{number}.signed");
        folder.dm(member, &sign).expect(0);
    }
    let all = "transcript check /keys/transcript.txt /1.signed /2.signed /3.signed";
    folder.dm("two", all).expect(7);
    folder.dm("two", &format!("{all} /4.signed")).expect(0);
    // One signature twice is one.
    folder.dm("two", &format!("{all} /1.signed")).expect(7);
    // Whoever has another share than the transcript says does not sign.
    folder.copy("keys/dm-2/zsk.share", "keys/dm-1/zsk.share");
    let sign = "transcript sign /keys/dm-1/transcript.txt --out /other.signed";
    let said = folder.dm("one", sign).expect(1).stderr;
    assert!(said.contains("not those that the transcript names"), "{said}");
}
