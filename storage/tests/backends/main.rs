//! Every backend, on a good disk and on bad ones.
//!
//! One program, because each that links Sequoia takes long to link.

mod campaign;
mod common;
mod damage;
mod faults;
mod golden;
mod opening;
mod ready;
mod resume;
mod salvaging;
mod suite;
mod writer_log;
