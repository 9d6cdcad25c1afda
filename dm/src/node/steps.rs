//! What a DM has on disk of the way from one zone to the next, so that secondaries get increments also
//! after it was started again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::agree::Hash;
use crate::publish::{Journal, Step};
use crate::zone::Name;

use crate::files::replace;

const TITLE: &[u8] = b"bftkv dm step 1\n";

/// A folder with a file for each step. What is damaged there costs an increment and nothing else: whoever
/// asks for it gets the whole zone.
#[derive(Debug)]
pub(super) struct Steps {
    folder: PathBuf,
}

impl Steps {
    /// In this folder, which need not be there.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Keeps a step, and drops the oldest if they are too many.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn keep(&self, step: &Step) -> io::Result<()> {
        if !self.folder.is_dir() {
            fs::create_dir(&self.folder)?;
        }
        let body = step.to_bytes();
        let path = self.folder.join(format!("{:010}.step", step.serials().1));
        replace(&path, &[TITLE, &body, &Hash::of(&body).0])?;
        let files = self.files()?;
        let too_many = files.len().saturating_sub(Journal::MAX_STEPS);
        // By age and not by name: serials begin again at zero one day (RFC 1982).
        files.iter().take(too_many).try_for_each(fs::remove_file)
    }

    /// All that are whole.
    pub(super) fn load(&self, apex: &Name) -> Vec<Step> {
        let files = self.files().unwrap_or_default();
        files.iter().filter_map(|path| self.read(path, apex)).collect()
    }

    fn read(&self, path: &Path, apex: &Name) -> Option<Step> {
        let step = read(path, apex);
        if let Err(error) = &step {
            tracing::warn!(%error, file = %path.display(), "a step cannot be read");
        }
        step.ok()
    }

    /// The oldest first.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|end| end == "step") {
                files.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        files.sort();
        Ok(files.into_iter().map(|(_, path)| path).collect())
    }
}

fn read(path: &Path, apex: &Name) -> io::Result<Step> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "damaged");
    let bytes = fs::read(path)?;
    let (rest, sum) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
    let body = rest.strip_prefix(TITLE).ok_or_else(damaged)?;
    if Hash::of(body).0 != *sum {
        return Err(damaged());
    }
    Step::from_bytes(body, apex).map_err(|_| damaged())
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::zone::{Limits, Zone};

    pub(in crate::node) fn zone(serial: u32) -> Arc<Zone> {
        let text = format!(
            "a. 60 IN SOA a. a. {serial} 1 1 1 1\na. 60 IN NS a.\nb.a. 60 IN TXT \"{serial}\"\n"
        );
        let apex = Some("a.".parse().unwrap());
        Arc::new(Zone::read(text.as_bytes(), apex, Limits::default()).unwrap())
    }

    /// The journal of a primary that published these, and its steps on disk.
    fn published(folder: &Path, serials: std::ops::RangeInclusive<u32>) -> Journal {
        let (mut journal, steps) = (Journal::default(), Steps::new(folder.to_owned()));
        for serial in serials {
            assert!(journal.add(zone(serial)));
            if let Some(step) = journal.last_step() {
                steps.keep(&step).unwrap();
            }
        }
        journal
    }

    fn restarted(folder: &Path, newest: u32) -> Journal {
        let mut journal = Journal::default();
        assert!(journal.add(zone(newest)));
        journal.restore(Steps::new(folder.to_owned()).load(zone(newest).apex()));
        journal
    }

    #[test]
    fn after_a_restart_the_increments_are_those_of_before() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("steps");
        let before = published(&folder, 1..=5);
        let after = restarted(&folder, 5);
        for serial in 1..=5 {
            assert_eq!(after.since(serial), before.since(serial), "{serial}");
        }
        assert_eq!(after.since(1).unwrap().len(), 4);
        assert!(after.since(6).is_none());
        // The last zone was not kept any more: the step to it leads nowhere.
        let after = restarted(&folder, 4);
        assert_eq!(after.since(1).unwrap().len(), 3);
        assert!(restarted(&folder, 9).since(5).is_none());
    }

    #[test]
    fn a_damaged_step_costs_those_before_it_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("steps");
        published(&folder, 1..=5);
        let path = folder.join("0000000003.step");
        let bytes = fs::read(&path).unwrap();
        for at in [0, TITLE.len() + 9, bytes.len() - 1] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let after = restarted(&folder, 5);
            assert!(after.since(2).is_none());
            assert_eq!(after.since(3).unwrap().len(), 2);
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(restarted(&folder, 5).since(2).is_none());
        }
    }

    #[test]
    fn no_more_steps_are_kept_than_the_journal_has() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("steps");
        let newest = u32::try_from(Journal::MAX_STEPS).unwrap() + 10;
        published(&folder, 1..=newest);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), Journal::MAX_STEPS);
        let after = restarted(&folder, newest);
        assert!(after.since(10).is_some() && after.since(9).is_none());
    }
}
