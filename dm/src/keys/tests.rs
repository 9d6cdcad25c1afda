//! Properties of key files and ceremonies.

use bftkv_threshold::{Roster, Scheme};
use zeroize::Zeroizing;

use super::*;
use crate::sign::{BatchSigner as _, Dnskey, KeySet, MAX_DNSKEY_ANSWER, Role, ShareSigner};
use crate::zone::Name;

fn ceremony() -> (Ceremony, [Dealt; 2], ChaCha20Rng) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let ceremony = Ceremony {
        apex: Name::root(),
        scheme: Scheme::Ed25519,
        roster: Roster::first(4, 2).unwrap(),
        rsa_bits: (2_048, 2_048),
        now: 1_801_123_200,
    };
    let none = &mut |_, _| panic!("no primes are needed");
    let dealt = ceremony.deal(none, &mut rng).unwrap();
    (ceremony, dealt, rng)
}

fn no_passphrase() -> Option<Zeroizing<Vec<u8>>> {
    None
}

fn passphrase(text: &'static str) -> impl Fn() -> Option<Zeroizing<Vec<u8>>> {
    move || Some(Zeroizing::new(text.as_bytes().to_vec()))
}

#[test]
fn a_ceremony_leaves_folders_with_which_k_sign() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("keys");
    let (ceremony, dealt, mut rng) = ceremony();
    let transcript = ceremony.write(&dealt, &out, &|_| Some(Lock::None), &mut rng).unwrap();
    assert!(transcript.contains("time: 2027-01-28 08:00:00 UTC\nshares: 4\nthreshold: 2\n"));

    let share =
        |dm: u8, name: &str| ShareFile::open(&out.join(format!("dm-{dm}/{name}")), &no_passphrase);
    for name in ["zsk.share", "offline/ksk.share"] {
        let shares = [share(2, name).unwrap(), share(4, name).unwrap()];
        let bytes = shares.each_ref().map(ShareFile::to_secret_bytes);
        let mut signer = ShareSigner::new(&bytes, ChaCha20Rng::seed_from_u64(2)).unwrap();
        let signatures = signer.sign(&[b"message".to_vec()]).unwrap();
        assert!(signer.key().verify(b"message", &signatures[0]));
        let role = if name == "zsk.share" { Role::Zsk } else { Role::Ksk };
        assert!(shares[0].check(&Name::root(), role).is_ok());
        assert!(shares[0].check(&"nl".parse().unwrap(), role).is_err());
        let public = KeyFile::open(&out.join("dm-1").join(if role == Role::Zsk {
            "zsk.key"
        } else {
            "ksk.key"
        }));
        assert_eq!(public.unwrap().key().id(), signer.key().id());
    }
    // Every file's hash is in the transcript, which all have.
    for dm in 1..=4 {
        let own = out.join(format!("dm-{dm}"));
        assert_eq!(std::fs::read_to_string(own.join("transcript.txt")).unwrap(), transcript);
        let share = std::fs::read(own.join("zsk.share")).unwrap();
        let hash = text::hex(&<sha2::Sha256 as sha2::Digest>::digest(share));
        assert!(transcript.contains(&format!("{hash}  dm-{dm}/zsk.share")));
    }
    // Nothing is overwritten.
    assert!(matches!(
        ceremony.write(&dealt, &out, &|_| Some(Lock::None), &mut rng),
        Err(Error::File { .. })
    ));
}

#[cfg(unix)]
#[test]
fn a_share_is_for_one_owner_and_one_process() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("share");
    let (_, dealt, mut rng) = ceremony();
    let share = &dealt[1].shares()[0];
    share.create(&path, Lock::None, &mut rng).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let first = ShareFile::open(&path, &no_passphrase).unwrap();
    assert!(matches!(ShareFile::open(&path, &no_passphrase), Err(Error::InUse(_))));
    drop(first);
    assert!(ShareFile::open(&path, &no_passphrase).is_ok());

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(ShareFile::open(&path, &no_passphrase), Err(Error::Readable(_))));
}

