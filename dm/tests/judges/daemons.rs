//! Other people's servers on loopback, in folders of their own, until they are dropped.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::programs::{command, is_here};

/// What is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// NLnet Labs' authoritative server, as a secondary.
    Nsd,
    /// CZ.NIC's, as a secondary that verifies DNSSEC and ZONEMD before it serves.
    Knot,
    /// BIND's, as a secondary.
    Named,
}

impl Kind {
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Nsd => "nsd",
            Self::Knot => "knotd",
            Self::Named => "named",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Nsd => &["-d", "-c"],
            Self::Knot => &["-c"],
            Self::Named => &["-f", "-c"],
        }
    }

    /// The TSIG key's name; each secondary has its own.
    pub(crate) fn key(self) -> String {
        format!("{}.", self.program())
    }

    fn configuration(self, folder: &str, port: u16, primary: u16) -> String {
        let text = match self {
            Self::Nsd => NSD,
            Self::Knot => KNOT,
            Self::Named => NAMED,
        };
        text.replace("FOLDER", folder)
            .replace("PRIMARY", &primary.to_string())
            .replace("PORT", &port.to_string())
            .replace("TSIG", &self.key())
            .replace("HMAC", SECRET)
    }
}

/// 32 bytes of 7, for the tests.
pub(crate) const SECRET: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

const NSD: &str = r#"
server:
  ip-address: 127.0.0.1@PORT
  username: ""
  chroot: ""
  database: ""
  zonesdir: "FOLDER"
  pidfile: "FOLDER/pid"
  logfile: "FOLDER/log"
  xfrdfile: "FOLDER/state"
  xfrdir: "FOLDER"
  zonelistfile: "FOLDER/list"
  server-count: 1
  xfrd-reload-timeout: 0
  verbosity: 2
remote-control:
  control-enable: no
key:
  name: "TSIG"
  algorithm: hmac-sha256
  secret: "HMAC"
zone:
  name: "."
  zonefile: "zone"
  allow-notify: 127.0.0.1 TSIG
  request-xfr: 127.0.0.1@PRIMARY TSIG
  provide-xfr: 127.0.0.1 NOKEY
"#;

const KNOT: &str = r#"
server:
  rundir: "FOLDER"
  listen: 127.0.0.1@PORT
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: "FOLDER"
control:
  listen: "FOLDER/socket"
log:
  - target: "FOLDER/log"
    any: info
key:
  - id: "TSIG"
    algorithm: hmac-sha256
    secret: "HMAC"
remote:
  - id: primary
    address: 127.0.0.1@PRIMARY
    key: "TSIG"
acl:
  - id: told
    address: 127.0.0.1
    key: "TSIG"
    action: notify
  - id: copies
    address: 127.0.0.1
    action: transfer
zone:
  - domain: .
    storage: "FOLDER"
    file: zone
    master: primary
    acl: [told, copies]
    zonefile-sync: -1
    dnssec-validation: on
    zonemd-verify: on
"#;

const NAMED: &str = r#"
options {
  directory "FOLDER";
  listen-on port PORT { 127.0.0.1; };
  listen-on-v6 { none; };
  pid-file "FOLDER/pid";
  session-keyfile "FOLDER/session";
  managed-keys-directory "FOLDER";
  recursion no;
  dnssec-validation no;
  empty-zones-enable no;
  notify no;
  allow-transfer { 127.0.0.1; };
};
controls { };
logging {
  channel file { file "FOLDER/log"; severity info; print-category yes; };
  category default { file; };
};
key "TSIG" { algorithm hmac-sha256; secret "HMAC"; };
zone "." {
  type secondary;
  file "zone";
  primaries { 127.0.0.1 port PRIMARY key "TSIG"; };
  allow-notify { key "TSIG"; };
};
"#;

const UNBOUND: &str = r#"
server:
  directory: "FOLDER"
  chroot: ""
  username: ""
  pidfile: "FOLDER/pid"
  logfile: "FOLDER/log"
  use-syslog: no
  interface: 127.0.0.1
  port: PORT
  do-daemonize: no
  do-ip6: no
  do-not-query-localhost: no
  module-config: "validator iterator"
  num-threads: 1
  val-log-level: 2
