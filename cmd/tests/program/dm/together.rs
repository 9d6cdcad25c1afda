//! Keys that four members make together, and signed transcripts.

use crate::homes::Folder;

use super::sealed::Key;
use super::{ZONE, words};

const MEMBERS: [&str; 4] = ["one", "two", "three", "four"];

/// Four homes that know each other's certificates, in the order of the parties.
pub(super) fn members() -> (Folder, Vec<String>) {
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
    pub(super) fn dm(&self, member: &str, arguments: &str) -> crate::support::Ran {
        let words = words(arguments, |name| self.path(name));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.at(member, &[&["dm"], words.as_slice()].concat())
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
    }

    /// All begin to make keys of which two sign.
    fn begin(&self, ids: &[String]) {
        let list = ids.join(" ");
        for member in MEMBERS {
            let fixed = format!("together start /keys-{member} --zone example");
            self.dm(member, &format!("{fixed} --threshold 2 --members {list}")).expect(0);
        }
    }

    /// All get the messages of the first round, deal, and get what was dealt.
    fn deal(&self) {
        for (number, from) in (1..).zip(MEMBERS) {
            for to in MEMBERS.iter().filter(|to| **to != from) {
                let file = format!("dm-{number}.round1");
                self.copy(&format!("keys-{from}/{file}"), &format!("keys-{to}/{file}"));
            }
        }
        for (number, from) in (1..).zip(MEMBERS) {
            self.dm(from, &format!("together deal /keys-{from}")).expect(0);
            for (other, to) in (1..).zip(MEMBERS).filter(|(other, _)| *other != number) {
                let file = format!("dm-{number}-for-dm-{other}.round2");
                self.copy(&format!("keys-{from}/{file}"), &format!("keys-{to}/{file}"));
            }
        }
    }
}

