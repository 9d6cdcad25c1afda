//! Who signs: a batch of messages at a time.

use bftkv_threshold::GroupKey;

use super::Error;

/// Signs batches of messages with one key. The distribution masters do it together over the
/// network; [`super::ShareSigner`] with enough shares in one process.
pub trait BatchSigner {
    /// The key.
    fn key(&self) -> &dyn GroupKey;

    /// One signature for each message, in order, in the form that DNSSEC has: for RSA as PKCS#1
    /// has it, for ECDSA r and s (RFC 6605), for Ed25519 as RFC 8032 has it. Whoever calls
    /// verifies them.
    ///
    /// # Errors
    ///
    /// [`Error::Threshold`]: too few shares, or a liar too many.
    fn sign(&mut self, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error>;
}
