//! The targets, one file for each part of the system.

mod certificates;
mod cliques;
mod codecs;
mod files;
mod input;
mod reading;
mod serving;
mod stores;
mod writing;

/// A target takes any bytes, and panics if a promise is broken.
pub type Target = fn(&[u8]);

/// All targets by name: the name of the binary, and of the folders of seeds and of regressions.
pub const ALL: [(&str, Target); 16] = [
    ("certificate", certificates::certificate),
    ("clique", cliques::clique),
    ("config", files::config),
    ("envelope", codecs::envelope),
    ("equivocation", codecs::equivocation),
    ("identity", certificates::identity),
    ("keyring", certificates::keyring),
    ("proof_file", files::proof_file),
    ("read", reading::read),
    ("record", stores::record),
    ("request", codecs::request),
    ("response", codecs::response),
    ("sealed", certificates::sealed),
    ("server", serving::server),
    ("store", stores::store),
    ("write", writing::write),
];

/// Runs the target of this name.
pub fn run(name: &str, data: &[u8]) {
    let found = ALL.iter().find(|(known, _)| *known == name);
    found.expect("a target of this name").1(data);
}
