//! Help, usage errors and completions.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use crate::support::bftkv;

const COMMANDS: [&[&str]; 48] = [
    &["demo"],
    &["init"],
    &["cert", "list"],
    &["cert", "import"],
    &["cert", "export"],
    &["cert", "certify"],
    &["cert", "revoke"],
    &["graph"],
    &["serve"],
    &["put"],
    &["get"],
    &["password", "change"],
    &["password", "reset"],
    &["secret", "put"],
    &["secret", "get"],
    &["history"],
    &["sign"],
    &["verify"],
    &["revoked", "list"],
    &["revoked", "show"],
    &["revoked", "export"],
    &["join"],
    &["repair"],
    &["cluster", "create"],
    &["cluster", "run"],
    &["dm", "demo"],
    &["dm", "run"],
    &["dm", "status"],
    &["dm", "hold"],
    &["dm", "release"],
    &["dm", "keygen"],
    &["dm", "ksk", "sign"],
    &["dm", "together", "run"],
    &["dm", "together", "start"],
    &["dm", "together", "deal"],
    &["dm", "together", "finish"],
    &["dm", "transcript", "sign"],
    &["dm", "transcript", "check"],
    &["dm", "sign"],
    &["dm", "verify"],
    &["dm", "export"],
    &["dm", "forget"],
    &["bench"],
    &["bench", "store"],
    &["bench", "check"],
    &["bench", "series"],
    &["bench", "plot"],
    &["completions"],
];

#[test]
fn every_command_teaches_by_an_example() {
    for command in COMMANDS {
        let help = bftkv(&[command, &["--help"]].concat()).expect(0).text();
        assert!(help.contains("Usage: bftkv"), "{command:?}: {help}");
        assert!(help.contains(&format!("bftkv {}", command[0])) || help.contains("bftkv --home"));
        assert!(help.contains("Example"), "{command:?}: {help}");
        assert!(help.contains("--json"), "{command:?}: {help}");
    }
}

#[test]
fn the_help_lists_the_exit_codes() {
    let help = bftkv(&["--help"]).expect(0).text();
    for code in 0..=7 {
        assert!(help.contains(&format!("\n  {code}  ")), "{code} is missing: {help}");
    }
}

#[test]
fn wrong_arguments_are_exit_code_2() {
    for arguments in [
        &["no-such-command"][..],
        &[],
        &["put", "x"],
        &["put", "x", "y", "--file", "z"],
        &["put", "x", "y", "--deadline", "-1"],
        &["get"],
        &["init"],
        &["init", "--name", "a", "--from", "b"],
        &["cert", "revoke"],
        &["cert", "revoke", "a", "--self", "b"],
        &["history", "x", "--limit", "0"],
        &["cluster", "create", "d", "--authority", "0"],
        &["bench", "series", "f.json", "--loads", "1x257"],
        &["bench", "series", "f.json", "--messages", "smoke"],
        &["bench", "series"],
        &["bench", "plot", "f.json"],
        &["completions", "no-such-shell"],
        &["get", "--hex", "abc"],
        &["get", ""],
    ] {
        let ran = bftkv(arguments).expect(2);
        assert!(!ran.stderr.is_empty() && ran.stdout.is_empty(), "{ran:?}");
    }
}

#[test]
fn what_cannot_be_plotted_is_refused_with_what_to_do() {
    let figures = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks/instructions.json");
    let refused = bftkv(&["bench", "plot", figures, "--out", "/no/such/folder"]).expect(2).stderr;
    assert!(refused.contains("bftkv bench series"), "{refused}");
    let refused = bftkv(&["bench", "series", "/no/such/folder/f.json"]).expect(1).stderr;
    assert!(refused.contains("/no/such/folder"), "{refused}");
    let refused = bftkv(&["bench", "series", "f.json", "--loads", "1x0"]).expect(2).stderr;
    assert!(refused.contains("32 or 1x256"), "{refused}");
}

#[test]
fn shells_get_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let script = bftkv(&["completions", shell]).expect(0).text();
        assert!(script.contains("history"), "{shell}");
    }
}
