//! The golden vectors: what is signed, and what crosses the wire, never changes by accident.
//!
//! `testdata/canonical.txt` is checked twice: against the bytes that this crate makes, and against
//! the rule of `docs/wire.md` ("length-prefixed fields"), written once more here.
//!
//! To write both files anew after a deliberate change of the format:
//! `BFTKV_REGENERATE=1 cargo test --release -p bftkv-protocol --test rules -- --ignored regenerate`

use std::collections::BTreeMap;

use bftkv_protocol::{
    Abandon, Answer, Configuration, Entry, Group, NodeId, Purpose, Refusal, Request, Response,
    SignedEntry, TimeStatement, Value, ValueDigest, VouchStatement, decode, encode, sign_batch,
};

use crate::fixtures::{
    ALICE, CLIQUE, STORE, abandon, final_entry, nodes, realm, share_statement, sign, signed, t,
    two_groups, variable,
};
use crate::samples::{announcement, refusals, samples};
use crate::variants::variants;

const CANONICAL: &str = include_str!("../../testdata/canonical.txt");
const MESSAGES: &str = include_str!("../../testdata/messages.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// One field of signed bytes, as a line of the file says it.
#[derive(Debug)]
struct Field {
    kind: &'static str,
    meaning: &'static str,
    text: String,
}

fn text(meaning: &'static str, text: impl Into<String>) -> Field {
    Field { kind: "text", meaning, text: text.into() }
}

fn bytes(meaning: &'static str, bytes: &[u8]) -> Field {
    Field { kind: "hex", meaning, text: hex(bytes) }
}

fn number(meaning: &'static str, number: u64) -> Field {
    Field { kind: "number", meaning, text: number.to_string() }
}

/// A digest that stands in the bytes without a length.
fn raw(meaning: &'static str, bytes: &[u8]) -> Field {
    Field { kind: "raw", meaning, text: hex(bytes) }
}

/// The rule of `docs/wire.md`, from the words of the file alone.
fn by_the_rule(kind: &str, text: &str) -> Vec<u8> {
    let content = match kind {
        "raw" => return unhex(text),
        "hex" => unhex(text),
        "text" => text.as_bytes().to_vec(),
        "number" => text.parse::<u64>().unwrap().to_be_bytes().to_vec(),
        "flag" => vec![text.parse().unwrap()],
        other => panic!("a field of kind {other}"),
    };
    let length = u64::try_from(content.len()).unwrap().to_be_bytes();
    [length.as_slice(), &content].concat()
}

/// What is signed or hashed for one domain.
struct Vector {
    domain: &'static str,
    fields: Vec<Field>,
    /// What this crate makes: the bytes or, if it gives out only that, their digest.
    made: Made,
}

enum Made {
    Bytes(Vec<u8>),
    Digest([u8; 32]),
}

fn example() -> Entry {
    Entry { value: Value::new("hello").unwrap(), ..final_entry(ALICE, 7, "") }
}

fn entry_vector(entry: &Entry) -> Vector {
    let fields = vec![
        text("domain", "bftkv 1 entry"),
        text("realm", entry.realm.as_str()),
        bytes("x", entry.variable.as_bytes()),
        number("t", entry.timestamp.get()),
        Field { kind: "flag", meaning: "final", text: "1".into() },
        bytes("writer", entry.writer.as_bytes()),
        text("owner", entry.owner.as_str()),
        bytes("SHA-256 of v", entry.value.digest().as_bytes()),
    ];
    Vector { domain: "entry", fields, made: Made::Bytes(entry.signed_bytes()) }
}

fn hash_vector(signed: &SignedEntry) -> Vector {
    let entry = ValueDigest::of(&signed.entry.signed_bytes());
    let signature = ValueDigest::of(signed.signature.packet().as_bytes());
    let fields = vec![
        text("domain", "bftkv 1 entry-hash"),
        text("realm", "example"),
        raw("SHA-256 of the entry's signed bytes", entry.as_bytes()),
        raw("SHA-256 of the writer's signature packet", signature.as_bytes()),
    ];
    Vector { domain: "entry-hash", fields, made: Made::Digest(*signed.hash().as_bytes()) }
}

fn share_vector(signed: &SignedEntry, configuration: &Configuration) -> Vector {
    let statement = share_statement(signed, configuration);
    let fields = vec![
        text("domain", "bftkv 1 share"),
        text("realm", "example"),
        bytes("configuration", statement.configuration.as_bytes()),
        bytes("x", statement.variable.as_bytes()),
        number("t", statement.timestamp.get()),
        bytes("entry hash", statement.entry.as_bytes()),
    ];
    Vector { domain: "share", fields, made: Made::Bytes(statement.signed_bytes()) }
}

fn vouch_vector(signed: &SignedEntry, configuration: &Configuration) -> Vector {
    let statement = VouchStatement::about(signed, configuration);
    let fields = vec![
        text("domain", "bftkv 1 vouch"),
        text("realm", "example"),
        bytes("configuration", statement.configuration.as_bytes()),
        bytes("x", statement.variable.as_bytes()),
        number("t", statement.timestamp.get()),
        bytes("entry hash", statement.entry.as_bytes()),
    ];
    Vector { domain: "vouch", fields, made: Made::Bytes(statement.signed_bytes()) }
}

fn vouched_vector(configuration: &Configuration) -> Vector {
    let fields = vec![
        text("domain", "bftkv 1 vouched"),
        text("realm", "example"),
        bytes("configuration", configuration.digest().as_bytes()),
    ];
    let made = Made::Digest(*configuration.vouched().as_bytes());
    Vector { domain: "vouched", fields, made }
}

fn time_vector(configuration: &Configuration) -> Vector {
    let configuration = configuration.digest();
    let statement =
        TimeStatement { realm: realm(), configuration, variable: variable("x"), seen: t(7) };
    let fields = vec![
        text("domain", "bftkv 1 time"),
        text("realm", "example"),
        bytes("configuration", configuration.as_bytes()),
        bytes("x", b"x"),
        number("seen", 7),
    ];
    Vector { domain: "time", fields, made: Made::Bytes(statement.signed_bytes()) }
}

fn abandon_vector(abandon: &Abandon) -> Vector {
    let fields = vec![
        text("domain", "bftkv 1 abandon"),
        text("realm", "example"),
        bytes("x", abandon.attempt.variable.as_bytes()),
        number("t", abandon.attempt.timestamp.get()),
        bytes("entry hash", abandon.attempt.hash.as_bytes()),
        bytes("writer", abandon.writer.as_bytes()),
        text("owner", abandon.owner.as_str()),
    ];
    Vector { domain: "abandon", fields, made: Made::Bytes(abandon.signed_bytes()) }
}

fn announcement_vector() -> Vector {
    let announcement = announcement();
    let fields = vec![
        text("domain", "bftkv 1 announcement"),
        text("realm", "example"),
        bytes("node", announcement.node.as_bytes()),
        number("epoch", 3),
        bytes("store", &announcement.age.identity),
        number("generation", 2),
        number("commits", 300),
        bytes("session", &announcement.session),
    ];
    Vector { domain: "announcement", fields, made: Made::Bytes(announcement.signed_bytes()) }
}

/// Three entries of one writer under one root: what stands in its packet.
fn batch_vector() -> Vector {
    let entries = [7, 8, 9].map(|at| Entry { timestamp: t(at), ..example() });
    let messages = entries.map(|entry| entry.signed_bytes());
    let mut made = Vec::new();
    let by = |purpose: Purpose, message: &[u8]| {
        made = message.to_vec();
        Ok::<_, ()>(sign(&ALICE.id(), purpose, message))
    };
    sign_batch(Purpose::Entry, &messages, by).unwrap();
    // RFC 9162 section 2.1.1, by hand.
    let leaf = |message: &[u8]| ValueDigest::of(&[&[0], message].concat());
    let node = |a: ValueDigest, b: ValueDigest| {
        ValueDigest::of(&[&[1], a.as_bytes().as_slice(), b.as_bytes()].concat())
    };
    let [a, b, c] = messages.map(|message| leaf(&message));
    let fields = vec![
        text("domain", "bftkv 1 batch"),
        text("realm", "example"),
        text("domain of the messages", "bftkv 1 entry"),
        number("how many", 3),
        bytes("root", node(node(a, b), c).as_bytes()),
    ];
    Vector { domain: "batch", fields, made: Made::Bytes(made) }
}

fn configuration_vector(configuration: &Configuration) -> Vector {
    let mut fields = vec![
        text("domain", "bftkv 1 configuration"),
        text("realm", "example"),
        number("number", configuration.number()),
    ];
    for (meaning, group) in [("a clique's size", CLIQUE), ("the store group's size", STORE)] {
        fields.push(number(meaning, 4));
        fields.extend(nodes(group).iter().map(|id| bytes("member", id.as_bytes())));
    }
    let made = Made::Digest(*configuration.digest().as_bytes());
    Vector { domain: "configuration", fields, made }
}

fn vectors() -> Vec<Vector> {
    let configuration = two_groups();
    let signed = signed(example());
    vec![
        entry_vector(&example()),
        hash_vector(&signed),
        share_vector(&signed, &configuration),
        time_vector(&configuration),
        abandon_vector(&abandon(ALICE, signed.id())),
        configuration_vector(&configuration),
        announcement_vector(),
        vouch_vector(&signed, &configuration),
        vouched_vector(&configuration),
        batch_vector(),
    ]
}

/// The vector as the file has it.
fn render(vector: &Vector) -> String {
    let mut all = Vec::new();
    let mut lines = format!("[{}]\n", vector.domain);
    for Field { kind, meaning, text } in &vector.fields {
        all.extend(by_the_rule(kind, text));
        lines += &format!("{kind} {text} ({meaning})\n");
    }
    let digest = ValueDigest::of(&all);
    lines + &format!("bytes {}\nsha256 {digest}\n", hex(&all))
}

const CANONICAL_HEAD: &str = "\
# The signed and hashed bytes of every domain. Read by tests/rules/vectors.rs; described in docs/wire.md.
# text, hex, number (64 bits), flag (1 byte): a field with its length before it. raw: bytes without a length.
# The realm is \"example\"; the writer is 01..01; one clique of a1..a1 to a4..a4, a store group of c1..c1 to c4..c4.
";

fn canonical_file() -> String {
    let vectors: Vec<String> = vectors().iter().map(render).collect();
    format!("{CANONICAL_HEAD}\n{}", vectors.join("\n"))
}

const MESSAGES_HEAD: &str = "\
# One encoded message of every kind. Read by tests/rules/vectors.rs and codec.rs; described in docs/wire.md.
# Answers and refusals stand in a response: 32 bytes of configuration digest, then 00 (answer) or 01 (refusal).
";

fn messages_file() -> String {
    let line =
        |sample: &crate::samples::Sample| format!("{}: {}\n", sample.name, hex(&sample.bytes));
    format!("{MESSAGES_HEAD}\n{}", samples().iter().map(line).collect::<String>())
}

/// The messages of the file, by name.
pub(crate) fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let lines = MESSAGES.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split_once(": ").unwrap()).map(|(n, h)| (n, unhex(h))).collect()
}