#[test]
fn members_make_keys_together_and_all_sign_what_they_made() {
    let (folder, ids) = members();
    folder.begin(&ids);
    let waits = folder.dm("one", "together deal /keys-one").expect(1).stderr;
    assert!(waits.contains("too few parties: 1 of 4"), "{waits}");
    folder.deal();
    for (number, member) in (1..).zip(MEMBERS) {
        let lock = if member == "one" { "--seal-to-key" } else { "--no-passphrase" };
        folder.dm(member, &format!("together finish /keys-{member} {lock}")).expect(0);
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
    // A signature that only some can open counts for nobody.
    let four = Key::of(&folder.path("four"));
    let to = [Key::of(&folder.path("two")).seal().id().clone()];
    let hidden = four.seal().seal(&to, transcript("one").as_bytes()).unwrap();
    std::fs::write(folder.path("hidden"), hidden).unwrap();
    let hidden = check(&format!("{all} /hidden")).expect(7).text();
    assert!(hidden.contains("so that not everybody can open it"), "{hidden}");
    let missing = check(all).expect(7).text();
    assert!(missing.contains(&format!("MISSING {}", ids[3])), "{missing}");
    let forged = transcript("one").replace("threshold: 2", "threshold: 3");
    std::fs::write(folder.path("forged"), forged).unwrap();
    let wrong = check("/forged /dm-1.signed /dm-2.signed /dm-3.signed /dm-4.signed").expect(7);
    assert!(wrong.text().contains("has signed another transcript"));

    let sealed = std::fs::read_to_string(folder.path("keys-one/zsk.share")).unwrap();
    assert!(sealed.contains(&format!("sealed: openpgp {}", ids[0])), "{sealed}");

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
    // What was told for one attempt counts in no other.
    let next =
        format!("together start /next --zone example --threshold 2 --members {list} --attempt 2");
    folder.dm("two", &next).expect(0);
    put("next/dm-2.round1", "dm-3.round1");
    assert!(deal().contains("dm-2 has another plan"), "{}", deal());
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

/// What a member signed.
pub(super) fn opened(key: &Key, message: &[u8]) -> String {
    String::from_utf8(key.seal().open(message, 1 << 17).unwrap().plaintext).unwrap()
}

/// The text with another last digit in its first line of digits: another share of the KSK.
pub(super) fn bent(text: &str) -> String {
    let place = text.find("\n-\n").unwrap() + 4;
    let digit = if &text[place..=place] == "0" { "1" } else { "0" };
    format!("{}{digit}{}", &text[..place], &text[place + 1..])
}

#[test]
fn whoever_deals_a_wrong_share_is_convicted_by_what_it_signed() {
    let (folder, ids) = members();
    folder.begin(&ids);
    folder.deal();
    let key = |member: &str| Key::of(&folder.path(member));
    let (one, three) = (key("one"), key("three"));
    let file = folder.path("keys-one/dm-3-for-dm-1.round2");
    let dealing = one.seal().open(&std::fs::read(&file).unwrap(), 1 << 17).unwrap().plaintext;
    // The third deals another share to the first than it told.
    let wrong = three.seal().seal(&[], bent(&opened(&one, &dealing)).as_bytes()).unwrap();
    let to = [one.seal().id().clone()];
    // First so that only the first opens it. Its complaint would look forged to the others; there is none.
    let hidden = three.seal().seal(&to, bent(&opened(&one, &dealing)).as_bytes()).unwrap();
    std::fs::write(&file, three.seal().seal(&to, &hidden).unwrap()).unwrap();
    let said = folder.dm("one", "together finish /keys-one --no-passphrase").expect(1).stderr;
    assert!(said.contains("dm-3 sent something that not everybody can open"), "{said}");
    // All it can say to the others is that one of the two lies.
    let unproven = "/keys-one/dm-1-about-dm-3.complaint";
    let judged = folder.dm("two", &format!("together judge /keys-two {unproven}")).expect(0).text();
    assert!(judged.starts_with("dm-1 about dm-3: one of the two LIES"), "{judged}");
    std::fs::write(&file, three.seal().seal(&to, &wrong).unwrap()).unwrap();

    let said = folder.dm("one", "together finish /keys-one --no-passphrase").expect(1).stderr;
    assert!(said.contains("dm-3 gave a share that contradicts its commitment"), "{said}");
    assert!(said.contains("dm-1-about-dm-3.complaint"), "{said}");
    let complaint = folder.path("keys-one/dm-1-about-dm-3.complaint");
    let shown = "/keys-one/dm-1-about-dm-3.complaint";
    let judge = |member: &str, file: &str| {
        folder.dm(member, &format!("together judge /keys-{member} {file}"))
    };
    for member in ["two", "three", "four"] {
        let said = judge(member, shown).expect(0).text();
        assert!(said.starts_with("dm-1 about dm-3: dm-3 LIES: it dealt a share"), "{said}");
    }

    // With the right share instead, whoever complains is the liar.
    let text = opened(&one, &std::fs::read(&complaint).unwrap());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (head, body) = text.split_once("\n-\n").unwrap();
    let body = body.replace('\n', "");
    let forged = |body: &str, as_file: &str| {
        let text = format!("{head}\n-\n{body}");
        std::fs::write(folder.path(as_file), one.seal().seal(&[], text.as_bytes()).unwrap())
            .unwrap();
        judge("two", &format!("/{as_file}"))
    };
    assert!(body.contains(&hex(&wrong)));
    let said = forged(&body.replace(&hex(&wrong), &hex(&dealing)), "right").expect(0).text();
    assert!(said.contains("dm-1 LIES: it complains about a share that is right"), "{said}");
    // So is one who shows what the dealer did not sign, or signed for somebody else.
    let other = folder.path("keys-two/dm-3-for-dm-2.round2");
    let other = key("two").seal().open(&std::fs::read(other).unwrap(), 1 << 17).unwrap().plaintext;
    let by_us = one.seal().seal(&[], opened(&one, &wrong).as_bytes()).unwrap();
    for (place, forgery) in [&other, &by_us, &b"nothing".to_vec()].into_iter().enumerate() {
        let said = forged(&body.replace(&hex(&wrong), &hex(forgery)), &format!("forged-{place}"));
        let said = said.expect(0).text();
        assert!(said.contains("dm-1 LIES: it complains about something that was not"), "{said}");
    }
    // Nobody complains in another's name, and a damaged complaint counts for nothing.
    let as_two = key("two").seal().seal(&[], text.as_bytes()).unwrap();
    std::fs::write(folder.path("as-two"), as_two).unwrap();
    assert!(judge("four", "/as-two").expect(1).stderr.contains("dm-2 claims to be another"));
    let mut damaged = std::fs::read(&complaint).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(folder.path("damaged"), damaged).unwrap();
    judge("four", "/damaged").expect(1);

    // A dealer that told the others something else is convicted by its two signatures.
    let again =
        format!("together start /again --zone example --threshold 2 --members {}", ids.join(" "));
    folder.dm("three", &again).expect(0);
    folder.copy("again/dm-3.round1", "keys-four/dm-3.round1");
    let said = judge("four", shown).expect(0).text();
    assert!(said.contains("dm-3 LIES: it told different things"), "{said}");
}
