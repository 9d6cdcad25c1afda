//! Shares that are sealed to OpenPGP keys.

use std::path::Path;
use std::process::{Command, Output};

use bftkv::Home;
use bftkv::protocol::Seal;
use bftkv::wot::Sealer;
use bftkv_dm::keys::{KeyAccess, ShareFile, Unlock};
use zeroize::Zeroizing;

use crate::homes::Folder;

use super::together::members;
use super::{ZONE, words};

/// A home's key, and no passphrase.
pub(super) struct Key(Sealer);

impl Key {
    pub(super) fn of(home: &Path) -> Self {
        let home = Home::open(home).unwrap();
        let certificates = home.certificates().unwrap();
        Self(Sealer::new(certificates.keyring().clone(), home.key()))
    }

    pub(super) fn seal(&self) -> &dyn Seal {
        &self.0
    }
}

impl Unlock for Key {
    fn passphrase(&self) -> Option<Zeroizing<Vec<u8>>> {
        None
    }

    fn key(&self) -> Result<KeyAccess<'_>, String> {
        Ok(KeyAccess::Own(&self.0))
    }
}

/// Runs `bftkv` at a home, with a passphrase.
fn with_passphrase(folder: &Folder, home: &str, passphrase: &str, arguments: &str) -> Output {
    let words = words(arguments, |name| folder.path(name)).join(" ");
    let (program, home) = (env!("CARGO_BIN_EXE_bftkv"), folder.path(home));
    let script = format!(
        "printf '%s\\n' '{passphrase}' | {program} --home {} --passphrase-fd 3 {words} 3<&0 < /dev/null",
        home.display()
    );
    Command::new("sh").args(["-c", &script]).output().unwrap()
}

/// Whether these bytes lie in the file, as they are or in hexadecimal digits.
fn is_in(secret: &[u8], file: &Path) -> bool {
    let bytes = std::fs::read(file).unwrap();
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = String::from_utf8_lossy(&bytes).replace('\n', "");
    text.contains(&hex) || bytes.windows(secret.len()).any(|window| window == secret)
}

#[test]
fn shares_that_are_sealed_to_a_key_open_with_that_key_only() {
    let (folder, ids) = members();
    std::fs::write(folder.path("zone"), ZONE).unwrap();
    // Two shares for the first, one each for two others.
    let to = format!("{} {} {} {}", ids[0], ids[0], ids[1], ids[2]);
    let fixed = "keygen /keys --zone example --shares 4 --threshold 2 --seal-to";
    folder.dm("one", &format!("{fixed} {to}")).expect(0);
    let share = |dm: u8| folder.path(&format!("keys/dm-{dm}/zsk.share"));
    let text = std::fs::read_to_string(share(1)).unwrap();
    assert!(text.contains(&format!("sealed: openpgp {}\n", ids[0])), "{text}");

    let opened = ShareFile::open(&share(1), &Key::of(&folder.path("one"))).unwrap();
    let secret = opened.to_secret_bytes();
    let secret = &secret[secret.len() - 32..];
    assert!(!is_in(secret, &share(1)), "it lies there in clear");
    drop(opened);
    let of_two = ShareFile::open(&share(3), &Key::of(&folder.path("two"))).unwrap();
    assert_eq!(of_two.party().number(), 3);
    drop(of_two);

    let sign = |member: &str, zsk: &str| {
        let ksk = "/keys/dm-1/offline/ksk.share /keys/dm-2/offline/ksk.share";
        folder.dm(member, &format!("sign /zone --zsk {zsk} --ksk {ksk}"))
    };
    let ours = "/keys/dm-1/zsk.share /keys/dm-2/zsk.share";
    let said = sign("one", ours).expect(0).stderr;
    assert!(said.contains("has no passphrase"), "{said}");
    let said = sign("one", "/keys/dm-1/zsk.share /keys/dm-3/zsk.share").expect(1).stderr;
    assert!(
        said.contains(&format!("the OpenPGP key {}, and ours is {}", ids[1], ids[0])),
        "{said}"
    );
    let said = sign("two", ours).expect(1).stderr;
    assert!(said.contains("and ours is"), "{said}");
    assert!(sign("nobody", ours).expect(1).stderr.contains("is sealed to the OpenPGP key"));

    // What stands in front of it is bound to it, and so is every byte of it.
    let other = text.replace("role: zsk", "role: ksk");
    let opened = ShareFile::from_text(&other, &Key::of(&folder.path("one")));
    assert!(opened.unwrap_err().to_string().contains("head does not belong"));
    let place = text.len() - 100;
    let digit = if &text[place..=place] == "0" { "1" } else { "0" };
    let damaged = format!("{}{digit}{}", &text[..place], &text[place + 1..]);
    ShareFile::from_text(&damaged, &Key::of(&folder.path("one"))).unwrap_err();
    // It can be destroyed by whoever cannot open it.
    folder.dm("nobody", "forget /keys/dm-4/zsk.share --yes").expect(0);
}

