//! Bytes that are no message, or another one: each is an error, or a value whose encoding they are.

use std::fmt;

use bftkv_protocol::{
    Address, Answer, CertificateBytes, CollectiveSignature, DecodeError, EntryHash,
    MAX_MESSAGE_BYTES, NodeId, Realm, Refusal, Request, Response, SignatureBytes, SignatureShare,
    Timestamp, Value, Variable, decode, encode,
};
use proptest::prelude::*;
use serde::de::{DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::arbitrary::{request, response};
use crate::fixtures::{ALICE, entry, one_group, share, signed};
use crate::variants::variants;
use crate::vectors::messages;

/// What came of decoding: the encoding of what was understood, or the error.
fn understood(name: &str, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    if name.starts_with("request ") {
        decode::<Request>(bytes).map(|request| encode(&request))
    } else {
        decode::<Response>(bytes).map(|response| encode(&response))
    }
}

/// No two byte strings mean the same, and none is half understood.
fn is_error_or_exact(name: &str, bytes: &[u8]) -> bool {
    understood(name, bytes).is_ok_and(|again| again == bytes) || understood(name, bytes).is_err()
}

#[test]
fn every_truncation_is_refused() {
    for (name, bytes) in messages() {
        for length in 0..bytes.len() {
            assert!(understood(name, &bytes[..length]).is_err(), "{name} cut to {length}");
        }
    }
}

#[test]
fn every_bit_flip_is_refused_or_another_message() {
    let mut others = 0;
    for (name, bytes) in messages() {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(is_error_or_exact(name, &flipped), "{name}, bit {bit}");
            others += usize::from(understood(name, &flipped).is_ok());
        }
    }
    assert!(others > 1000, "flips in values and signatures decode, to other values");
}

#[test]
fn trailing_bytes_are_refused() {
    for (name, bytes) in messages() {
        for extra in [0, 1, 0xff] {
            let longer = [bytes.as_slice(), &[extra]].concat();
            assert_eq!(understood(name, &longer), Err(DecodeError::NotCanonical), "{name}");
        }
    }
}

/// Lengths that a decoder must not believe.
const LENGTHS: [u64; 7] = [0, 1 << 20, 1 << 31, u32::MAX as u64, 1 << 32, 1 << 63, u64::MAX];

/// A number as postcard writes it.
fn varint(number: u64) -> Vec<u8> {
    encode(&number)
}

/// Puts each length in the place of each byte: all places of a length field are among them.
#[test]
fn wrong_lengths_are_refused_wherever_they_stand() {
    for (name, bytes) in messages() {
        for at in 0..bytes.len() {
            for length in LENGTHS {
                let tail = &bytes[at + 1..];
                let bad = [&bytes[..at], &varint(length), tail].concat();
                assert!(is_error_or_exact(name, &bad), "{name}: {length} at {at}");
            }
        }
    }
}

/// The length of a field, of each kind of field: more than what follows.
#[test]
fn a_length_beyond_the_message_is_an_error() {
    for length in &LENGTHS[1..] {
        let bytes = [varint(*length), b"short".to_vec()].concat();
        assert_eq!(decode::<Value>(&bytes), Err(DecodeError::Malformed));
        assert_eq!(decode::<Variable>(&bytes), Err(DecodeError::Malformed));
        assert_eq!(decode::<Realm>(&bytes), Err(DecodeError::Malformed));
        assert_eq!(decode::<Vec<SignatureShare>>(&bytes), Err(DecodeError::Malformed));
        assert_eq!(decode::<Vec<Timestamp>>(&bytes), Err(DecodeError::Malformed));
    }
}

/// How many elements the decoder lets a list reserve memory for, before it has read any.
#[derive(Debug, Serialize)]
struct Reserved(Option<usize>);

impl<'de> Deserialize<'de> for Reserved {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        decoder.deserialize_seq(Probe)
    }
}

struct Probe;

impl<'de> Visitor<'de> for Probe {
    type Value = Reserved;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Reserved, A::Error> {
        Ok(Reserved(list.size_hint()))
    }
}

