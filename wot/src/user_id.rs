//! User IDs and the identities in them.

use bftkv_protocol::Address;

/// What kind of certificate a user ID speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum IdentityKind {
    /// "Real name (URL)": a node.
    Node,
    /// `Real name <email>`: a user.
    User,
}

/// The identity in a user ID. Paper: App. B, `Real name (URL)` and `Real name <email>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The real name; may be empty.
    pub name: String,
    /// The address part: a URL without path, or an e-mail address. Scheme, host and mail domain
    /// are in lower case, so that one address has one spelling.
    pub address: Address,
    /// Node or user.
    pub kind: IdentityKind,
}

/// A user ID that is no identity. Whoever made it is at fault; other user IDs of the same
/// certificate may still count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserIdError {
    /// Longer than [`Identity::MAX_BYTES`].
    #[error("the user ID is longer than {} bytes", Identity::MAX_BYTES)]
    TooLong,
    /// Not UTF-8, or with control characters or characters that change the direction of text.
    #[error("the user ID has characters that a terminal would act on, or is not UTF-8")]
    OddCharacters,
    /// Neither `Real name (URL)` nor `Real name <email>`, or it holds several addresses.
    #[error("the user ID is neither \"Real name (URL)\" nor \"Real name <email>\"")]
    Form,
    /// The URL is not `http://host[:port]` or `https://host[:port]`.
    #[error("the URL in the user ID is not http(s)://host[:port]")]
    Url,
    /// The e-mail address is not of the form `local@domain`.
    #[error("the e-mail address in the user ID is not local@domain")]
    Email,
}

impl Identity {
    /// The greatest length of a user ID in bytes: a name and an address of 320 bytes fit, and a
    /// list of certificates stays readable.
    pub const MAX_BYTES: usize = 512;

    /// Reads the identity in a user ID.
    ///
    /// # Errors
    /// [`UserIdError`]: odd user IDs are refused as identity, so that "a@b <c@d>" is nobody.
    pub fn parse(user_id: &[u8]) -> Result<Self, UserIdError> {
        if user_id.len() > Self::MAX_BYTES {
            return Err(UserIdError::TooLong);
        }
        let text = std::str::from_utf8(user_id).map_err(|_| UserIdError::OddCharacters)?;
        if text.chars().any(is_odd) {
            return Err(UserIdError::OddCharacters);
        }
        if let Some((name, url)) = enclosed(text, '(', ')') {
            Self::node(name, url)
        } else if let Some((name, email)) = enclosed(text, '<', '>') {
            Self::user(name, email)
        } else {
            Self::user("", text)
        }
    }

    fn node(name: &str, url: &str) -> Result<Self, UserIdError> {
        let address = parse_url(url).ok_or(UserIdError::Url)?;
        Self::new(name, address, IdentityKind::Node)
    }

    fn user(name: &str, email: &str) -> Result<Self, UserIdError> {
        let address = parse_email(email).ok_or(UserIdError::Email)?;
        Self::new(name, address, IdentityKind::User)
    }

    /// A name that looks like a second address makes it unclear which one counts.
    fn new(name: &str, address: String, kind: IdentityKind) -> Result<Self, UserIdError> {
        let unclear = |c: char| matches!(c, '@' | '<' | '>');
        if name.chars().any(unclear) || name.contains("://") {
            return Err(UserIdError::Form);
        }
        let address = Address::new(address).map_err(|_| UserIdError::Form)?;
        Ok(Self { name: name.trim().to_owned(), address, kind })
    }
}

/// Control characters, and the invisible ones that reorder or hide text.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

/// Splits "before(inside)" when `close` is the last character.
fn enclosed(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    text.trim_end().strip_suffix(close)?.rsplit_once(open)
}

/// `http(s)://host[:port]`, in lower case and without a final slash.
fn parse_url(url: &str) -> Option<String> {
    let url = url.strip_suffix('/').unwrap_or(url).to_ascii_lowercase();
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let (host, port) = split_port(rest)?;
    let port_fits = port.is_none_or(is_port);
    (is_host(host) && port_fits).then_some(url)
}

/// Splits `host:port` or `[v6]:port`.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    let end = if text.starts_with('[') { text.find(']')?.checked_add(1)? } else { 0 };
    match text.get(end..)?.find(':') {
        None => Some((text, None)),
        Some(colon) => {
            let (host, port) = text.split_at_checked(end.checked_add(colon)?)?;
            Some((host, port.strip_prefix(':')))
        }
    }
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn is_host(host: &str) -> bool {
    if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return v6.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

/// `local@domain`, the domain in lower case.
fn parse_email(email: &str) -> Option<String> {
    let (local, domain) = email.split_once('@')?;
    let plain = |b: u8| b.is_ascii_graphic() && !b"()<>[]:;,\\\"@".contains(&b);
    let fits = !local.is_empty() && local.bytes().all(plain) && is_host(domain);
    fits.then(|| format!("{local}@{}", domain.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_users_are_told_apart() {
        let table = [
            ("n1 (http://127.0.0.1:5701)", "n1", "http://127.0.0.1:5701", IdentityKind::Node),
            ("Node (HTTPS://Example.ORG/)", "Node", "https://example.org", IdentityKind::Node),
            ("v6 (http://[::1]:80)", "v6", "http://[::1]:80", IdentityKind::Node),
            ("Alice <alice@Example.org>", "Alice", "alice@example.org", IdentityKind::User),
            ("Bob (work) <b+x@e.org>", "Bob (work)", "b+x@e.org", IdentityKind::User),
            ("<a@b>", "", "a@b", IdentityKind::User),
            ("a@b.c", "", "a@b.c", IdentityKind::User),
        ];
        for (text, name, address, kind) in table {
            let address = Address::new(address).unwrap();
            let expected = Identity { name: name.to_owned(), address, kind };
            assert_eq!(Identity::parse(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn odd_user_ids_are_nobody() {
        let table: [(&[u8], UserIdError); 17] = [
            (b"", UserIdError::Email),
            (b"a@b <c@d>", UserIdError::Form),
            (b"<a@b> <c@d>", UserIdError::Form),
            (b"x <a@b> (http://h)", UserIdError::Form),
            (b"x (http://h) <a@b>", UserIdError::Form),
            (b"x (http://a) (http://b)", UserIdError::Form),
            (b"alice\n<a@b>", UserIdError::OddCharacters),
            (b"\x1b[2J <a@b>", UserIdError::OddCharacters),
            (b"nul\0 <a@b>", UserIdError::OddCharacters),
            ("\u{202E}x <a@b>".as_bytes(), UserIdError::OddCharacters),
            (b"\xff <a@b>", UserIdError::OddCharacters),
            (b"n (file:///etc/passwd)", UserIdError::Url),
            (b"n (http://h:0)", UserIdError::Url),
            (b"n (http://h:70000)", UserIdError::Url),
            (b"n (http://user@h)", UserIdError::Url),
            (b"n (http://h/path)", UserIdError::Url),
            (&[b'x'; 513], UserIdError::TooLong),
        ];
        for (text, error) in table {
            assert_eq!(Identity::parse(text), Err(error), "{:?}", String::from_utf8_lossy(text));
        }
    }
}
