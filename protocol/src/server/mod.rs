//! Server state machine.
