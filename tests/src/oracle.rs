//! What the clients saw, and whether one order explains it.
//!
//! A lost reply means "unknown", not "failed": an operation without an end may have taken effect
//! at any time after its beginning. Entries carry timestamps, which is the order that the protocol
//! claims; so the check is exact: real time must never contradict it.

use std::collections::BTreeMap;
use std::time::Duration;

use bftkv_protocol::client::Problem;
use bftkv_protocol::{CertifiedEntry, EntryHash, Timestamp, Value, Variable};

/// What an operation was to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Write {
        value: Value,
        is_final: bool,
    },
    /// `regular`: two reads during one write may see the new value and then the old one.
    Read {
        regular: bool,
        at: Option<Timestamp>,
    },
    List {
        limit: u16,
    },
}

/// What its client knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has not ended, or its client died, or it said "unknown".
    Unknown,
    Written(CertifiedEntry),
    Found(Option<CertifiedEntry>),
    Listed(Vec<Timestamp>),
    Failed(Box<Problem>),
}

impl std::fmt::Display for Outcome {
    /// In few words, for the trace.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => write!(f, "unknown"),
            Self::Written(entry) => write!(f, "written at t={}", entry.timestamp()),
            Self::Found(Some(entry)) => write!(f, "found t={}", entry.timestamp()),
            Self::Found(None) => write!(f, "absent"),
            Self::Listed(list) => write!(f, "{} versions", list.len()),
            Self::Failed(problem) => write!(f, "failed: {problem}"),
        }
    }
}

/// One operation of one client.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) process: String,
    pub(crate) variable: Variable,
    pub(crate) kind: Kind,
    pub(crate) started: Duration,
    pub(crate) ended: Option<Duration>,
    pub(crate) deadline: Duration,
    pub(crate) outcome: Outcome,
    /// The attempts that it signed.
    pub(crate) attempts: Vec<EntryHash>,
}

impl Operation {
    /// The timestamp and the entry that it shows, if it shows one. Absent counts as 0.
    fn shown(&self) -> Option<(Timestamp, Option<&CertifiedEntry>)> {
        match (&self.kind, &self.outcome) {
            (Kind::Write { .. }, Outcome::Written(entry))
            | (Kind::Read { at: None, .. }, Outcome::Found(Some(entry))) => {
                Some((entry.timestamp(), Some(entry)))
            }
            (Kind::Read { at: None, .. }, Outcome::Found(None)) => Some((Timestamp::ZERO, None)),
            _ => None,
        }
    }

    /// The entry of an acknowledged write or of a linearizable read: it lasts.
    pub(crate) fn lasting(&self) -> Option<&CertifiedEntry> {
        self.shown().and_then(|(_, entry)| entry).filter(|_| !self.is_regular_read())
    }

    fn is_write(&self) -> bool {
        matches!(self.kind, Kind::Write { .. })
    }

    fn is_regular_read(&self) -> bool {
        matches!(self.kind, Kind::Read { regular: true, .. })
    }

    /// Whether it ended before the other began.
    fn before(&self, other: &Self) -> bool {
        self.ended.is_some_and(|ended| ended < other.started)
    }
}

/// All operations of a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    operations: BTreeMap<u64, Operation>,
}

impl History {
    /// Notes that an operation begins, and names it.
    pub(crate) fn begin(&mut self, operation: Operation) -> u64 {
        let id = u64::try_from(self.operations.len()).unwrap_or(u64::MAX);
        self.operations.insert(id, operation);
        id
    }

