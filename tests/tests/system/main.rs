//! The whole system: simulated, attacked, and on the key rings that GnuPG made.
//!
//! One program, because each that links Sequoia takes long to link.

mod adversaries;
mod detection;
mod gnupg_guide;
mod gnupg_keyrings;
mod passwords;
mod proof_files;
mod simulation;
mod support;
