//! Where DMs see the zone, and who hears of it: other people's servers on both sides, each with a
//! TSIG key, and DMs that are processes.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bftkv_dm::node::{Primary, read_tsig_key};
use bftkv_dm::publish::TsigKey;
use bftkv_dm::zone::{Limits, Name, Zone};

use super::daemons::{Daemon, Kind, SECRET, free_port, servers_here};
use super::masters::{Masters, PATIENCE, zone_text};

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
  zonefiles-check: yes
remote-control:
  control-enable: no
key:
  name: "nsd."
  algorithm: hmac-sha256
  secret: "HMAC"
zone:
  name: "."
  zonefile: "zone"
  provide-xfr: 127.0.0.1 nsd.
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
  - id: "knotd."
    algorithm: hmac-sha256
    secret: "HMAC"
acl:
  - id: copies
    address: 127.0.0.1
    key: "knotd."
    action: transfer
zone:
  - domain: .
    storage: "FOLDER"
    file: zone
    acl: [copies]
    zonefile-load: whole
    semantic-checks: off
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
};
controls { };
logging {
  channel file { file "FOLDER/log"; severity info; print-category yes; };
  category default { file; };
};
key "named." { algorithm hmac-sha256; secret "HMAC"; };
zone "." {
  type primary;
  file "FOLDER/zone";
  check-integrity no;
  allow-transfer { key "named."; };
};
"#;

/// A server that has the zone first.
fn primary(kind: Kind) -> Daemon {
    let (text, arguments): (&str, &[&str]) = match kind {
        Kind::Nsd => (NSD, &["-d", "-c"]),
        Kind::Knot => (KNOT, &["-c"]),
        Kind::Named => (NAMED, &["-f", "-c"]),
    };
    let written = |folder: &str, port: u16| {
        std::fs::write(Path::new(folder).join("zone"), zone_text(1)).unwrap();
        let text = text.replace("FOLDER", folder).replace("HMAC", SECRET);
        text.replace("PORT", &port.to_string())
    };
    Daemon::start(kind.program(), arguments, ".", &written)
}

fn tsig(kind: Kind) -> TsigKey {
    read_tsig_key(&key_file(kind)).unwrap()
}

fn key_file(kind: Kind) -> String {
    format!("{} hmac-sha256 {SECRET}\n", kind.key())
}

/// Stands before a server; while it is told to, it cuts what the server says in half.
struct Cutting {
    address: SocketAddr,
    cuts: Arc<AtomicBool>,
}

impl Cutting {
    fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, cuts) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let is_cut = Arc::clone(&cuts);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let mut question = [0; 512];
                let length = client.read(&mut question).unwrap();
                let mut upstream = TcpStream::connect(server).unwrap();
                upstream.write_all(&question[..length]).unwrap();
                upstream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut answer = Vec::new();
                // A server may reset the connection of whoever has hung up.
                let _ = upstream.read_to_end(&mut answer);
                let half = if is_cut.load(Ordering::Relaxed) { 2 } else { 1 };
                let _ = client.write_all(&answer[..answer.len() / half]);
            }
        });
        Self { address, cuts }
    }

    fn cut(&self, cuts: bool) {
        self.cuts.store(cuts, Ordering::Relaxed);
    }
}

/// DMs 1 to 3 see the zone at BIND, NSD and Knot, the second of them over a bad line; DM 4 takes it
/// from DM 1. Each of DMs 1 to 3 tells a secondary of its own kind.
struct Stage {
    masters: Masters,
    sources: BTreeMap<usize, Daemon>,
    line: Cutting,
    secondaries: Vec<(Kind, Daemon)>,
}

const KINDS: [Kind; 3] = [Kind::Named, Kind::Nsd, Kind::Knot];

impl Stage {
    fn new() -> Self {
        let mut masters = Masters::new(4, 2);
        masters.key = Some(tsig(Kind::Named));
        let sources: BTreeMap<usize, Daemon> =
            (1..).zip(KINDS).map(|(dm, kind)| (dm, primary(kind))).collect();
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let line = Cutting::before(at(sources[&2].port()));
        let ports: Vec<u16> = (1..=4).map(|_| free_port()).collect();
        let secondaries: Vec<(Kind, Daemon)> = KINDS
            .iter()
            .zip(&ports)
            .map(|(kind, port)| (*kind, Daemon::secondary(*kind, *port)))
            .collect();
        let mut more = String::new();
        for kind in KINDS {
            masters.put_file(&format!("{}.key", kind.program()), &key_file(kind));
            let rule = format!("from = \"127.0.0.1\"\nkey = \"{}.key\"\n", kind.program());
            more += &format!("[[allow]]\n{rule}");
        }
        for (kind, daemon) in &secondaries {
            let (at, key) = (at(daemon.port()), kind.program());
            more += &format!("[[secondary]]\naddress = \"{at}\"\nkey = \"{key}.key\"\n");
        }
        for dm in 1..=4 {
            let (address, key) = match dm {
                2 => (line.address, Kind::Nsd),
                4 => (at(ports[0]), Kind::Named),
                _ => (at(sources[&dm].port()), KINDS[dm - 1]),
            };
            let source = format!("axfr = \"{address}\"\nkey = \"{}.key\"\n", key.program());
            let text = std::fs::read_to_string(masters.config(dm)).unwrap();
            let text = text
                .replace("127.0.0.1:0", &at(ports[dm - 1]).to_string())
                .replace("[[allow]]\nfrom = \"127.0.0.1\"\n", "")
                .replace(&format!("file = \"zone{dm}\"\n"), &(source + &more));
            std::fs::write(masters.config(dm), text).unwrap();
        }
        Self { masters, sources, line, secondaries }
    }