    pub(crate) fn end(&mut self, id: u64, now: Duration, outcome: Outcome) {
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.ended = Some(now);
            operation.outcome = outcome;
        }
    }

    pub(crate) fn attempt(&mut self, id: u64, attempt: EntryHash) {
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.attempts.push(attempt);
        }
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Operation> {
        self.operations.get(&id)
    }

    pub(crate) fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values()
    }

    /// Whether each variable behaves as one register, in the order of the timestamps.
    pub(crate) fn check_linearizable(&self) -> Result<(), String> {
        let shown: Vec<(&Operation, Timestamp)> =
            self.operations().filter_map(|op| Some((op, op.shown()?.0))).collect();
        for (earlier, t) in &shown {
            for (later, u) in &shown {
                if earlier.variable == later.variable && earlier.before(later) {
                    check_order(earlier, *t, later, *u)?;
                }
            }
        }
        self.check_values()?;
        self.check_versions()
    }

    /// One timestamp shows one value, whoever looks; a write shows its own.
    fn check_values(&self) -> Result<(), String> {
        let mut values: BTreeMap<(&Variable, Timestamp), EntryHash> = BTreeMap::new();
        for operation in self.operations() {
            let Some((t, Some(entry))) = operation.shown() else { continue };
            let first = *values.entry((&operation.variable, t)).or_insert_with(|| entry.hash());
            if first != entry.hash() {
                return Err(format!("t={t} shows two entries"));
            }
            if let Kind::Write { value, .. } = &operation.kind
                && entry.entry().value != *value
            {
                return Err(format!("the write at t={t} shows another value"));
            }
        }
        Ok(())
    }

    /// A version that was acknowledged is found by its timestamp, and listed, for ever.
    fn check_versions(&self) -> Result<(), String> {
        for later in self.operations() {
            for earlier in self.operations().filter(|e| e.variable == later.variable) {
                let Some((t, Some(entry))) = earlier.shown() else { continue };
                if !earlier.before(later) || earlier.is_regular_read() {
                    continue;
                }
                match (&later.kind, &later.outcome) {
                    (Kind::Read { at: Some(at), .. }, Outcome::Found(found)) if *at == t => {
                        let same = found.as_ref().is_some_and(|f| f.hash() == entry.hash());
                        if !same {
                            return Err(format!("version t={t} is lost"));
                        }
                    }
                    (Kind::List { limit }, Outcome::Listed(list))
                        if list.len() < usize::from(*limit) && !list.contains(&t) =>
                    {
                        return Err(format!("version t={t} is not listed"));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn check_order(
    earlier: &Operation,
    t: Timestamp,
    later: &Operation,
    u: Timestamp,
) -> Result<(), String> {
    // A regular read promises nothing to those who come after it.
    if earlier.is_regular_read() {
        return Ok(());
    }
    // A regular read owes something to writes only.
    if later.is_regular_read() && !earlier.is_write() {
        return Ok(());
    }
    if u < t || (later.is_write() && u == t) {
        return Err(format!(
            "{} ended at {:?} with t={t}, and then {} began at {:?} and ended with t={u}",
            earlier.process, earlier.ended, later.process, later.started
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bftkv_protocol::{
        Address, CollectiveSignature, ConfigurationDigest, Entry, NodeId, Realm, SignatureBytes,
        SignedEntry, WriterSignature,
    };

    use super::*;

    fn entry(t: u64) -> CertifiedEntry {
        let entry = Entry {
            realm: Realm::new("test").unwrap(),
            variable: Variable::new(*b"x").unwrap(),
            timestamp: Timestamp::new(t),
            value: value(t),
            is_final: false,
            writer: NodeId::from_bytes(&[1; 20]).unwrap(),
            owner: Address::new("a@example.org").unwrap(),
        };
        let signature = WriterSignature::new(SignatureBytes::new(*b"s").unwrap());
        let named = ConfigurationDigest::from_bytes([0; 32]);
        CertifiedEntry {
            signed: SignedEntry { entry, signature },
            collective: CollectiveSignature::new(named, Vec::new()),
        }
    }

    fn value(t: u64) -> Value {
        Value::new(t.to_be_bytes()).unwrap()
    }

    /// Begins at the first, ends at the second number of milliseconds.
    fn add(history: &mut History, times: (u64, u64), kind: Kind, outcome: Outcome) {
        let id = history.begin(Operation {
            process: "p".to_owned(),
            variable: Variable::new(*b"x").unwrap(),
            kind,
            started: Duration::from_millis(times.0),
            ended: None,
            deadline: Duration::from_secs(1),
            outcome: Outcome::Unknown,
            attempts: Vec::new(),
        });
        history.end(id, Duration::from_millis(times.1), outcome);
    }

    fn write(history: &mut History, times: (u64, u64), t: u64) {
        let kind = Kind::Write { value: value(t), is_final: false };
        add(history, times, kind, Outcome::Written(entry(t)));
    }

    fn read(history: &mut History, times: (u64, u64), regular: bool, t: Option<u64>) {
        add(history, times, Kind::Read { regular, at: None }, Outcome::Found(t.map(entry)));
    }

    #[test]
    fn what_was_acknowledged_is_read() {
        let mut history = History::default();
        write(&mut history, (1, 5), 1);
        read(&mut history, (6, 7), false, Some(1));
        assert_eq!(history.check_linearizable(), Ok(()));
        read(&mut history, (8, 9), false, None);
        assert!(history.check_linearizable().is_err(), "an acknowledged write is lost");
    }

    #[test]
    fn a_write_under_way_may_be_read_or_not_but_never_first_and_then_not() {
        let mut history = History::default();
        write(&mut history, (1, 20), 1);
        read(&mut history, (2, 3), false, None);
        read(&mut history, (4, 5), false, Some(1));
        assert_eq!(history.check_linearizable(), Ok(()));
        read(&mut history, (6, 7), true, None);
        assert_eq!(history.check_linearizable(), Ok(()), "a regular read may");
        read(&mut history, (8, 9), false, None);
        assert!(history.check_linearizable().is_err(), "new and then old");
    }

    #[test]
    fn an_unknown_write_may_appear_late() {
        let mut history = History::default();
        let kind = Kind::Write { value: value(2), is_final: false };
        add(&mut history, (1, 2), kind, Outcome::Unknown);
        read(&mut history, (3, 4), false, None);
        read(&mut history, (5, 6), false, Some(2));
        assert_eq!(history.check_linearizable(), Ok(()));
    }

    #[test]
    fn two_writes_have_two_timestamps_in_order() {
        let mut history = History::default();
        write(&mut history, (1, 2), 5);
        write(&mut history, (3, 4), 5);
        assert!(history.check_linearizable().is_err());
    }

    #[test]
    fn versions_stay() {
        let mut history = History::default();
        write(&mut history, (1, 2), 1);
        write(&mut history, (3, 4), 2);
        let at = Kind::Read { regular: false, at: Some(Timestamp::new(1)) };
        add(&mut history, (5, 6), at.clone(), Outcome::Found(Some(entry(1))));
        let both = vec![Timestamp::new(2), Timestamp::new(1)];
        add(&mut history, (5, 6), Kind::List { limit: 9 }, Outcome::Listed(both));
        assert_eq!(history.check_linearizable(), Ok(()));
        add(&mut history, (7, 8), at, Outcome::Found(None));
        assert!(history.check_linearizable().is_err(), "a version is lost");
    }
}
