//! Keys: which record lies where. `docs/storage.md` describes them; `testdata/` pins them.

use bftkv_protocol::{Timestamp, Variable};

/// The first byte of a key says what kind of record it is. All heads lie side by side, apart from
/// the entries, so that they can be read and counted in a moment.
const CENSUS: u8 = b'c';
const HEAD: u8 = b'h';
const LOGGED: u8 = b'l';
const PROOF: u8 = b'p';
const VERSION: u8 = b'v';

/// Every NUL of a name becomes NUL, 0xFF; NUL, 0x01 ends the name. So no name's key begins with
/// another name's key, and keys sort as names do.
const ESCAPED_NUL: [u8; 2] = [0, 0xff];
const END_OF_NAME: [u8; 2] = [0, 1];
const BEHIND_NAME: [u8; 2] = [0, 2];

/// A name's end, and one byte more.
const END_OF_VAULT: [u8; 3] = [0, 1, b's'];

/// A key, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// How many records there are.
    Census,
    /// Which commit of the write-ahead log is the last that the backend has.
    Logged,
    /// A signer's memory, and which version is the newest.
    Head(Variable),
    /// Shares and counters of a password. It lies beside the head and is counted, checked and
    /// remembered as heads are: a server that is told an old one gives free guesses.
    Vault(Variable),
    /// A certified entry.
    Version(Variable, Timestamp),
    /// A proof of equivocation, numbered in the order of arrival.
    Proof(u64),
}

impl Key {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Census => vec![CENSUS],
            Self::Logged => vec![LOGGED],
            Self::Head(variable) => named(HEAD, variable.as_bytes(), END_OF_NAME),
            Self::Vault(variable) => named(HEAD, variable.as_bytes(), END_OF_VAULT),
            Self::Version(variable, timestamp) => {
                let mut key = start_of_versions(variable);
                key.extend_from_slice(&(!timestamp.get()).to_be_bytes());
                key
            }
            Self::Proof(number) => {
                let mut key = vec![PROOF];
                key.extend_from_slice(&number.to_be_bytes());
                key
            }
        }
    }

    /// Reads a key. `None`: no key of ours.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            CENSUS => rest.is_empty().then_some(Self::Census),
            LOGGED => rest.is_empty().then_some(Self::Logged),
            PROOF => Some(Self::Proof(u64::from_be_bytes(rest.try_into().ok()?))),
            HEAD => match split_name(rest)? {
                (variable, []) => Some(Self::Head(variable)),
                (variable, [b's']) => Some(Self::Vault(variable)),
                _ => None,
            },
            VERSION => {
                let (variable, t) = split_name(rest)?;
                let t = !u64::from_be_bytes(t.try_into().ok()?);
                Some(Self::Version(variable, Timestamp::new(t)))
            }
            _ => None,
        }
    }

    /// The variable that the record belongs to.
    pub(crate) fn into_variable(self) -> Option<Variable> {
        match self {
            Self::Head(variable) | Self::Vault(variable) | Self::Version(variable, _) => {
                Some(variable)
            }
            Self::Census | Self::Logged | Self::Proof(_) => None,
        }
    }
}

/// Whether a key is that of a head, or of a vault beside it.
pub(crate) fn is_head(key: &[u8]) -> bool {
    key.first() == Some(&HEAD)
}

/// Where the versions of a variable begin, newest first.
pub(crate) fn start_of_versions(variable: &Variable) -> Vec<u8> {
    named(VERSION, variable.as_bytes(), END_OF_NAME)
}

/// Behind all versions of a variable, and before those of the next one.
pub(crate) fn end_of_versions(variable: &Variable) -> Vec<u8> {
    named(VERSION, variable.as_bytes(), BEHIND_NAME)
}

/// Where the heads begin of variables whose names begin with `prefix`.
pub(crate) fn start_of_heads(prefix: &[u8]) -> Vec<u8> {
    named(HEAD, prefix, [])
}