#[test]
fn a_sealed_share_opens_with_its_passphrase_only() {
    let (_, dealt, mut rng) = ceremony();
    let share = &dealt[1].shares()[2];
    let open = |text: &str, words| ShareFile::from_text(text, &passphrase(words));
    let plain = share.to_text(Lock::None, &mut rng).unwrap();
    let sealed = share.to_text(Lock::Passphrase(b"correct horse"), &mut rng).unwrap();
    let secret = share.to_secret_bytes();
    assert!(plain.replace('\n', "").contains(&text::hex(&secret)));
    assert!(!sealed.replace('\n', "").contains(&text::hex(&secret[secret.len() - 32..])));
    assert_eq!(open(&plain, "").unwrap().to_secret_bytes(), secret);
    assert_eq!(open(&sealed, "correct horse").unwrap().to_secret_bytes(), secret);
    assert!(matches!(open(&sealed, "wrong"), Err(Error::WrongPassphrase)));
    assert!(matches!(ShareFile::from_text(&sealed, &no_passphrase), Err(Error::NeedsPassphrase)));
    // The head is bound to it: a share of a KSK does not become one of a ZSK.
    let other = sealed.replace("role: zsk", "role: ksk");
    assert!(matches!(open(&other, "correct horse"), Err(Error::WrongPassphrase)));
    // Twice the same share is not the same file.
    assert_ne!(*share.to_text(Lock::Passphrase(b"correct horse"), &mut rng).unwrap(), *sealed);
}

#[test]
fn a_damaged_share_is_refused() {
    let (_, dealt, mut rng) = ceremony();
    let share = &dealt[1].shares()[2];
    let plain = share.to_text(Lock::None, &mut rng).unwrap();
    let open = |text: &str| ShareFile::from_text(text, &no_passphrase);
    assert!(open(&plain).is_ok());
    let (top, body) = plain.split_once("\n-\n").unwrap();
    let wrong = [
        plain.replace("party: 3", "party: 2"),
        plain.replace("share 1", "share 2"),
        plain.replace("sealed: no", "sealed: perhaps"),
        plain.replace("zone: .", "zone: nl"),
        plain.replace("\nrole: zsk", ""),
        format!("{top}\nmore: 1\n-\n{body}"),
        format!("{top}\n-\n{}", &body[2..]),
        format!("{top}\n-\n{}", body.replacen(['1', '2', '3'], "4", 1)),
        format!("{top}\n-\n{body}00\n"),
        String::new(),
    ];
    for text in wrong {
        assert!(open(&text).is_err(), "{text}");
    }
}

#[test]
fn sets_signed_ahead_leave_no_hole() {
    const DAY: u32 = 86_400;
    let (_, dealt, rng) = ceremony();
    let shares: Vec<_> = dealt[0].shares().iter().map(ShareFile::to_secret_bytes).collect();
    let mut ksk = ShareSigner::new(&shares, rng).unwrap();
    let zsk = dealt[1].key_file().unwrap().dnskey().unwrap();
    let start = 1_801_123_200;
    let schedule = Schedule::usual(start);
    let keys = std::slice::from_ref(&zsk);
    let sets = schedule.sign(&Name::root(), keys, 172_800, &mut ksk).unwrap();
    assert_eq!(sets.len(), 9);
    for set in &sets {
        let read = KeySet::from_text(&set.to_text(), &Name::root()).unwrap();
        assert_eq!(read, *set);
        assert!(set.has(&zsk) && Dnskey::all(set.keys()).count() == 2);
        let size = crate::sign::dnskey_answer_bytes(&Name::root(), set.keys(), set.signatures());
        assert!(size <= MAX_DNSKEY_ANSWER);
    }
    // At every hour there is one that holds for ten days more, and it is the slot's own.
    for hour in 0..90 * 24 - 1 {
        let now = start + hour * 3_600;
        let (inception, expiration) = current(&sets, now).unwrap().times().unwrap();
        assert!(inception <= now && expiration >= now + 11 * DAY, "hour {hour}");
        assert_eq!(inception, start + hour / 240 * 10 * DAY - 3_600 + next(hour));
    }
    assert!(current(&sets, start - 2 * DAY).is_none());
    assert!(current(&sets, start + 101 * DAY - 1).is_some());
    assert!(current(&sets, start + 102 * DAY).is_none());
    // A set that somebody changed is none.
    let text = sets[0].to_text().replace("172800", "172801");
    assert!(KeySet::from_text(&text, &Name::root()).is_err());

    let wrong = |days, slot_days, valid_days| Schedule { days, slot_days, valid_days, ..schedule };
    assert!(wrong(90, 10, 10).slots().is_err(), "holes");
    assert!(wrong(90, 0, 21).slots().is_err());
    assert!(wrong(5, 10, 21).slots().is_err());
    assert!(wrong(9_999, 10, 21).slots().is_err());
}

/// A slot's signatures begin an hour before the slot does.
fn next(hour: u32) -> u32 {
    if hour % 240 == 239 { 10 * 86_400 } else { 0 }
}
