//! What a member tells another one that lost its memory, or that takes over the state.

use crate::{Answer, Recalled, Store, StoreError, Variable, VersionId, encoded_len};

/// A page of memories that says that there is more holds as many variables as were asked for, or
/// this many bytes: so that nobody can be kept waiting by pages of one variable. One variable takes
/// less than two MiB, and so does one entry, so a page always fits into a message.
pub const MIN_PAGE_BYTES: usize = 1024 * 1024;

/// How many names are read from the store at once.
const NAMES: usize = 256;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver passes it on to `page`")]
pub enum Recall {
    /// The signer's memory and the newest certified entry of each variable.
    Memory {
        /// Only variables behind this one.
        after: Option<Variable>,
        /// At most so many.
        limit: u16,
    },
    /// The names of all certified versions.
    Versions {
        /// Only versions behind this one.
        after: Option<VersionId>,
        /// At most so many.
        limit: u16,
    },
    /// These versions.
    Entries(Vec<VersionId>),
}

/// Reads a page of what is asked for.
///
/// # Errors
/// [`StoreError`]: the world's or the disk's fault.
pub fn page(store: &dyn Store, what: &Recall) -> Result<Answer, StoreError> {
    match what {
        Recall::Memory { after, limit } => memory(store, after.as_ref(), usize::from(*limit)),
        Recall::Versions { after, limit } => versions(store, after.as_ref(), usize::from(*limit)),
        Recall::Entries(versions) => entries(store, versions),
    }
}

fn memory(store: &dyn Store, after: Option<&Variable>, limit: usize) -> Result<Answer, StoreError> {
    // One more than asked for shows whether there is more.
    let names = store.known(after, limit.saturating_add(1))?;
    let mut variables = Vec::new();
    let mut bytes: usize = 0;
    for variable in names.iter().take(limit) {
        if bytes >= MIN_PAGE_BYTES {
            break;
        }
        let state = store.load(variable)?;
        let (marks, latest) = (state.marks, state.latest.map(Box::new));
        let recalled = Recalled { variable: variable.clone(), marks, latest };
        bytes = bytes.saturating_add(encoded_len(&recalled));
        variables.push(recalled);
    }
    let more = variables.len() < names.len();
    Ok(Answer::Recalled { variables, more })
}

/// By variable ascending and newest first, as the store lists them.
fn versions(
    store: &dyn Store,
    after: Option<&VersionId>,
    limit: usize,
) -> Result<Answer, StoreError> {
    // One more than asked for shows whether there is more.
    let wanted = limit.saturating_add(1);
    let mut versions = Vec::new();
    let mut take = |variable: &Variable, below| -> Result<bool, StoreError> {
        let left = wanted.saturating_sub(versions.len());
        let listed = store.versions(variable, below, left)?;
        let named = |timestamp| VersionId { variable: variable.clone(), timestamp };
        versions.extend(listed.into_iter().map(named));
        Ok(versions.len() >= wanted)
    };
    let mut full = match after {
        Some(after) => take(&after.variable, Some(after.timestamp))?,
        None => false,
    };
    let mut last = after.map(|after| after.variable.clone());
    while !full {
        let names = store.scan(b"", last.as_ref(), NAMES)?;
        for name in &names {
            full = full || take(name, None)?;
        }
        let Some(name) = names.into_iter().next_back() else { break };
        last = Some(name);
    }
    let more = versions.len() > limit;
    versions.truncate(limit);
    Ok(Answer::RecalledVersions { versions, more })
}

/// From the first on, until one is not here or there is a MiB of them.
fn entries(store: &dyn Store, wanted: &[VersionId]) -> Result<Answer, StoreError> {
    let mut entries = Vec::new();
    let mut bytes: usize = 0;
    for version in wanted {
        if bytes >= MIN_PAGE_BYTES {
            break;
        }
        let Some(entry) = store.version(&version.variable, version.timestamp)? else { break };
        bytes = bytes.saturating_add(encoded_len(&entry));
        entries.push(entry);
    }
    Ok(Answer::RecalledEntries(entries))
}
