//! What a node's process tells whoever started it and measures it: a line on its stdin asks, a line
//! on its stdout answers. Both ends are this program.

use bftkv::storage;

use crate::output;

/// The line that asks.
pub(crate) const ASK: &str = "figures";

/// How the answer begins.
const SYNCS: &str = "figures: syncs ";

/// Answers, if the line asks.
pub(crate) fn answer(line: &[u8]) {
    if line == ASK.as_bytes() {
        // Whoever asked and went away wants no answer.
        let _ = output::raw(format!("{SYNCS}{}\n", storage::syncs()).as_bytes());
    }
}

/// The number in an answer: how often that process has had files and folders synced. `None` if the line is
/// none.
pub(crate) fn syncs_in(line: &str) -> Option<u64> {
    line.strip_prefix(SYNCS)?.parse().ok()
}
