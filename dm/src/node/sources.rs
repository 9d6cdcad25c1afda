//! Where a DM sees the zone: a file or a server.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::agree::Content;
use crate::zone::{Limits, Name, Zone, reread, text_of};

use super::content::content_after;
use super::{Primary, content_of, lock};

/// Where a DM sees the zone.
pub trait Source: Send + Sync {
    /// What the zone is now, under which serial of the source. May block. Called often: a source
    /// that has not changed gives the same content again.
    ///
    /// # Errors
    /// Why it cannot be read; the last content stays.
    fn read(&self) -> Result<(u32, Arc<Content>), String>;

    /// What an operator should know beside: what could not be taken into account, and why.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

fn seen(zone: &Zone) -> Result<(u32, Arc<Content>), String> {
    let content = content_of(zone).map_err(|error| error.to_string())?;
    Ok((zone.serial(), shared(content)))
}

/// With its root, so that nobody who waits for the agreement computes it.
fn shared(content: Content) -> Arc<Content> {
    let _ = content.root();
    Arc::new(content)
}

/// A zone file. Whoever changes it should put a new one in its place (rename), because half a file
/// can be a zone too.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    apex: Name,
    last: Mutex<Option<FileSeen>>,
}

#[derive(Debug)]
struct FileSeen {
    changed: SystemTime,
    length: u64,
    read: SystemTime,
    text: Vec<u8>,
    zone: Zone,
    told: (u32, Arc<Content>),
}

/// How coarse the times of a file system may be. A file that changed so soon before it was read may
/// have changed again since.
const COARSE: Duration = Duration::from_secs(2);

impl FileSource {
    /// The file of this name, of this zone.
    #[must_use]
    pub fn new(path: PathBuf, apex: Name) -> Self {
        Self { path, apex, last: Mutex::new(None) }
    }
}

impl Source for FileSource {
    fn read(&self) -> Result<(u32, Arc<Content>), String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", self.path.display());
        let mut last = lock(&self.last);
        let read = SystemTime::now();
        let about = fs::metadata(&self.path).map_err(|error| wrong(&error))?;
        let (changed, length) = (about.modified().map_err(|e| wrong(&e))?, about.len());
        if let Some(known) = &*last
            && (known.changed, known.length) == (changed, length)
            && known.read.duration_since(changed).is_ok_and(|age| age > COARSE)
        {
            return Ok(known.told.clone());
        }
        let limits = Limits::default();
        let text = text_of(&self.path, limits).map_err(|error| wrong(&error))?;
        if let Some(known) = last.as_mut().filter(|known| known.text == text) {
            (known.changed, known.length, known.read) = (changed, length, read);
            return Ok(known.told.clone());
        }
        let after = last.as_ref().and_then(|known| known.after(&text, limits));
        let whole = || {
            let zone = Zone::read(&text, Some(self.apex.clone()), limits);
            let zone = zone.map_err(|error| wrong(&error))?;
            Ok::<_, String>((seen(&zone)?, zone))
        };
        let (told, zone) = after.map_or_else(whole, Ok)?;
        *last = Some(FileSeen { changed, length, read, text, zone, told: told.clone() });
        Ok(told)
    }
}

impl FileSeen {
    /// What another version says, if it can be read by what differs.
    fn after(&self, text: &[u8], limits: Limits) -> Option<((u32, Arc<Content>), Zone)> {
        let (zone, changes) = reread((&self.text, &self.zone), text, limits)?;
        let content = content_after(&self.told.1, zone.apex(), &changes).ok()?;
        Some(((zone.serial(), shared(content)), zone))
    }
}

/// A server: AXFR whenever its serial has changed.
#[derive(Debug)]
pub struct PrimarySource {
    primary: Primary,
    apex: Name,
    last: Mutex<Option<(u32, Arc<Content>)>>,
}

impl PrimarySource {
    /// This server, for this zone.
    #[must_use]
    pub fn new(primary: Primary, apex: Name) -> Self {
        Self { primary, apex, last: Mutex::new(None) }
    }
}

impl Source for PrimarySource {
    fn read(&self) -> Result<(u32, Arc<Content>), String> {
        let mut last = lock(&self.last);
        if let Some(known) = &*last
            && self.primary.serial(&self.apex)? == known.0
        {
            return Ok(known.clone());
        }
        let told = seen(&self.primary.transfer(&self.apex, Limits::default())?)?;
        *last = Some(told.clone());
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(serial: u32, address: &str) -> String {
        format!("a. 60 IN SOA a. a. {serial} 1 1 1 1\na. 60 IN NS a.\na. 60 IN A {address}\n")
    }

    #[test]
    fn a_file_that_changed_is_read_again_and_a_broken_one_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        let source = FileSource::new(path.clone(), "a.".parse().unwrap());
        assert!(source.read().unwrap_err().contains("zone"));
        fs::write(&path, zone(1, "192.0.2.1")).unwrap();
        let first = source.read().unwrap();
        // As long, and at the same time.
        let changed = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, zone(1, "192.0.2.2")).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(changed).unwrap();
        assert_ne!(source.read().unwrap().1, first.1);
        // What has been as it is for a while is not read again.
        let old = SystemTime::now() - COARSE * 2;
        fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let (_, content) = source.read().unwrap();
        assert!(Arc::ptr_eq(&content, &source.read().unwrap().1));
        fs::write(&path, "a. 60 IN").unwrap();
        assert!(source.read().is_err());
    }
}
