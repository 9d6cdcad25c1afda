//! What the owners of passwords know, all of them together: which record has which password, and
//! what was put under it.

use std::collections::BTreeMap;

use bftkv_protocol::{RecordId, Value, ValueDigest};
use bftkv_roaming::{Password, Record};

/// The right one at first.
const FIRST: u32 = 1;

/// What only people know, and the simulator.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    records: BTreeMap<RecordId, Secret>,
    texts: BTreeMap<ValueDigest, Vec<u8>>,
    passwords: u32,
    values: u32,
}

/// What is known of one record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Secret {
    /// The number of its password.
    pub(crate) password: u32,
    /// Whether t+b servers acknowledged their shares.
    pub(crate) is_complete: bool,
}

impl Secrets {
    /// The password of that number.
    pub(crate) fn password(number: u32) -> Password {
        Password::new(format!("password {number}")).expect("a few bytes are a password")
    }

    /// One that nobody has chosen.
    pub(crate) fn wrong() -> Password {
        Self::password(0)
    }

    /// The one with which everybody begins.
    pub(crate) fn first() -> u32 {
        FIRST
    }

    /// A new one.
    pub(crate) fn fresh(&mut self) -> u32 {
        self.passwords = self.passwords.saturating_add(1);
        self.passwords.saturating_add(FIRST)
    }

    /// A text that nobody has put before.
    pub(crate) fn fresh_text(&mut self) -> Vec<u8> {
        self.values = self.values.saturating_add(1);
        format!("secret {}", self.values).into_bytes()
    }

    /// Shares of this record were dealt.
    pub(crate) fn note_dealt(&mut self, record: &Record, secret: Secret) {
        self.records.insert(record.id(), secret);
    }

    /// This text is sealed in this value.
    pub(crate) fn note_sealed(&mut self, value: &Value, text: &[u8]) {
        self.texts.insert(value.digest(), text.to_vec());
    }

    pub(crate) fn of(&self, record: &Record) -> Option<Secret> {
        self.records.get(&record.id()).copied()
    }

    pub(crate) fn text(&self, value: &Value) -> Option<&[u8]> {
        self.texts.get(&value.digest()).map(Vec::as_slice)
    }
}
