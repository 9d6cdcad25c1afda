//! What the program logs at its most talkative must not hold a secret.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at a surprise")]

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bftkv::protocol::{SecretShare, Variable};
use bftkv::roaming::{Protected, Share};
use bftkv::{Home, protocol::Store as _};

use crate::support::packets::secret_numbers;
use crate::support::{Cluster, program, text};

/// Every way in which a program might print bytes.
fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list: Vec<String> = secret.iter().map(ToString::to_string).collect();
    let spaced: Vec<String> = secret.iter().map(|byte| format!("{byte:02X}")).collect();
    vec![
        ("raw", secret.to_vec()),
        ("hex", hex.clone().into_bytes()),
        ("HEX", hex.to_uppercase().into_bytes()),
        ("spaced hex", spaced.join(" ").into_bytes()),
        ("list", list.join(", ").into_bytes()),
        ("short list", list.join(",").into_bytes()),
        ("escaped", secret.escape_ascii().to_string().into_bytes()),
        ("base64", base64(secret)),
    ]
}

/// RFC 4648, of a multiple of three bytes.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |three: &[u8]| {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| DIGITS[bits >> shift & 63])
    };
    bytes.chunks_exact(3).flat_map(digits).collect()
}

/// Parts of the secret numbers of all keys in a file of unprotected keys, in both orders. A part
/// suffices: nine bytes are nowhere by chance.
fn secrets(key: &Path) -> Vec<Vec<u8>> {
    let file = std::fs::read(key).unwrap();
    let both_orders = |place: Range<usize>| {
        let number = &file[place];
        [number[3..12].to_vec(), number.iter().rev().copied().skip(3).take(9).collect()]
    };
    secret_numbers(&file).into_iter().flat_map(both_orders).collect()
}

fn is_in(log: &[u8], wanted: &[u8]) -> bool {
    log.windows(wanted.len()).any(|window| window == wanted)
}

/// What of the secrets stands in the log.
fn leaks(log: &[u8], secrets: &[Vec<u8>]) -> Vec<&'static str> {
    let found = |secret: &Vec<u8>| forms(secret).into_iter().find(|(_, form)| is_in(log, form));
    secrets.iter().filter_map(found).map(|(form, _)| form).collect()
}

/// Nodes whose words go to a file. They end with this.
struct Logged(std::process::Child);

