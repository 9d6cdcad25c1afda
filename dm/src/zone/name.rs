//! Names of owners.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use domain::base::name::{Name as AnyName, ToName};

/// An absolute name in its canonical form: uncompressed, in lower case (RFC 4034 section 6.2).
///
/// `Ord` is the canonical order (RFC 4034 section 6.1). A copy costs nothing. A map of 20,000 names compares
/// them all the time, so each carries what it is compared by.
#[derive(Clone)]
pub struct Name {
    /// The wire form, and behind it the [`order`].
    bytes: Arc<[u8]>,
    /// How long the wire form is.
    wire: u8,
}

impl Name {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self::of(&AnyName::root_slice())
    }

    /// The name in its canonical form, whatever it was stored in.
    pub fn of(name: &(impl ToName + ?Sized)) -> Self {
        let mut bytes = name.to_canonical_name::<Vec<u8>>().into_octets();
        // A name has 255 bytes at most.
        let wire = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        let order = order(&bytes);
        bytes.extend_from_slice(&order);
        Self { bytes: bytes.into(), wire }
    }

    /// The name whose uncompressed wire form this is, and nothing after it; `None` if it is none.
    #[must_use]
    pub fn from_wire(bytes: &[u8]) -> Option<Self> {
        AnyName::from_slice(bytes).ok().map(Self::of)
    }

    /// The wire form.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.wire)).unwrap_or_default()
    }

    fn as_order(&self) -> &[u8] {
        self.bytes.get(usize::from(self.wire)..).unwrap_or_default()
    }

    /// As the crate `domain` has it.
    #[must_use]
    pub fn as_domain(&self) -> &AnyName<[u8]> {
        // It was one when it came in, so the second arm is never taken.
        AnyName::from_slice(self.as_wire()).unwrap_or(AnyName::root_slice())
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.as_wire().len() == 1
    }

    /// Whether the name is the other one or below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.as_domain().ends_with(other.as_domain())
    }

    /// The labels from the left, without the root's.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        Labels(self.as_wire())
    }

    /// How many labels there are, without the root's and without a leading `*`: what stands in an
    /// RRSIG (RFC 4034 section 3.1.3).
    #[must_use]
    pub fn rrsig_labels(&self) -> u8 {
        let count = self.labels().count();
        let wildcard = self.labels().next() == Some(b"*");
        u8::try_from(count.saturating_sub(usize::from(wildcard))).unwrap_or(u8::MAX)
    }

    /// The name without its leftmost label; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let length = usize::from(*self.as_wire().first()?);
        if length == 0 {
            return None;
        }
        Self::from_wire(self.as_wire().get(length.saturating_add(1)..)?)
    }

    /// The name with one more label in front; `None` if it would be too long.
    #[must_use]
    pub fn child(&self, label: &[u8]) -> Option<Self> {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        let wire = [&[length], label, self.as_wire()].concat();
        Self::from_wire(&wire)
    }
}

struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first()?;
        let (label, rest) = rest.split_at_checked(usize::from(*length))?;
        self.0 = rest;
        (!label.is_empty()).then_some(label)
    }
}

/// Bytes that are in the order of the names: the labels from the right, each ended by a zero. The bytes 0 and
/// 1 of a label become two, so that a zero stands nowhere else.
fn order(wire: &[u8]) -> Vec<u8> {
    let labels: Vec<&[u8]> = Labels(wire).collect();
    let mut order = Vec::with_capacity(wire.len());
    for label in labels.into_iter().rev() {
        for byte in label {
            match byte {
                0 | 1 => order.extend_from_slice(&[1, byte.wrapping_add(1)]),
                byte => order.push(*byte),
            }
        }
        order.push(0);
    }
    order
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        // Versions of a zone share their names.
        if Arc::ptr_eq(&self.bytes, &other.bytes) {
            return Ordering::Equal;
        }
        self.as_order().cmp(other.as_order())
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes) || self.as_wire() == other.as_wire()
    }
}

impl Eq for Name {}

impl std::hash::Hash for Name {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_wire().hash(state);
    }
}

impl FromStr for Name {
    type Err = domain::base::name::FromStrError;

    /// As in a zone file; without a dot at the end it is absolute all the same.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        AnyName::<Vec<u8>>::from_str(text).map(|name| Self::of(&name))
    }
}

impl fmt::Display for Name {
    /// As in a zone file, with the dot at the end. (`domain` 0.12.3 does not escape `;`, `"`,
    /// parentheses, `$` and `@`, so that such a name would be read as something else.)
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for byte in label {
                match byte {
                    b'.' | b'\\' | b';' | b'"' | b'(' | b')' | b'@' | b'$' => {
                        write!(f, "\\{}", char::from(*byte))?;
                    }
                    0x21..=0x7e => write!(f, "{}", char::from(*byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_ordered_as_rfc_4034_says() {
        // RFC 4034 section 6.1.
        let wanted = [
            "example.",
            "a.example.",
            "yljkjljk.a.example.",
            "Z.a.example.",
            "zABC.a.EXAMPLE.",
            "z.example.",
            "\\001.z.example.",
            "*.z.example.",
            "\\200.z.example.",
        ];
        let mut names: Vec<_> = wanted.iter().map(|text| name(text)).collect();
        names.reverse();
        names.sort();
        let wanted: Vec<_> = wanted.iter().map(|text| name(text)).collect();
        assert_eq!(names, wanted);
        for (a, b) in wanted.iter().zip(wanted.iter().skip(1)) {
            assert_eq!(a.as_domain().name_cmp(b.as_domain()), Ordering::Less, "domain agrees");
        }
    }

    /// Bytes 0, 1 and 2, labels that begin others, and names below others: as the crate `domain` has them.
    #[test]
    fn names_with_odd_bytes_are_in_the_same_order() {
        let labels =
            [&[0][..], &[0, 0], &[0, 1], &[1], &[1, 0], &[1, 255], &[2], &[255], b"a", b"aa"];
        let mut names = vec![Name::root()];
        for first in labels {
            let parent = Name::root().child(first).unwrap();
            names.extend(labels.iter().map(|label| parent.child(label).unwrap()));
            names.push(parent);
        }
        for a in &names {
            for b in &names {
                assert_eq!(a.cmp(b), a.as_domain().name_cmp(b.as_domain()), "{a} {b}");
                assert_eq!(a == b, a.cmp(b) == Ordering::Equal);
            }
        }
    }

    #[test]
    fn a_name_knows_its_family() {
        let child = name("*.Nic.AAA");
        assert_eq!(child.to_string(), "*.nic.aaa.");
        assert_eq!(child.rrsig_labels(), 2);
        assert_eq!(child.parent().unwrap(), name("nic.aaa."));
        assert_eq!(name("nic.aaa").child(b"*").unwrap(), child);
        assert!(child.is_within(&name("aaa.")) && child.is_within(&Name::root()));
        assert!(!name("baaa.").is_within(&name("aaa.")));
        assert_eq!(Name::root().parent(), None);
        assert_eq!(Name::root().to_string(), ".");
        let odd = Name::root().child(b"$a;b\"(.@ \n\\").unwrap();
        assert_eq!(odd.to_string(), "\\$a\\;b\\\"\\(\\.\\@\\032\\010\\\\.");
        assert_eq!(name(&odd.to_string()), odd);
        assert_eq!(name("a").child(&[b'x'; 64]), None);
        assert_eq!(Name::from_wire(b"\x01a\x00x"), None);
        assert_eq!(Name::from_wire(b"\x01a"), None);
    }
}
