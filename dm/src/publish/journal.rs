//! The newest signed zone, and how to get to it from those before.

use std::collections::VecDeque;
use std::sync::Arc;

use domain::base::Serial;

use super::Step;
use crate::zone::{Rtype, Zone};

/// The newest zone and the steps that led to it.
#[derive(Default, Debug)]
pub struct Journal {
    newest: Option<Arc<Zone>>,
    steps: VecDeque<Arc<Step>>,
}

impl Journal {
    /// How many steps are kept. Root zones change two or three times a day, so this is a month.
    pub const MAX_STEPS: usize = 100;

    /// The newest zone.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<Zone>> {
        self.newest.as_ref()
    }

    /// Takes the next zone. False, and nothing happens, if its serial is not above the newest
    /// (RFC 1982).
    pub fn add(&mut self, zone: Arc<Zone>) -> bool {
        if let Some(newest) = &self.newest {
            // Serials that cannot be compared are not above either.
            if Serial::from(zone.serial()).partial_cmp(&Serial::from(newest.serial()))
                != Some(std::cmp::Ordering::Greater)
            {
                return false;
            }
            let Some(step) = Step::between(newest, &zone) else { return false };
            self.steps.push_back(Arc::new(step));
            if self.steps.len() > Self::MAX_STEPS {
                self.steps.pop_front();
            }
        }
        self.newest = Some(zone);
        true
    }

    /// The steps from that serial to the newest zone: none for the newest serial; `None` for one
    /// that is not held.
    #[must_use]
    pub fn since(&self, serial: u32) -> Option<Vec<Arc<Step>>> {
        if self.newest.as_ref()?.serial() == serial {
            return Some(Vec::new());
        }
        let first = self.steps.iter().position(|step| step.serials().0 == serial)?;
        Some(self.steps.iter().skip(first).cloned().collect())
    }

    /// The step to the newest zone, if there was one before.
    #[must_use]
    pub fn last_step(&self) -> Option<Arc<Step>> {
        self.steps.back().cloned()
    }

    /// Takes steps that were kept, in any order: those that lead to the newest zone, one after the other.
    pub fn restore(&mut self, mut kept: Vec<Step>) {
        let Some(newest) = &self.newest else { return };
        let soa = newest.apex_set(Rtype::SOA);
        let Some(mut goal) = soa.filter(|_| self.steps.is_empty()).cloned() else { return };
        while let Some(place) = kept.iter().position(|step| *step.to() == goal)
            && self.steps.len() < Self::MAX_STEPS
        {
            let step = kept.swap_remove(place);
            goal = step.from().clone();
            self.steps.push_front(Arc::new(step));
        }
    }
}
