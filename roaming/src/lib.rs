//! Passwords that no server can guess: threshold 2HashDH, enrolment, login, change of password.
//!
//! Source: `docs/roaming.md`.
