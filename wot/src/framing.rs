//! The outer form of a sealed message.
//!
//! It is checked before Sequoia sees the message: sequoia-openpgp 2.4.2 panics on an encrypted
//! container that is shorter than its own frame (`parse.rs`, `data_consume_hard(..).unwrap()`),
//! and anybody can encrypt such a thing to us. The check also leaves one form only: complete
//! packets in the new format, none that we never send.

/// Random prefix (16 bytes and 2 repeated), the version, and the modification detection code
/// (22 bytes): RFC 9580 section 5.13.1. Version 2 containers are longer.
const MIN_CONTAINER_BYTES: usize = 1 + 18 + 22;

/// Packet types, RFC 9580 section 5.
const PKESK: u8 = 1;
const SIGNATURE: u8 = 2;
const ONE_PASS_SIGNATURE: u8 = 4;
const LITERAL: u8 = 11;
const CONTAINER: u8 = 18;

/// Checks the outer packets of a message: session keys and a container, or a signed text.
pub(crate) fn check(message: &[u8]) -> Result<(), &'static str> {
    let mut rest = message;
    let mut kinds = Vec::new();
    while !rest.is_empty() {
        let (kind, length, after) = packet(rest)?;
        if kind == CONTAINER && length < MIN_CONTAINER_BYTES {
            return Err("its encrypted part is too short");
        }
        // Any number of session keys may come first; they are counted elsewhere.
        if kind != PKESK || kinds.is_empty() {
            kinds.push(kind);
        }
        rest = after;
    }
    match kinds.as_slice() {
        [PKESK, CONTAINER] | [ONE_PASS_SIGNATURE, LITERAL, SIGNATURE] => Ok(()),
        _ => Err("not the packets of a sealed message"),
    }
}

/// The type and body length of the first packet, and what follows it.
fn packet(bytes: &[u8]) -> Result<(u8, usize, &[u8]), &'static str> {
    let (header, mut rest) = bytes.split_first().ok_or(CUT)?;
    if header & 0xC0 != 0xC0 {
        return Err("not a binary OpenPGP message in the new packet format");
    }
    let mut total = 0usize;
    loop {
        let (length, is_last, body) = length(rest)?;
        rest = body.get(length..).ok_or(CUT)?;
        total = total.saturating_add(length);
        if is_last {
            return Ok((header & 0x3F, total, rest));
        }
    }
}

const CUT: &str = "it is cut short";

/// A body length, whether it is the last of its packet, and what follows. RFC 9580 section 4.2.1.
fn length(bytes: &[u8]) -> Result<(usize, bool, &[u8]), &'static str> {
    let (first, rest) = bytes.split_first().ok_or(CUT)?;
    match first {
        0..=191 => Ok((usize::from(*first), true, rest)),
        192..=223 => {
            let (second, rest) = rest.split_first().ok_or(CUT)?;
            let high = usize::from(first - 192) << 8;
            Ok((high + usize::from(*second) + 192, true, rest))
        }
        224..=254 => Ok((1 << (first & 0x1F), false, rest)),
        255 => {
            let (number, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
            let length = usize::try_from(u32::from_be_bytes(*number)).map_err(|_| CUT)?;
            Ok((length, true, rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_form_are_read() {
        assert_eq!(length(&[5, 9]), Ok((5, true, &[9][..])));
        assert_eq!(length(&[192, 0]), Ok((192, true, &[][..])));
        assert_eq!(length(&[223, 255]), Ok((8383, true, &[][..])));
        assert_eq!(length(&[225, 7]), Ok((2, false, &[7][..])));
        assert_eq!(length(&[255, 0xff, 0xff, 0xff, 0xff]), Ok((0xffff_ffff, true, &[][..])));
        for cut in [&[][..], &[200], &[255, 0, 0, 0]] {
            assert_eq!(length(cut), Err(CUT));
        }
    }

    #[test]
    fn only_complete_messages_of_our_form_pass() {
        let container = [&[0xC0 | PKESK, 0, 0xC0 | CONTAINER, 41][..], &[0; 41]].concat();
        assert_eq!(check(&container), Ok(()));
        let short = [&[0xC0 | PKESK, 0, 0xC0 | CONTAINER, 40][..], &[0; 40]].concat();
        assert_eq!(check(&short), Err("its encrypted part is too short"));
        assert_eq!(check(&container[..44]), Err(CUT));
        assert!(check(&[0x85, 1, 0, 0]).is_err(), "old format");
        assert!(check(&[0xC0 | 8, 0]).is_err(), "compressed");
        assert!(check(&container[2..]).is_err(), "no session key");
        assert!(check(&[&container[..], &container[..]].concat()).is_err(), "two messages");
    }
}
