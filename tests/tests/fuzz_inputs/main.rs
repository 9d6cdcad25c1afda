//! Everything that the fuzz targets were given on purpose or tripped over: the seeds in
//! `fuzz/seeds`, the findings in `fuzz/regressions`, and a few thousand mutations of them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "../../../protocol/tests/rules/fixtures.rs"]
#[allow(dead_code, reason = "shared with the tests of the protocol")]
mod fixtures;
#[path = "../../../protocol/tests/rules/samples.rs"]
#[allow(dead_code, reason = "shared with the tests of the protocol")]
mod samples;
mod seeds;
#[path = "../../../storage/tests/backends/common/mod.rs"]
mod stored;
#[allow(unreachable_pub, reason = "shared with the programs of the fuzzer")]
#[path = "../../../fuzz/src/targets/mod.rs"]
mod targets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// How often each seed is changed and tried.
const MUTATIONS: u64 = 20;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeSet::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_target_has_a_program_and_seeds() {
    let targets: BTreeSet<String> = targets::ALL.iter().map(|(name, _)| name.to_string()).collect();
    let programs = names_in(&fuzz().join("fuzz_targets"));
    assert_eq!(programs, targets.iter().map(|name| format!("{name}.rs")).collect());
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &targets {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in Cargo.toml");
        assert!(!names_in(&fuzz().join("seeds").join(name)).is_empty(), "{name} has no seeds");
    }
}

#[test]
fn seeds_findings_and_their_neighbours_break_no_promise() {
    for (name, _) in targets::ALL {
        for kind in ["seeds", "regressions"] {
            let folder = fuzz().join(kind).join(name);
            for file in names_in(&folder) {
                println!("{kind}/{name}/{file}");
                let input = std::fs::read(folder.join(&file)).unwrap();
                targets::run(name, &input);
                mutations(&input).iter().for_each(|input| targets::run(name, input));
            }
        }
    }
}

/// The same on every run.
fn mutations(input: &[u8]) -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(7);
    let mut mutate = || {
        let mut bytes = input.to_vec();
        for _ in 0..random.random_range(1..4) {
            let place = random.random_range(0..=bytes.len());
            match random.random_range(0..4) {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, random.random()),
                _ if place < bytes.len() => bytes[place] ^= 1u8 << random.random_range(0..8),
                _ => bytes.push(random.random()),
            }
        }
        bytes
    };
    (0..MUTATIONS).map(|_| mutate()).collect()
}
