//! The last check before a zone is out.

use std::sync::Arc;

use domain::base::Serial;

use crate::differing::differing;
use crate::sign::{Checked, DigestCheck, verify_with};
use crate::zone::{Key, Zone};

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
    checked: Checked,
    held: Option<(Arc<Zone>, String)>,
}

impl Desk {
    /// A desk that holds zones in which more than so many of a hundred sets that are not signatures
    /// or denials changed.
    #[must_use]
    pub fn new(most_percent: usize) -> Self {
        Self { most_percent, last: None, checked: Checked::default(), held: None }
    }

    /// With what this process has verified elsewhere.
    #[must_use]
    pub fn with_checked(mut self, checked: Checked) -> Self {
        self.checked = checked;
        self
    }

    /// Checks a zone at this time (seconds since 1970).
    pub fn offer(&mut self, zone: &Arc<Zone>, now: u32) -> Offered {
        match self.check(zone, now) {
            Ok(()) => {
                self.last = Some(Arc::clone(zone));
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
        Some(zone)
    }

    fn check(&self, zone: &Zone, now: u32) -> Result<(), String> {
        let report = verify_with(&self.checked, zone, now);
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
        let is_plain = |key: &Key| !crate::sign::is_made_by_signer(key.rtype());
        let plain = differing(last.sets(), zone.sets()).filter(|(key, ..)| is_plain(key));
        // Those that there were, and those that there are.
        let (before, after) = plain.fold((0, 0), |(before, after), (_, old, new)| {
            (before + usize::from(old.is_some()), after + usize::from(new.is_some()))
        });
        let changed = before.max(after);
        let of = last.sets().keys().filter(|key| is_plain(key)).count().max(1);
        if changed * 100 > self.most_percent * of {
            return Err(format!("{changed} sets change, of {of}"));
        }
        Ok(())
    }
}