    fn show_next(&mut self) {
        self.masters.shown += 1;
        for source in self.sources.values() {
            source.put("zone", &self.masters.zone());
        }
        self.masters.put_file("zone4", &self.masters.zone());
    }

    /// Waits until all secondaries serve that zone to the byte.
    fn wait_for_secondaries(&self, zone: &Zone) {
        let until = Instant::now() + PATIENCE;
        for (kind, daemon) in &self.secondaries {
            let serial = || {
                let told = daemon.dig(&[".", "SOA", "+short", "+norec"]);
                told.split_whitespace().nth(2).and_then(|word| word.parse().ok())
            };
            while serial() != Some(zone.serial()) {
                assert!(Instant::now() < until, "{kind:?} has not got it:\n{}", daemon.log());
                std::thread::sleep(Duration::from_millis(50));
            }
            let text = daemon.dig(&[".", "AXFR", "+onesoa", "+nocomments", "+nostats", "+nocmd"]);
            let copy = Zone::read(text.as_bytes(), Some(Name::root()), Limits::default()).unwrap();
            assert!(copy == *zone, "{kind:?} serves something else:\n{copy}");
        }
    }
}

/// `cargo test --release --locked --workspace --test program -- --ignored their_servers`
#[test]
#[ignore = "starts six servers and four DMs"]
fn masters_see_the_zone_at_their_servers_and_tell_others() {
    if servers_here().len() < KINDS.len() {
        return;
    }
    let all = [1, 2, 3, 4];
    let mut stage = Stage::new();
    stage.masters.shown = 1;
    stage.masters.start_all();
    let first = stage.masters.wait_for(&all);
    stage.wait_for_secondaries(&first);
    let mut newest = first;
    for _ in 0..3 {
        stage.show_next();
        let zone = stage.masters.wait_for(&all);
        assert!(zone.serial() > newest.serial());
        stage.wait_for_secondaries(&zone);
        newest = zone;
    }
    for (dm, (_, secondary)) in (1..).zip(&stage.secondaries) {
        let knows = |status: &serde_json::Value| {
            let told = &status["secondaries"][format!("127.0.0.1:{}", secondary.port())];
            let told = told.as_str().unwrap_or_default();
            let serial = format!("serial {}: ", newest.serial());
            ["knows", "has it"].contains(&told.strip_prefix(&serial).unwrap_or_default())
        };
        stage.masters.wait_for_status(dm, knows);
    }
    // Without the key nobody gets anything.
    let nobody = Primary { address: stage.masters.running[&1].dns, key: None };
    let told = nobody.transfer(&Name::root(), Limits::default()).unwrap_err();
    assert!(told.contains("REFUSED"), "{told}");

    a_line_breaks_off(&mut stage);
    a_key_is_wrong(&mut stage);
}

/// The line to one source breaks off in the middle: it is named, the others go on, and the last good
/// zone is served there too.
fn a_line_breaks_off(stage: &mut Stage) {
    // What DM 1 publishes is no fourth view of something new; a file is.
    stage.masters.stop(4);
    let path = stage.masters.config(4);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once("axfr = ").unwrap();
    let after = after.split_once("[[allow]]").unwrap().1;
    std::fs::write(&path, format!("{before}file = \"zone4\"\n[[allow]]{after}")).unwrap();
    stage.masters.put_file("zone4", &stage.masters.zone());
    stage.masters.start(4);

    stage.line.cut(true);
    stage.show_next();
    let zone = stage.masters.wait_for(&[1, 2, 3, 4]);
    stage.wait_for_secondaries(&zone);
    let address = stage.line.address.to_string();
    let is_named = |status: &serde_json::Value| {
        status["source_error"].as_str().is_some_and(|error| error.contains(&address))
    };
    let status = stage.masters.wait_for_status(2, is_named);
    assert_eq!(status["serving"], zone.serial());
    stage.line.cut(false);
    stage.masters.wait_for_status(2, |status| status["source_error"].is_null());
}

/// Another key than the server's is an error that says so.
fn a_key_is_wrong(stage: &mut Stage) {
    let served = stage.masters.wait_for(&[1, 2, 3, 4]).serial();
    stage.masters.stop(3);
    let path = stage.masters.config(3);
    let wrong = std::fs::read_to_string(&path).unwrap();
    let wrong = wrong.replacen("key = \"knotd.key\"", "key = \"nsd.key\"", 1);
    std::fs::write(&path, wrong).unwrap();
    stage.masters.start(3);
    let address = format!("127.0.0.1:{}", stage.sources[&3].port());
    let is_refused = |status: &serde_json::Value| {
        let error = status["source_error"].as_str().unwrap_or_default();
        error.contains(&address) && (error.contains("TSIG") || error.contains("NOTAUTH"))
    };
    let status = stage.masters.wait_for_status(3, is_refused);
    assert_eq!(status["serving"], served, "the last good zone is served");
}