#[test]
fn signed_bytes_are_those_of_the_file() {
    for vector in vectors() {
        let expected = render(&vector);
        assert!(CANONICAL.contains(&expected), "{} changed:\n{expected}", vector.domain);
    }
    assert_eq!(CANONICAL, canonical_file());
}

/// Every section of the file, rebuilt from its own lines, and compared with what the crate makes.
#[test]
fn signed_bytes_follow_from_the_fields_in_the_file() {
    let sections: BTreeMap<&str, &str> =
        CANONICAL.split("\n[").skip(1).map(|s| s.split_once("]\n").unwrap()).collect();
    for vector in vectors() {
        let lines = sections[vector.domain].lines().map(|l| l.split_once(' ').unwrap());
        let (results, fields): (Vec<_>, Vec<_>) = lines
            .filter(|(kind, _)| !kind.is_empty())
            .partition(|(kind, _)| ["bytes", "sha256"].contains(kind));
        let word = |text: &'static str| text.split(" (").next().unwrap();
        let built: Vec<u8> =
            fields.iter().flat_map(|(k, text)| by_the_rule(k, word(text))).collect();
        let results: BTreeMap<_, _> = results.into_iter().collect();
        assert_eq!(hex(&built), results["bytes"], "{}", vector.domain);
        match vector.made {
            Made::Bytes(made) => assert_eq!(hex(&made), results["bytes"], "{}", vector.domain),
            Made::Digest(made) => assert_eq!(hex(&made), results["sha256"], "{}", vector.domain),
        }
    }
    assert_eq!(sections.len(), vectors().len());
}

