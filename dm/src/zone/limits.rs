//! How much is accepted.

/// What a zone may have. Whatever is above is an error, never cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The longest TTL in seconds. RFC 2181 section 8 allows up to 2^31-1; a wrong TTL of years
    /// would stay in caches for as long as they like.
    pub ttl_secs: u32,
    /// The most records.
    pub records: usize,
    /// The most bytes of a zone file.
    pub bytes: usize,
}

impl Default for Limits {
    /// 31 days (the root's longest is six), a million records, 128 MiB.
    fn default() -> Self {
        Self { ttl_secs: 31 * 86_400, records: 1_000_000, bytes: 128 << 20 }
    }
}
