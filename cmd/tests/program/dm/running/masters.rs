//! Distribution masters as processes, over a piece of the real root zone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bftkv_dm::keys::{Lock, ShareFile, system_rng};
use bftkv_dm::node::Primary;
use bftkv_dm::publish::TsigKey;
use bftkv_dm::sample;
use bftkv_dm::zone::{Limits, Name, Zone};
use serde_json::Value;

use super::super::sealed::Key;
use super::child::{CONFIG, DIES, LIES, test_name};
use crate::support::{Cluster, Ran, bftkv, program, text};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const TLDS: [&str; 14] = [
    "aero.", "arpa.", "ch.", "cz.", "de.", "fr.", "jp.", "museum.", "nl.", "pl.", "se.", "uk.",
    "zm.", "zw.",
];
/// Whose DS changes with every update.
const CHANGING: &str = "nl.";

/// A piece of the root zone; in each update the DS of one delegation is another one.
pub(crate) fn zone_text(update: u32) -> String {
    let is_ours = |line: &&str| {
        let owner = line.split_whitespace().next().unwrap_or_default();
        let tld = owner.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        let is_glue = owner.ends_with(".root-servers.net.") || owner == "net.";
        owner == "." || is_glue || TLDS.contains(&format!("{tld}.").as_str())
    };
    let mut zone = String::new();
    for line in sample::root_zone_text().lines().filter(is_ours) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.contains(&"SOA") {
            writeln!(zone, "{}", line.replace("2026081300", &update.to_string())).unwrap();
        } else if !(words[0] == CHANGING && words.contains(&"DS")) {
            writeln!(zone, "{line}").unwrap();
        }
    }
    zone + &ds_of(CHANGING, update)
}

fn ds_of(tld: &str, number: u32) -> String {
    format!("{tld} 86400 IN DS 7 8 2 {number:064X}\n")
}

/// The same as someone sees it who lies about another delegation.
pub(crate) fn forged_text(update: u32) -> String {
    zone_text(update) + &ds_of("se.", 666)
}

/// A process, and where it answers.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) dns: SocketAddr,
    /// What it served when it began to listen.
    pub(crate) served: Value,
}

/// All of them, and what was seen of them.
pub(crate) struct Masters {
    pub(crate) n: usize,
    pub(crate) cluster: Cluster,
    pub(crate) running: BTreeMap<usize, Running>,
    /// What was seen at any of them under each serial.
    pub(crate) seen: BTreeMap<u32, Zone>,
    pub(crate) shown: u32,
    /// With which their zones are asked for.
    pub(crate) key: Option<TsigKey>,
}

impl Masters {
    /// Makes n of which k sign; starts none.
    pub(crate) fn new(n: usize, k: usize) -> Self {
        Self::with("ed25519", n, (k, k))
    }

    /// The same with a P-256 key, for whose signatures 2k-1 presign.
    pub(crate) fn with_p256(n: usize, k: usize) -> Self {
        let masters = Self::with("p256", n, (k, 2 * k - 1));
        for dm in 1..=n {
            let text = std::fs::read_to_string(masters.config(dm)).unwrap();
            let text = format!("presign = 32\npresign_batch = 32\n{text}");
            // A first zone needs more of them than are made within a round for a few names.
            let text = text.replace("round_ms = 2000", "round_ms = 10000");
            let text = text.replace("share_wait_ms = 1000", "share_wait_ms = 4000");
            std::fs::write(masters.config(dm), text).unwrap();
        }
        masters
    }

    /// The same with an RSA key. To find its primes takes a while.
    pub(crate) fn with_rsa(n: usize, k: usize) -> Self {
        Self::with("rsa", n, (k, k))
    }