MORE
remote-control:
  control-enable: no
stub-zone:
  name: "ZONE"
  stub-addr: 127.0.0.1@PRIMARY
  stub-prime: no
"#;

/// A server, killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Daemon {
    /// A secondary of the primary at that port.
    pub(crate) fn secondary(kind: Kind, primary: u16) -> Self {
        let written = |folder: &str, port| kind.configuration(folder, port, primary);
        Self::start(kind.program(), kind.arguments(), ".", &written)
    }

    /// A resolver that validates what the server at that port says of a zone. `more` are lines for
    /// its configuration; files of these names and contents are in its folder.
    pub(crate) fn resolver(zone: &str, server: u16, more: &str, files: &[(&str, &str)]) -> Self {
        let written = |folder: &str, port: u16| {
            for (name, content) in files {
                std::fs::write(Path::new(folder).join(name), content).unwrap();
            }
            UNBOUND
                .replace("MORE", more)
                .replace("FOLDER", folder)
                .replace("ZONE", zone)
                .replace("PRIMARY", &server.to_string())
                .replace("PORT", &port.to_string())
        };
        Self::start("unbound", &["-d", "-p", "-c"], zone, &written)
    }

    /// Starts a program with a configuration for its folder and port, and waits until it answers.
    pub(crate) fn start(
        program: &str,
        arguments: &[&str],
        zone: &str,
        configuration: &dyn Fn(&str, u16) -> String,
    ) -> Self {
        // Another process may take the port before the server does; then again with another.
        for _ in 0..3 {
            let folder = tempfile::tempdir().unwrap();
            let port = free_port();
            let file = folder.path().join("conf");
            std::fs::write(&file, configuration(folder.path().to_str().unwrap(), port)).unwrap();
            let child = command(program)
                .args(arguments)
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(std::fs::File::create(folder.path().join("errors")).unwrap())
                .spawn()
                .unwrap();
            let mut daemon = Self { child, port, folder };
            let until = Instant::now() + Duration::from_secs(20);
            while Instant::now() < until {
                if daemon.child.try_wait().unwrap().is_some() {
                    break;
                }
                // Any answer will do: there is no zone yet.
                if daemon.dig(&[zone, "SOA", "+norec"]).contains("->>HEADER<<-") {
                    return daemon;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            eprintln!("{program} does not answer:\n{}", daemon.log());
        }
        panic!("{program} does not start");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What it says.
    pub(crate) fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.folder.path().join(name));
        [read("errors"), read("log")].map(Result::unwrap_or_default).concat()
    }

    /// A file in its folder.
    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// Puts a file into its folder, and tells it to read its files again.
    #[allow(dead_code, reason = "the tests of the program use it, which have this file too")]
    pub(crate) fn put(&self, name: &str, content: &str) {
        let (new, file) = (self.folder.path().join("new"), self.folder.path().join(name));
        std::fs::write(&new, content).unwrap();
        std::fs::rename(&new, file).unwrap();
        Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap();
    }

    /// Asks it with `dig`.
    pub(crate) fn dig(&self, question: &[&str]) -> String {
        let port = self.port.to_string();
        let fixed = ["@127.0.0.1", "-p", &port, "+tries=1", "+time=5"];
        let out = Command::new("dig").args(fixed).args(question).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // If it has ended, its number may be another process's by now.
        if !self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            return;
        }
        // Servers that have children tell them to end; what does not end in time is killed.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").arg(&pid).status();
        for _ in 0..40 {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free for TCP and UDP.
pub(crate) fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// The servers that are here, or none without a program that all tests of servers need.
pub(crate) fn servers_here() -> Vec<Kind> {
    if !is_here("dig") || !is_here("unbound") {
        return Vec::new();
    }
    let all = [Kind::Nsd, Kind::Knot, Kind::Named];
    all.into_iter().filter(|kind| is_here(kind.program())).collect()
}
