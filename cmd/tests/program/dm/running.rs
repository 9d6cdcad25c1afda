//! Four distribution masters as processes.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bftkv_dm::node::Primary;
use bftkv_dm::zone::{Limits, Name, Zone};
use serde_json::Value;

use crate::support::{Cluster, Ran, bftkv, program, text};

const DMS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// A process, and where it answers.
struct Running {
    child: Child,
    dns: SocketAddr,
    /// What it served when it began to listen.
    served: Value,
}

struct Masters {
    cluster: Cluster,
    running: BTreeMap<usize, Running>,
    /// What was seen at any of them under each serial.
    seen: BTreeMap<u32, String>,
}

impl Masters {
    fn new() -> Self {
        let cluster = Cluster::create(&["--users", "4"]);
        let keys = cluster.path("keys").display().to_string();
        let fixed = ["dm", "keygen", &keys, "--zone", "example", "--shares", "4"];
        bftkv(&[&fixed[..], &["--threshold", "2", "--no-passphrase"]].concat()).expect(0);
        let share = |dm: u8| format!("{keys}/dm-{dm}/offline/ksk.share");
        let (zsk, out) = (format!("{keys}/zsk.key"), cluster.path("dnskeys").display().to_string());
        let shares = ["dm", "ksk", "sign", "--ksk", &share(1), &share(4), "--zsk", &zsk];
        bftkv(&[&shares[..], &["--out", &out]].concat()).expect(0);
        let ids: Vec<String> = (1..=DMS).map(|dm| cluster.id(&format!("u{dm}"))).collect();
        for dm in 1..=DMS {
            let settings = format!(
                "zone = \"example\"\nme = {dm}\nmasters = {ids:?}\nnode = \"n{dm}\"\n\
                 writer = \"u{dm}\"\nshare = \"keys/dm-{dm}/zsk.share\"\ndnskeys = \"dnskeys\"\n\
                 state = \"state{dm}\"\nlisten = \"127.0.0.1:0\"\n\
                 [source]\nfile = \"zone{dm}\"\n[[allow]]\nfrom = \"127.0.0.1\"\n\
                 [timing]\ngrace_ms = 300\nround_ms = 2000\nshare_wait_ms = 1000\nagain_ms = 100\n"
            );
            std::fs::write(cluster.path(&format!("{dm}.toml")), settings).unwrap();
        }
        Self { cluster, running: BTreeMap::new(), seen: BTreeMap::new() }
    }

    fn config(&self, dm: usize) -> PathBuf {
        self.cluster.path(&format!("{dm}.toml"))
    }

    /// All see a zone with this serial and address.
    fn show(&self, serial: u32, address: &str) {
        let delegations: String = ('a'..='h').map(|name| format!("{name} NS ns.a\n")).collect();
        let zone = format!(
            "$TTL 3600\n@ SOA ns admin {serial} 1800 900 604800 600\n@ NS ns\nns A {address}\n\
             ns.a A 192.0.2.2\n{delegations}"
        );
        for dm in 1..=DMS {
            let new = self.cluster.path("new");
            std::fs::write(&new, &zone).unwrap();
            std::fs::rename(&new, self.cluster.path(&format!("zone{dm}"))).unwrap();
        }
    }

