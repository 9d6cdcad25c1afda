//! Dealing the keys of a zone.

use std::fs;
use std::path::{Path, PathBuf};

use bftkv_threshold::rand_core::CryptoRngCore;
use bftkv_threshold::rsa::{self, SafePrimes};
use bftkv_threshold::{GroupKey, KeyShare, Roster, Scheme, ecdsa, ed25519};
use sha2::{Digest as _, Sha256};

use crate::sign::{Dnskey, Role};
use crate::time;
use crate::zone::Name;

use super::text::hex;
use super::{Error, KeyFile, Lock, ShareFile};

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Ceremony {
    /// The zone.
    pub apex: Name,
    /// The algorithm of both keys.
    pub scheme: Scheme,
    /// Who gets shares, and how many sign.
    pub roster: Roster,
    /// Bits of an RSA key that signs keys, and of one that signs the zone.
    pub rsa_bits: (u32, u32),
    /// When, in seconds since 1970: for the transcript.
    pub now: u64,
}

/// Where safe primes come from: role and bits in, primes out.
pub type Primes<'a> = dyn FnMut(Role, u32) -> Result<SafePrimes, bftkv_threshold::Error> + 'a;

/// A key that was dealt: its shares in the order of the parties.
#[derive(Debug)]
pub struct Dealt {
    role: Role,
    shares: Vec<ShareFile>,
}

impl Dealt {
    /// The shares.
    #[must_use]
    pub fn shares(&self) -> &[ShareFile] {
        &self.shares
    }

    /// The public part.
    ///
    /// # Errors
    ///
    /// Never in fact.
    pub fn key_file(&self) -> Result<KeyFile, Error> {
        let first = self.shares.first().ok_or(Error::Malformed("key"))?;
        first.key_file()
    }
}

impl Ceremony {
    /// Makes a KSK and a ZSK and their shares. The process that does this has the whole keys in
    /// memory for a moment and must end soon.
    ///
    /// # Errors
    ///
    /// [`Error::Threshold`]: a threshold that cannot be, or primes that are none.
    pub fn deal(
        &self,
        primes: &mut Primes<'_>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<[Dealt; 2], Error> {
        let (ksk, zsk) = self.rsa_bits;
        let ksk = self.deal_one(Role::Ksk, ksk, primes, rng)?;
        Ok([ksk, self.deal_one(Role::Zsk, zsk, primes, rng)?])
    }

    fn deal_one(
        &self,
        role: Role,
        bits: u32,
        primes: &mut Primes<'_>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Dealt, Error> {
        let shares: Vec<Box<dyn KeyShare>> = match self.scheme {
            Scheme::Rsa => boxed(rsa::deal(&self.roster, &primes(role, bits)?, rng)?),
            Scheme::EcdsaP256 => boxed(ecdsa::deal(&self.roster, rng)?),
            Scheme::Ed25519 => boxed(ed25519::deal(&self.roster, rng)?),
            _ => return Err(Error::Malformed("algorithm")),
        };
        let file = |share| ShareFile::new(self.apex.clone(), role, share);
        Ok(Dealt { role, shares: shares.into_iter().map(file).collect() })
    }

    /// Writes everything into a new folder: one folder for each party, with its shares and the
    /// public parts; the KSK's share apart, because it is to be kept off the machine that signs
    /// the zone. Returns the transcript, which is there too and in each party's folder: it names
    /// every file's hash, so that all can compare what they got.
    ///
    /// ```text
    ///   transcript.txt  ksk.key  zsk.key
    ///   dm-1/  transcript.txt  ksk.key  zsk.key  zsk.share  offline/ksk.share
    ///   dm-2/  ...
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::File`], also if the folder is there already; as [`ShareFile::to_text`].
    pub fn write<'a>(
        &self,
        dealt: &[Dealt],
        folder: &Path,
        lock: &dyn Fn(u8) -> Option<Lock<'a>>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<String, Error> {
        make_private(folder)?;
        let mut hashes = String::new();
        for party in self.roster.parties() {
            let own = folder.join(format!("dm-{}", party.number()));
            make_private(&own)?;
            make_private(&own.join("offline"))?;
            let lock = lock(party.number()).ok_or(Error::Malformed("lock of a party"))?;
            for key in dealt {
                let share = key.shares.iter().find(|share| share.party() == *party);
                let share = share.ok_or(Error::Malformed("key"))?;
                let path = own.join(share_name(key.role));
                share.create(&path, lock, rng)?;
                let text = fs::read(&path).map_err(Error::file(&path))?;
                let shown =
                    PathBuf::from(format!("dm-{}", party.number())).join(share_name(key.role));
                hashes.push_str(&format!("{}  {}\n", hex(&Sha256::digest(text)), shown.display()));
            }
        }
        let transcript = self.transcript(dealt, &hashes)?;
        let parties = self.roster.parties().iter();
        let folders = parties.map(|party| folder.join(format!("dm-{}", party.number())));
        for own in std::iter::once(folder.to_owned()).chain(folders) {
            put(&own.join("transcript.txt"), &transcript)?;
            for key in dealt {
                let name = format!("{}.key", word(key.role));
                put(&own.join(name), &key.key_file()?.to_text())?;
            }
        }
        Ok(transcript)
    }

    fn transcript(&self, dealt: &[Dealt], hashes: &str) -> Result<String, Error> {
        let (k, n) = (self.roster.threshold(), self.roster.size());
        let mut text = format!(
            "bftkv dm key ceremony 1\nzone: {}\ntime: {}\nshares: {n}\nthreshold: {k}\n",
            self.apex,
            time::show(self.now),
        );
        for key in dealt {
            write_key(&mut text, &self.apex, key.role, key.key_file()?.key())?;
        }
        text.push_str(&format!("sha256 of the shares' files:\n{hashes}"));
        Ok(text)
    }
}

/// A key's lines of a transcript.
pub(super) fn write_key(
    text: &mut String,
    apex: &Name,
    role: Role,
    key: &dyn GroupKey,
) -> Result<(), Error> {
    let dnskey = Dnskey::of(key, role)?;
    let (word, id) = (word(role), hex(key.id().as_bytes()));
    text.push_str(&format!("{word}: {id}\n{word} tag: {}\n", dnskey.tag()));
    if role == Role::Ksk {
        text.push_str(&format!("{word} anchor: {}\n", dnskey.ds_line(apex)));
    }
    Ok(())
}

fn boxed<S: KeyShare + 'static>(shares: Vec<S>) -> Vec<Box<dyn KeyShare>> {
    shares.into_iter().map(|share| Box::new(share) as Box<dyn KeyShare>).collect()
}

fn word(role: Role) -> &'static str {
    super::key_file::role_word(role)
}

fn share_name(role: Role) -> &'static str {
    match role {
        Role::Ksk => "offline/ksk.share",
        Role::Zsk => "zsk.share",
    }
}

fn put(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file(path))
}

/// Makes a new folder that only its owner can enter.
fn make_private(folder: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(Error::file(folder))
}
