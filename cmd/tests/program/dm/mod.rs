//! Keys in shares, and signed zones, as a person makes them.

mod running;
mod sealed;
mod together;
mod together_store;

use std::path::PathBuf;

use crate::support::{Ran, bftkv, text};

const ZONE: &str = "\
$TTL 3600
@ SOA ns admin 7 1800 900 604800 600
@ NS ns
ns A 192.0.2.1
sub NS ns.sub
ns.sub A 192.0.2.2
";

/// The words of a command line; those that begin with a slash are paths in a test's folder.
fn words(arguments: &str, path: impl Fn(&str) -> PathBuf) -> Vec<String> {
    let word = |word: &str| match word.strip_prefix('/') {
        Some(name) => path(name).display().to_string(),
        None => word.to_owned(),
    };
    arguments.split_whitespace().map(word).collect()
}

struct Ceremony(tempfile::TempDir);

impl Ceremony {
    fn new(options: &[&str]) -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        std::fs::write(made.path("zone"), ZONE).unwrap();
        let keys = made.path("keys");
        let fixed = ["dm", "keygen", text(&keys), "--zone", "example", "--shares", "4"];
        bftkv(&[&fixed, options].concat()).expect(0);
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `bftkv dm`; words with a slash are paths in the ceremony's folder.
    fn dm(&self, arguments: &str) -> Ran {
        let words = words(arguments, |name| self.path(name));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        bftkv(&[&["dm"], words.as_slice()].concat())
    }
}

const OPEN: &[&str] = &["--threshold", "2", "--no-passphrase"];
const ZSK: &str = "--zsk /keys/dm-2/zsk.share /keys/dm-4/zsk.share";

#[test]
fn a_zone_is_signed_with_shares_and_verified() {
    let ceremony = Ceremony::new(OPEN);
    let ksk = "--ksk /keys/dm-1/offline/ksk.share /keys/dm-3/offline/ksk.share";
    let said = ceremony.dm(&format!("sign /zone {ZSK} {ksk} --nsec3")).expect(0).text();
    assert!(said.starts_with("example. 7: 9 signatures, 8 of them new, verified"), "{said}");

    let report = ceremony.dm("--json verify /zone.signed --key /keys/ksk.key").expect(0).json();
    assert_eq!(report["valid"], true);
    assert_eq!((&report["digest"], &report["denial"]), (&"right".into(), &"NSEC3".into()));
    // With the ZSK as what must have signed the keys, a DS of the KSK and another day.
    ceremony.dm("verify /zone.signed --at 2020-01-01").expect(7);
    let anchor = ceremony.dm("export /keys/ksk.key").expect(0).text();
    assert!(anchor.starts_with("example. IN DNSKEY 257 3 15 "), "{anchor}");
    let ds = ceremony.dm("export /keys/ksk.key --ds").expect(0).text();
    assert!(ds.starts_with("example. IN DS ") && ds.contains(" 15 2 "), "{ds}");

    let signed = std::fs::read_to_string(ceremony.path("zone.signed")).unwrap();
    std::fs::write(ceremony.path("forged"), signed.replace("192.0.2.1", "192.0.2.9")).unwrap();
    let said = ceremony.dm("verify /forged").expect(7).text();
    assert!(said.contains("WRONG ns.example. RRSIG A: a wrong signature"), "{said}");
    assert!(said.contains("WRONG the ZONEMD record does not fit") && said.ends_with("NOT VALID\n"));
}

#[test]
fn key_sets_are_signed_ahead_and_only_what_changes_is_signed_again() {
    let ceremony = Ceremony::new(OPEN);
    let ksk = "/keys/dm-1/offline/ksk.share /keys/dm-3/offline/ksk.share";
    let sets = ceremony.dm(&format!("ksk sign --ksk {ksk} --zsk /keys/zsk.key --out /sets"));
    assert!(sets.expect(0).text().starts_with("9 DNSKEY sets of example."));
    let sets: Vec<_> =
        std::fs::read_dir(ceremony.path("sets")).unwrap().map(Result::unwrap).collect();
    let sets: Vec<String> =
        sets.iter().map(|set| format!("/sets/{}", set.file_name().display())).collect();
    let keys = format!("{ZSK} --dnskeys {}", sets.join(" "));
    ceremony.dm(&format!("sign /zone {keys} -o /one")).expect(0);

    let said = ceremony.dm(&format!("sign /zone {keys} --serial 8 --previous /one -o /two"));
    let said = said.expect(0).text();
    // SOA and ZONEMD.
    assert!(said.contains(", 2 of them new"), "{said}");
    ceremony.dm("verify /two --key /keys/ksk.key").expect(0);
    let back = ceremony.dm(&format!("sign /zone {keys} --previous /two -o /three")).expect(1);
    assert!(back.stderr.contains("serial 7 is not after 8"), "{back:?}");
    // What is signed is signed again only when that is asked for.
    let again = ceremony.dm(&format!("sign /two {keys} -o /three")).expect(1);
    assert!(again.stderr.contains("--strip takes it out"), "{again:?}");
    ceremony.dm(&format!("sign /two {keys} -o /three --strip")).expect(0);
}

