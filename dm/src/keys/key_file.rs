//! Files for the public part of a key.

use std::path::Path;

use bftkv_threshold::{GroupKey, group_key_from_bytes};

use crate::sign::{Dnskey, Role};
use crate::zone::Name;

use super::text::{Text, write};
use super::{Error, read_text};

const TITLE: &str = "bftkv dm key 1";

/// The public part of a key with what it is for: everybody may have it.
#[derive(Debug)]
pub struct KeyFile {
    apex: Name,
    role: Role,
    key: Box<dyn GroupKey>,
}

impl KeyFile {
    /// Of a key.
    #[must_use]
    pub fn new(apex: Name, role: Role, key: Box<dyn GroupKey>) -> Self {
        Self { apex, role, key }
    }

    /// The zone.
    #[must_use]
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// What it is for.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &dyn GroupKey {
        &*self.key
    }

    /// As the DNS shows it.
    ///
    /// # Errors
    ///
    /// As [`Dnskey::of`].
    pub fn dnskey(&self) -> Result<Dnskey, Error> {
        Ok(Dnskey::of(&*self.key, self.role)?)
    }

    /// As text for a file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let head = [("zone", self.apex.to_string()), ("role", role_word(self.role).to_owned())];
        write(TITLE, &head, &self.key.to_bytes()).1.to_string()
    }

    /// Reads what [`KeyFile::to_text`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], [`Error::Threshold`].
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let text = Text::read(text, TITLE, &["zone", "role"])?;
        let key = group_key_from_bytes(&text.body)?;
        let (apex, role) = read_use(&text)?;
        Ok(Self { apex, role, key })
    }

    /// Reads the file of this name.
    ///
    /// # Errors
    ///
    /// As [`KeyFile::from_text`]; [`Error::File`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::from_text(&read_text(path)?)
    }
}

pub(super) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Ksk => "ksk",
        Role::Zsk => "zsk",
    }
}

/// What the key is for: the zone and the role, which are the first two lines of every file.
pub(super) fn read_use(text: &Text<'_>) -> Result<(Name, Role), Error> {
    Ok((read_apex(text.value(0))?, read_role(text.value(1))?))
}

fn read_role(word: &str) -> Result<Role, Error> {
    match word {
        "ksk" => Ok(Role::Ksk),
        "zsk" => Ok(Role::Zsk),
        _ => Err(Error::Malformed("role")),
    }
}

fn read_apex(text: &str) -> Result<Name, Error> {
    let name: Name = text.parse().map_err(|_| Error::Malformed("zone name"))?;
    if name.to_string() == text { Ok(name) } else { Err(Error::Malformed("zone name")) }
}
