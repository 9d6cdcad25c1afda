//! Lists and texts with a limit, for the fields of messages.
//!
//! The limit on a whole message does not bound the memory that a list takes: a two-byte
//! certificate becomes fifty bytes when decoded.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::planted::{self, Bug};

/// The greatest number of elements of a list in a message, certificates excepted. The longest
/// honest one has the proofs against 1,024 signers and a writer.
pub(crate) const MAX_LIST: usize = 2048;

/// The greatest number of certificates in a message: a real one has more than 128 bytes, so more
/// would not fit.
pub(crate) const MAX_CERTIFICATES: usize = crate::MAX_MESSAGE_BYTES / 128;

/// The greatest length of a reason in words, in bytes.
pub(crate) const MAX_REASON_BYTES: usize = 1024;

/// Decodes a list; gives up at the first element beyond the limit.
pub(crate) fn list<'de, D, T, const LIMIT: usize>(decoder: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    decoder.deserialize_seq(List::<T, LIMIT>(PhantomData))
}

struct List<T, const LIMIT: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const LIMIT: usize> Visitor<'de> for List<T, LIMIT> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {LIMIT} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = sequence.next_element()? {
            if list.len() >= LIMIT && !planted::is(Bug::EndlessLists) {
                return Err(A::Error::custom("too many elements"));
            }
            list.push(element);
        }
        Ok(list)
    }
}

/// Decodes a reason in words.
pub(crate) fn reason<'de, D: Deserializer<'de>>(decoder: D) -> Result<String, D::Error> {
    let reason = String::deserialize(decoder)?;
    if reason.len() > MAX_REASON_BYTES {
        return Err(D::Error::custom("too long a reason"));
    }
    Ok(reason)
}

/// Cuts a reason to what [`reason`] accepts: a character has at most four bytes.
pub(crate) fn cut_reason(reason: &str) -> String {
    reason.chars().take(MAX_REASON_BYTES / 4).collect()
}