#[test]
fn keys_change_by_plan_and_a_key_that_comes_too_early_is_refused() {
    let (ceremony, other) = (Ceremony::new(OPEN), Ceremony::new(OPEN));
    for dm in 1..=4 {
        for share in ["zsk", "offline/ksk"] {
            let to = ceremony.path(&format!("new-{}-{dm}.share", share.replace("offline/", "")));
            std::fs::copy(other.path(&format!("keys/dm-{dm}/{share}.share")), to).unwrap();
        }
    }
    std::fs::copy(other.path("keys/zsk.key"), ceremony.path("new-zsk.key")).unwrap();
    let day = |days: u64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        bftkv_dm::time::show_date(now.as_secs() + days * 86_400)
    };
    let ksk = "--ksk /keys/dm-1/offline/ksk.share /keys/dm-3/offline/ksk.share";
    let new = "--new-ksk /new-ksk-2.share /new-ksk-4.share --new-zsk /new-zsk.key";
    let roll = |ksk_day: u64, steps: &str, out: &str| {
        ceremony.dm(&format!(
            "ksk sign {ksk} --zsk /keys/zsk.key {new} --from {} --days 120 --ksk-roll {} \
             --ksk-steps {steps} --zsk-roll {} --out {out}",
            day(0),
            day(ksk_day),
            day(20)
        ))
    };
    assert!(roll(10, "20,20,40", "/sets").expect(2).stderr.contains("must be seen for 30 days"));
    assert!(roll(9, "40,20,40", "/sets").expect(1).stderr.contains("first day of a slot"));
    roll(10, "40,20,40", "/sets").expect(0);
    let set = |days: u64| {
        let name = format!("sets/dnskey-{}.zone", day(days));
        std::fs::read_to_string(ceremony.path(&name)).unwrap()
    };
    let count = |days: u64, flags: &str| set(days).matches(&format!("DNSKEY\t{flags} 3")).count();
    let ksks = |days| (count(days, "257"), count(days, "385"));
    assert_eq!([0, 10, 50, 70, 110].map(ksks), [(1, 0), (2, 0), (2, 0), (1, 1), (1, 0)]);
    assert_eq!([0, 10, 20, 30].map(|days| count(days, "256")), [1, 2, 2, 1]);

    let sets: Vec<_> =
        (0..12).map(|slot| format!("/sets/dnskey-{}.zone", day(slot * 10))).collect();
    let sets = sets.join(" ");
    ceremony.dm(&format!("sign /zone {ZSK} --dnskeys {sets} -o /one")).expect(0);
    let early = format!("sign /zone --zsk /new-zsk-1.share /new-zsk-2.share --dnskeys {sets}");
    let said = ceremony.dm(&early).expect(1).stderr;
    assert!(said.contains("the DNSKEY set does not have the zone-signing key"), "{said}");
    // A set without the key of the zone that is in caches.
    ceremony.dm(&format!("ksk sign {ksk} --zsk /new-zsk.key --out /alone")).expect(0);
    let alone = format!(
        "sign /zone --zsk /new-zsk-1.share /new-zsk-2.share --dnskeys /alone/dnskey-{}.zone \
         --serial 8 --previous /one -o /two",
        day(0)
    );
    assert!(ceremony.dm(&alone).expect(1).stderr.contains("is gone from the DNSKEY set"));
}

#[test]
fn what_cannot_sign_says_why() {
    let ceremony = Ceremony::new(OPEN);
    let other = Ceremony::new(OPEN);
    let mixed = "sign /zone --zsk /keys/dm-1/zsk.share --ksk /keys/dm-2/zsk.share";
    let said = ceremony.dm(mixed).expect(1).stderr;
    assert!(said.contains("is a zsk of example., and a ksk of example. is wanted"), "{said}");
    let sign = |files: &str| {
        let ksk = "/keys/dm-1/offline/ksk.share /keys/dm-2/offline/ksk.share";
        ceremony.dm(&format!("sign /zone --zsk {files} --ksk {ksk}")).expect(1).stderr
    };
    assert!(sign("/keys/dm-1/zsk.share").contains("too few parties: 1 of 2"));
    std::fs::copy(ceremony.path("keys/dm-1/zsk.share"), ceremony.path("copy")).unwrap();
    assert!(sign("/keys/dm-1/zsk.share /copy").contains("has already given another"));
    std::fs::copy(other.path("keys/dm-1/zsk.share"), ceremony.path("strange")).unwrap();
    assert!(sign("/keys/dm-2/zsk.share /strange").contains("another key"));
    assert!(sign("/keys/dm-2/zsk.share /zone").contains("others can read this share"));
    assert!(!ceremony.path("zone.signed").exists());

    std::fs::write(ceremony.path("zone"), format!("{ZONE}ns CNAME other\n")).unwrap();
    let said = sign("/keys/dm-1/zsk.share /keys/dm-2/zsk.share");
    assert!(said.contains("line 7: ns.example. CNAME: a CNAME beside other data"), "{said}");

    // A destroyed share is gone; without a clear word nothing is destroyed.
    ceremony.dm("forget /keys/dm-4/zsk.share").expect(2);
    ceremony.dm("forget /zone --yes").expect(1);
    ceremony.dm("forget /keys/dm-4/zsk.share --yes").expect(0);
    assert!(!ceremony.path("keys/dm-4/zsk.share").exists() && ceremony.path("zone").exists());
}

#[test]
fn sealed_shares_need_their_passphrase() {
    let ceremony = Ceremony::new(&["--algorithm", "p256", "--passphrase-fd", "0"]);
    // The passphrase was empty, because standard input was; so is the one that is given now.
    let shares = |name: &str| {
        (1..=3).map(|dm| format!("/keys/dm-{dm}/{name}")).collect::<Vec<_>>().join(" ")
    };
    let files = format!("--zsk {} --ksk {}", shares("zsk.share"), shares("offline/ksk.share"));
    let text = std::fs::read_to_string(ceremony.path("keys/dm-1/zsk.share")).unwrap();
    assert!(text.contains("sealed: argon2id"), "{text}");
    ceremony.dm(&format!("sign /zone {files} --passphrase-fd 0")).expect(0);
    ceremony.dm("verify /zone.signed --key /keys/ksk.key").expect(0);
}
