//! Rule R5, "reads are linearizable"; threats.md section 3, 1 and 2. Acknowledged writes are never
//! lost.

use super::{Facts, Invariant};
use crate::oracle::History;

/// Each variable behaves as one register.
#[derive(Debug)]
pub(super) struct Linearizable;

impl Invariant for Linearizable {
    fn name(&self) -> &'static str {
        "each variable is linearizable"
    }

    fn finish(&mut self, _: &Facts, history: &History) -> Result<(), String> {
        history.check_linearizable()
    }
}