#[test]
fn no_field_can_move_into_its_neighbour() {
    let ab = |x: &str, v: &str| Entry {
        variable: variable(x),
        value: Value::new(v).unwrap(),
        ..example()
    };
    assert_ne!(ab("xy", "z").signed_bytes(), ab("x", "yz").signed_bytes());
    let group = |ids: &[u8]| Group::new(nodes(ids.iter().copied()));
    let digest = |a: &[u8], b: &[u8]| {
        Configuration::new(realm(), 1, vec![group(a)], group(b), true).unwrap().digest()
    };
    assert_ne!(digest(&[1, 2], &[3]), digest(&[1], &[2, 3]));
}

#[test]
fn every_message_is_encoded_as_in_the_file() {
    for sample in samples() {
        let found = messages().into_iter().find(|(name, _)| *name == sample.name);
        let (_, bytes) = found.unwrap_or_else(|| panic!("no vector for {}", sample.name));
        assert_eq!(hex(&sample.bytes), hex(&bytes), "{} changed", sample.name);
    }
    assert_eq!(MESSAGES, messages_file());
}

/// The file's messages that are `kind variant`, whatever follows.
fn is_covered(kind: &str, variant: &str) -> bool {
    let name = format!("{kind} {variant}");
    let more = format!("{name} ");
    messages().iter().any(|(have, _)| *have == name || have.starts_with(&more))
}

