use super::*;
use crate::sample::{root_zone_text, root_zone_updates};
use crate::zone::Name;

fn whole(text: &str) -> Result<Zone, crate::zone::Error> {
    Zone::read(text.as_bytes(), Some(Name::root()), Limits::default())
}

fn again(before: &str, text: &str) -> Option<Zone> {
    let zone = whole(before).unwrap();
    let (read, changes) = reread((before.as_bytes(), &zone), text.as_bytes(), Limits::default())?;
    // What changed is exactly that.
    let wanted = crate::zone::Delta::between(&zone, &read);
    let is_real = |(key, set): &(Key, Option<RrSet>)| zone.set(key) != set.as_ref();
    let changes: Changes = changes.into_iter().filter(is_real).collect();
    assert_eq!(changes, *wanted.changes());
    Some(read)
}

#[test]
fn the_root_zone_s_real_updates_are_read_by_their_lines() {
    let mut before = root_zone_text().to_owned();
    for text in root_zone_updates().map(Result::unwrap) {
        assert_eq!(again(&before, &text), Some(whole(&text).unwrap()));
        before = text;
    }
}

const SMALL: &str = "\
. 60 IN SOA a. a. 7 1 1 1 1
. 60 IN NS a.nic.aa.
aa. 60 IN NS a.nic.aa.
aa. 60 IN NS b.nic.aa.
aa. 60 IN DS 31852 8 2 89F7670AFC091B199B47900E4CE4135B9463B7F74D3D19A1C732E78C345D4DE6
a.nic.aa. 60 IN A 192.0.2.1
b.nic.aa. 60 in AAAA 2001:db8::1
bb. 60 IN CNAME aa.
cc. 60 IN TXT a b
";

/// Lines to put in the place of others, good and bad ones.
const LINES: [&str; 22] = [
    "",
    ". 60 IN SOA a. a. 8 1 1 1 1",
    ". 60 IN NS b.nic.aa.",
    "aa. 60 IN NS b.nic.aa.",
    "AA. 60 IN NS B.nic.aa.",
    "aa. 61 IN NS c.nic.aa.",
    "aa. 60 IN NS c",
    "aa 60 IN NS c.nic.aa.",
    "a.nic.aa. 60 IN A 192.0.2.2",
    "a.nic.aa. 0 IN A 192.0.2.2",
    "a.nic.aa. 60 CH A 192.0.2.2",
    "a.nic.aa. IN A 192.0.2.2",
    "  60 IN A 192.0.2.2",
    "$TTL 30",
    "$ORIGIN aa.",
    "bb. 60 IN CNAME cc.",
    "bb. 60 IN TXT a",
    "cc. 60 IN CNAME bb.",
    "cc. 60 IN TXT a (",
    "b )",
    "dd. 60 IN TXT \"a",
    "dd. 60 IN TXT a ; of IN",
];

/// Every line in the place of every other: what comes out is what reading it as a whole gives, or nothing.
#[test]
fn whatever_line_changes_the_zone_is_that_of_the_whole_file() {
    let lines: Vec<&str> = SMALL.lines().collect();
    let (mut by_lines, mut wholes) = (0, 0);
    for at in 0..lines.len() {
        for line in LINES {
            for keeps in [true, false] {
                let mut text = lines.clone();
                let place = if keeps { at..at } else { at..at + 1 };
                text.splice(place, [line]);
                let text = text.join("\n");
                let whole = whole(&text);
                match again(SMALL, &text) {
                    Some(zone) => {
                        assert_eq!(Ok(zone), whole, "{text}");
                        by_lines += 1;
                    }
                    None => wholes += 1,
                }
            }
        }
    }
    assert!(by_lines > 50 && wholes > 50, "{by_lines} {wholes}");
}

#[test]
fn a_file_with_other_lines_is_read_as_a_whole() {
    for line in
        ["a. IN A 192.0.2.1", "\ta.", "a. 60 IN TXT \"x\"", "a. 60 IN TXT x ; y", "a. 60 IN"]
    {
        assert!(!stands_alone(line.as_bytes()), "{line}");
    }
    assert!(stands_alone(b"a.\t60\tIN\tTYPE65280\t1 2"));
    assert!(lines(b"a. 60 IN A 1\na. 60 IN A 1\n").is_none(), "twice");
}

/// Anything put together from these lines, read after anything else.
#[test]
fn two_files_of_random_lines() {
    let all: Vec<&str> = SMALL.lines().chain(LINES).collect();
    let mut state = 1u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % bound
    };
    let (mut read, mut differ) = (0, 0);
    let mut before = SMALL.to_owned();
    for _ in 0..20_000 {
        let mut lines: Vec<&str> = before.lines().collect();
        for _ in 0..=below(3) {
            match below(2) {
                0 if lines.len() > 2 => drop(lines.remove(below(lines.len()))),
                _ => lines.insert(below(lines.len() + 1), all[below(all.len())]),
            }
        }
        let text = lines.join("\n");
        let whole = whole(&text);
        if let Some(zone) = again(&before, &text) {
            assert_eq!(Ok(&zone), whole.as_ref(), "{before}\n--\n{text}");
            read += 1;
            differ += usize::from(before != text);
        }
        before = if whole.is_ok() && text.len() < 900 { text } else { SMALL.to_owned() };
    }
    assert!(read > 1_000 && differ > 500, "{read} {differ}");
}
