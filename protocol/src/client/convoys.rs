//! Operations of one client that come at the same time are made together (docs/adr/0016).

use std::collections::VecDeque;

/// Of so many, one may be late without the next having to wait for it.
const LATE: usize = 8;

/// Who goes together. What comes while nothing is under way goes at once, alone. What comes meanwhile
/// waits until that is done, and goes together: from beginning to end, so that all steps of it have
/// their messages, syncs and signatures in common. `T` is what waits.
///
/// Whoever writes one value after the other comes back at once. So the next convoy waits a moment
/// for those of the last; else two halves would take turns for ever, each at the price of both.
///
/// Each operation stays what it is alone. The driver runs a convoy as one [`super::Many`].
#[derive(Debug)]
pub struct Convoys<T> {
    /// The newest convoy, how many it had, and how many of them are not done.
    number: u64,
    size: usize,
    left: usize,
    /// What is to go next, and its tickets, in their order.
    waiting: VecDeque<(u64, T)>,
    tickets: u64,
    /// How many the next one is worth waiting for, once the newest is done.
    expected: Option<usize>,
    /// Somebody will let the next one go soon.
    is_called: bool,
}

/// When the next convoy is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "the driver does all of it")]
pub enum Due {
    /// Not now, or somebody was told already.
    No,
    /// After a moment, if this is still the newest by then.
    Soon(u64),
    /// Now.
    Now,
}

impl<T> Default for Convoys<T> {
    fn default() -> Self {
        Self {
            number: 0,
            size: 0,
            left: 0,
            waiting: VecDeque::new(),
            tickets: 0,
            expected: None,
            is_called: false,
        }
    }
}

impl<T> Convoys<T> {
    /// Goes alone, if nothing is under way and the last one did, too; gives the convoy's number.
    pub fn go_alone(&mut self) -> Option<u64> {
        let may_go = self.is_free() && self.size <= 1 && self.waiting.is_empty();
        may_go.then(|| self.begin(1))
    }

    /// Goes with the next one. Gives a ticket for [`Convoys::is_waiting`].
    pub fn wait(&mut self, item: T) -> (u64, Due) {
        self.tickets = self.tickets.wrapping_add(1);
        self.waiting.push_back((self.tickets, item));
        (self.tickets, self.due())
    }

    /// Whether that has not gone yet. Who has waited for long lets them all depart.
    #[must_use]
    pub fn is_waiting(&self, ticket: u64) -> bool {
        self.waiting.iter().any(|(of, _)| *of == ticket)
    }

    /// Whether that convoy is the newest.
    #[must_use]
    pub fn is_newest(&self, number: u64) -> bool {
        self.number == number
    }

    /// Lets those go that wait, the first ones that fit together; gives the convoy's number.
    pub fn depart(&mut self, mut fits: impl FnMut(&T) -> bool) -> Option<(u64, Vec<T>)> {
        let mut group = Vec::new();
        while let Some((_, item)) = self.waiting.pop_front_if(|(_, item)| fits(item)) {
            group.push(item);
        }
        let size = group.len();
        (size > 0).then(|| (self.begin(size), group))
    }

    /// One of that convoy is done.
    pub fn done(&mut self, number: u64) -> Due {
        if self.number != number {
            return Due::No;
        }
        self.left = self.left.saturating_sub(1);
        if self.is_free() {
            let come_back = self.size.saturating_sub(self.left);
            let all = self.waiting.len().saturating_add(come_back);
            self.expected = Some(self.expected.map_or(all, |before| before.saturating_add(1)));
        }
        self.due()
    }

    // ----- helpers -----

    fn is_free(&self) -> bool {
        self.left <= self.size.checked_div(LATE).unwrap_or_default()
    }

    fn due(&mut self) -> Due {
        if !self.is_free() || self.waiting.is_empty() {
            return Due::No;
        }
        if self.waiting.len() >= self.expected.unwrap_or_default() {
            return Due::Now;
        }
        match std::mem::replace(&mut self.is_called, true) {
            true => Due::No,
            false => Due::Soon(self.number),
        }
    }

    fn begin(&mut self, size: usize) -> u64 {
        self.number = self.number.wrapping_add(1);
        (self.size, self.left) = (size, size);
        (self.expected, self.is_called) = (None, false);
        self.number
    }
}
