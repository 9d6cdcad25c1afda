//! The rules of bftkv: entries, quorum arithmetic, client and server state machines, wire
//! encoding.
//!
//! This crate performs no IO and reads no clock. Everything in it is a value, a pure function, or
//! a state machine that is told what happened (`handle_*`) and says what to do (`poll`). The same
//! inputs give the same outputs, which is what lets one seed drive a whole simulated cluster.
//!
//! ```text
//!            Entry <x,t,v>  --writer signs-->  SignedEntry <x,t,v,s_C>
//!                                                   |  q members of every clique sign
//!                                                   v
//!            client::{Write, Read}  <-------  CertifiedEntry <x,t,v,s_C,S>  ------->  server::Server
//! ```
//!
//! What it does not do: OpenPGP (crate `bftkv-wot`), disks (`bftkv-storage`), sockets
//! (`bftkv-transport`). It defines the traits that those implement: [`Verify`], [`Sign`],
//! [`Store`], [`Identities`].
//!
//! Papers: "A BFT KV Storage" (Yahoo Paranoids); Malkhi and Reiter, "Byzantine Quorum Systems"
//! and "Secure and Scalable Replication in Phalanx". `docs/paper-map.md` names the function of
//! each step.

pub mod client;
pub mod planted;
pub mod server;

mod abandon;
mod address;
mod announcement;
mod backing;
mod batch_signature;
mod bytes;
mod canonical;
mod change;
mod channel;
mod codec;
mod configuration;
mod configurations;
mod entry;
mod equivocation;
mod group;
mod hash;
mod keys;
mod limited;
mod many;
mod merkle;
mod message;
mod node_id;
mod progress;
mod realm;
mod refusal;
mod registration;
mod roaming;
mod seal;
mod share;
mod signature;
mod store;
mod tally;
mod time_answer;
mod timestamp;
mod tree_memory;
mod validity;
mod value;
mod variable;
mod vouch;

pub use abandon::Abandon;
pub use address::Address;
pub use announcement::{Announcement, StoreAge};
pub use backing::Backing;
pub use batch_signature::{Detached, MAX_BATCH, sign_batch};
pub use bytes::{CertificateBytes, SignatureBytes, TooLong};
pub use canonical::Domain;
pub use change::{Change, ChangeError, ChangeKind, ChangeStatement, SignedChange};
pub use channel::{Channel, ChannelKey, ChannelStanding};
pub use codec::{
    DecodeError, MAX_MESSAGE_BYTES, decode, encode, encode_onto, encode_secret, encoded_len,
};
pub use configuration::{Configuration, ConfigurationDigest, ConfigurationError};
pub use configurations::{Basis, Configurations, Groups, Lineage};
pub use entry::{CertifiedEntry, Entry, EntryId, SignedEntry};
pub use equivocation::{EquivocationProof, Offence, ProofError};
pub use group::{Group, Thresholds};
pub use hash::{EntryHash, ValueDigest};
pub use keys::{Identities, Sign, SignError, Verify, VerifyError};
pub use many::{MAX_PARTS, MAX_PARTS_BYTES, Part, PartAnswer, PartOutcome, answer_many};
pub use message::{
    Answer, Evidence, Nonce, Outcome, Recalled, RepairProgress, Request, Response,
    SMALL_VALUE_BYTES, VersionId,
};
pub use node_id::{NodeId, NodeIdError};
pub use progress::Progress;
pub use realm::Realm;
pub use refusal::{Objection, Refusal};
pub use registration::RegistrationRefusal;
pub use roaming::{
    ElementBytes, Evaluated, LoginProof, LoginPurpose, ProofBytes, RecordBytes, RecordId,
    RoamingAnswer, RoamingRefusal, RoamingRequest, SecretShare, Vault,
};
pub use seal::{NotValidNow, Opened, Seal, SealError, Stranger};
pub use share::{CollectiveSignature, ShareStatement, SignatureShare};
pub use signature::{Purpose, WriterSignature};
pub use store::{Batch, Marks, Slot, Store, StoreError, VariableState};
pub use tally::Tally;
pub use time_answer::{SignedTime, TimeStatement};
pub use timestamp::Timestamp;
pub use tree_memory::{LendTrees, TreeMemory, verify_in_tree};
pub use validity::{Invalid, certified_bytes, verify_certified, verify_writer};
pub use value::Value;
pub use variable::Variable;
pub use vouch::VouchStatement;
