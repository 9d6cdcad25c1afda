//! Real nodes: over loopback with real keys and disks, and in one process's memory.
//!
//! One program, because each that links Sequoia takes long to link.

mod cluster;
mod in_memory;
mod members;
mod passwords;
mod recovery;
mod recovery_history;
mod registration;
mod renewal;
mod repair;
mod replaced_signers;
mod revocation;
mod slow_member;
mod support;
mod tls;
