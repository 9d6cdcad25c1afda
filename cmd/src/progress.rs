//! A line on the terminal that tells how far long work has come.

use std::io::{IsTerminal as _, Write as _, stderr};

/// Progress of one piece of work. Shown only on a terminal; the line is gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    total: usize,
    done: usize,
    is_shown: bool,
}

impl Progress {
    /// Of `total` steps nothing is done yet.
    pub(crate) fn new(what: &'static str, total: usize) -> Self {
        let progress = Self { what, total, done: 0, is_shown: stderr().is_terminal() };
        progress.show();
        progress
    }

    /// One more step is done.
    pub(crate) fn step(&mut self) {
        self.done = self.done.saturating_add(1);
        self.show();
    }

    /// Says what comes now, on a line that stays.
    pub(crate) fn tell(&self, line: &str) {
        // A terminal that is gone needs no progress.
        let _ = writeln!(stderr(), "{}{line}", if self.is_shown { "\r\x1b[K" } else { "" });
        self.show();
    }

    fn show(&self) {
        if self.is_shown {
            // A terminal that is gone needs no progress.
            let _ = write!(stderr(), "\r{} {}/{} ", self.what, self.done, self.total);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