/// From open to one key, to another, to a passphrase, and open again: always the same share, and one file.
#[test]
fn a_share_is_sealed_anew() {
    let (folder, ids) = members();
    let fixed = "keygen /keys --zone example --shares 4 --threshold 2 --no-passphrase";
    folder.dm("one", fixed).expect(0);
    let share = folder.path("keys/dm-1/zsk.share");
    let none = || None;
    let secret = ShareFile::open(&share, &none).unwrap().to_secret_bytes();
    let secret = &secret[secret.len() - 32..];
    assert!(is_in(secret, &share));

    folder.dm("one", "reseal /keys/dm-1/zsk.share").expect(2);
    folder.dm("one", &format!("reseal /keys/dm-1/zsk.share --seal-to {}", ids[0])).expect(0);
    assert!(!is_in(secret, &share), "it lies there in clear");
    // Only who can open it can seal it anew, and who is refused changes nothing.
    let before = std::fs::read(&share).unwrap();
    let said = folder.dm("two", "reseal /keys/dm-1/zsk.share --no-passphrase").expect(1).stderr;
    assert!(said.contains("and ours is"), "{said}");
    let opened = ShareFile::open(&share, &Key::of(&folder.path("one"))).unwrap();
    let said = folder.dm("one", "reseal /keys/dm-1/zsk.share --no-passphrase").expect(1).stderr;
    assert!(said.contains("another process"), "{said}");
    drop(opened);
    assert_eq!(std::fs::read(&share).unwrap(), before);

    folder.dm("one", &format!("reseal /keys/dm-1/zsk.share --seal-to {}", ids[1])).expect(0);
    assert!(ShareFile::open(&share, &Key::of(&folder.path("one"))).is_err());
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&share).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let made =
        with_passphrase(&folder, "two", "words", "dm reseal /keys/dm-1/zsk.share --passphrase");
    assert!(made.status.success(), "{made:?}");
    assert!(!is_in(secret, &share), "it lies there in clear");
    let wrong =
        with_passphrase(&folder, "two", "other", "dm reseal /keys/dm-1/zsk.share --no-passphrase");
    assert!(!wrong.status.success());
    let open =
        with_passphrase(&folder, "two", "words", "dm reseal /keys/dm-1/zsk.share --no-passphrase");
    assert!(open.status.success(), "{open:?}");
    let again = ShareFile::open(&share, &none).unwrap().to_secret_bytes();
    assert_eq!(&again[again.len() - 32..], secret);
    let files = std::fs::read_dir(folder.path("keys/dm-1")).unwrap().count();
    assert_eq!(
        files,
        std::fs::read_dir(folder.path("keys/dm-2")).unwrap().count(),
        "no file is left"
    );
}

#[test]
fn the_passphrase_of_the_key_opens_its_shares() {
    let (folder, _) = members();
    std::fs::write(folder.path("zone"), ZONE).unwrap();
    let run = |passphrase: &str, arguments: &str| {
        with_passphrase(&folder, "locked", passphrase, arguments)
    };
    let made = run("right", "--json init --name locked@example.org");
    assert!(made.status.success(), "{made:?}");
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let id = made["fingerprint"].as_str().unwrap();
    let keygen = "dm keygen /keys --zone example --shares 4 --threshold 2 --seal-to";
    let made = run("right", &format!("{keygen} {id} {id} {id} {id}"));
    assert!(made.status.success(), "{made:?}");
    let sign = "dm sign /zone --zsk /keys/dm-1/zsk.share /keys/dm-2/zsk.share \
                --ksk /keys/dm-1/offline/ksk.share /keys/dm-3/offline/ksk.share";
    let wrong = run("wrong", sign);
    assert_eq!(wrong.status.code(), Some(1));
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(said.contains("is sealed to the OpenPGP key") && said.contains("passphrase"), "{said}");
    let right = run("right", sign);
    assert!(right.status.success(), "{right:?}");
    assert!(!String::from_utf8_lossy(&right.stderr).contains("warning"), "{right:?}");
}

