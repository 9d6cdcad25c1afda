//! CPU time and memory of processes, from Linux's /proc.

use std::path::PathBuf;
use std::time::Duration;

use crate::failure::Failure;

/// The unit of CPU times in /proc: proc(5) calls it a clock tick, and on every platform on which
/// Rust runs Linux it is 1/100 s.
const TICK: Duration = Duration::from_millis(10);

/// A process whose figures can be read.
#[derive(Debug, Clone)]
pub(super) struct Process {
    folder: PathBuf,
}

impl Process {
    /// This process.
    pub(super) fn own() -> Self {
        Self { folder: PathBuf::from("/proc/self") }
    }

    /// Another one.
    pub(super) fn other(pid: u32) -> Self {
        Self { folder: PathBuf::from(format!("/proc/{pid}")) }
    }

    /// The CPU time that it has used, in user and kernel mode, all threads together.
    ///
    /// # Errors
    /// It has ended, or this is not Linux.
    pub(super) fn cpu(&self) -> Result<Duration, Failure> {
        let ticks = cpu_ticks(&self.read("stat")?)
            .ok_or_else(|| Failure::failed("/proc has no CPU times that are understood here"))?;
        Ok(TICK.saturating_mul(ticks))
    }

    /// The resident memory in bytes; `None` if it has ended, or this is not Linux.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        let status = self.read("status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        kib.checked_mul(1024)
    }

    fn read(&self, name: &str) -> Result<String, Failure> {
        let path = self.folder.join(name);
        std::fs::read_to_string(&path).map_err(|error| {
            Failure::file(&path, &error).hint("figures of processes are read from Linux's /proc")
        })
    }
}

/// The fields `utime` and `stime` of proc(5), the 14th and 15th. The second field, the program's
/// name, may hold anything but ends at the last parenthesis.
fn cpu_ticks(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    let (user, kernel) = (times.next()?.ok()?, times.next()?.ok()?);
    user.checked_add(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_program_names_do_not_confuse() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0";
        assert_eq!(cpu_ticks(stat), Some(175));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }
}
