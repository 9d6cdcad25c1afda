//! A real root zone and its next twelve versions: for the demo, tests and measurements.
//!
//! Where they come from: `dm/testdata/root/README.md`.

use crate::zone::{Error, Fault, Limits, Name, Zone};

const ROOT: &str = include_str!("../testdata/root/root-2026081300-unsigned.zone");

macro_rules! updates {
    ($($serial:literal)*) => {
        [$(include_str!(concat!("../testdata/root/updates/", $serial, ".diff"))),*]
    };
}

/// Each against the one before.
const UPDATES: [&str; 12] = updates![
    2026081301 2026081400 2026081401 2026081402 2026081403 2026081500
    2026081501 2026081600 2026081601 2026081700 2026081701 2026081800
];

/// The text of the root zone with serial 2026081300, not signed.
#[must_use]
pub fn root_zone_text() -> &'static str {
    ROOT
}

/// The zone of [`root_zone_text`].
///
/// # Errors
///
/// Never, if the library reads zones rightly.
pub fn root_zone() -> Result<Zone, Error> {
    read(ROOT)
}

/// The texts of the versions that followed, in order.
pub fn root_zone_updates() -> impl Iterator<Item = Result<String, Error>> {
    let mut text = ROOT.to_owned();
    UPDATES.iter().map(move |diff| {
        text = patched(&text, diff).ok_or_else(|| Fault::Syntax("a wrong diff".to_owned()))?;
        Ok(text.clone())
    })
}

fn read(text: &str) -> Result<Zone, Error> {
    Zone::read(text.as_bytes(), Some(Name::root()), Limits::default())
}

/// Applies a unified diff of one file; `None` if it does not fit.
fn patched(text: &str, diff: &str) -> Option<String> {
    let old: Vec<_> = text.lines().collect();
    let (mut new, mut at) = (String::with_capacity(text.len()), 0usize);
    let mut put = |line: &str| {
        new.push_str(line);
        new.push('\n');
    };
    for line in diff.lines().skip_while(|line| !line.starts_with("@@")) {
        if let Some(header) = line.strip_prefix("@@ -") {
            let from: usize = header.split([',', ' ']).next()?.parse().ok()?;
            let start = from.checked_sub(1)?;
            old.get(at..start)?.iter().for_each(|line| put(line));
            at = start;
            continue;
        }
        let (kind, content) = line.split_at_checked(1)?;
        if kind != "+" {
            if *old.get(at)? != content {
                return None;
            }
            at = at.checked_add(1)?;
        }
        if kind != "-" {
            put(content);
        }
    }
    old.get(at..)?.iter().for_each(|line| put(line));
    Some(new)
}
