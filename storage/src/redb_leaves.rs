//! Reads records out of a redb file without its trees.

use bftkv_protocol::StoreError;

use crate::backend::{Pair, io_error};
use crate::disk::DiskFile;
use crate::key::Key;
use crate::record;

/// redb's smallest page; every page begins at a multiple of it.
const PAGE_BYTES: usize = 4096;

/// The first byte of a page that holds keys and values.
const LEAF: u8 = 1;

/// No leaf of ours is longer: a record is at most 4 MiB, and shares its page with small ones only.
const MAX_LEAF_BYTES: usize = 16 * 1024 * 1024;

/// Hands over every record whose checksum fits, wherever it lies in the file: also those of pages
/// that are free by now. A damaged record cannot be told from what is no record, and is left out.
pub(crate) fn each_record(
    file: &dyn DiskFile,
    mut each: impl FnMut(Pair) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = |e| io_error("reading a damaged store", &e);
    let length = file.length().map_err(failed)?;
    let mut offset = 0;
    let mut page = vec![0; PAGE_BYTES];
    while offset < length {
        page.resize(PAGE_BYTES, 0);
        file.read_at(offset, &mut page).map_err(failed)?;
        if let Some(end) = end_of_leaf(&page) {
            page.resize(end.max(PAGE_BYTES), 0);
            let read = file.read_at(offset, &mut page).map_err(failed)?;
            page.truncate(read);
            pairs(&page).into_iter().try_for_each(&mut each)?;
        }
        offset += PAGE_BYTES as u64;
    }
    Ok(())
}

/// Where a leaf's last value ends. `None`: it is no leaf.
fn end_of_leaf(page: &[u8]) -> Option<usize> {
    let count = count(page)?;
    // A leaf has one value that is large, or its offsets are all in its first page.
    let end = number(page, 4 + 8 * count - 4)?;
    (end <= MAX_LEAF_BYTES).then_some(end)
}

/// The records of a leaf: type, unused, count (16 bits), the ends of all keys, the ends of all values
/// (32 bits each, little-endian, from the start of the page), keys, values.
fn pairs(page: &[u8]) -> Vec<Pair> {
    let Some(count) = count(page) else { return Vec::new() };
    let (key_ends, value_ends) = (4, 4 + 4 * count);
    let keys = value_ends + 4 * count;
    let part = |ends: usize, first: Option<usize>, n: usize| {
        let start = if n == 0 { first } else { number(page, ends + 4 * (n - 1)) };
        page.get(start?..number(page, ends + 4 * n)?)
    };
    let values = number(page, key_ends + 4 * (count - 1));
    let pair = |n| {
        let (key, value) = (part(key_ends, Some(keys), n)?, part(value_ends, values, n)?);
        record::fingerprint(key, value)?;
        Key::decode(key)?;
        Some((key.to_vec(), value.to_vec()))
    };
    (0..count).filter_map(pair).collect()
}

fn count(page: &[u8]) -> Option<usize> {
    match page {
        [LEAF, _, low, high, ..] => {
            Some(usize::from(u16::from_le_bytes([*low, *high]))).filter(|count| *count > 0)
        }
        _ => None,
    }
}

fn number(page: &[u8], at: usize) -> Option<usize> {
    let bytes = page.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}
