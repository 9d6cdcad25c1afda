//! Who may have the zone.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use domain::base::name::Name;
use domain::tsig::{Algorithm, Key, KeyName, KeyStore};

/// A key for TSIG (RFC 8945). Secret; not shown.
#[derive(Clone)]
pub struct TsigKey(Arc<Key>);

/// It is no key for TSIG: the configuration's fault.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TsigError {
    /// Its name is no domain name.
    #[error("{0}: no name of a TSIG key")]
    Name(String),
    /// Only HMAC with SHA-256, SHA-384 and SHA-512.
    #[error("{0}: no TSIG algorithm; hmac-sha256, hmac-sha384 and hmac-sha512 are")]
    Algorithm(String),
    /// Too short a secret.
    #[error("a TSIG secret of {0} bytes; it must have at least {min}", min = TsigKey::MIN_SECRET)]
    Secret(usize),
}

impl TsigKey {
    /// The fewest bytes of a secret.
    pub const MIN_SECRET: usize = 16;

    /// A key.
    ///
    /// # Errors
    /// As [`TsigError`] says.
    pub fn new(name: &str, algorithm: &str, secret: &[u8]) -> Result<Self, TsigError> {
        let parsed: Result<KeyName, _> = KeyName::from_str(name);
        let name = parsed.map_err(|_| TsigError::Name(name.to_owned()))?;
        let algorithm = match algorithm.to_ascii_lowercase().trim_end_matches('.') {
            "hmac-sha256" => Algorithm::Sha256,
            "hmac-sha384" => Algorithm::Sha384,
            "hmac-sha512" => Algorithm::Sha512,
            other => return Err(TsigError::Algorithm(other.to_owned())),
        };
        if secret.len() < Self::MIN_SECRET {
            return Err(TsigError::Secret(secret.len()));
        }
        let key = Key::new(algorithm, secret, name, None, None);
        Ok(Self(Arc::new(key.map_err(|_| TsigError::Secret(secret.len()))?)))
    }

    pub(crate) fn inner(&self) -> Arc<Key> {
        Arc::clone(&self.0)
    }

    fn is(&self, key: &Key) -> bool {
        self.0.name() == key.name() && self.0.algorithm() == key.algorithm()
    }
}

impl AsRef<Key> for TsigKey {
    fn as_ref(&self) -> &Key {
        &self.0
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TsigKey({})", self.0.name())
    }
}

/// Addresses with the same first bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// The addresses that share so many bits with this one. `None` for more bits than it has.
    #[must_use]
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Self { address, bits })
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let differ = a.to_bits() ^ b.to_bits();
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let differ = a.to_bits() ^ b.to_bits();
                differ.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: no address and no prefix");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), str::parse).map_err(|_| wrong())?;
        Self::new(address, bits).ok_or_else(wrong)
    }
}

/// Lets those through that come from an address and have a key.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "callers fill in every field")]
pub struct Rule {
    /// From where.
    pub from: Prefix,
    /// With which key; `None` lets unsigned requests through.
    pub key: Option<TsigKey>,
}

/// Who may transfer the zone. Nobody, unless a rule says so.
#[derive(Clone, Default, Debug)]
pub struct Access {
    rules: Vec<Rule>,
}

impl Access {
    /// With these rules.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// Whether some rule is for this address.
    #[must_use]
    pub fn expects(&self, from: IpAddr) -> bool {
        self.rules.iter().any(|rule| rule.from.contains(from))
    }

    /// Whether somebody at this address, who has shown this key, may have the zone.
    #[must_use]
    pub fn may_transfer(&self, from: IpAddr, key: Option<&Key>) -> bool {
        self.rules.iter().filter(|rule| rule.from.contains(from)).any(|rule| {
            match (&rule.key, key) {
                (None, None) => true,
                (Some(wanted), Some(key)) => wanted.is(key),
                // Whoever signs, although it need not, is let in by an open rule too.
                (None, Some(_)) => true,
                (Some(_), None) => false,
            }
        })
    }
}

/// The keys of all rules.
impl KeyStore for Access {
    type Key = TsigKey;

    fn get_key<N: domain::base::name::ToName>(
        &self,
        name: &N,
        algorithm: Algorithm,
    ) -> Option<TsigKey> {
        let name: Name<Vec<u8>> = name.to_name();
        let mut keys = self.rules.iter().filter_map(|rule| rule.key.as_ref());
        keys.find(|key| *key.0.name() == name && key.0.algorithm() == algorithm).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_the_addresses_that_it_should() {
        let prefix: Prefix = "192.0.2.0/24".parse().unwrap();
        assert!(prefix.contains("192.0.2.255".parse().unwrap()));
        assert!(prefix.contains("::ffff:192.0.2.1".parse().unwrap()));
        assert!(!prefix.contains("192.0.3.0".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Prefix>().unwrap().contains("203.0.113.1".parse().unwrap()));
        assert!(!"::/0".parse::<Prefix>().unwrap().contains("203.0.113.1".parse().unwrap()));
        assert!("2001:db8::1".parse::<Prefix>().unwrap().contains("2001:db8::1".parse().unwrap()));
        for wrong in ["192.0.2.0/33", "192.0.2", "::/129", "/8", "1.2.3.4/x"] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_whom_a_rule_names_may_have_the_zone() {
        let key = TsigKey::new("a.", "hmac-sha256", &[1; 32]).unwrap();
        let other = TsigKey::new("b.", "hmac-sha256", &[1; 32]).unwrap();
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let rule =
            |key: &TsigKey| Rule { from: "127.0.0.1".parse().unwrap(), key: Some(key.clone()) };
        assert!(!Access::default().may_transfer(here, None));
        let access = Access::new(vec![rule(&key)]);
        assert!(access.may_transfer(here, Some(key.as_ref())));
        assert!(!access.may_transfer(here, Some(other.as_ref())));
        assert!(!access.may_transfer(here, None));
        assert!(!access.may_transfer("127.0.0.2".parse().unwrap(), Some(key.as_ref())));
        assert!(TsigKey::new("a.", "hmac-md5", &[1; 32]).is_err());
        assert!(TsigKey::new("a.", "hmac-sha256", &[1; 15]).is_err());
    }
}
