//! Seven distribution masters in this process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bftkv::protocol::Sign as _;
use bftkv::{Client, Home, Node, NodeId, RunningNode};
use bftkv_dm::agree::{Content, Council, Dm, Member, Memory, Settings};
use bftkv_dm::node::{Driver, Letters, Publisher, Source, ZoneWork, deal, generator};
use bftkv_dm::publish::{Access, Desk, Notifier, Prefix, Responder, Rule, Server, ServerLimits};
use bftkv_dm::sign::{BatchSigner as _, Dnskey, KeySet, Role, ShareSigner, Terms};
use bftkv_dm::threshold::ecdsa::Presign;
use bftkv_dm::threshold::rand_core::CryptoRngCore;
use bftkv_dm::threshold::{
    Error, GroupKey, KeyShare, Nonces, Party, Scheme, SecretBytes, Session, key_share_from_bytes,
};
use bftkv_dm::zone::Name;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::keygen::usual_threshold;
use super::super::{low, now};
use crate::failure::Failure;
use crate::free_ports::free_ports;
use crate::new_home::NewSettings;
use crate::web::{self, Plan, Web};

/// How many there are.
pub(super) const DMS: u8 = 7;
/// How many sign: more than half; with P-256 as few as can be, because twice as many presign.
pub(super) fn signers(scheme: Scheme) -> usize {
    usual_threshold(usize::from(DMS), scheme)
}

/// By their numbers.
pub(super) type Masters = BTreeMap<Dm, Master>;

/// Who is stopped.
pub(super) fn dead() -> Option<Dm> {
    Dm::new(3)
}

/// Who lies.
pub(super) fn liar() -> Option<Dm> {
    Dm::new(4)
}

/// A source whose content the story changes.
#[derive(Clone, Default)]
pub(super) struct Shown(Arc<Mutex<(u32, Arc<Content>)>>);

impl Shown {
    pub(super) fn set(&self, serial: u32, content: Content) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (serial, Arc::new(content));
    }
}

impl Source for Shown {
    fn read(&self) -> Result<(u32, Arc<Content>), String> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// A share whose owner lies from some time on: what it signs is wrong.
#[derive(Debug)]
struct Lying {
    share: Box<dyn KeyShare>,
    lies: Arc<AtomicBool>,
}

impl KeyShare for Lying {
    fn party(&self) -> Party {
        self.share.party()
    }

    fn group(&self) -> &dyn GroupKey {
        self.share.group()
    }

    fn commit(
        &self,
        messages: usize,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Nonces, Vec<u8>), Error> {
        self.share.commit(messages, rng)
    }

    fn presign(
        &self,
        count: usize,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Presign, Vec<u8>), Error> {
        self.share.presign(count, rng)
    }

    fn sign(&self, nonces: Nonces, session: &Session) -> Result<Vec<u8>, Error> {
        let mut signed = self.share.sign(nonces, session)?;
        if self.lies.load(Ordering::Relaxed)
            && let Some(byte) = signed.first_mut()
        {
            *byte ^= 1;
        }
        Ok(signed)
    }

    fn prove(
        &self,
        session: &Session,
        message: usize,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Vec<u8>, Error> {
        self.share.prove(session, message, rng)
    }

    fn to_secret_bytes(&self) -> SecretBytes {
        self.share.to_secret_bytes()
    }
}

/// One of them.
pub(super) struct Master {
    running: RunningNode,
    pub(super) driver: Arc<Driver>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) source: Shown,
    pub(super) server: Server,
    lies: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Master {
    async fn start(
        dm: Dm,
        (mut member, lies): (Member<ZoneWork>, Arc<AtomicBool>),
        writers: &BTreeMap<NodeId, Dm>,
        (node, folder): (Node, &Path),
    ) -> Result<Self, Failure> {
        let home = Home::open(folder.join(writer(dm)))?;
        let keyring = node.certificates().keyring().clone();
        member.presign_with(Arc::new(Letters::new((dm, home.key()), keyring, writers)));
        let client = Arc::new(Client::open(&home).await?);
        let file = |what: &str| folder.join(format!("{what}-{}", dm.number()));
        let (sender, committed) = mpsc::unbounded_channel();
        let (writers, word) = (writers.clone(), "root".to_owned());
        let driver = Driver::new(member, writers, council()?, word, client, file("votes"), sender);
        node.set_policy(Arc::clone(&driver) as Arc<dyn bftkv::Policy>);
        let running = node.serve().await?;
        let from = Prefix::new([127, 0, 0, 1].into(), 8);
        let from = from.ok_or_else(|| Failure::failed("no prefix"))?;
        let access = Access::new(vec![Rule { from, key: None }]);
        let responder = Arc::new(Responder::new(Name::root(), access));
        let any = ([127, 0, 0, 1], 0).into();
        let server = Server::bind(any, Arc::clone(&responder), ServerLimits::default()).await;
        let notifier = Notifier::new(Vec::new(), (0, usize::from(DMS)), Duration::ZERO);
        let publisher = Publisher::new(Desk::new(20), responder, notifier, file("zone"));
        let source = Shown::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&publisher).run(committed, || low(now())));
        tasks.spawn(Arc::clone(&driver).run(Arc::new(source.clone())));
        let server = server.map_err(Failure::failed)?;
        Ok(Self { running, driver, publisher, source, server, lies, tasks })
    }

