//! The name of a stored value.

use std::fmt;

use crate::bytes::limited_bytes;

limited_bytes!(
    /// The paper's x: any bytes, 1 to 1,024 of them. Names are compared byte by byte; nothing is
    /// normalised, and no name is special (`../`, NUL and newline are ordinary bytes).
    Variable, "variable name", 1, 1024
);

impl fmt::Display for Variable {
    /// Printable ASCII as it is, every other byte as `\xHH`, so that no name can steer a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| match byte {
            b'\\' => f.write_str("\\\\"),
            0x20..=0x7e => write!(f, "{}", char::from(*byte)),
            _ => write!(f, "\\x{byte:02x}"),
        })
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variable({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold() {
        assert!(Variable::new(*b"").is_err());
        assert!(Variable::new(vec![0; Variable::MAX_BYTES]).is_ok());
        assert!(Variable::new(vec![0; Variable::MAX_BYTES + 1]).is_err());
    }

    #[test]
    fn display_cannot_steer_a_terminal() {
        let name = Variable::new(*b"a\x1b[2J\n\\").unwrap();
        assert_eq!(name.to_string(), "a\\x1b[2J\\x0a\\\\");
    }
}