#[test]
fn every_kind_of_message_has_a_vector() {
    let kinds = [
        ("request", variants::<Request>()),
        ("answer", variants::<Answer>()),
        ("refusal", variants::<Refusal>()),
    ];
    for (kind, names) in kinds {
        assert!(names.len() > 6, "{kind}: the decoder names its variants");
        let missing: Vec<_> = names.iter().filter(|name| !is_covered(kind, name)).collect();
        assert!(missing.is_empty(), "add to samples.rs, then regenerate: {kind} {missing:?}");
    }
    assert!(!is_covered("refusal", "Unheard"));
}

#[test]
fn every_message_of_the_file_decodes_to_itself() {
    for (name, bytes) in messages() {
        if name.starts_with("request ") {
            let request: Request = decode(&bytes).unwrap();
            assert_eq!(encode(&request), bytes, "{name}");
        } else {
            let response: Response = decode(&bytes).unwrap();
            assert_eq!(response.outcome.is_ok(), name.starts_with("answer "), "{name}");
            assert_eq!(encode(&response), bytes, "{name}");
        }
    }
}

/// The numbers of `docs/wire.md`: distinct, and never changed.
#[test]
fn refusals_keep_their_numbers() {
    let codes: Vec<u16> = refusals().iter().map(|(_, refusal)| refusal.code()).collect();
    let expected = [
        100, 101, 102, 103, 200, 201, 202, 300, 301, 302, 303, 304, 305, 400, 401, 402, 403, 404,
        405, 406, 500, 501, 306, 203, 204, 104, 205, 502, 600, 206,
    ];
    assert_eq!(codes, expected);
    assert_eq!(codes.len(), variants::<Refusal>().len());
}

#[test]
fn fingerprints_of_both_versions_are_distinct_fields() {
    let v6 = NodeId::from_bytes(&[1; 32]).unwrap();
    let other = Entry { writer: v6, ..example() };
    assert_eq!(other.signed_bytes().len(), example().signed_bytes().len() + 12);
}

/// Writes the files anew; a person asks for it and reads the difference before it is kept.
#[test]
#[ignore = "writes testdata; set BFTKV_REGENERATE=1"]
#[allow(clippy::disallowed_methods, reason = "the one place where a test of the core writes")]
fn regenerate() {
    assert_eq!(std::env::var("BFTKV_REGENERATE").as_deref(), Ok("1"), "not asked for");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    std::fs::write(format!("{folder}/canonical.txt"), canonical_file()).unwrap();
    std::fs::write(format!("{folder}/messages.txt"), messages_file()).unwrap();
}
