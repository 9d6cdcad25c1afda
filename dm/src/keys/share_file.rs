//! Files for shares.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;

use bftkv_threshold::rand_core::CryptoRngCore;
use bftkv_threshold::{KeyShare, Party, SecretBytes, key_share_from_bytes};
use zeroize::Zeroizing;

use crate::files;
use crate::sign::Role;
use crate::zone::Name;

use super::key_file::{read_use, role_word};
use super::lock::{open_with, seal_to};
use super::seal::{SALT_BYTES, open, seal};
use super::text::{Text, from_hex, hex, write};
use super::{Error, KeyFile, Lock, Unlock};

const TITLE: &str = "bftkv dm share 1";
const NAMES: [&str; 5] = ["zone", "role", "key", "party", "sealed"];
/// In front of the fingerprint of the key that opens it.
const SEALED_TO: &str = "openpgp ";
const SEALED: &str = "argon2id-64MiB-3 chacha20poly1305 ";
/// Larger than any share's file.
const MAX_BYTES: u64 = 64 * 1024;

/// A share that was read from its file. While it lives, no other process can read the file as a
/// share. Wiped when dropped.
#[derive(Debug)]
pub struct ShareFile {
    share: Box<dyn KeyShare>,
    apex: Name,
    role: Role,
    /// The lock.
    _file: Option<File>,
}

impl ShareFile {
    /// A share that is in no file yet.
    #[must_use]
    pub fn new(apex: Name, role: Role, share: Box<dyn KeyShare>) -> Self {
        Self { share, apex, role, _file: None }
    }

    /// The share.
    #[must_use]
    pub fn share(&self) -> &dyn KeyShare {
        &*self.share
    }

    /// Whose it is.
    #[must_use]
    pub fn party(&self) -> Party {
        self.share.party()
    }

    /// The zone.
    #[must_use]
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// What the key is for.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The share's bytes: secret.
    #[must_use]
    pub fn to_secret_bytes(&self) -> SecretBytes {
        self.share.to_secret_bytes()
    }

    /// The public part.
    ///
    /// # Errors
    ///
    /// Never in fact. [`Error::Threshold`].
    pub fn key_file(&self) -> Result<KeyFile, Error> {
        let key = bftkv_threshold::group_key_from_bytes(&self.share.group().to_bytes())?;
        Ok(KeyFile::new(self.apex.clone(), self.role, key))
    }

    /// Whether it is a share for this zone in this role.
    ///
    /// # Errors
    ///
    /// [`Error::OtherRole`].
    pub fn check(&self, apex: &Name, role: Role) -> Result<(), Error> {
        if (&self.apex, self.role) == (apex, role) {
            return Ok(());
        }
        let wanted = format!("{} of {apex}", role_word(role));
        Err(Error::OtherRole { has: role_word(self.role), zone: self.apex.clone(), wanted })
    }

    /// As text for a file, behind this lock.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] for a passphrase that cannot be one; [`Error::Seal`].
    pub fn to_text(
        &self,
        lock: Lock<'_>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Zeroizing<String>, Error> {
        let mut salt = [0; SALT_BYTES];
        rng.fill_bytes(&mut salt);
        let sealed = match lock {
            Lock::None => "no".to_owned(),
            Lock::Passphrase(_) => format!("{SEALED}{}", hex(&salt)),
            Lock::Key { to, .. } => format!("{SEALED_TO}{to}"),
        };
        let head = [
            ("zone", self.apex.to_string()),
            ("role", role_word(self.role).to_owned()),
            ("key", hex(self.share.group().id().as_bytes())),
            ("party", self.party().number().to_string()),
            ("sealed", sealed),
        ];
        let secret = self.to_secret_bytes();
        let (top, _) = write(TITLE, &head, &[]);
        let body = match lock {
            Lock::None => secret,
            Lock::Passphrase(words) => SecretBytes::new(seal(&secret, &top, words, &salt)?),
            Lock::Key { seal, to } => SecretBytes::new(seal_to((seal, to), &top, &secret)?),
        };
        Ok(write(TITLE, &head, &body).1)
    }

    /// Reads what [`ShareFile::to_text`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], [`Error::NeedsPassphrase`], [`Error::WrongPassphrase`],
    /// [`Error::NeedsKey`], [`Error::SealedToOther`], [`Error::Seal`], [`Error::Mismatch`],
    /// [`Error::Threshold`].
    pub fn from_text(text: &str, unlock: &dyn Unlock) -> Result<Self, Error> {
        let text = Text::read(text, TITLE, &NAMES)?;
        let secret = secret_of(&text, unlock)?;
        let share = key_share_from_bytes(&secret)?;
        let key = hex(share.group().id().as_bytes());
        let party = share.party().number().to_string();
        if (key.as_str(), party.as_str()) != (text.value(2), text.value(3)) {
            return Err(Error::Mismatch);
        }
        let (apex, role) = read_use(&text)?;
        Ok(Self { share, apex, role, _file: None })
    }

    /// Writes a new file that only its owner can read. It is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::File`], also if there is a file of this name already; as [`ShareFile::to_text`].
    pub fn create(
        &self,
        path: &Path,
        lock: Lock<'_>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(), Error> {
        let text = self.to_text(lock, rng)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(Error::file(path))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::file(path))
    }

    /// Puts a new file in the place of the one that this was opened from, at once; the old one stays if that fails.
    ///
    /// # Errors
    ///
    /// As [`ShareFile::create`].
    pub fn replace(
        &self,
        path: &Path,
        lock: Lock<'_>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(), Error> {
        let new = path.with_extension("share.new");
        self.create(&new, lock, rng)?;
        let renamed = files::rename(&new, path).map_err(Error::file(path));
        if renamed.is_err() {
            // Nobody shall find a second share.
            let _ = std::fs::remove_file(&new);
        }
        renamed
    }

    /// Reads the file of this name and keeps every other process from doing so.
    ///
    /// # Errors
    ///
    /// As [`ShareFile::from_text`]; [`Error::File`], [`Error::InUse`], [`Error::Readable`].
    pub fn open(path: &Path, unlock: &dyn Unlock) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::file(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(Error::file(path)(error)),
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = file.metadata().map_err(Error::file(path))?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(Error::Readable(path.to_owned()));
            }
        }
        // Room for all of it, so that growing leaves no copy behind.
        let mut text = Zeroizing::new(String::with_capacity(usize::from(u16::MAX)));
        (&file).take(MAX_BYTES).read_to_string(&mut text).map_err(Error::file(path))?;
        Ok(Self { _file: Some(file), ..Self::from_text(&text, unlock)? })
    }
}

fn secret_of(text: &Text<'_>, unlock: &dyn Unlock) -> Result<Zeroizing<Vec<u8>>, Error> {
    let sealed = text.value(4);
    if sealed == "no" {
        return Ok(text.body.clone());
    }
    if let Some(to) = sealed.strip_prefix(SEALED_TO) {
        let key = unlock.key().map_err(|reason| Error::NeedsKey { to: to.to_owned(), reason })?;
        return open_with(key, to, text.top, &text.body);
    }
    let salt = sealed.strip_prefix(SEALED).and_then(from_hex).ok_or(Error::Malformed(TITLE))?;
    let salt = salt.as_slice().try_into().map_err(|_| Error::Malformed(TITLE))?;
    let passphrase = unlock.passphrase().ok_or(Error::NeedsPassphrase)?;
    open(&text.body, text.top, &passphrase, &salt)
}
