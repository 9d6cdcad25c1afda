//! A process that holds a password and dies leaves nothing of its memory behind.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Signals that make the system write a core dump. (SIGSEGV does too; but the runtime takes the first one, and goes
/// on if no address is to blame. SIGQUIT does; but whatever a shell runs in the background ignores it.)
const DEADLY: [(&str, i32); 2] = [("ABRT", 6), ("TRAP", 5)];

/// Runs a shell's line with no limit to core dumps, in this folder.
fn unlimited(line: &str, folder: &Path) -> Child {
    let line = format!("ulimit -c unlimited; exec {line}");
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(folder).env_remove("BFTKV_HOME");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Kills it; it ends by this signal.
fn killed(mut child: Child, (name, number): (&str, i32)) -> ExitStatus {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(number), "{status:?}");
    status
}

/// Its limit of core dumps, soft and hard.
fn limits(pid: u32) -> Option<(String, String)> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size"))?;
    let mut words = line.split_whitespace().map(str::to_owned);
    Some((words.next()?, words.next()?))
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}");
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

/// It waits for the rest of the password, and holds what it has read.
fn holding_a_password(program: &Path, folder: &Path) -> Child {
    let line = format!("{} get notes --password-fd 0", program.display());
    let mut child = unlimited(&line, folder);
    child.stdin.as_mut().unwrap().write_all(b"correct horse").unwrap();
    let pid = child.id();
    wait_until("it never forbade core dumps", || limits(pid) == Some(("0".into(), "0".into())));
    child
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_dies_while_it_holds_a_password_leaves_no_core() {
    let program = Path::new(env!("CARGO_BIN_EXE_bftkv"));
    for deadly in DEADLY {
        let folder = tempfile::tempdir().unwrap();
        let status = killed(holding_a_password(program, folder.path()), deadly);
        assert!(!status.core_dumped(), "{status:?}");
        assert_eq!(files(folder.path()), 0);
        // Another program does, where the machine lets it.
        let other = unlimited("sleep 600", folder.path());
        std::thread::sleep(Duration::from_millis(200));
        let pid = other.id();
        let is_free = limits(pid).is_some_and(|(soft, _)| soft == "unlimited");
        let status = killed(other, deadly);
        println!(
            "another program: core dumps allowed: {is_free}, dumped: {}",
            status.core_dumped()
        );
    }
}

/// Where core dumps are piped to a program no limit counts, but the kernel's mark does; it shows by
/// the owner of the process' folder, which is then root (proc(5)).
#[cfg(target_os = "linux")]
#[test]
fn a_process_with_a_password_is_marked_as_not_dumpable() {
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().unwrap();
    let me = std::fs::metadata("/proc/self").unwrap().uid();
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), everybody).unwrap();
    let program = folder.path().join("bftkv");
    std::fs::copy(env!("CARGO_BIN_EXE_bftkv"), &program).unwrap();
    let owner = |command: &mut Command, until: &dyn Fn(u32) -> bool| {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Root's processes belong to root in any case.
        if me == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.current_dir("/").spawn().unwrap();
        let pid = child.id();
        wait_until("it never came so far", || until(pid));
        let owner = std::fs::metadata(format!("/proc/{pid}/limits")).unwrap().uid();
        child.kill().unwrap();
        child.wait().unwrap();
        owner
    };
    let forbids = |pid: u32| limits(pid) == Some(("0".into(), "0".into()));
    let mut get = Command::new(&program);
    get.args(["get", "notes", "--password-fd", "0"]);
    // The mark comes just after the limit.
    let marked = |pid: u32| {
        forbids(pid) && {
            std::thread::sleep(Duration::from_millis(100));
            true
        }
    };
    assert_eq!(owner(&mut get, &marked), 0, "it is not marked");
    let mut sleep = Command::new("sleep");
    assert_ne!(owner(sleep.arg("600"), &|_| true), 0, "what is not marked shows so");
}