impl Logged {
    fn start(cluster: &Cluster, log: &Path) -> Self {
        let file = File::create(log).unwrap();
        let mut command = program();
        command.args(["cluster", "run"]).arg(cluster.path("")).stdout(file.try_clone().unwrap());
        let nodes = Self(command.stderr(file).stdin(Stdio::null()).spawn().unwrap());
        for _ in 0..600 {
            if is_in(&std::fs::read(log).unwrap(), b"nodes listen") {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let said = std::fs::read(log).unwrap();
        let words = String::from_utf8_lossy(&said);
        assert!(is_in(&said, b"nodes listen"), "they never listened: {words}");
        nodes
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let pid = self.0.id().to_string();
        let _ = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.0.wait();
    }
}

fn talk_about_everything(home: &Path) {
    let path = home.join("config.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let talkative = config.replace("#: level = \"warn\"", "level = \"trace\"");
    assert_ne!(config, talkative, "the settings have another form now");
    std::fs::write(path, talkative).unwrap();
}

/// Both are as long as base64 wants it.
const PASSWORD: &str = "tangerine-12";
const PROTECTED: &str = "under-stones";

/// A part of the share that a node keeps of the password: of all 32 bytes in a row in its store,
/// those that fit the record.
fn share_at(home: &Path) -> Vec<u8> {
    let store = Home::open(home).unwrap().store().unwrap();
    let notes = Variable::new("notes").unwrap();
    let entry = store.load(&notes).unwrap().latest.unwrap();
    let protected = Protected::from_value(&entry.entry().value).unwrap();
    let (record, vault) = (protected.record(), store.vault(&notes).unwrap().unwrap());
    let fits = |bytes: &&[u8]| {
        let secret = SecretShare::from_bytes((*bytes).try_into().unwrap());
        let mut indices = record.nodes().iter().filter_map(|node| record.index_of(node));
        indices.any(|index| Share::new(index, &secret, record.commitments()).is_ok())
    };
    let share = vault.as_bytes().windows(32).find(fits).expect("the node keeps a share");
    share[3..12].to_vec()
}

#[test]
fn no_secret_key_and_no_password_is_logged() {
    let cluster = Cluster::create(&[]);
    let homes: Vec<PathBuf> =
        ["n1", "n2", "n3", "n4", "u1"].iter().map(|name| cluster.path(name)).collect();
    homes.iter().for_each(|home| talk_about_everything(home));
    let mut secrets: Vec<Vec<u8>> =
        homes.iter().flat_map(|home| secrets(&home.join("key.pgp"))).collect();
    assert!(secrets.len() >= 2 * 3 * 5, "each has at least three keys: {}", secrets.len());

    let log = cluster.path("log");
    let nodes = Logged::start(&cluster, &log);
    let mut said = Vec::new();
    for arguments in [
        &["put", "x", "value"][..],
        &["get", "x"],
        &["history", "x"],
        &["graph"],
        &["join"],
        &["put", "x", "at a bad time", "--deadline", "0"],
        &["cert", "export"],
        &["member", "list"],
    ] {
        let ran = cluster.at("u1", &[&["-vvv"], arguments].concat());
        said.extend([ran.stdout, ran.stderr.into_bytes()].concat());
    }
    let with_password = |arguments: &[&str], password: &str| {
        let arguments = [&["-vvv"], arguments, &["--password-fd", "0"]].concat();
        cluster.at_with("u1", &arguments, password.as_bytes())
    };
    let put = with_password(&["put", "notes", PROTECTED], PASSWORD).expect(0);
    let opened = with_password(&["get", "notes"], PASSWORD).expect(0);
    assert_eq!(opened.text(), PROTECTED);
    let wrong = with_password(&["get", "notes"], "tangerine-13").expect(3);
    [put, opened, wrong].into_iter().for_each(|ran| said.extend(ran.stderr.into_bytes()));
    drop(nodes);
    said.extend(std::fs::read(&log).unwrap());
    secrets.extend(homes[..4].iter().map(|home| share_at(home)));
    secrets.extend([PASSWORD, "tangerine-13", PROTECTED].map(|text| text.as_bytes().to_vec()));

    let text = String::from_utf8_lossy(&said);
    let logged = [" DEBUG ", " INFO ", " TRACE "].map(|level| text.matches(level).count());
    assert!(logged.iter().sum::<usize>() > 10, "too little to show anything: {text}");
    assert_eq!(leaks(&said, &secrets), [""; 0]);
    // The search finds what is there, in each form.
    for planted in [&secrets[4], &secrets[secrets.len() - 4], &secrets[secrets.len() - 3]] {
        for (form, bytes) in forms(planted) {
            let planted = [&said[..], b" key: ", &bytes, b".\n"].concat();
            assert_eq!(leaks(&planted, &secrets).len(), 1, "{form} is not found");
        }
    }
}

#[test]
fn no_passphrase_is_logged() {
    const PASSPHRASE: &str = "orange-elephant-Wq";
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let run = |arguments: &str| {
        let line = format!(
            "printf '%s\\n' '{PASSPHRASE}' | \
             {} -vvv --home {} --passphrase-fd 3 {arguments} 3<&0 < /dev/null 2>&1",
            env!("CARGO_BIN_EXE_bftkv"),
            text(&home),
        );
        let ran = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        ran.stdout
    };
    let made = run("init --name 'Ursula <ursula@example.org>'");
    assert!(home.join("key.pgp").is_file(), "{}", String::from_utf8_lossy(&made));
    let said = [made, run("put x y --deadline 1"), run("graph"), run("cert export -a")].concat();
    assert!(is_in(&said, b"BEGIN PGP PUBLIC KEY"), "the commands ran");
    assert_eq!(leaks(&said, &[PASSPHRASE.as_bytes().to_vec()]), [""; 0]);
}
