//! From when until when.

use super::Error;
use super::rrsig::is_after;

/// Times of signatures, in seconds since 1970 modulo 2^32, as RRSIG records have them (RFC 4034
/// section 3.1.5). The distribution masters agree on them; nothing here looks at a clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Terms {
    /// When new signatures begin to hold.
    pub inception: u32,
    /// When they end.
    pub expiration: u32,
    /// Signatures that end before this are made again; all others stay as they are.
    pub renew_before: u32,
}

impl Terms {
    /// A hundred days: longer signatures are a mistake.
    pub const MAX_VALID_SECS: u32 = 100 * 86_400;

    /// Times that can be.
    ///
    /// # Errors
    ///
    /// [`Error::Terms`] unless inception, `renew_before` and expiration are in this order and at
    /// most [`Self::MAX_VALID_SECS`] apart.
    pub fn new(inception: u32, expiration: u32, renew_before: u32) -> Result<Self, Error> {
        if expiration.wrapping_sub(inception) > Self::MAX_VALID_SECS {
            return Err(Error::Terms("signatures hold for at most 100 days"));
        }
        if !is_after(expiration, renew_before) || !is_after(renew_before, inception) {
            return Err(Error::Terms("signatures would be made again at once"));
        }
        Ok(Self { inception, expiration, renew_before })
    }

    /// What IANA's root zone has: signatures hold for 13 days from one hour ago, and are made
    /// again when less than a third of that is left.
    ///
    /// # Errors
    ///
    /// Never.
    pub fn usual(now: u32) -> Result<Self, Error> {
        const DAY: u32 = 86_400;
        let (from, until) = (now.wrapping_sub(3_600), now.wrapping_add(13 * DAY));
        Self::new(from, until, now.wrapping_add(13 * DAY / 3))
    }
}