/// A claimed length reserves no memory. Byte strings are cut out of the message and then copied;
/// lists reserve what the decoder's hint says, which is asked here, and at most 1 MiB (serde). The
/// crate forbids `unsafe`, and with it a counting allocator, so the hint itself is the evidence.
#[test]
fn a_claimed_length_reserves_no_memory() {
    for length in &LENGTHS[1..] {
        let bytes = [varint(*length), vec![0; 100]].concat();
        let reserved: Reserved = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(reserved.0, None, "{length} elements in 100 bytes");
    }
    let honest: Reserved = postcard::from_bytes(&[3, 0, 0, 0]).unwrap();
    assert_eq!(honest.0, Some(3));
}

/// A byte string of this length, as any of the limited types encodes it.
fn of_length(length: usize) -> Vec<u8> {
    encode(&ByteBuf::from(vec![b'a'; length]))
}

fn accepts<T: DeserializeOwned + Serialize>(length: usize) -> bool {
    decode::<T>(&of_length(length)).is_ok()
}

#[test]
fn sizes_are_limited_when_decoding() {
    type Accepts = fn(usize) -> bool;
    let table: [(&str, Accepts, usize, usize); 6] = [
        ("value", accepts::<Value>, 0, 1024 * 1024),
        ("variable", accepts::<Variable>, 1, 1024),
        ("signature", accepts::<SignatureBytes>, 1, 1024),
        ("certificate", accepts::<CertificateBytes>, 1, 64 * 1024),
        ("realm", accepts::<Realm>, 1, 64),
        ("address", accepts::<Address>, 1, 320),
    ];
    for (what, accepts, min, max) in table {
        assert!(accepts(min) && accepts(max), "{what}: the limits themselves are allowed");
        assert!(!accepts(max + 1), "{what}: {max} and one more");
        assert!(min == 0 || !accepts(min - 1), "{what}: an empty one");
    }
}

#[test]
fn fingerprints_are_20_or_32_bytes() {
    let accepted: Vec<usize> = (0..70).filter(|length| accepts::<NodeId>(*length)).collect();
    assert_eq!(accepted, [20, 32]);
}

#[test]
fn odd_characters_in_names_are_refused() {
    for bad in ["UPPER", "a b", "a_b", "ä", "a\n"] {
        assert!(decode::<Realm>(&encode(&bad)).is_err(), "{bad:?}");
    }
    for bad in ["a b@example.org", "a@example.org\n", "a\u{85}b", "\0"] {
        assert!(decode::<Address>(&encode(&bad)).is_err(), "{bad:?}");
    }
}

#[test]
fn a_message_over_the_limit_is_refused_unread() {
    let bytes = vec![0; MAX_MESSAGE_BYTES + 1];
    assert_eq!(decode::<Request>(&bytes), Err(DecodeError::TooLong));
    assert_eq!(decode::<Vec<u64>>(&bytes[..1000]), Err(DecodeError::NotCanonical));
}

/// The same number with a superfluous byte, and the same flag with another bit.
#[test]
fn other_encodings_of_one_value_are_refused() {
    assert_eq!(decode::<Timestamp>(&[7]), Ok(Timestamp::new(7)));
    assert_eq!(decode::<Timestamp>(&[0x87, 0]), Err(DecodeError::NotCanonical));
    assert_eq!(decode::<Option<bool>>(&[1, 1]), Ok(Some(true)));
    assert!(decode::<Option<bool>>(&[1, 2]).is_err());
    assert!(decode::<Option<bool>>(&[2, 1]).is_err());
}

/// Encodes what a collective signature encodes, whatever the order of the shares.
fn shares(signers: &[u8]) -> Vec<u8> {
    let configuration = one_group();
    let entry = signed(entry(ALICE, 1, "v"));
    let shares: Vec<_> = signers.iter().map(|id| share(&entry, *id, &configuration)).collect();
    encode(&(configuration.digest(), shares))
}

