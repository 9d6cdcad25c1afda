//! Where a node's URL leads.

use hyper::header::HeaderValue;
use hyper::http::uri::Authority;

use crate::TransportError;

/// The greatest length of a URL in bytes: far above any host name (253) with port.
const MAX_URL_BYTES: usize = 512;

/// The port of `http://host`.
const DEFAULT_PORT: u16 = 80;

/// A host and a port to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Endpoint {
    /// `host:port`, an IPv6 address in brackets.
    target: String,
    /// The `Host` header.
    host: HeaderValue,
}

impl Endpoint {
    /// Takes `http://host[:port][/]` or `host[:port]`, and nothing else.
    pub(super) fn parse(url: &str) -> Result<Self, TransportError> {
        parse(url).map_err(|reason| {
            let url = url.chars().take(MAX_URL_BYTES).collect();
            TransportError::BadAddress { url, reason }
        })
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn host(&self) -> HeaderValue {
        self.host.clone()
    }
}

fn parse(url: &str) -> Result<Endpoint, &'static str> {
    if url.len() > MAX_URL_BYTES {
        return Err("it is too long");
    }
    let place = match url.split_once("://") {
        None => url,
        Some((scheme, place)) if scheme.eq_ignore_ascii_case("http") => place,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            return Err(
                "https is not used: with http, the certificates decide on TLS or sealed messages",
            );
        }
        Some(_) => return Err("only http is supported"),
    };
    let place = place.strip_suffix('/').unwrap_or(place);
    if place.contains(['/', '?', '#', '@']) {
        return Err("only http://host:port is possible, without user, path or query");
    }
    let authority: Authority = place.parse().map_err(|_| "the host or the port is not valid")?;
    let port = match place.strip_prefix(authority.host()) {
        Some("") => DEFAULT_PORT,
        _ => authority.port_u16().filter(|port| *port != 0).ok_or("the port is not valid")?,
    };
    if authority.host().is_empty() {
        return Err("the host is missing");
    }
    let host = HeaderValue::from_str(place).map_err(|_| "the host is not valid")?;
    Ok(Endpoint { target: format!("{}:{port}", authority.host()), host })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read() {
        for (url, target) in [
            ("http://127.0.0.1:5701", "127.0.0.1:5701"),
            ("http://127.0.0.1:5701/", "127.0.0.1:5701"),
            ("HTTP://example.org", "example.org:80"),
            ("localhost:5601", "localhost:5601"),
            ("http://[::1]:5601", "[::1]:5601"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().target(), target, "{url}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = format!("http://{}", "a".repeat(600));
        for url in [
            "",
            "http://",
            "https://example.org",
            "ftp://example.org",
            "file:///etc/passwd",
            "http://user@example.org",
            "http://example.org/path",
            "http://example.org?x",
            "http://example.org:0",
            "http://example.org:65536",
            "http://example.org:",
            "http://exam ple.org",
            "http://a\r\nb",
            "http://:80",
            &long,
        ] {
            let error = Endpoint::parse(url).unwrap_err();
            assert!(matches!(error, TransportError::BadAddress { .. }), "{url}");
        }
        let https = Endpoint::parse("https://example.org").unwrap_err();
        assert!(https.to_string().contains("not used"), "{https}");
    }
}