    /// So many holders of the KSK sign its sets.
    fn with(algorithm: &str, n: usize, (k, holders): (usize, usize)) -> Self {
        let (count, threshold) = (n.to_string(), k.to_string());
        let cluster = Cluster::create(&["--nodes", &count, "--users", &count]);
        let keys = cluster.path("keys").display().to_string();
        let fixed = ["dm", "keygen", &keys, "--zone", ".", "--shares", &count];
        let more = ["--threshold", &threshold, "--no-passphrase", "--algorithm", algorithm];
        bftkv(&[&fixed[..], &more].concat()).expect(0);
        let shares: Vec<String> =
            (1..=holders).map(|dm| format!("{keys}/dm-{dm}/offline/ksk.share")).collect();
        let shares: Vec<&str> = shares.iter().map(String::as_str).collect();
        let (zsk, out) = (format!("{keys}/zsk.key"), cluster.path("dnskeys").display().to_string());
        let begin = [&["dm", "ksk", "sign", "--ksk"][..], &shares].concat();
        bftkv(&[&begin[..], &["--zsk", &zsk, "--out", &out]].concat()).expect(0);
        let ids: Vec<String> = (1..=n).map(|dm| cluster.id(&format!("u{dm}"))).collect();
        for dm in 1..=n {
            let share = cluster.path(&format!("keys/dm-{dm}/zsk.share"));
            seal_to(&Key::of(&cluster.path(&format!("u{dm}"))), &share);
            let settings = format!(
                "zone = \".\"\nme = {dm}\nmasters = {ids:?}\nnode = \"n{dm}\"\nwriter = \"u{dm}\"\n\
                 share = \"keys/dm-{dm}/zsk.share\"\ndnskeys = \"dnskeys\"\nstate = \"state{dm}\"\n\
                 listen = \"127.0.0.1:0\"\n[[allow]]\nfrom = \"127.0.0.1\"\n\
                 [timing]\ngrace_ms = 300\nround_ms = 2000\nshare_wait_ms = 1000\nagain_ms = 100\n\
                 [source]\nfile = \"zone{dm}\"\n"
            );
            std::fs::write(cluster.path(&format!("{dm}.toml")), settings).unwrap();
        }
        Self { n, cluster, running: BTreeMap::new(), seen: BTreeMap::new(), shown: 0, key: None }
    }

    pub(crate) fn config(&self, dm: usize) -> PathBuf {
        self.cluster.path(&format!("{dm}.toml"))
    }

    /// How many votes are needed: rule R1 of the store.
    pub(crate) fn quorum(&self) -> usize {
        (self.n + self.faults() + 1).div_ceil(2)
    }

    pub(crate) fn faults(&self) -> usize {
        (self.n - 1) / 3
    }

    /// Who proposes a serial.
    pub(crate) fn proposer(&self, serial: u32) -> usize {
        serial as usize % self.n + 1
    }

    /// All see the next update, but for those who are named: these see a forged DS.
    pub(crate) fn show_next(&mut self, forgers: &[usize]) {
        self.shown += 1;
        for dm in 1..=self.n {
            let zone = if forgers.contains(&dm) { forged_text(self.shown) } else { self.zone() };
            self.put_file(&format!("zone{dm}"), &zone);
        }
    }

    /// What all see.
    pub(crate) fn zone(&self) -> String {
        zone_text(self.shown)
    }