#[test]
fn shares_ascend_each_signer_once() {
    let is_signature = |signers: &[u8]| decode::<CollectiveSignature>(&shares(signers)).is_ok();
    assert!(is_signature(&[]) && is_signature(&[0xa1]) && is_signature(&[0xa1, 0xa2, 0xa3]));
    for bad in [&[0xa2, 0xa1][..], &[0xa1, 0xa1], &[0xa1, 0xa3, 0xa2], &[0xa1, 0xa2, 0xa2]] {
        assert!(!is_signature(bad), "{bad:x?}");
    }
}

#[test]
fn a_collective_signature_has_a_limit() {
    let id = |n: u16| NodeId::from_bytes(&[&[0; 18][..], &n.to_be_bytes()].concat()).unwrap();
    let of = |count: u16| {
        let signature = SignatureBytes::new(*b"s").unwrap();
        let share = |n| SignatureShare { signer: id(n), signature: signature.clone() };
        encode(&(one_group().digest(), (0..count).map(share).collect::<Vec<_>>()))
    };
    let limit = u16::try_from(CollectiveSignature::MAX_SHARES).unwrap();
    assert!(decode::<CollectiveSignature>(&of(limit)).is_ok());
    assert!(decode::<CollectiveSignature>(&of(limit + 1)).is_err());
}

/// A message whose one list has this many elements of `element`.
fn with_list(head: &[u8], count: usize, element: &[u8]) -> Vec<u8> {
    let count_bytes = varint(u64::try_from(count).unwrap());
    [head, &count_bytes, &element.repeat(count)].concat()
}

/// A list cannot make much memory out of few bytes.
#[test]
fn lists_are_limited() {
    let (id, timestamp, certificate) = ([[20].as_slice(), &[7; 20]].concat(), [7], [1, 7]);
    let request = |count| decode::<Request>(&with_list(&[2], count, &id)).is_ok();
    let versions = |count| decode::<Answer>(&with_list(&[5], count, &timestamp)).is_ok();
    let certificates = |count| decode::<Answer>(&with_list(&[0], count, &certificate)).is_ok();
    assert!(request(2048) && versions(2048) && certificates(32_768));
    assert!(!request(2049) && !versions(2049) && !certificates(32_769));
    let reason = |length| decode::<Refusal>(&[&[20], of_length(length).as_slice()].concat());
    assert!(reason(1024).is_ok() && reason(1025).is_err());
}

fn unknown_variant<T: DeserializeOwned + Serialize>(of: &str, body: usize) {
    let known = variants::<T>().len();
    for number in [known, known + 1, 127, 128, 65_536, usize::try_from(u32::MAX).unwrap()] {
        let bytes = [varint(u64::try_from(number).unwrap()), vec![0; body]].concat();
        assert!(decode::<T>(&bytes).is_err(), "{of} {number}");
    }
}

#[test]
fn unknown_kinds_of_message_are_refused() {
    for body in [0, 1, 32, 200] {
        unknown_variant::<Request>("request", body);
        unknown_variant::<Answer>("answer", body);
        unknown_variant::<Refusal>("refusal", body);
    }
}

#[test]
fn digests_have_32_bytes() {
    assert!(decode::<EntryHash>(&[7; 32]).is_ok());
    assert!(decode::<EntryHash>(&[7; 31]).is_err() && decode::<EntryHash>(&[7; 33]).is_err());
}

proptest! {
    #[test]
    fn every_request_comes_back_as_it_was_sent(request in request()) {
        prop_assert_eq!(decode::<Request>(&encode(&request)), Ok(request));
    }

    #[test]
    fn every_response_comes_back_as_it_was_sent(response in response()) {
        prop_assert_eq!(decode::<Response>(&encode(&response)), Ok(response));
    }

    #[test]
    fn any_bytes_are_an_error_or_their_own_encoding(bytes: Vec<u8>) {
        prop_assert!(is_error_or_exact("request ", &bytes) && is_error_or_exact("answer ", &bytes));
    }
}
