//! Keeps passwords, keys and shares out of core dumps.

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::failure::Failure;

/// From now on neither this process nor one that it starts leaves a core dump, however it ends.
///
/// The limit alone would not do where `core_pattern` names a program (core(5): RLIMIT_CORE is not
/// enforced for dumps that are piped). So on Linux the process is also marked as not dumpable
/// (prctl(2), PR_SET_DUMPABLE), which besides keeps others of the same user from attaching to it or
/// reading its memory.
///
/// # Errors
/// The system refuses; then nothing was done with secrets yet.
pub(crate) fn forbid() -> Result<(), Failure> {
    let failed = |error| Failure::failed(format!("cannot switch core dumps off: {error}"));
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(failed)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)?;
    }
    Ok(())
}
