//! What a DM has on disk of the agreement: the newest zone, so that it serves it at once after a
//! restart and goes on from it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::agree::Manifest;
use crate::files::{self, damaged, keep};
use crate::zone::{Limits, Name, Zone};

use super::work::Signed;

const TITLE: &[u8] = b"bftkv dm zone 2\n";
/// As it was before: the zone as text.
const TEXT_TITLE: &[u8] = b"bftkv dm zone 1\n";

/// A zone that was agreed on, with what it was made of.
pub type Committed = (Arc<Manifest>, Arc<Signed>);

/// Writes it, all or nothing. It is on disk when this returns.
///
/// # Errors
/// The disk's.
pub fn keep_zone(path: &Path, manifest: &Manifest, zone: &Zone) -> io::Result<()> {
    let manifest = manifest.to_bytes();
    let length = u32::try_from(manifest.len()).map_err(io::Error::other)?;
    let body = [TITLE, &length.to_be_bytes(), &manifest, &zone.to_bytes()].concat();
    keep(path, &body)
}

/// What was written; `None` if nothing was.
///
/// # Errors
/// It cannot be read, or is damaged. Without the file the DM fetches all from the store.
pub fn kept_zone(path: &Path, apex: &Name) -> io::Result<Option<Committed>> {
    let Some(body) = files::kept(path)? else { return Ok(None) };
    let broken = || damaged("damaged");
    let is_text = body.starts_with(TEXT_TITLE);
    let title = if is_text { TEXT_TITLE } else { TITLE };
    let rest = body.strip_prefix(title).ok_or_else(broken)?;
    let (length, rest) = rest.split_first_chunk().ok_or_else(broken)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(io::Error::other)?;
    let (manifest, zone) = rest.split_at_checked(length).ok_or_else(broken)?;
    let manifest = Manifest::from_bytes(manifest).map_err(damaged)?;
    let zone = if is_text {
        Zone::read(zone, Some(apex.clone()), Limits::default())
    } else {
        Zone::from_bytes(zone, apex)
    };
    let zone = zone.map_err(damaged)?;
    if zone.serial() != manifest.serial {
        return Err(broken());
    }
    let signed = Signed::agreed(zone, &manifest.keys);
    Ok(Some((Arc::new(manifest), Arc::new(signed))))
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;
    use crate::agree::{Change, Hash, Link};

    /// A manifest of that serial that stands for nothing.
    pub(in crate::node) fn manifest(serial: u32) -> Manifest {
        Manifest {
            serial,
            prev: Link { serial: serial - 1, hash: Hash([0; 32]) },
            base: None,
            root: Hash([1; 32]),
            change: Change::Whole(Vec::new()),
            cited: [].into(),
            inception: 1,
            expiry: 2,
            keys: Vec::new(),
        }
    }

    #[test]
    fn a_kept_zone_comes_back_whole_or_not_at_all() {
        let text = "a. 60 IN SOA a. a. 7 1 1 1 1\na. 60 IN NS a.\n";
        let apex: Name = "a.".parse().unwrap();
        let zone = Zone::read(text.as_bytes(), Some(apex.clone()), Limits::default()).unwrap();
        let manifest = manifest(7);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        assert!(kept_zone(&path, &apex).unwrap().is_none());
        keep_zone(&path, &manifest, &zone).unwrap();
        let (again, signed) = kept_zone(&path, &apex).unwrap().unwrap();
        assert_eq!((&*again, &**signed.zone()), (&manifest, &zone));
        let bytes = fs::read(&path).unwrap();
        // The form of before, which an older program left.
        let kept = manifest.to_bytes();
        let length = u32::try_from(kept.len()).unwrap().to_be_bytes();
        let old = [TEXT_TITLE, &length, &kept, zone.to_string().as_bytes()].concat();
        fs::write(&path, [&*old, &Hash::of(&old).0].concat()).unwrap();
        let (again, signed) = kept_zone(&path, &apex).unwrap().unwrap();
        assert_eq!((&*again, &**signed.zone()), (&manifest, &zone));
        for at in [0, TITLE.len() + 5, bytes.len() / 2, bytes.len() - 1] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(kept_zone(&path, &apex).is_err());
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(kept_zone(&path, &apex).is_err());
        }
    }
}
