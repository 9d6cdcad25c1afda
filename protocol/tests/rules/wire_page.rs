//! `docs/wire.md` says what this crate does: its tables of messages and its worked example.

use bftkv_protocol::{
    Answer, Refusal, RegistrationRefusal, Request, RoamingAnswer, RoamingRefusal, RoamingRequest,
    Value, ValueDigest,
};

use crate::fixtures::{ALICE, final_entry};
use crate::samples::{refusals, registration_refusals, roaming_refusals};
use crate::variants::variants;

const PAGE: &str = include_str!("../../../docs/wire.md");

#[test]
fn every_request_and_answer_is_on_the_page_with_its_number() {
    for names in [variants::<Request>(), variants::<Answer>()] {
        for (number, name) in names.iter().enumerate() {
            let row = format!("\n| {number} | {name} | ");
            assert!(PAGE.contains(&row), "docs/wire.md lacks the row {row}");
        }
    }
}

#[test]
fn every_refusal_is_on_the_page_with_its_numbers() {
    let names = variants::<Refusal>();
    for (kind, (name, refusal)) in refusals().into_iter().enumerate() {
        assert_eq!(names[kind], name);
        let code = match &refusal {
            Refusal::Roaming(_) => "600 to 617".to_owned(),
            other => other.code().to_string(),
        };
        let row = format!("\n| {code} | {kind} | {name} | ");
        assert!(PAGE.contains(&row), "docs/wire.md lacks the row {row}");
    }
}

#[test]
fn everything_about_passwords_is_on_the_page() {
    for names in [variants::<RoamingRequest>(), variants::<RoamingAnswer>()] {
        for (number, name) in names.iter().enumerate() {
            let row = format!("\n| {number} | {name} | ");
            assert!(PAGE.contains(&row), "docs/wire.md lacks the row {row}");
        }
    }
    let (names, samples) = (variants::<RoamingRefusal>(), roaming_refusals());
    assert_eq!(names.len(), samples.len());
    for (kind, (name, refusal)) in samples.into_iter().enumerate() {
        assert_eq!(names[kind], name);
        let code = match &refusal {
            RoamingRefusal::Registration(_) => "609 to 617".to_owned(),
            other => other.code().to_string(),
        };
        let row = format!("\n| {code} | {kind} | {name} | ");
        assert!(PAGE.contains(&row), "docs/wire.md lacks the row {row}");
    }
    let (names, samples) = (variants::<RegistrationRefusal>(), registration_refusals());
    assert_eq!(names.len(), samples.len());
    for (kind, (name, refusal)) in samples.into_iter().enumerate() {
        assert_eq!(names[kind], name);
        let row = format!("\n| {} | {kind} | {name} | ", refusal.code());
        assert!(PAGE.contains(&row), "docs/wire.md lacks the row {row}");
    }
}

/// The example's columns of lengths and bytes, put together.
fn example_bytes() -> String {
    let block = PAGE.split("### A worked example").nth(1).unwrap().split("```").nth(1).unwrap();
    let fields = block.lines().skip(1).take_while(|line| !line.is_empty());
    fields.flat_map(|line| line.split_whitespace().take(2)).collect()
}

#[test]
fn the_worked_example_is_right() {
    let entry = final_entry(ALICE, 7, "hello");
    assert_eq!(entry.value, Value::new("hello").unwrap());
    let bytes = entry.signed_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(example_bytes(), hex);
    assert!(PAGE.contains(&format!("SHA-256 of these bytes: {}", ValueDigest::of(&bytes))));
}
