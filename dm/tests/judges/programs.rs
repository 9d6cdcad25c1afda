//! Runs the judges.

use std::path::Path;
use std::process::Command;

use bftkv_dm::zone::Zone;

/// A program, also one that Debian keeps where only the superuser looks.
pub(crate) fn command(program: &str) -> Command {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    let mut command = Command::new(program);
    command.env("PATH", path);
    command
}

/// Whether the program is here. If not, that is said loudly, and is an error on the build machine.
pub(crate) fn is_here(program: &str) -> bool {
    let here = command("which").arg(program).output().is_ok_and(|out| out.status.success());
    assert!(here || std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{program} is missing");
    if !here {
        eprintln!("\n#### skipped: {program} is not here, so it does not judge our zones\n");
    }
    here
}

/// A judge with its answer: whether it accepts, and what it says.
pub(crate) type Verdict = (&'static str, bool, String);

/// Asks all judges about a zone that is written to this folder.
pub(crate) fn judge(zone: &Zone, folder: &Path) -> Vec<Verdict> {
    let origin = zone.apex().to_string();
    let file = folder.join("zone");
    std::fs::write(&file, zone.to_string()).unwrap();
    // ldns wants a trust anchor; else it takes the machine's for the root.
    let anchor = folder.join("anchor");
    let keys = zone.to_string();
    let keys: Vec<_> = keys.lines().filter(|line| line.contains("\tDNSKEY\t257")).collect();
    std::fs::write(&anchor, keys.join("\n") + "\n").unwrap();
    let (file, anchor) = (file.to_str().unwrap(), anchor.to_str().unwrap());

    let judges: [(&str, Vec<&str>); 3] = [
        ("dnssec-verify", vec!["-x", "-o", &origin, file]),
        ("ldns-verify-zone", vec!["-V", "1", "-k", anchor, "-Z", file]),
        ("kzonecheck", vec!["-d", "on", "-o", &origin, file]),
    ];
    let mut verdicts = Vec::new();
    for (program, arguments) in judges {
        if !is_here(program) {
            continue;
        }
        let out = Command::new(program).args(arguments).output().unwrap();
        let said = [out.stdout, out.stderr].concat();
        verdicts.push((program, out.status.success(), String::from_utf8_lossy(&said).into_owned()));
    }
    verdicts
}

/// All judges accept the zone, and so do we.
pub(crate) fn all_accept(zone: &Zone, folder: &Path) {
    let report = bftkv_dm::sign::verify(zone, now());
    assert!(report.is_right(), "we: {:?}", report.problems);
    for (program, accepts, said) in judge(zone, folder) {
        assert!(accepts, "{program}: {said}");
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u32::try_from(since.as_secs()).unwrap()
}
