//! This test program, started again as a distribution master that dies at a certain point or lies.
//!
//! Nothing of this is in the program: the board, the share and the policy are traits, and these
//! stand in front of the real ones.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bftkv::protocol::Entry;
use bftkv::{CertifiedEntry, Client, Home, Node, Policy, Value, Variable};
use bftkv_dm::agree::{Change, Council, Dm, Manifest, Member, SetKey, Settings, Topic};
use bftkv_dm::keys::ShareFile;
use bftkv_dm::node::{
    Board, Boarding, Driver, FileSource, Publisher, Source, ZoneWork, content_of, generator,
    kept_zone,
};
use bftkv_dm::publish::{Access, Desk, Notifier, Responder, Rule, Server, ServerLimits};
use bftkv_dm::sign::{Dnskey, KeySet, Role};
use bftkv_dm::threshold::rand_core::CryptoRngCore;
use bftkv_dm::threshold::{
    Error, GroupKey, KeyShare, Nonces, Party, SecretBytes, Session, key_share_from_bytes,
};
use bftkv_dm::zone::Name;
use tokio::sync::mpsc;

use super::super::sealed::Key;

/// Its settings, as those of `bftkv dm run`.
pub(crate) const CONFIG: &str = "DM_CHILD_CONFIG";
/// One of [`POINTS`].
pub(crate) const DIES: &str = "DM_CHILD_DIES";
/// One of [`LIES_TOLD`].
pub(crate) const LIES: &str = "DM_CHILD_LIES";

/// Before agreement, between share and aggregate, between aggregate and publication: where the
/// proposer dies, and where another one does.
pub(crate) const POINTS: [[&str; 2]; 3] = [
    ["before manifest", "after view"],
    ["before sigs", "after share"],
    ["before signed", "commit"],
];
/// What it lies about.
pub(crate) const LIES_TOLD: [&str; 4] = ["rrset", "share", "signature", "serial"];

