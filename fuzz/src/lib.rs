//! What the fuzz targets do with bytes. `README.md` tells how they are run.
//!
//! Each target is a function that takes any bytes and panics if a promise is broken. The same
//! functions run in an ordinary test over the seeds and over everything that was ever found
//! (`tests/tests/fuzz_inputs`).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[allow(dead_code, unreachable_pub, reason = "shared with the tests of the protocol")]
#[path = "../../protocol/tests/rules/fixtures.rs"]
mod fixtures;
#[path = "../../storage/tests/backends/common/mod.rs"]
mod stored;
pub mod targets;

/// Lets panics of other people's code reach whoever contains them.
///
/// libFuzzer's hook ends the process at every panic, also at those of redb over a damaged file or of
/// Sequoia over a broken packet, which our code catches and reports as damage. One that nobody
/// catches still ends the run: libFuzzer looks for it behind the target.
pub fn allow_contained_panics() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_ours = panic.location().is_none_or(|place| !is_foreign(place.file()));
        if is_ours {
            abort(panic);
        }
    }));
}

/// Whether a source file belongs to a dependency or to the standard library.
fn is_foreign(file: &str) -> bool {
    file.contains("/registry/src/") || file.starts_with("/rustc/")
}
