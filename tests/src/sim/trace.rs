//! What happened, as a number that two equal runs share, and as lines if asked.

use std::time::Duration;

use super::fake_keys::Mix;

/// The record of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: Mix,
    lines: Option<Vec<String>>,
    events: u64,
}

impl Trace {
    /// Keeps lines only if `record`: they cost more than the run.
    pub(crate) fn new(record: bool) -> Self {
        Self { hash: Mix::new(0), lines: record.then(Vec::new), events: 0 }
    }

    /// Notes one event by numbers.
    pub(crate) fn event(&mut self, now: Duration, kind: u64, who: &[u8]) {
        self.events = self.events.saturating_add(1);
        let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        self.hash = self.hash.number(micros).number(kind).bytes(who);
    }

    /// Notes one event in words; they are made only if somebody will read them.
    pub(crate) fn line(&mut self, now: Duration, words: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>10.3} ms  {}", now.as_secs_f64() * 1000.0, words()));
        }
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn finish(self) -> (u64, Vec<String>) {
        (self.hash.finish(), self.lines.unwrap_or_default())
    }
}
