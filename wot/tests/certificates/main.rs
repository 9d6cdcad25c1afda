//! Certificates and key rings, made by GnuPG, Sequoia and ourselves.
//!
//! One program, because each that links Sequoia takes long to link.

mod gnupg;
mod keyrings;
mod small;