    /// Puts a file in place at once.
    pub(crate) fn put_file(&self, name: &str, text: &str) {
        let new = self.cluster.path("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, self.cluster.path(name)).unwrap();
    }

    /// The program.
    pub(crate) fn start(&mut self, dm: usize) {
        let mut command = program();
        command.args(["--json", "dm", "run"]).arg(self.config(dm)).arg("--stop-with-stdin");
        self.spawn(dm, command);
    }

    pub(crate) fn start_all(&mut self) {
        let all: Vec<usize> = (1..=self.n).filter(|dm| !self.running.contains_key(dm)).collect();
        all.into_iter().for_each(|dm| self.start(dm));
    }

    /// This test as a DM, which dies at that point or tells that lie.
    pub(crate) fn start_bent(&mut self, dm: usize, dies: &str, lies: &str) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test_name(), "--exact", "--ignored", "--nocapture", "--test-threads", "1"]);
        command.env(CONFIG, self.config(dm)).env(DIES, dies).env(LIES, lies);
        self.spawn(dm, command);
    }

    fn spawn(&mut self, dm: usize, mut command: Command) {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.starts_with('{')).expect("it says where it listens");
        // Whatever it says later must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        let told: Value = serde_json::from_str(&line).unwrap();
        let dns = told["listening"].as_str().unwrap().parse().unwrap();
        self.running.insert(dm, Running { child, dns, served: told["serving"].clone() });
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, dm: usize) {
        let mut running = self.running.remove(&dm).unwrap();
        // One that died by itself is only waited for.
        let _ = running.child.kill();
        running.child.wait().unwrap();
    }

    /// SIGKILL for all of them, before any of them is waited for.
    pub(crate) fn kill_at_once(&mut self, dms: &[usize]) {
        for dm in dms {
            let _ = self.running.get_mut(dm).unwrap().child.kill();
        }
        dms.iter().for_each(|dm| self.kill(*dm));
    }

    pub(crate) fn has_died(&mut self, dm: usize) -> bool {
        self.running.get_mut(&dm).unwrap().child.try_wait().unwrap().is_some()
    }

    pub(crate) fn stop(&mut self, dm: usize) {
        let mut running = self.running.remove(&dm).unwrap();
        // Waiting would close it, which would be a second word to stop.
        let stdin = running.child.stdin.take();
        let pid = running.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(running.child.wait().unwrap().success(), "it ends well");
        drop(stdin);
    }

    pub(crate) fn dm(&self, command: &str, dm: usize, more: &[&str]) -> Ran {
        let config = self.config(dm);
        bftkv(&[&["--json", "dm", command, text(&config)], more].concat())
    }

    pub(crate) fn status(&self, dm: usize) -> Value {
        self.dm("status", dm, &[]).expect(0).json()
    }

    /// What this one serves, if it answers; no serial ever has two zones.
    pub(crate) fn served(&mut self, dm: usize) -> Option<Zone> {
        let primary = Primary { address: self.running[&dm].dns, key: self.key.clone() };
        let zone = primary.transfer(&Name::root(), Limits::default()).ok()?;
        let before = self.seen.entry(zone.serial()).or_insert_with(|| zone.clone());
        assert!(
            *before == zone,
            "serial {} has one zone for ever:\n{before}\n{zone}",
            zone.serial()
        );
        Some(zone)
    }

    /// Waits until all of these serve one zone, which has what was shown last and nothing else.
    pub(crate) fn wait_for(&mut self, honest: &[usize]) -> Zone {
        let until = Instant::now() + PATIENCE;
        let shown = Zone::read(self.zone().as_bytes(), Some(Name::root()), Limits::default());
        let shown = bftkv_dm::node::content_of(&shown.unwrap()).unwrap();
        loop {
            let zones: Vec<Zone> = honest.iter().filter_map(|dm| self.served(*dm)).collect();
            if zones.len() == honest.len()
                && zones.iter().all(|zone| *zone == zones[0])
                && bftkv_dm::node::content_of(&zones[0]).unwrap() == shown
            {
                return zones.into_iter().next().unwrap();
            }
            if Instant::now() > until {
                let all: Vec<Value> = honest.iter().map(|dm| self.status(*dm)).collect();
                panic!("update {}: {all:#?}", self.shown);
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the status of one says this.
    pub(crate) fn wait_for_status(&self, dm: usize, is_so: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status(dm);
            if is_so(&status) {
                return status;
            }
            assert!(Instant::now() < until, "{status:#}");
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

/// Seals a share to the key with which its DM writes.
fn seal_to(key: &Key, path: &Path) {
    let open = ShareFile::open(path, key).unwrap();
    std::fs::remove_file(path).unwrap();
    let lock = Lock::Key { seal: key.seal(), to: key.seal().id() };
    open.create(path, lock, &mut system_rng().unwrap()).unwrap();
}
