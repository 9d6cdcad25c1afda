//! Sealed messages, whatever carries them: what is asked, by whom, of whom, and only once.

mod challenges;
mod client;
mod envelope;
mod server;
mod workers;

pub(crate) use client::{Carrier, SealedClient};
pub(crate) use envelope::MAX_SEALED_BYTES;
pub use envelope::check_envelope;
pub(crate) use server::{Sealed, SealedServer};
pub(crate) use workers::Workers;
