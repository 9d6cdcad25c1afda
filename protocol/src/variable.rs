//! The name of a stored value.

use std::fmt;

use crate::NodeId;
use crate::bytes::limited_bytes;

limited_bytes!(
    /// The paper's x: any bytes, 1 to 1,024 of them. Names are compared byte by byte; nothing is
    /// normalised, and no name is special (`../`, NUL and newline are ordinary bytes).
    Variable, "variable name", 1, 1024
);

impl Variable {
    /// For whom the name is reserved, if it is: a name that begins with a full fingerprint (40 or
    /// 64 hexadecimal digits) and `/` belongs to that certificate from the start, so that nobody
    /// else can block it while it is empty (rule R3).
    #[must_use]
    pub fn reserved_for(&self) -> Option<NodeId> {
        let end = self.0.iter().position(|byte| *byte == b'/')?;
        let digits = self.0.get(..end).filter(|d| d.iter().all(u8::is_ascii_hexdigit))?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

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
    fn names_that_begin_with_a_fingerprint_are_reserved() {
        let reserved = |name: String| Variable::new(name).unwrap().reserved_for();
        let id = NodeId::from_bytes(&[0xAB; 20]).unwrap();
        assert_eq!(reserved(format!("{id}/diary")), Some(id.clone()));
        assert_eq!(reserved(format!("{id}/").to_lowercase()), Some(id.clone()));
        let v6 = NodeId::from_bytes(&[0xAB; 32]).unwrap();
        assert_eq!(reserved(format!("{v6}/a/b")), Some(v6));
        for free in [format!("{id}"), format!("{id}0/x"), format!(" {id}/x"), format!("/{id}/x")] {
            assert_eq!(reserved(free.clone()), None, "{free}");
        }
    }

    #[test]
    fn display_cannot_steer_a_terminal() {
        let name = Variable::new(*b"a\x1b[2J\n\\").unwrap();
        assert_eq!(name.to_string(), "a\\x1b[2J\\x0a\\\\");
    }
}