#[test]
#[ignore = "started by the others, with orders in the environment"]
fn child() {
    let Ok(path) = std::env::var(CONFIG) else { return };
    std::thread::spawn(|| {
        // No child outlives the one who started it.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    tokio::runtime::Runtime::new().unwrap().block_on(serve(&Config::read(Path::new(&path))));
}

/// Its name among the tests of this program.
pub(crate) fn test_name() -> &'static str {
    concat!(module_path!(), "::child").split_once("::").unwrap().1
}

/// The part of the settings that it needs.
struct Config {
    folder: PathBuf,
    table: toml::Table,
}

impl Config {
    fn read(path: &Path) -> Self {
        let table = fs::read_to_string(path).unwrap().parse().unwrap();
        Self { folder: path.parent().unwrap().to_owned(), table }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(self.table[name].as_str().unwrap())
    }

    fn masters(&self) -> Vec<&str> {
        self.table["masters"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect()
    }

    fn me(&self) -> Dm {
        Dm::new(u8::try_from(self.table["me"].as_integer().unwrap()).unwrap()).unwrap()
    }

    fn council(&self) -> Council {
        Council::new(u8::try_from(self.masters().len()).unwrap()).unwrap()
    }

    fn settings(&self) -> Settings {
        let timing = |name: &str| {
            let time = self.table["timing"][name].as_integer().unwrap();
            u64::try_from(time).unwrap()
        };
        Settings {
            grace: timing("grace_ms"),
            round: timing("round_ms"),
            share_wait: timing("share_wait_ms"),
            again: timing("again_ms"),
            ..Settings::new(self.me(), self.council(), 1)
        }
    }

    fn source(&self) -> FileSource {
        let file = self.folder.join(self.table["source"]["file"].as_str().unwrap());
        FileSource::new(file, Name::root())
    }

    fn key_sets(&self) -> Vec<KeySet> {
        let files = fs::read_dir(self.path("dnskeys")).unwrap().map(|file| file.unwrap().path());
        let sets = files.filter(|file| file.extension().is_some_and(|word| word == "zone"));
        let text = |file| fs::read_to_string(file).unwrap();
        sets.map(|file| KeySet::from_text(&text(file), &Name::root()).unwrap()).collect()
    }
}

/// When it dies and what it lies about.
#[derive(Clone, Debug)]
struct Orders {
    dies: String,
    lies: String,
    /// Where it notes what it did.
    told: PathBuf,
}

impl Orders {
    fn of(config: &Config) -> Self {
        let word = |name| std::env::var(name).unwrap_or_default();
        Self { dies: word(DIES), lies: word(LIES), told: config.path("state").join("told") }
    }

    /// Dies here if it is the point. Nothing is flushed and nobody is told: a kill.
    fn pass(&self, point: &str) {
        if self.dies == point {
            std::process::abort();
        }
    }

    fn lies_about(&self, what: &str) -> bool {
        self.lies == what
    }

    fn note(&self, what: &str) {
        let file = File::options().create(true).append(true).open(&self.told);
        writeln!(file.unwrap(), "{what}").unwrap();
    }
}

/// The store as this DM uses it.
struct Bent {
    board: Arc<Client>,
    orders: Orders,
    source: FileSource,
    council: Council,
}

fn topic_of(variable: &Variable) -> Topic {
    let name = String::from_utf8(variable.as_bytes().to_vec()).unwrap();
    name.splitn(4, '/').nth(3).unwrap().parse().unwrap()
}

fn moved(variable: &Variable, to: Topic) -> Variable {
    let name = String::from_utf8(variable.as_bytes().to_vec()).unwrap();
    let parts: Vec<&str> = name.splitn(4, '/').take(3).collect();
    Variable::new(format!("{}/{to}", parts.join("/"))).unwrap()
}

fn word(topic: Topic) -> Option<&'static str> {
    match topic {
        Topic::View { .. } => Some("view"),
        Topic::Manifest { .. } => Some("manifest"),
        Topic::Share { stage: 0, .. } => Some("share"),
        Topic::Sigs { .. } => Some("sigs"),
        Topic::Signed { .. } => Some("signed"),
        _ => None,
    }
}

impl Bent {
    /// What it writes instead: nothing, or something at other places.
    fn bend(&self, variable: &Variable, topic: Topic, value: Value) -> Vec<(Variable, Value)> {
        let lies = |what| self.orders.lies_about(what);
        let bytes = value.as_bytes().to_vec();
        let mut told = match topic {
            Topic::Manifest { .. } if lies("rrset") => {
                vec![(variable.clone(), self.forged(&bytes))]
            }
            Topic::Sigs { .. } | Topic::Signed { .. } if lies("signature") => {
                let mut bytes = bytes;
                *bytes.last_mut().unwrap() ^= 1;
                vec![(variable.clone(), bytes)]
            }
            Topic::Manifest { serial } if lies("serial") => {
                let n = u32::try_from(self.council.size()).unwrap();
                let mut manifest = Manifest::from_bytes(&bytes).unwrap();
                let ahead = [1, n].map(|more| {
                    manifest.serial = serial + more;
                    let place = Topic::Manifest { serial: serial + more };
                    (moved(variable, place), manifest.to_bytes())
                });
                ahead.into()
            }
            _ => return vec![(variable.clone(), value)],
        };
        self.orders.note(&format!("{} {topic}", self.orders.lies));
        told.drain(..).map(|(variable, bytes)| (variable, Value::new(bytes).unwrap())).collect()
    }

    /// With what its own source shows of one DS.
    fn forged(&self, bytes: &[u8]) -> Vec<u8> {
        let mut manifest = Manifest::from_bytes(bytes).unwrap();
        let (_, content) = self.source.read().unwrap();
        let key = SetKey::new([&b"se"[..]], 43).unwrap();
        if let Change::Sets(delta) = &mut manifest.change {
            delta.insert(key.clone(), content.sets().get(&key).cloned());
        }
        manifest.root = content.root();
        manifest.to_bytes()
    }
}

impl Board for Bent {
    fn write<'a>(
        &'a self,
        variable: &'a Variable,
        value: Value,
        patience: Duration,
    ) -> Boarding<'a, Result<(), String>> {
        Box::pin(async move {
            let topic = topic_of(variable);
            let point = |when: &str| word(topic).map(|word| format!("{when} {word}"));
            point("before").iter().for_each(|point| self.orders.pass(point));
            let mut done = Ok(());
            for (place, value) in self.bend(variable, topic, value) {
                done = self.board.write(&place, value, patience).await;
            }
            done?;
            point("after").iter().for_each(|point| self.orders.pass(point));
            Ok(())
        })
    }

    fn read<'a>(&'a self, variable: &'a Variable) -> Boarding<'a, Option<CertifiedEntry>> {
        self.board.read(variable)
    }
}

/// A share whose owner may lie: what it signs is wrong then.
#[derive(Debug)]
struct BentShare(Box<dyn KeyShare>, Orders);

impl KeyShare for BentShare {
    fn party(&self) -> Party {
        self.0.party()
    }

    fn group(&self) -> &dyn GroupKey {
        self.0.group()
    }