    fn start(&mut self, dm: usize) {
        let mut command = program();
        command.args(["--json", "dm", "run"]).arg(self.config(dm)).arg("--stop-with-stdin");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).expect("it says where it listens");
        let dns = told["listening"].as_str().unwrap().parse().unwrap();
        self.running.insert(dm, Running { child, dns, served: told["serving"].clone() });
    }

    fn kill(&mut self, dm: usize) {
        let mut running = self.running.remove(&dm).unwrap();
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }

    fn stop(&mut self, dm: usize) {
        let mut running = self.running.remove(&dm).unwrap();
        // Waiting would close it, which would be a second word to stop.
        let stdin = running.child.stdin.take();
        let pid = running.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(running.child.wait().unwrap().success(), "it ends well");
        drop(stdin);
    }

    fn dm(&self, command: &str, dm: usize, more: &[&str]) -> Ran {
        let config = self.config(dm);
        bftkv(&[&["--json", "dm", command, text(&config)], more].concat())
    }

    fn status(&self, dm: usize) -> Value {
        self.dm("status", dm, &[]).expect(0).json()
    }

    /// Waits until all that run serve one zone that has this text, and gives it.
    fn wait_for(&mut self, part: &str) -> (u32, String) {
        let (until, apex) = (Instant::now() + PATIENCE, "example.".parse::<Name>().unwrap());
        loop {
            let mut zones: Vec<(u32, String)> = Vec::new();
            for running in self.running.values() {
                let primary = Primary { address: running.dns, key: None };
                let Ok(zone) = primary.transfer(&apex, Limits::default()) else { continue };
                let (serial, zone): (u32, Zone) = (zone.serial(), zone);
                let zone = zone.to_string();
                let before = self.seen.entry(serial).or_insert_with(|| zone.clone());
                assert_eq!(*before, zone, "serial {serial} has one zone for ever");
                zones.push((serial, zone));
            }
            let is_same = zones.iter().all(|zone| *zone == zones[0] && zone.1.contains(part));
            if zones.len() == self.running.len() && is_same {
                return zones.swap_remove(0);
            }
            let all: Vec<Value> = self.running.keys().map(|dm| self.status(*dm)).collect();
            assert!(Instant::now() < until, "{part}: {all:#?}");
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Masters {
    fn drop(&mut self) {
        for running in self.running.values_mut() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// What the ZSK signed of what never changed.
fn kept(zone: &str) -> Vec<&str> {
    let lines = zone.lines().filter(|line| line.contains("RRSIG") && line.contains("NSEC 15"));
    lines.collect()
}

#[test]
fn four_masters_publish_with_one_killed_and_come_back() {
    let mut masters = Masters::new();
    masters.show(1, "192.0.2.11");
    (1..=DMS).for_each(|dm| masters.start(dm));
    let (first, zone) = masters.wait_for("192.0.2.11");
    let signatures: Vec<String> = kept(&zone).into_iter().map(str::to_owned).collect();
    assert!(signatures.len() > 3, "{zone}");

    // Serial 2 is for DM 3 to propose. Two of the others are held, so that it waits for votes when
    // it is killed.
    for dm in [1, 2] {
        masters.dm("hold", dm, &["an operator looks"]).expect(0);
    }
    masters.show(2, "192.0.2.12");
    let until = Instant::now() + PATIENCE;
    loop {
        let status = masters.status(3);
        if status["views"].as_array().unwrap().len() >= 3 {
            break;
        }
        assert!(Instant::now() < until, "{status}");
    }
    assert_eq!(masters.status(1)["held"], "an operator looks");
    masters.kill(3);
    let refused = masters.dm("status", 3, &[]).expect(1);
    assert!(refused.stderr.contains("bftkv dm run"), "{refused:?}");
    for dm in [1, 2] {
        masters.dm("release", dm, &[]).expect(0);
    }
    let (second, _) = masters.wait_for("192.0.2.12");
    assert!(second > first);

    for dm in [1, 2, 4] {
        masters.stop(dm);
    }
    (1..=DMS).for_each(|dm| masters.start(dm));
    for dm in [1, 2, 4] {
        assert_eq!(masters.running[&dm].served, second, "what was published is served at once");
    }
    let (again, _) = masters.wait_for("192.0.2.12");
    assert_eq!(again, second, "nothing changed, so nothing is signed");
    masters.show(3, "192.0.2.13");
    let (third, zone) = masters.wait_for("192.0.2.13");
    assert!(third > second);
    assert_eq!(kept(&zone), signatures, "what did not change keeps its signatures");
    assert_eq!(masters.status(3)["liars"], serde_json::json!({}), "who was killed is no liar");
}
