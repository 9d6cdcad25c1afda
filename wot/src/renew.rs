//! A fresh signing subkey, for a node that forgot what its old one has signed.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sequoia_openpgp::cert::{CipherSuite, KeyBuilder};
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::types::KeyFlags;
use zeroize::Zeroizing;

use crate::certificate::POLICY;
use crate::own_key::no_passphrase;
use crate::{KeyError, OwnKey};

impl OwnKey {
    /// The same key with one more signing subkey, newer than all others: it signs from now on. What
    /// older ones have signed stays valid. Waits up to a second, as OpenPGP counts whole seconds and
    /// the newest key must be known by its time.
    ///
    /// Nothing is written: see [`OwnKey::replace_file`]; and other clones of this key sign as
    /// before: see [`OwnKey::adopt`].
    ///
    /// # Errors
    /// [`KeyError::CannotRenew`] when the secret primary key is elsewhere or protected by a
    /// passphrase, which a program alone cannot enter. The message says what to do.
    pub fn with_fresh_signing_key(&self) -> Result<Self, KeyError> {
        let stored = self.stored().clone();
        let refuse = |reason| KeyError::CannotRenew { id: self.certificate().id().clone(), reason };
        if stored.keys().secret().any(|ka| !ka.key().has_unencrypted_secret()) {
            return Err(refuse("it is protected by a passphrase"));
        }
        if !stored.primary_key().key().has_unencrypted_secret() {
            return Err(refuse("its secret primary key is not here"));
        }
        let born = self.time_for_a_newer_key();
        let valid = stored.with_policy(&POLICY, born).map_err(KeyError::crypto)?;
        let cert = KeyBuilder::new(KeyFlags::empty().set_signing())
            .set_cipher_suite(CipherSuite::Cv25519)
            .set_creation_time(born)
            .subkey(valid)
            .and_then(|subkey| subkey.set_signature_creation_time(born)?.attach_cert())
            .map_err(KeyError::crypto)?;
        Self::from_cert(cert, &no_passphrase)
    }

    /// Replaces the file of a secret key by this one, in one step and synced: after a crash there
    /// is the old file or the new one. Only its owner can read it (mode 0600).
    ///
    /// # Errors
    /// [`KeyError::Io`]: the old file is still there.
    pub fn replace_file(&self, path: &Path) -> Result<(), KeyError> {
        let bytes = self.stored().as_tsk().to_vec().map_err(KeyError::crypto)?;
        let bytes = Zeroizing::new(bytes);
        let new = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            // Left over by a crash: it never became the key.
            let _ = fs::remove_file(&new);
            let mut file = crate::generate::private_file().open(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            match path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => {
                    fs::File::open(folder)?.sync_all()
                }
                _ => Ok(()),
            }
        };
        write().map_err(|source| KeyError::Io { path: path.to_owned(), source })
    }

    /// A moment not before now that is later, in whole seconds, than the birth of every key here.
    fn time_for_a_newer_key(&self) -> SystemTime {
        let newest = self.stored().keys().map(|ka| ka.key().creation_time()).max();
        let second = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        let next = second(newest.unwrap_or(UNIX_EPOCH)).saturating_add(1);
        let now = SystemTime::now();
        if second(now).saturating_add(1) == next {
            let begin = UNIX_EPOCH + Duration::from_secs(next);
            std::thread::sleep(begin.duration_since(now).unwrap_or_default());
        }
        UNIX_EPOCH + Duration::from_secs(next.max(second(now)))
    }
}

#[cfg(test)]
mod tests {
    use bftkv_protocol::{Purpose, Sign, Verify, VerifyError};

    use super::*;
    use crate::{Keyring, KeyringOptions, Origin, Passphrase, generate_key};

    fn ring(key: &OwnKey) -> Keyring {
        let ring = Keyring::new(KeyringOptions::default());
        ring.add(key.record().clone(), Origin::Local).unwrap();
        ring
    }

    #[test]
    fn a_fresh_subkey_signs_and_old_signatures_stay_valid() {
        let old = generate_key("n1 (http://127.0.0.1:1)", None).unwrap().key;
        let before = old.sign(Purpose::Share, b"m").unwrap();
        let fresh = old.with_fresh_signing_key().unwrap();
        let again = fresh.with_fresh_signing_key().unwrap();
        let (after, last) =
            (fresh.sign(Purpose::Share, b"m").unwrap(), again.sign(Purpose::Share, b"m").unwrap());
        let (known, stale) = (ring(&again), ring(&old));
        for signature in [&before, &after, &last] {
            assert_eq!(known.verify(old.id(), Purpose::Share, b"m", signature), Ok(()));
        }
        let keys: std::collections::BTreeSet<_> =
            [&before, &after, &last].map(crate::signature::maker).into();
        assert_eq!(keys.len(), 3, "each by a key of its own");
        let mendable = VerifyError::UnknownCertificate(old.id().clone());
        let verdict = stale.verify(old.id(), Purpose::Share, b"m", &after);
        assert_eq!(verdict, Err(mendable), "whoever has the old certificate fetches the new one");
        let known_to_stale = || [&before, &after].map(|s| stale.holds_maker(old.id(), s));
        assert_eq!(known_to_stale(), [true, false]);
        stale.add_stranger(again.certificate_bytes()).unwrap();
        assert_eq!(known_to_stale(), [true, true]);
        assert_eq!(stale.verify(old.id(), Purpose::Share, b"m", &after), Ok(()));
    }

    #[test]
    fn clones_sign_with_the_fresh_key_once_it_is_adopted() {
        let own = generate_key("n1 (http://127.0.0.1:1)", None).unwrap().key;
        let clone = own.clone();
        let fresh = own.with_fresh_signing_key().unwrap();
        let maker =
            |key: &OwnKey| crate::signature::maker(&key.sign(Purpose::Share, b"m").unwrap());
        assert_ne!(maker(&clone), maker(&fresh));
        own.adopt(fresh.clone());
        assert_eq!(maker(&clone), maker(&fresh));
    }

    #[test]
    fn the_file_is_replaced_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pgp");
        let own = generate_key("n1 (http://127.0.0.1:1)", None).unwrap().key;
        own.save(&path).unwrap();
        let fresh = own.with_fresh_signing_key().unwrap();
        fs::write(path.with_extension("new"), b"left over by a crash").unwrap();
        fresh.replace_file(&path).unwrap();
        let loaded = OwnKey::load(&path, &no_passphrase).unwrap();
        assert_eq!(loaded.certificate_bytes(), fresh.certificate_bytes());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_protected_key_is_not_renewed_and_it_says_why() {
        let phrase = Passphrase::new(b"secret".to_vec());
        let own = generate_key("a <a@b.c>", Some(&phrase)).unwrap().key;
        let error = own.with_fresh_signing_key().unwrap_err();
        assert!(matches!(error, KeyError::CannotRenew { .. }), "{error}");
        assert!(error.to_string().contains("gpg"), "{error}");
    }
}