    fn commit(
        &self,
        messages: usize,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Nonces, Vec<u8>), Error> {
        self.0.commit(messages, rng)
    }

    fn sign(&self, nonces: Nonces, session: &Session) -> Result<Vec<u8>, Error> {
        let mut signed = self.0.sign(nonces, session)?;
        if self.1.lies_about("share") {
            signed[0] ^= 1;
            self.1.note("share");
        }
        Ok(signed)
    }

    fn prove(
        &self,
        session: &Session,
        message: usize,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Vec<u8>, Error> {
        self.0.prove(session, message, rng)
    }

    fn to_secret_bytes(&self) -> SecretBytes {
        self.0.to_secret_bytes()
    }
}

/// A liar votes for everything.
struct BentPolicy(Arc<Driver>, Orders);

impl Policy for BentPolicy {
    fn may_sign(&self, entry: &Entry) -> Result<(), String> {
        let judged = self.0.may_sign(entry);
        if self.1.lies.is_empty() { judged } else { Ok(()) }
    }

    fn stored(&self, entry: &CertifiedEntry) {
        self.0.stored(entry);
    }
}

fn driver(
    config: &Config,
    orders: &Orders,
    client: Client,
    committed: mpsc::UnboundedSender<bftkv_dm::node::Committed>,
    publisher: &Publisher,
) -> Arc<Driver> {
    let file = ShareFile::open(&config.path("share"), &Key::of(&config.path("writer"))).unwrap();
    let zsk = Dnskey::of(file.share().group(), Role::Zsk).unwrap();
    let work = ZoneWork::new(Name::root(), config.key_sets(), vec![zsk], 20);
    let votes = config.path("state").join("votes");
    let memory = Driver::recall(&votes).unwrap();
    let share = key_share_from_bytes(&file.to_secret_bytes()).unwrap();
    // The lock on the file stays for as long as the process.
    std::mem::forget(file);
    let share = Box::new(BentShare(share, orders.clone()));
    let rng = Box::new(generator().unwrap());
    let mut member = Member::new(config.settings(), work, share, rng, memory);
    let kept = kept_zone(&config.path("state").join("zone"), &Name::root()).unwrap();
    if let Some((manifest, signed)) = &kept {
        let content = content_of(signed.zone()).unwrap();
        member.resume(Arc::clone(manifest), content, Arc::clone(signed)).unwrap();
        publisher.restore(signed.zone(), now());
    }
    let ids = config.masters().into_iter().map(|id| id.parse().unwrap());
    let writers = ids.zip((1..).filter_map(Dm::new)).collect();
    let council = config.council();
    let (board, source) = (Arc::new(client), config.source());
    let board = Arc::new(Bent { board, orders: orders.clone(), source, council });
    let driver = Driver::new(member, writers, council, "root".into(), board, votes, committed);
    if let Some((manifest, _)) = kept {
        driver.has(manifest.serial);
    }
    driver
}

async fn serve(config: &Config) {
    let orders = Orders::of(config);
    let node = Node::open(&Home::open(config.path("node")).unwrap()).unwrap();
    let client = Client::open(&Home::open(config.path("writer")).unwrap()).await.unwrap();
    let rule = Rule { from: "127.0.0.1".parse().unwrap(), key: None };
    let responder = Arc::new(Responder::new(Name::root(), Access::new(vec![rule])));
    let notifier = Notifier::new(Vec::new(), (0, config.masters().len()), Duration::ZERO);
    let path = config.path("state").join("zone");
    let publisher = Publisher::new(Desk::new(20), responder, notifier, path);
    let (sender, mut agreed) = mpsc::unbounded_channel();
    let driver = driver(config, &orders, client, sender, &publisher);
    node.set_policy(Arc::new(BentPolicy(Arc::clone(&driver), orders.clone())));
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(any, publisher.responder(), ServerLimits::default()).await.unwrap();
    let running = node.serve().await.unwrap();
    let (forward, committed) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(zone) = agreed.recv().await {
            orders.pass("commit");
            forward.send(zone).unwrap();
        }
    });
    tokio::spawn(Arc::clone(&publisher).run(committed, now));
    tokio::spawn(Arc::clone(&driver).run(Arc::new(config.source())));
    let serving = publisher.zone().map(|zone| zone.serial());
    let told =
        serde_json::json!({ "listening": server.local_addr().to_string(), "serving": serving });
    println!("\n{told}");
    std::future::pending::<()>().await;
    drop(running);
}

fn now() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u32::try_from(since.unwrap().as_secs()).unwrap()
}
