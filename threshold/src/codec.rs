//! Bytes of fixed layout: big-endian lengths, no choice in how a thing is written, and nothing
//! may follow.

use zeroize::Zeroizing;

use crate::Error;

/// Writes into a buffer that is wiped when it is dropped, because it may hold a share.
#[derive(Default)]
pub(crate) struct Writer {
    out: Zeroizing<Vec<u8>>,
}

impl Writer {
    /// A buffer that does not move while up to `size` bytes are written, so that no copy of a
    /// secret stays behind in freed memory.
    pub(crate) fn with_capacity(size: usize) -> Self {
        Self { out: Zeroizing::new(Vec::with_capacity(size)) }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A count or length; all of ours are far below the limit, which an over-long one is cut to
    /// so that it is refused when it is read.
    pub(crate) fn length_u8(&mut self, length: usize) {
        self.bytes(&[u8::try_from(length).unwrap_or(u8::MAX)]);
    }

    pub(crate) fn length_u32(&mut self, length: usize) {
        self.bytes(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }

    pub(crate) fn finish(self) -> Zeroizing<Vec<u8>> {
        self.out
    }

    /// For what is public.
    pub(crate) fn finish_public(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.out)
    }
}

/// Reads from the front; every read is checked against what is left.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// `what` is named when the bytes are malformed.
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn malformed(&self) -> Error {
        Error::Malformed(self.what)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.bytes(N)?.try_into().map_err(|_| self.malformed())
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    /// Checks that this is how the bytes begin.
    pub(crate) fn expect(&mut self, prefix: &[u8]) -> Result<(), Error> {
        if self.bytes(prefix.len())? == prefix { Ok(()) } else { Err(self.malformed()) }
    }

    /// Checks that nothing is left.
    pub(crate) fn end(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }
}
