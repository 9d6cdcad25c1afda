//! The name of a variable, and how it is shown.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use bftkv::Variable;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::hex;

/// A variable on the command line.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct VariableArgs {
    /// The variable: any bytes, 1 to 1024 of them. Put `--` before a name that begins with a dash.
    #[arg(value_name = "VARIABLE")]
    name: OsString,

    /// VARIABLE is written in hexadecimal, for names that no shell can hold (612f00 is "a/" and
    /// a NUL).
    #[arg(long)]
    hex: bool,
}

impl VariableArgs {
    /// This name, in hexadecimal or as it is.
    pub(crate) fn new(name: OsString, hex: bool) -> Self {
        Self { name, hex }
    }

    /// The name, checked.
    ///
    /// # Errors
    /// It is too long, empty, or not hexadecimal.
    pub(crate) fn variable(&self) -> Result<Variable, Failure> {
        let bytes = self.name.clone().into_vec();
        let bytes = if self.hex { unhex(&bytes)? } else { bytes };
        Variable::new(bytes).map_err(Failure::usage)
    }
}

fn unhex(digits: &[u8]) -> Result<Vec<u8>, Failure> {
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.ok_or_else(|| {
        Failure::usage("with --hex the variable must be pairs of hexadecimal digits")
            .hint("`printf 'name' | xxd -p` writes a name in hexadecimal")
    })
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// A variable in JSON: readable, and exact.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ShownVariable {
    /// Printable ASCII as it is, other bytes as `\xHH`.
    pub(crate) variable: String,
    /// The bytes.
    pub(crate) variable_hex: String,
}

impl From<&Variable> for ShownVariable {
    fn from(variable: &Variable) -> Self {
        Self { variable: variable.to_string(), variable_hex: hex(variable.as_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, hex: bool) -> Result<Vec<u8>, Failure> {
        let args = VariableArgs { name: name.into(), hex };
        args.variable().map(|variable| variable.as_bytes().to_vec())
    }

    #[test]
    fn hexadecimal_names_any_bytes() {
        assert_eq!(parse("612F00", true).unwrap(), b"a/\0");
        assert_eq!(parse("612F00", false).unwrap(), b"612F00");
        for wrong in ["", "6", "6g", "é"] {
            assert!(parse(wrong, true).is_err(), "{wrong:?}");
        }
    }
}
