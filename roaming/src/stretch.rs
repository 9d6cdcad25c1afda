//! From the function's output to keys: Argon2id, then HKDF.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use ed25519_dalek::SigningKey;
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha512;
use zeroize::{Zeroize, Zeroizing};

use crate::Error;

/// How hard Argon2id works (RFC 9106). It costs whoever has stolen t servers that much for each
/// guess; it is in the record, so that it can be raised later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "Argon2id has these parameters")]
pub struct Stretching {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes; they are computed one after the other.
    pub lanes: u32,
}

impl Default for Stretching {
    /// RFC 9106 section 4, the second recommended option: 64 MiB, 3 passes, 4 lanes.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

impl Stretching {
    /// The least that is accepted: 19 MiB, 2 passes, 1 lane, so that no record can ask for a
    /// guess that costs nothing.
    pub const LEAST: Self = Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 };

    /// The most that is accepted: 512 MiB, 8 passes, 16 lanes. So a hostile record costs a client a
    /// few seconds, and no more memory than it has.
    pub const MOST: Self = Self { memory_kib: 512 * 1024, passes: 8, lanes: 16 };

    /// The nearest parameters that are accepted.
    #[must_use]
    pub fn clamped(self) -> Self {
        let within = |value: u32, least: u32, most: u32| value.clamp(least, most);
        Self {
            memory_kib: within(self.memory_kib, Self::LEAST.memory_kib, Self::MOST.memory_kib),
            passes: within(self.passes, Self::LEAST.passes, Self::MOST.passes),
            lanes: within(self.lanes, Self::LEAST.lanes, Self::MOST.lanes),
        }
    }

    /// Whether they are accepted. Those of a record are refused rather than changed: with others
    /// the right password would seem wrong.
    ///
    /// # Errors
    /// [`Error::Stretching`]: the fault of whoever wrote the record.
    pub fn check(self) -> Result<(), Error> {
        if self.clamped() == self {
            return Ok(());
        }
        let Self { memory_kib, passes, lanes } = self;
        Err(Error::Stretching { memory_kib, passes, lanes })
    }

    /// Runs Argon2id. Takes about 0.15 s with the default, and the memory, which is wiped.
    ///
    /// # Errors
    /// [`Error::Stretching`], or [`Error::Memory`] where there is not enough.
    fn run(self, input: &[u8; 64], salt: &[u8; 32]) -> Result<Zeroizing<[u8; 64]>, Error> {
        self.check()?;
        let refused = |_| Error::Stretching {
            memory_kib: self.memory_kib,
            passes: self.passes,
            lanes: self.lanes,
        };
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(64));
        let params = params.map_err(refused)?;
        let mut memory: Vec<Block> = Vec::new();
        memory
            .try_reserve_exact(params.block_count())
            .map_err(|_| Error::Memory { memory_kib: self.memory_kib })?;
        memory.resize(params.block_count(), Block::default());
        let mut output = Zeroizing::new([0; 64]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let outcome = argon2.hash_password_into_with_memory(input, salt, &mut *output, &mut memory);
        memory.iter_mut().for_each(Zeroize::zeroize);
        outcome.map_err(refused)?;
        Ok(output)
    }
}

/// The keys that only the password and a quorum give. Wiped when dropped and never shown.
#[derive(Clone)]
pub struct Keys {
    auth: SigningKey,
    value: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// Derives them. `context` binds them to everything in the record but the public key that
    /// follows from them.
    pub(crate) fn derive(
        output: &[u8; 64],
        salt: &[u8; 32],
        stretching: Stretching,
        context: &[u8; 32],
    ) -> Result<Self, Error> {
        let stretched = stretching.run(output, salt)?;
        let hkdf = Hkdf::<Sha512>::new(Some(context), &*stretched);
        let key = |label: &str| {
            let mut key = Zeroizing::new([0; 32]);
            // 32 bytes are not too many for HKDF.
            let _ = hkdf.expand(label.as_bytes(), &mut *key);
            key
        };
        let auth = SigningKey::from_bytes(&key("bftkv 1 password auth"));
        Ok(Self { auth, value: key("bftkv 1 password value") })
    }

    /// The public key that the record holds: whoever derives another one had a wrong password.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.auth.verifying_key().to_bytes()
    }

    pub(crate) fn auth(&self) -> &SigningKey {
        &self.auth
    }

    pub(crate) fn value(&self) -> &[u8; 32] {
        &self.value
    }
}