/// A home of GnuPG with a key, which ends with its agent.
struct GnupgHome(tempfile::TempDir);

impl GnupgHome {
    /// `None` if there is no gpg here.
    fn new() -> Option<Self> {
        // Not below the folder of the tests: a socket's path has no more than 108 characters.
        let home = Self(tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap());
        let arguments = "--passphrase  --quick-generate-key holder@example.org future-default - 1y";
        let made = home.gpg(&arguments.split(' ').collect::<Vec<_>>());
        assert!(made.is_some() || std::env::var_os("CI").is_none(), "no gpg");
        let made = made?;
        assert!(made.status.success(), "{made:?}");
        Some(home)
    }

    fn gpg(&self, arguments: &[&str]) -> Option<Output> {
        let mut gpg = Command::new("gpg");
        gpg.env("GNUPGHOME", self.0.path()).args(["--batch", "--pinentry-mode", "loopback"]);
        match gpg.args(arguments).output() {
            Ok(output) => Some(output),
            Err(error) => {
                eprintln!("SKIPPED: no gpg here ({error})");
                None
            }
        }
    }

    fn fingerprint(&self) -> String {
        let listed = self.gpg(&["--list-keys", "--with-colons"]).unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let line = listed.lines().find(|line| line.starts_with("fpr")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }
}

impl Drop for GnupgHome {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .env("GNUPGHOME", self.0.path())
            .args(["--kill", "all"])
            .status();
    }
}

#[test]
fn gpg_opens_shares_whose_key_only_it_has() {
    let Some(gnupg) = GnupgHome::new() else { return };
    let (folder, ids) = members();
    std::fs::write(folder.path("zone"), ZONE).unwrap();
    let certificate = gnupg.gpg(&["--export"]).unwrap().stdout;
    folder.at_with("one", &["cert", "import", "-"], &certificate).expect(0);
    let to = gnupg.fingerprint();
    let keygen = "keygen /keys --zone example --shares 4 --threshold 2 --seal-to";
    folder.dm("one", &format!("{keygen} {to} {to} {to} {}", ids[1])).expect(0);

    let run = |gnupg_home: &Path, arguments: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_bftkv"));
        program.arg("--home").arg(folder.path("nobody")).env("GNUPGHOME", gnupg_home);
        program.args(words(arguments, |name| folder.path(name))).output().unwrap()
    };
    let sign = |gnupg_home: &Path, ksk: u8| {
        let arguments = format!(
            "dm sign /zone --gpg --zsk /keys/dm-1/zsk.share /keys/dm-2/zsk.share \
             --ksk /keys/dm-1/offline/ksk.share /keys/dm-{ksk}/offline/ksk.share"
        );
        run(gnupg_home, &arguments)
    };
    let said = sign(gnupg.0.path(), 3);
    assert!(said.status.success(), "{said:?}");
    folder.dm("one", "verify /zone.signed --key /keys/ksk.key").expect(0);

    let resealed = run(gnupg.0.path(), "dm reseal /keys/dm-3/zsk.share --gpg --no-passphrase");
    assert!(resealed.status.success(), "{resealed:?}");
    let text = std::fs::read_to_string(folder.path("keys/dm-3/zsk.share")).unwrap();
    assert!(text.contains("sealed: no\n"), "{text}");

    // The second party's certificate is no key of this gpg, and another gpg has none.
    let said = sign(gnupg.0.path(), 4);
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(text.contains(&format!("is sealed to the OpenPGP key {}", ids[1])), "{text}");
    assert!(text.contains("No secret key"), "{text}");
    let empty = tempfile::tempdir_in("/tmp").unwrap();
    assert_eq!(sign(empty.path(), 3).status.code(), Some(1));
    let _ = Command::new("gpgconf").env("GNUPGHOME", empty.path()).args(["--kill", "all"]).status();
}
