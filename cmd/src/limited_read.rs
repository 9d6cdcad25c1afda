//! Reading files and stdin, never more than is of use.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::failure::Failure;

/// Reads the file, or stdin if it is `-`, up to `most` bytes.
///
/// # Errors
/// It cannot be read, or is larger.
pub(crate) fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    if path == Path::new("-") {
        return limited(io::stdin().lock(), Path::new("stdin"), most);
    }
    let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
    limited(file, path, most)
}

/// Reads the first bytes of a file: at most `most`, and none of stdin, which can be read only once.
///
/// # Errors
/// It cannot be read.
pub(crate) fn beginning(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    if path == Path::new("-") {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| Failure::file(path, &error))?;
    Ok(bytes)
}

fn limited(reader: impl Read, path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(limit).read_to_end(&mut bytes).map_err(|error| Failure::file(path, &error))?;
    if bytes.len() > most {
        let message = format!("{}: more than {most} bytes", path.display());
        return Err(Failure::failed(message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_not_read_to_its_end() {
        let endless = io::repeat(b'x');
        assert!(limited(endless, Path::new("x"), 10).is_err());
        assert_eq!(limited(io::repeat(b'x').take(10), Path::new("x"), 10).unwrap().len(), 10);
    }
}
