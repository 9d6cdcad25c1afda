//! Files for keys: lines for people, then bytes.
//!
//! ```text
//!   bftkv dm share 1          what it is, and the version
//!   name: value               in a fixed order
//!   -
//!   64 hexadecimal digits     as many lines as it takes
//! ```

use zeroize::Zeroizing;

use super::Error;

/// Larger than any file of a key.
const MAX_BYTES: usize = 64 * 1024;

/// Writes one.
pub(super) fn write(
    title: &str,
    head: &[(&str, String)],
    body: &[u8],
) -> (String, Zeroizing<String>) {
    let mut top = format!("{title}\n");
    for (name, value) in head {
        top.push_str(&format!("{name}: {value}\n"));
    }
    top.push_str("-\n");
    // Room for all of it at once, so that growing leaves no copy of a secret behind.
    let mut text = Zeroizing::new(String::with_capacity(top.len() + body.len() * 3 + 64));
    text.push_str(&top);
    for line in body.chunks(32) {
        for byte in line {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
            }
        }
        text.push('\n');
    }
    (top, text)
}

/// A file that was read.
pub(super) struct Text<'a> {
    /// Everything in front of the body, as it stands.
    pub(super) top: &'a str,
    values: Vec<&'a str>,
    /// The bytes, sealed or not.
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl<'a> Text<'a> {
    /// Reads a file with this title and these names, and nothing else.
    pub(super) fn read(text: &'a str, title: &'static str, names: &[&str]) -> Result<Self, Error> {
        let malformed = || Error::Malformed(title);
        if text.len() > MAX_BYTES {
            return Err(malformed());
        }
        let (top, body) = text.split_once("\n-\n").ok_or_else(malformed)?;
        let mut lines = top.lines();
        if lines.next() != Some(title) {
            return Err(malformed());
        }
        let mut values = Vec::new();
        for name in names {
            let line = lines.next().and_then(|line| line.strip_prefix(name));
            values.push(line.and_then(|line| line.strip_prefix(": ")).ok_or_else(malformed)?);
        }
        if lines.next().is_some() {
            return Err(malformed());
        }
        let body = from_hex(body).ok_or_else(malformed)?;
        let top = text.get(..top.len().saturating_add(3)).ok_or_else(malformed)?;
        Ok(Self { top, values, body })
    }

    pub(super) fn value(&self, place: usize) -> &'a str {
        self.values.get(place).copied().unwrap_or_default()
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads hexadecimal digits in lines; `None` for anything else.
pub(super) fn from_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    for line in text.lines() {
        let mut digits = line.chars();
        while let Some(high) = digits.next() {
            let digit = |digit: char| digit.to_digit(16).filter(|_| !digit.is_ascii_uppercase());
            let (high, low) = (digit(high)?, digit(digits.next()?)?);
            bytes.push(u8::try_from(high << 4 | low).ok()?);
        }
    }
    Some(bytes)
}