/// Behind all heads of variables whose names begin with `prefix`.
pub(crate) fn end_of_heads(prefix: &[u8]) -> Vec<u8> {
    let mut key = start_of_heads(prefix);
    while let Some(last) = key.pop() {
        if let Some(next) = last.checked_add(1) {
            key.push(next);
            break;
        }
    }
    key
}

/// Where the heads begin that come after this variable's.
pub(crate) fn after_head(variable: &Variable) -> Vec<u8> {
    named(HEAD, variable.as_bytes(), BEHIND_NAME)
}

fn named<const N: usize>(kind: u8, name: &[u8], end: [u8; N]) -> Vec<u8> {
    let mut key = vec![kind];
    for byte in name {
        match byte {
            0 => key.extend_from_slice(&ESCAPED_NUL),
            other => key.push(*other),
        }
    }
    key.extend_from_slice(&end);
    key
}

/// Behind all records of a store.
pub(crate) const END: &[u8] = &[0xff];

/// Where the proofs begin and end.
pub(crate) const PROOFS: (&[u8], &[u8]) = (&[PROOF], &[PROOF + 1]);

fn split_name(bytes: &[u8]) -> Option<(Variable, &[u8])> {
    let mut name = Vec::new();
    let mut rest = bytes;
    loop {
        rest = match rest {
            [0, 0xff, tail @ ..] => {
                name.push(0);
                tail
            }
            [0, 1, tail @ ..] => return Variable::new(name).ok().map(|name| (name, tail)),
            [0, ..] | [] => return None,
            [byte, tail @ ..] => {
                name.push(*byte);
                tail
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Few byte values, so that prefixes, NULs and 0xFF meet often.
    fn names() -> impl Strategy<Value = Variable> {
        let byte = prop_oneof![Just(0u8), Just(1), Just(2), Just(b'a'), Just(0xff)];
        vec(byte, 1..6).prop_map(|bytes| Variable::new(bytes).unwrap())
    }

    fn keys() -> impl Strategy<Value = Key> {
        prop_oneof![
            Just(Key::Census),
            any::<u64>().prop_map(Key::Proof),
            names().prop_map(Key::Head),
            names().prop_map(Key::Vault),
            (names(), any::<u64>()).prop_map(|(x, t)| Key::Version(x, Timestamp::new(t))),
        ]
    }

    proptest! {
        #[test]
        fn keys_round_trip(key in keys()) {
            prop_assert_eq!(Key::decode(&key.encode()), Some(key));
        }

        #[test]
        fn different_keys_have_different_bytes(a in keys(), b in keys()) {
            prop_assert_eq!(a == b, a.encode() == b.encode());
        }

        #[test]
        fn names_sort_as_bytes_and_never_shadow(a in names(), b in names(), t in any::<u64>()) {
            let key = Key::Version(b.clone(), Timestamp::new(t)).encode();
            let within = start_of_versions(&a) <= key && key < end_of_versions(&a);
            prop_assert_eq!(within, a == b);
            let (first, second) = (Key::Head(a.clone()).encode(), Key::Head(b.clone()).encode());
            prop_assert_eq!(first.cmp(&second), a.as_bytes().cmp(b.as_bytes()));
            prop_assert_eq!(after_head(&a) <= second, a.as_bytes() < b.as_bytes());
        }

        #[test]
        fn prefixes_hold_exactly_the_names_that_begin_so(
            prefix in vec(prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(0xff)], 0..4),
            name in names(),
        ) {
            let key = Key::Head(name.clone()).encode();
            let within = start_of_heads(&prefix) <= key && key < end_of_heads(&prefix);
            prop_assert_eq!(within, name.as_bytes().starts_with(&prefix));
        }

        #[test]
        fn newer_versions_come_first(x in names(), a in any::<u64>(), b in any::<u64>()) {
            let key = |t| Key::Version(x.clone(), Timestamp::new(t)).encode();
            prop_assert_eq!(key(a).cmp(&key(b)), b.cmp(&a));
        }

        #[test]
        fn any_bytes_are_a_key_or_not(bytes in vec(any::<u8>(), 0..40)) {
            if let Some(key) = Key::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }
    }
}
