//! Transcripts of key ceremonies, signed by everybody who got a share.

use std::collections::BTreeSet;
use std::path::Path;

use bftkv::protocol::{NodeId, Seal};
use sha2::{Digest as _, Sha256};

use super::text::hex;
use super::{Error, together};

const DEALT: &str = "bftkv dm key ceremony 1";
/// More than any transcript has.
const MAX_BYTES: usize = 64 * 1024;

/// What a ceremony was: who got what. Everybody may see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transcript(String);

impl Transcript {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`].
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let title = text.lines().next();
        let is_one = [DEALT, together::TRANSCRIPT].into_iter().any(|known| title == Some(known));
        let read = Self(text.to_owned());
        if is_one && text.len() <= MAX_BYTES && read.shares().is_some() {
            return Ok(read);
        }
        Err(Error::Malformed("transcript"))
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// How many got shares.
    #[must_use]
    pub fn shares(&self) -> Option<usize> {
        self.value("shares")?.parse().ok()
    }

    /// Those who made the keys, if they made them together. A dealer's transcript names nobody.
    #[must_use]
    pub fn members(&self) -> Option<BTreeSet<NodeId>> {
        let numbers = 1..=self.shares()?;
        let members: Option<BTreeSet<_>> =
            numbers.map(|n| self.value(&format!("dm-{n}"))?.parse().ok()).collect();
        members.filter(|_| self.0.starts_with(together::TRANSCRIPT))
    }

    /// Whether the shares in the folder that the dealer made for us are those of the transcript.
    ///
    /// # Errors
    ///
    /// [`Error::OtherShare`] names the file that is another one; [`Error::File`];
    /// [`Error::Malformed`] if no line of the transcript is about files in the folder.
    pub fn check_shares(&self, folder: &Path) -> Result<(), Error> {
        if self.members().is_some() {
            return Ok(());
        }
        let mut seen = 0usize;
        let mut right = BTreeSet::new();
        for line in self.0.lines() {
            let Some((hash, name)) = line.split_once("  dm-") else { continue };
            let Some((number, name)) = name.split_once('/') else { continue };
            if !["zsk.share", "offline/ksk.share"].contains(&name) {
                continue;
            }
            let path = folder.join(name);
            let text = std::fs::read(&path).map_err(Error::file(&path))?;
            seen = seen.saturating_add(1);
            if hex(&Sha256::digest(text)) == hash {
                right.insert((number, name));
            }
        }
        // Of the parties, one has all its files here.
        let parties: BTreeSet<_> = right.iter().map(|(number, _)| *number).collect();
        let names: BTreeSet<_> = right.iter().map(|(_, name)| *name).collect();
        if seen == 0 || parties.len() != 1 || names.len() != 2 {
            return Err(Error::OtherShare(folder.to_owned()));
        }
        Ok(())
    }

    /// Our signature.
    ///
    /// # Errors
    ///
    /// [`Error::Seal`].
    pub fn sign(&self, seal: &dyn Seal) -> Result<Vec<u8>, Error> {
        Ok(seal.seal(&[], self.0.as_bytes())?)
    }

    /// Whose signature this is.
    ///
    /// # Errors
    ///
    /// [`Error::Seal`]; [`Error::OtherTranscript`] names who signed something else, [`Error::Hidden`] who
    /// signed it for some only.
    pub fn signer(&self, signed: &[u8], seal: &dyn Seal) -> Result<NodeId, Error> {
        let opened = seal.open(signed, MAX_BYTES)?;
        let sender = opened.sender.to_string();
        match opened.plaintext == self.0.as_bytes() {
            true if opened.is_for_anybody => Ok(opened.sender),
            true => Err(Error::Hidden(sender)),
            false => Err(Error::OtherTranscript(sender)),
        }
    }

    /// Whether everybody has signed: the members, or as many as have shares.
    #[must_use]
    pub fn is_signed_by_all(&self, signers: &BTreeSet<NodeId>) -> bool {
        match self.members() {
            Some(members) => members.is_subset(signers),
            None => self.shares().is_some_and(|shares| signers.len() >= shares),
        }
    }
}
