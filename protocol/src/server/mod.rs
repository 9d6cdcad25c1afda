//! The server's side: rules R3 and R4, without IO.
//!
//! A request passes two stages. [`admit()`] checks everything that depends only on the request, the
//! configuration and the certificates: signatures above all. It is a pure function, so a driver
//! can run it for many requests at once. [`Server`] then applies what is admitted to the variable's
//! state, one request per variable at a time, and holds every answer until the change is durable.
//!
//! ```text
//!  Request --admit--> Admitted --handle_request--> Load -> decide -> Persist -> Reply
//! ```

mod admit;
mod decide;
mod machine;
mod membership;
mod recall;
mod sign_rule;
mod store_rule;
mod vouch_rule;

pub use admit::{Admitted, Context, admit};
pub use decide::{Loaded, Reply};
pub use machine::{Server, ServerAction, Ticket};
pub use membership::{Certifications, Judgement, Membership, MembershipRecord, Proposal, Standing};
pub use recall::{MIN_PAGE_BYTES, Recall, page};

/// How far a timestamp may be ahead of what the request proves: 2^20 (rule R3).
///
/// So nobody exhausts timestamps: 2^44 requests would be needed.
pub const MAX_TIMESTAMP_STEP: u64 = 1 << 20;

/// How many requests may wait for one variable; more are refused as busy.
pub const MAX_QUEUE: usize = 256;

/// How many versions one answer lists.
pub const MAX_VERSIONS_LISTED: u16 = 1024;

/// How many variables one answer to recall holds.
pub const MAX_RECALLED: u16 = 256;

/// How many versions one answer to recall versions names.
pub const MAX_RECALLED_VERSIONS: u16 = 1024;

/// How many versions may be asked for at once, of whatever size: the answer has as many as fit.
pub const MAX_RECALLED_ENTRIES: usize = 256;