    /// From now on what it signs is wrong.
    pub(super) fn lie(&self) {
        self.lies.store(true, Ordering::Relaxed);
    }

    /// Stops it.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        self.tasks.shutdown().await;
        self.server.shutdown().await;
        Ok(self.running.shutdown().await?)
    }
}

fn council() -> Result<Council, Failure> {
    Council::new(DMS).ok_or_else(|| Failure::failed("no council"))
}

fn member(
    dm: Dm,
    work: &Keys,
    share: &SecretBytes,
    first: u32,
) -> Result<(Member<ZoneWork>, Arc<AtomicBool>), Failure> {
    let settings = Settings {
        grace: 3_000,
        // All seven work on one machine: signing the whole zone must fit, also on a busy one.
        round: 90_000,
        share_wait: 60_000,
        again: 500,
        // Enough for a zone of a few names.
        presignatures: 32,
        batch: 32,
        ..Settings::new(dm, council()?, first)
    };
    let lies = Arc::new(AtomicBool::new(false));
    let share = key_share_from_bytes(share).map_err(Failure::failed)?;
    let share = Box::new(Lying { share, lies: Arc::clone(&lies) });
    let rng = Box::new(generator().map_err(Failure::failed)?);
    let member = Member::new(settings, work.to_work(), share, rng, Memory::default());
    Ok((member, lies))
}

/// Makes the homes and keys below this folder, and starts the DMs.
pub(super) async fn assemble(
    folder: &Path,
    first: u32,
    scheme: Scheme,
) -> Result<Masters, Failure> {
    let dms: Vec<Dm> = (1..=DMS).filter_map(Dm::new).collect();
    let ports = free_ports(dms.len(), None)?;
    let mut plans: Vec<Plan> = dms
        .iter()
        .zip(ports)
        .map(|(dm, port)| Plan::node(format!("n{}", dm.number()), web::Role::Authority, port))
        .collect();
    plans.extend(dms.iter().map(|dm| Plan::person(writer(*dm), web::Role::User)));
    Web::make(&plans)?.write_homes(folder, &NewSettings::default())?;
    let mut writers: BTreeMap<NodeId, Dm> = BTreeMap::new();
    let mut nodes = Vec::new();
    for dm in &dms {
        writers.insert(Home::open(folder.join(writer(*dm)))?.key().id().clone(), *dm);
        nodes.push(Node::open(&Home::open(folder.join(format!("n{}", dm.number())))?)?);
    }
    let (work, shares) = keys(scheme)?;
    let mut masters = BTreeMap::new();
    for ((dm, node), share) in dms.iter().zip(nodes).zip(&shares) {
        let member = member(*dm, &work, share, first)?;
        masters.insert(*dm, Master::start(*dm, member, &writers, (node, folder)).await?);
    }
    Ok(masters)
}

fn writer(dm: Dm) -> String {
    format!("dm{}", dm.number())
}

/// What every DM's work is made of.
struct Keys {
    set: KeySet,
    zsk: Dnskey,
}

impl Keys {
    fn to_work(&self) -> ZoneWork {
        ZoneWork::new(Name::root(), vec![self.set.clone()], vec![self.zsk.clone()], 20)
    }
}

type Shares = Vec<SecretBytes>;

fn keys(scheme: Scheme) -> Result<(Keys, Shares), Failure> {
    let mut rng = generator().map_err(Failure::failed)?;
    let shape = (DMS, signers(scheme));
    let ksk = deal(scheme, shape, &mut rng).map_err(Failure::failed)?;
    let zsk = deal(scheme, shape, &mut rng).map_err(Failure::failed)?;
    let fresh = || generator().map_err(Failure::failed);
    let mut signer = ShareSigner::new(&ksk, fresh()?).map_err(Failure::failed)?;
    let zone_key = ShareSigner::new(&zsk, fresh()?).map_err(Failure::failed)?;
    let key = Dnskey::of(zone_key.key(), Role::Zsk).map_err(Failure::failed)?;
    let time = low(now());
    let day = 86_400;
    let terms = Terms::new(time - 2 * day, time + 30 * day, time + day).map_err(Failure::failed)?;
    let set = KeySet::sign(&Name::root(), vec![key.clone()], 172_800, &terms, &mut signer);
    Ok((Keys { set: set.map_err(Failure::failed)?, zsk: key }, zsk))
}
