//! The outer form of a sealed message.
//!
//! Messages are taken apart here before Sequoia sees their packets: sequoia-openpgp 2.4.2 panics
//! on an encrypted container that is shorter than its own frame (`parse.rs`,
//! `data_consume_hard(..).unwrap()`), and anybody can encrypt such a thing to us. That also leaves
//! one form only: complete packets in the new format, none that we never send.

use std::borrow::Cow;

/// Random prefix (16 bytes and 2 repeated), the version, and the modification detection code
/// (22 bytes): RFC 9580 section 5.13.1. Version 2 containers are longer.
const MIN_CONTAINER_BYTES: usize = 1 + 18 + 22;

/// Packet types, RFC 9580 section 5.
const PKESK: u8 = 1;
const SIGNATURE: u8 = 2;
const ONE_PASS_SIGNATURE: u8 = 4;
const LITERAL: u8 = 11;
const CONTAINER: u8 = 18;

/// The packets of a message, by their form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// Session keys for its recipients, then what they open.
    Sealed { session_keys: Vec<Frame<'a>>, container: Frame<'a> },
    /// Signed only.
    Signed(Signed<'a>),
}

/// A text and its one signature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Signed<'a> {
    /// What the signature is going to be, for readers that hash while they read.
    pub(crate) announcement: Frame<'a>,
    /// The text.
    pub(crate) literal: Frame<'a>,
    pub(crate) signature: Frame<'a>,
}

/// A packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    kind: u8,
    /// With its header.
    pub(crate) bytes: &'a [u8],
    /// Put together, if it came in parts.
    pub(crate) body: Cow<'a, [u8]>,
}

/// Takes a message apart into its outer packets, at most `max_packets`.
pub(crate) fn message(bytes: &[u8], max_packets: usize) -> Result<Message<'_>, &'static str> {
    let mut frames = split(bytes, max_packets)?;
    match frames.last().map(|last| last.kind) {
        Some(CONTAINER) => {
            let container = frames.pop().ok_or(OTHER_PACKETS)?;
            if container.body.len() < MIN_CONTAINER_BYTES {
                return Err("its encrypted part is too short");
            }
            if frames.is_empty() || frames.iter().any(|frame| frame.kind != PKESK) {
                return Err(OTHER_PACKETS);
            }
            Ok(Message::Sealed { session_keys: frames, container })
        }
        _ => signed_of(frames).map(Message::Signed),
    }
}

/// Takes apart what was in a container.
pub(crate) fn signed(bytes: &[u8]) -> Result<Signed<'_>, &'static str> {
    signed_of(split(bytes, 3)?)
}

fn signed_of(frames: Vec<Frame<'_>>) -> Result<Signed<'_>, &'static str> {
    let [announcement, literal, signature] = frames.try_into().map_err(|_| OTHER_PACKETS)?;
    if [announcement.kind, literal.kind, signature.kind] != [ONE_PASS_SIGNATURE, LITERAL, SIGNATURE]
    {
        return Err(OTHER_PACKETS);
    }
    Ok(Signed { announcement, literal, signature })
}

const OTHER_PACKETS: &str = "not the packets of a sealed message";

fn split(bytes: &[u8], max_packets: usize) -> Result<Vec<Frame<'_>>, &'static str> {
    let (mut rest, mut frames) = (bytes, Vec::new());
    while !rest.is_empty() {
        if frames.len() >= max_packets {
            return Err("too many packets");
        }
        let (frame, after) = packet(rest)?;
        frames.push(frame);
        rest = after;
    }
    Ok(frames)
}

/// The first packet, and what follows it.
fn packet(bytes: &[u8]) -> Result<(Frame<'_>, &[u8]), &'static str> {
    let (header, mut rest) = bytes.split_first().ok_or(CUT)?;
    if header & 0xC0 != 0xC0 {
        return Err("not a binary OpenPGP message in the new packet format");
    }
    let mut body = Cow::Borrowed(&[][..]);
    loop {
        let (length, is_last, after) = length(rest)?;
        let (part, after) = after.split_at_checked(length).ok_or(CUT)?;
        rest = after;
        if body.is_empty() {
            body = Cow::Borrowed(part);
        } else {
            body.to_mut().extend_from_slice(part);
        }
        if is_last {
            let used = bytes.len().saturating_sub(rest.len());
            let bytes = bytes.get(..used).ok_or(CUT)?;
            return Ok((Frame { kind: header & 0x3F, bytes, body }, rest));
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
        let check = |bytes: &[u8]| message(bytes, 100).map(|_| ());
        let container = [&[0xC0 | PKESK, 0, 0xC0 | CONTAINER, 41][..], &[0; 41]].concat();
        assert_eq!(check(&container), Ok(()));
        let short = [&[0xC0 | PKESK, 0, 0xC0 | CONTAINER, 40][..], &[0; 40]].concat();
        assert_eq!(check(&short), Err("its encrypted part is too short"));
        assert_eq!(check(&container[..44]), Err(CUT));
        assert!(check(&[0x85, 1, 0, 0]).is_err(), "old format");
        assert!(check(&[0xC0 | 8, 0]).is_err(), "compressed");
        assert!(check(&container[2..]).is_err(), "no session key");
        assert!(check(&[&container[..], &container[..]].concat()).is_err(), "two messages");
        let many = [&[0xC0 | PKESK, 0].repeat(100), &container[2..]].concat();
        assert_eq!(check(&many), Err("too many packets"));
        let signed = [0xC0 | ONE_PASS_SIGNATURE, 0, 0xC0 | LITERAL, 0, 0xC0 | SIGNATURE, 0];
        assert_eq!(check(&signed), Ok(()));
        assert!(check(&signed[2..]).is_err(), "not announced");
        assert!(check(&signed[..4]).is_err(), "no signature");
        assert!(check(&[&signed[..], &signed[4..]].concat()).is_err(), "two signatures");
    }

    #[test]
    fn a_packet_in_parts_is_put_together() {
        let parts = [0xC0 | LITERAL, 225, 1, 2, 224, 3, 1, 4];
        let (frame, rest) = packet(&parts).unwrap();
        assert_eq!((&*frame.body, frame.bytes, rest), (&[1, 2, 3, 4][..], &parts[..], &[][..]));
        assert_eq!(packet(&parts[..6]), Err(CUT), "the last part is missing");
    }
}
