//! What was tried and what was acknowledged, and whether what is read fits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use bftkv::{Client, Found, GetOptions, Variable};

use crate::process::TRIES;

/// One variable.
#[derive(Debug, Default)]
struct Record {
    tried: BTreeSet<String>,
    /// The largest timestamp that was acknowledged or read, and its value if it is known.
    least: u64,
    value: String,
}

/// Everything that the writers said.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    records: Mutex<BTreeMap<String, Record>>,
}

impl Journal {
    /// A line of a writer.
    pub(crate) fn note(&self, line: &str) {
        let mut records = self.records.lock().unwrap();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["try", variable, value] => {
                records.entry(variable.to_owned()).or_default().tried.insert(value.to_owned());
            }
            ["ack", variable, timestamp, value] => {
                let record = records.get_mut(variable).unwrap();
                record.advance(timestamp.parse().unwrap(), value);
            }
            _ => {}
        }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.records.lock().unwrap().values().map(|record| record.least).sum()
    }

    /// Reads every variable: nothing acknowledged is lost, nothing is read that nobody wrote, and no
    /// read goes back.
    pub(crate) async fn check(&self, reader: &Client) {
        let names: Vec<String> = self.records.lock().unwrap().keys().cloned().collect();
        for name in names {
            let least = self.records.lock().unwrap()[&name].least;
            let variable = Variable::new(name.as_bytes()).unwrap();
            let found = read_again(reader, &variable).await;
            assert!(found.culprits.is_empty(), "{name}: accused {:?}", found.culprits);
            let Some(entry) = found.entry else {
                assert_eq!(least, 0, "{name}: what was acknowledged is lost");
                continue;
            };
            let value = String::from_utf8(entry.entry().value.as_bytes().to_vec()).unwrap();
            let timestamp = entry.timestamp().get();
            let mut records = self.records.lock().unwrap();
            let record = records.get_mut(&name).unwrap();
            assert!(timestamp >= least, "{name}: {least} was acknowledged, {timestamp} is read");
            assert!(record.tried.contains(&value), "{name}: nobody wrote {value}");
            record.advance(timestamp, &value);
        }
        assert!(reader.convicted().is_empty(), "somebody honest is convicted");
    }
}

/// See [`TRIES`].
async fn read_again(reader: &Client, variable: &Variable) -> Found {
    for _ in 1..TRIES {
        if let Ok(found) = reader.get(variable, GetOptions::default()).await {
            return found;
        }
    }
    reader.get(variable, GetOptions::default()).await.expect("it cannot be read")
}

impl Record {
    fn advance(&mut self, timestamp: u64, value: &str) {
        if timestamp == self.least {
            assert_eq!(self.value, value, "two values for t={timestamp}");
        }
        if timestamp > self.least {
            (self.least, self.value) = (timestamp, value.to_owned());
        }
    }
}

/// A node signed one value for each timestamp, in all its lives together. Returns how many.
pub(crate) fn check_shares(file: &Path) -> usize {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut signed = BTreeMap::new();
    // The last line may be cut short: it was being written at the moment of death.
    for line in text.lines().filter(|line| line.split(' ').count() == 3) {
        let (place, hash) = line.rsplit_once(' ').unwrap();
        let first = *signed.entry(place).or_insert(hash);
        assert_eq!(first, hash, "{}: signed two values for {place}", file.display());
    }
    signed.len()
}
