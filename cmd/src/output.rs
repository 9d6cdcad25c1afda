//! What goes to stdout.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::failure::Failure;

/// Writes results: text for people, or JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Text, or JSON.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether programs read it.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Shows a result.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn show<T: Serialize + fmt::Display>(self, report: &T) -> Result<(), Failure> {
        let text = if self.json { self.encode(report)? } else { report.to_string() };
        let newline = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        raw(format!("{text}{newline}").as_bytes())
    }

    fn encode<T: Serialize>(self, report: &T) -> Result<String, Failure> {
        serde_json::to_string(report).map_err(Failure::failed)
    }
}

/// Writes bytes as they are. A reader that has gone away wanted no more: that is no failure.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::failed(format!("cannot write to stdout: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Writes a value: to a pipe or file as it is; to a terminal so that it cannot steer it.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn value(bytes: &[u8]) -> Result<(), Failure> {
    if !io::stdout().is_terminal() {
        return raw(bytes);
    }
    let mut shown = escape(&String::from_utf8_lossy(bytes));
    if !shown.is_empty() && !shown.ends_with('\n') {
        shown.push('\n');
    }
    raw(shown.as_bytes())
}

/// Text in which nothing can steer a terminal or reorder what is read: control characters and
/// marks of direction become `\xHH` or `\u{HHHH}`; newline and tab stay.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        // Writing to a string does not fail.
        let _ = match c {
            '\n' | '\t' => escaped.write_char(c),
            '\0'..='\x1f' | '\x7f' => write!(escaped, "\\x{:02x}", u32::from(c)),
            _ if is_odd(c) => write!(escaped, "\\u{{{:x}}}", u32::from(c)),
            _ => escaped.write_char(c),
        };
    }
    escaped
}

/// Invisible marks that change the order of text, and the second set of control characters.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The beginning of a value on one line.
pub(crate) fn preview(bytes: &[u8], most: usize) -> String {
    let text = escape(&String::from_utf8_lossy(bytes)).replace('\n', "\\n").replace('\t', "\\t");
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most).chain("...".chars()).collect()
}

/// Bytes as lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A count with its noun: "1 node", "2 nodes".
pub(crate) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(escape("a\x1b[2J\x07é\n"), "a\\x1b[2J\\x07é\n");
        assert_eq!(escape("\u{202e}x\u{9b}"), "\\u{202e}x\\u{9b}");
    }

    #[test]
    fn a_preview_is_short_and_on_one_line() {
        assert_eq!(preview(b"a\nb", 10), "a\\nb");
        assert_eq!(preview(b"abcdef", 3), "abc...");
    }
}
