//! Made-up entries, and the four backends in one list.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use bftkv_protocol::{
    Address, Batch, CertifiedEntry, CollectiveSignature, ConfigurationDigest, Entry, EntryHash,
    EquivocationProof, Marks, NodeId, Purpose, Realm, ShareStatement, SignatureBytes,
    SignatureShare, SignedEntry, Slot, Store, Timestamp, Value, ValueDigest, Variable, Verify,
    VerifyError, WriterSignature,
};
use bftkv_storage::{RecordStore, StorageConfig, StorageKind, open};

pub mod disk;

pub const ON_DISK: [StorageKind; 3] = [StorageKind::Redb, StorageKind::LevelDb, StorageKind::Files];

pub fn config(kind: StorageKind, folder: &Path) -> StorageConfig {
    StorageConfig { kind, path: folder.join("store"), cache_bytes: 1 << 20, log_bytes: 16 << 10 }
}

/// Opens a store that must be sound.
pub fn open_sound(kind: StorageKind, folder: &Path) -> Arc<RecordStore> {
    let store = open(&config(kind, folder)).unwrap();
    store.wait_checked().unwrap();
    store
}

pub fn name(bytes: impl AsRef<[u8]>) -> Variable {
    Variable::new(bytes.as_ref()).unwrap()
}

pub fn at(t: u64) -> Timestamp {
    Timestamp::new(t)
}

pub fn node(n: u8) -> NodeId {
    NodeId::from_bytes(&[n; 20]).unwrap()
}

pub fn signature(n: u8) -> SignatureBytes {
    SignatureBytes::new(vec![n; 200]).unwrap()
}

/// An entry as a clique of four certifies it.
pub fn entry(variable: &Variable, t: u64, value: &[u8]) -> CertifiedEntry {
    let share = |n| SignatureShare { signer: node(n), signature: signature(n) };
    CertifiedEntry {
        signed: SignedEntry {
            entry: Entry {
                realm: Realm::new("test").unwrap(),
                variable: variable.clone(),
                timestamp: at(t),
                value: Value::new(value).unwrap(),
                is_final: false,
                writer: node(9),
                owner: Address::new("alice@example.org").unwrap(),
            },
            signature: WriterSignature::new(signature(9)),
        },
        collective: CollectiveSignature::new(
            ConfigurationDigest::from_bytes([7; 32]),
            vec![share(1), share(2), share(3)],
        ),
    }
}

pub fn marks(seen: u64) -> Marks {
    let slot = Slot {
        timestamp: at(seen),
        hash: EntryHash::from_bytes([3; 32]),
        writer: node(9),
        owner: Address::new("alice@example.org").unwrap(),
        value: ValueDigest::of(b"v"),
        is_final: false,
        signature: WriterSignature::new(signature(9)),
    };
    Marks { seen: at(seen), slots: vec![slot], abandons: vec![] }
}

pub fn put(variable: &Variable, t: u64, value: &[u8]) -> Batch {
    Batch { entries: vec![entry(variable, t, value)], ..Batch::default() }
}

pub fn mark(variable: &Variable, seen: u64) -> Batch {
    Batch { marks: vec![(variable.clone(), marks(seen))], ..Batch::default() }
}

struct Everything;

impl Verify for Everything {
    fn verify_packet(
        &self,
        _: &NodeId,
        _: Purpose,
        _: &[u8],
        _: &SignatureBytes,
    ) -> Result<(), VerifyError> {
        Ok(())
    }
}

pub fn proof(guilty: u8) -> EquivocationProof {
    let statement = |hash| ShareStatement {
        realm: Realm::new("test").unwrap(),
        configuration: ConfigurationDigest::from_bytes([7; 32]),
        variable: name("x"),
        timestamp: at(1),
        entry: EntryHash::from_bytes([hash; 32]),
    };
    let (first, second) = ((statement(1), signature(1)), (statement(2), signature(2)));
    EquivocationProof::of_shares(node(guilty), first, second, &Everything).unwrap()
}

/// Everything that a store answers, for comparing.
pub fn contents(store: &dyn Store) -> String {
    let mut text = String::new();
    for variable in store.scan(b"", None, usize::MAX).unwrap() {
        let state = store.load(&variable).unwrap();
        text += &format!("{variable} latest {:?}\n", state.latest.map(|e| e.hash()));
        text += &format!("{:?}\n", state.marks);
        for t in store.versions(&variable, None, usize::MAX).unwrap() {
            let version = store.version(&variable, t).unwrap().unwrap();
            text += &format!("  {t} {}\n", version.hash());
        }
    }
    text + &format!("{:?}", store.proofs().unwrap())
}
