//! What a member tells another one that lost its memory.

use crate::{Answer, Recalled, Store, StoreError, Variable, encode};

/// A page that says that there is more holds as many variables as were asked for, or this many
/// bytes: so that nobody can be kept waiting by pages of one variable. One variable takes less than
/// two MiB, so a page always fits into a message.
pub const MIN_PAGE_BYTES: usize = 1024 * 1024;

/// Reads a page of everything that is remembered behind `after`.
///
/// # Errors
/// [`StoreError`]: the world's or the disk's fault.
pub fn page(store: &dyn Store, after: Option<&Variable>, limit: u16) -> Result<Answer, StoreError> {
    // One more than asked for shows whether there is more.
    let names = store.known(after, usize::from(limit).saturating_add(1))?;
    let mut variables = Vec::new();
    let mut bytes: usize = 0;
    for variable in names.iter().take(usize::from(limit)) {
        if bytes >= MIN_PAGE_BYTES {
            break;
        }
        let state = store.load(variable)?;
        let (marks, latest) = (state.marks, state.latest.map(Box::new));
        let recalled = Recalled { variable: variable.clone(), marks, latest };
        bytes = bytes.saturating_add(encode(&recalled).len());
        variables.push(recalled);
    }
    let more = variables.len() < names.len();
    Ok(Answer::Recalled { variables, more })
}
