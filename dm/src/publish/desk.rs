//! The last check before a zone is out.

use std::sync::Arc;

use domain::base::Serial;

use crate::sign::{DigestCheck, verify_after};
use crate::zone::Zone;

/// What became of a zone.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Offered {
    /// It may be published.
    Right,
    /// It waits for an operator, for this reason.
    Held(String),
}

/// Looks at each zone once more by itself, before it is published: signatures, ZONEMD, serial, size
/// of the change. What is not right waits, and the last good zone goes on being served.
#[derive(Debug)]
pub struct Desk {
    /// The most sets that may change, of a hundred.
    most_percent: usize,
    last: Option<Arc<Zone>>,
    /// Whether that one was found right, and not let out by an operator all the same.
    is_right: bool,
    held: Option<(Arc<Zone>, String)>,
}

impl Desk {
    /// A desk that holds zones in which more than so many of a hundred sets that are not signatures
    /// or denials changed.
    #[must_use]
    pub fn new(most_percent: usize) -> Self {
        Self { most_percent, last: None, is_right: false, held: None }
    }

    /// Checks a zone at this time (seconds since 1970).
    pub fn offer(&mut self, zone: &Arc<Zone>, now: u32) -> Offered {
        match self.check(zone, now) {
            Ok(()) => {
                self.last = Some(Arc::clone(zone));
                self.is_right = true;
                self.held = None;
                Offered::Right
            }
            Err(reason) => {
                self.held = Some((Arc::clone(zone), reason.clone()));
                Offered::Held(reason)
            }
        }
    }

    /// What waits, and why.
    #[must_use]
    pub fn held(&self) -> Option<(&Arc<Zone>, &str)> {
        self.held.as_ref().map(|(zone, reason)| (zone, reason.as_str()))
    }

    /// An operator lets the zone out that waits.
    pub fn release(&mut self) -> Option<Arc<Zone>> {
        let (zone, _) = self.held.take()?;
        self.last = Some(Arc::clone(&zone));
        self.is_right = false;
        Some(zone)
    }

    fn check(&self, zone: &Zone, now: u32) -> Result<(), String> {
        let right = self.last.as_deref().filter(|_| self.is_right);
        let report = verify_after(right, zone, now);
        if !report.is_right() {
            let first = report.problems.first().map(ToString::to_string).unwrap_or_default();
            return Err(format!("{} things are wrong, first: {first}", report.problem_count));
        }
        if report.digest != Some(DigestCheck::Right) {
            return Err("its ZONEMD is not right".to_owned());
        }
        let Some(last) = &self.last else { return Ok(()) };
        if Serial::from(zone.serial()).partial_cmp(&Serial::from(last.serial()))
            != Some(std::cmp::Ordering::Greater)
        {
            return Err(format!("its serial does not follow {}", last.serial()));
        }
        let made = |zone: &Zone, other: &Zone| {
            let sets = zone.sets().iter();
            let plain = sets.filter(|(key, _)| !crate::sign::is_made_by_signer(key.rtype()));
            plain.filter(|(key, set)| other.set(key) != Some(*set)).count()
        };
        let changed = made(zone, last).max(made(last, zone));
        let of = last.sets().len().max(1);
        if changed * 100 > self.most_percent * of {
            return Err(format!("{changed} sets change, of {of}"));
        }
        Ok(())
    }
}
