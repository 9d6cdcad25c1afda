//! Client state machines.
