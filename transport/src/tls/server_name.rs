//! A node's fingerprint as the name of a server.
//!
//! The name is not sent: it tells the verifier, and the memory of sessions, which node was asked.

use bftkv_protocol::NodeId;
use rustls::pki_types::ServerName;

/// How many digits a label has: a label has at most 63 bytes, and a fingerprint has 40 or 64
/// digits. RFC 1035 section 2.3.4.
const DIGITS: usize = 32;

/// What no real name ends with. RFC 6761.
const ENDING: &str = ".bftkv.invalid";

/// The name of a node; `None` never happens.
pub(super) fn of(node: &NodeId) -> Option<ServerName<'static>> {
    let digits = node.to_string();
    let mut name = String::with_capacity(digits.len().saturating_add(20));
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % DIGITS == 0 {
            name.push('.');
        }
        name.push(digit);
    }
    name.push_str(ENDING);
    ServerName::try_from(name).ok()
}

/// The node of a name that [`of`] made.
pub(super) fn node(name: &ServerName<'_>) -> Option<NodeId> {
    let ServerName::DnsName(name) = name else { return None };
    let digits = name.as_ref().strip_suffix(ENDING)?;
    digits.replace('.', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_lengths_come_back_and_have_short_labels() {
        for length in [20, 32] {
            let id = NodeId::from_bytes(&vec![0xab; length]).unwrap();
            let name = of(&id).unwrap();
            assert!(name.to_str().split('.').all(|label| label.len() < 64));
            assert_eq!(node(&name), Some(id));
        }
        let other = ServerName::try_from("example.org").unwrap();
        assert_eq!(node(&other), None);
    }
}
