//! What is left of a secret key, a password, or its shares in the memory of a process that used them.

use std::fs::File;
use std::hint::black_box;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bftkv::Home;
use bftkv::protocol::{Channel as _, Purpose, Seal as _, Sign as _};
use bftkv::wot::{ChannelKeys, Sealer};

use crate::block_on;
use crate::homes::{Homes, Plan};
use crate::packets::secret_numbers;
use crate::process::{Orders, Process};

/// The bytes that are looked for are never held as they are: the search must not find itself.
pub(crate) const MASK: u8 = 0x5a;

/// A masked secret of 32 bytes, as an Ed25519 or X25519 key has it, or a share.
pub(crate) type Masked = [u8; 32];

#[test]
fn no_secret_key_and_no_password_is_left_in_memory() {
    block_on(async {
        let homes = Homes::new(&Plan::default());
        let home = homes.node_path(0);
        let mut child = Process::start(&Orders { role: "secrets", ..Orders::node(&home) });
        let mut told = Vec::new();
        while let Some(line) = child.line().await {
            told.extend(line.strip_prefix("memory: ").map(str::to_owned));
        }
        let expected = [
            "9 secrets",
            "found after use: []",
            "found of 8 messages after sealing and opening: []",
            "9 found when they are there",
        ];
        assert_eq!(told, expected);
    });
}

/// Signs, seals and opens with the key of this home; uses a password; forgets all, and looks for it.
pub(crate) fn use_and_forget(home: &Path) {
    let mut secrets = masked_secrets(&home.join(Home::KEY));
    use_key(home);
    // As in a program: its key comes first. What Argon2id frees makes the allocator keep large
    // buffers which it gave back to the system before.
    secrets.extend(crate::password::use_and_forget());
    println!("\nmemory: {} secrets", secrets.len());
    println!("memory: found after use: {:?}", found(&secrets));
    let messages = seal_and_open(home);
    let left = found(&messages);
    println!("memory: found of {} messages after sealing and opening: {left:?}", messages.len());
    let plain: Vec<Masked> = secrets.iter().map(unmask).collect();
    println!("memory: {} found when they are there", found(&secrets).len());
    drop(black_box(plain));
}

fn use_key(home: &Path) {
    let home = Home::open(home).unwrap();
    let (certificates, key) = (home.certificates().unwrap(), home.key());
    let sealer = Sealer::new(certificates.keyring().clone(), key.clone());
    let channel = ChannelKeys::of(certificates.keyring().clone(), &key).unwrap();
    let me = key.certificate().id().clone();
    for _ in 0..50 {
        black_box(key.sign(Purpose::Share, b"a statement").unwrap());
        black_box(channel.sign(b"a handshake").unwrap());
        let sealed = sealer.seal(std::slice::from_ref(&me), b"a message").unwrap();
        assert_eq!(sealer.open(&sealed, 1000).unwrap().plaintext, b"a message");
    }
    drop((Arc::new(sealer), channel, key, home));
}

/// Messages with secrets in them. What is ours of each is wiped here; what the OpenPGP library frees of them
/// is wiped by the allocator, which this program has from `bftkv`.
fn seal_and_open(home: &Path) -> Vec<Masked> {
    let home = Home::open(home).unwrap();
    let (certificates, key) = (home.certificates().unwrap(), home.key());
    let sealer = Sealer::new(certificates.keyring().clone(), key.clone());
    let me = key.certificate().id().clone();
    let mut messages = Vec::new();
    for _ in 0..8 {
        let secret = crate::password::masked();
        let mut plaintext = crate::password::unmasked(&secret);
        let sealed = sealer.seal(std::slice::from_ref(&me), &plaintext).unwrap();
        plaintext.fill(0);
        black_box(&plaintext);
        let mut opened = sealer.open(&sealed, 1000).unwrap();
        opened.plaintext.fill(0);
        black_box(&opened);
        messages.push(secret);
    }
    messages
}

/// The secret numbers of the keys in a file of unprotected keys.
fn masked_secrets(path: &Path) -> Vec<Masked> {
    let mut file = std::fs::read(path).unwrap();
    let places = secret_numbers(&file);
    let masked = |place: Range<usize>| unmask(file[place].try_into().unwrap());
    let secrets = places.into_iter().map(masked).collect();
    file.fill(0);
    black_box(&file);
    secrets
}

/// Masking twice is not masking. Byte by byte, so that no copy of the whole is made on the way.
fn unmask(bytes: &Masked) -> Masked {
    std::array::from_fn(|place| bytes[place] ^ MASK)
}

/// Which of the secrets are somewhere in the memory of this process.
fn found(secrets: &[Masked]) -> Vec<usize> {
    let regions = readable_regions();
    let is_there = |secret: &Masked| regions.iter().any(|region| is_in(secret, *region));
    (0..secrets.len()).filter(|which| is_there(&secrets[*which])).collect()
}

fn readable_regions() -> Vec<(u64, u64)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let region = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let is_memory = rest.starts_with("rw") && !line.contains("[v");
        is_memory.then(|| (number(from), number(to)))
    };
    maps.lines().filter_map(region).collect()
}

fn is_in(secret: &Masked, (from, to): (u64, u64)) -> bool {
    let memory = File::open("/proc/self/mem").unwrap();
    let mut chunk = vec![0; 1 << 16];
    let mut at = from;
    let mut is_found = false;
    while at < to && !is_found {
        let Ok(count @ 32..) = memory.read_at(&mut chunk, at) else { break };
        let part = &chunk[..count.min(usize::try_from(to - at).unwrap())];
        // The second half suffices: the allocator writes over the beginning of what it takes back.
        let half = &secret[16..];
        let fits = |window: &[u8]| window.iter().zip(half).all(|(a, b)| a ^ MASK == *b);
        is_found = part.windows(half.len()).any(fits);
        at += u64::try_from(part.len()).unwrap().saturating_sub(31).max(1);
    }
    // What was read stays nowhere.
    chunk.fill(0);
    black_box(&chunk);
    is_found
}
