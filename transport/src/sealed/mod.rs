//! Sealed messages, whatever carries them: what is asked, by whom, of whom, and only once.

mod budget;
mod challenges;
mod client;
mod crew;
mod envelope;
mod server;
mod throttles;
mod workers;

pub(crate) use budget::{Budget, Share};
pub(crate) use client::{Carrier, SealedClient};
pub(crate) use envelope::MAX_SEALED_BYTES;
pub use envelope::check_envelope;
pub(crate) use server::{Sealed, SealedServer, ServeFailure};
pub(crate) use throttles::Throttles;
pub(crate) use workers::Workers;
