//! Files that people edit or receive.

use bftkv::{Config, ProofFile};

use crate::fixtures::{ALICE, Keys, alone, certified, entry, one_group};

/// A configuration file is read or refused by a message.
pub(super) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text, "config.toml") {
        Ok(config) => {
            config.realm.realm().unwrap();
            config.realm.authority_ids().unwrap();
            config.realm.store_ids().unwrap();
            let _ = (config.client.deadline(), config.client.round(), config.client.backoff());
        }
        Err(error) => assert!(error.to_string().contains(':')),
    }
}

/// A proof file holds or is refused, and no byte of it can be changed. An input that begins with 0
/// is a file; any other one says where to damage a good file, and how.
pub(super) fn proof_file(data: &[u8]) {
    let (keys, configuration) = (Keys::default(), one_group());
    let good = ProofFile::new(certified(entry(ALICE, 7, "mine"), &configuration));
    let file = match data.split_first() {
        Some((0, file)) => file.to_vec(),
        _ => damaged(good.to_bytes(), data),
    };
    if let Ok(read) = ProofFile::verify(&file, &alone(&configuration), &keys) {
        assert_eq!(read.to_bytes(), file, "two files for one proof");
        assert_eq!(read.entry().signed, good.entry().signed, "nobody else can sign here");
        assert!(read.detached_signatures().len() > 3);
    }
}

/// Each three bytes say where and how.
fn damaged(mut file: Vec<u8>, how: &[u8]) -> Vec<u8> {
    for change in how.chunks_exact(3) {
        let place = (usize::from(change[0]) << 8 | usize::from(change[1])) % file.len();
        file[place] ^= change[2];
    }
    file
}
