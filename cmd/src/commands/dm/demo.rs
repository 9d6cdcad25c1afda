//! `bftkv dm demo`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bftkv::protocol::Sign as _;
use bftkv::{Client, Home, Node, NodeId, RunningNode};
use bftkv_dm::agree::{Content, Council, Dm, Member, Memory, Settings};
use bftkv_dm::node::{Committed, Driver, Source, ZoneWork, content_of, deal, generator};
use bftkv_dm::publish::{Access, Desk, Offered, Prefix, Responder, Rule, Server, ServerLimits};
use bftkv_dm::sample;
use bftkv_dm::sign::{BatchSigner as _, Dnskey, KeySet, Role, ShareSigner, Terms};
use bftkv_dm::threshold::key_share_from_bytes;
use bftkv_dm::zone::{Limits, Name, Zone};
use clap::Args;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{low, now};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::free_ports::free_ports;
use crate::new_home::NewSettings;
use crate::output::{self, Output};
use crate::web::{self, Plan, Web};

/// Show seven distribution masters in this process that publish one root zone. Unfinished.
///
/// Seven DMs with a key of which four sign agree on the shipped root zone, sign it and serve it on
/// loopback. Then one is stopped and another lies about a DS record, and the next real update is
/// published all the same. Nothing needs to be installed.
///
/// Example: bftkv dm demo --out root.signed
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Where the signed zone goes [default: nowhere].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Go on serving until interrupted.
    #[arg(long)]
    serve: bool,
}

const DMS: u8 = 7;
const SIGNERS: usize = 4;
/// How long a zone may take. The machine may be busy.
const PATIENCE: Duration = Duration::from_secs(240);
/// What the liar's source says of this delegation's DS.
const VICTIM: &str = "com.";

pub(crate) fn run(args: &DemoArgs, context: &Context) -> Result<Exit, Failure> {
    context.block_on(tell(args, context.output()))?;
    Ok(Exit::Done)
}

/// A source whose content the story changes.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<(u32, Content)>>);

impl Shown {
    fn set(&self, serial: u32, content: Content) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (serial, content);
    }
}

impl Source for Shown {
    fn read(&self) -> Result<(u32, Content), String> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

struct Master {
    running: Option<RunningNode>,
    driver: Arc<Driver>,
    task: JoinHandle<()>,
    source: Shown,
    committed: mpsc::UnboundedReceiver<Committed>,
    responder: Arc<Responder>,
    desk: Desk,
    server: Server,
}

fn say(output: Output, text: impl Display) -> Result<(), Failure> {
    if output.is_json() { Ok(()) } else { output::raw(format!("{text}\n").as_bytes()) }
}

async fn tell(args: &DemoArgs, output: Output) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(Failure::failed)?;
    let begun = Instant::now();
    let first = sample::root_zone().map_err(Failure::failed)?;
    say(output, "Keys: seven DMs certify each other; an Ed25519 key is dealt, 4 of 7 sign.")?;
    let mut masters = assemble(folder.path(), first.serial()).await?;
    say(output, format_args!("ready after {:.1} s", begun.elapsed().as_secs_f32()))?;

    let start = Instant::now();
    let content = content_of(&first).map_err(Failure::failed)?;
    masters.values().for_each(|m| m.source.set(first.serial(), content.clone()));
    let zone = gather(&mut masters, first.serial()).await?;
    let (sets, seconds) = (zone.sets().len(), start.elapsed().as_secs_f32());
    say(
        output,
        format_args!(
            "The whole root zone, {sets} sets: agreed, signed, checked and the same at all seven after {seconds:.1} s."
        ),
    )?;
    masters.values().for_each(|m| {
        let _ = say(output, format_args!("  served at {}", m.server.local_addr()));
    });

    say(output, "DM 3 is stopped. DM 4 lies from now on: it shows a forged DS of com.")?;
    if let Some(mut dead) = Dm::new(3).and_then(|dm| masters.remove(&dm)) {
        dead.task.abort();
        if let Some(running) = dead.running.take() {
            running.shutdown().await?;
        }
        dead.server.shutdown().await;
    }
    let start = Instant::now();
    let (update, honest) = next_update(&content)?;
    let forged = forge(&honest)?;
    for (dm, master) in &masters {
        let seen = if dm.number() == 4 { &forged } else { &honest };
        master.source.set(update.serial(), seen.clone());
    }
    let liar = Dm::new(4).and_then(|dm| masters.remove(&dm));
    let zone = gather(&mut masters, first.serial() + 1).await?;
    let is_right = content_of(&zone).is_ok_and(|content| content == honest);
    if !is_right {
        return Err(Failure::failed("the published zone is not what the honest DMs see"));
    }
    say(
        output,
        format_args!(
            "The next real update, with one DM down and one lying: published after {:.1} s, the same at all honest DMs; the forged DS is not in it.",
            start.elapsed().as_secs_f32()
        ),
    )?;
    for dissent in masters.values().next().map(|m| m.driver.status().dissent).unwrap_or_default() {
        for dm in dissent.seen.keys() {
            let delegation = &dissent.delegation;
            say(output, format_args!("  {dm} saw something else for {delegation}: left out."))?;
        }
    }
    let ran = begun.elapsed();
    conclude(args, output, masters.into_values().chain(liar).collect(), &zone, ran).await
}

/// Writes the zone, goes on serving it if that is wanted, and stops the DMs.
async fn conclude(
    args: &DemoArgs,
    output: Output,
    masters: Vec<Master>,
    zone: &Zone,
    ran: Duration,
) -> Result<(), Failure> {
    if let Some(path) = &args.out {
        fs::write(path, zone.to_string()).map_err(Failure::failed)?;
        say(output, format_args!("written: {}", path.display()))?;
    }
    if args.serve {
        for master in &masters {
            let at = master.server.local_addr();
            say(output, format_args!("  dig @{} -p {} . AXFR", at.ip(), at.port()))?;
        }
        tokio::signal::ctrl_c().await.map_err(Failure::failed)?;
    }
    for mut master in masters {
        master.task.abort();
        if let Some(running) = master.running.take() {
            running.shutdown().await?;
        }
        master.server.shutdown().await;
    }
    if output.is_json() {
        let told = serde_json::json!({ "serial": zone.serial(), "seconds": ran.as_secs_f32() });
        output::raw(format!("{told}\n").as_bytes())?;
    }
    Ok(())
}

/// The first real update that changes more than serial and signatures: on the others there is
/// nothing to agree.
fn next_update(before: &Content) -> Result<(Zone, Content), Failure> {
    for text in sample::root_zone_updates() {
        let text = text.map_err(Failure::failed)?;
        let update = Zone::read(text.as_bytes(), Some(Name::root()), Limits::default());
        let update = update.map_err(Failure::failed)?;
        let content = content_of(&update).map_err(Failure::failed)?;
        if content != *before {
            return Ok((update, content));
        }
    }
    Err(Failure::failed("no update changes anything"))
}

/// Another DS of com, which would let whoever has its key speak for all of com.
fn forge(content: &Content) -> Result<Content, Failure> {
    let victim = content.sets().iter().find(|(key, _)| key.to_string() == format!("{VICTIM} DS"));
    let (key, value) = victim.ok_or_else(|| Failure::failed("the root zone has no DS of com"))?;
    let mut value = value.clone();
    if let Some(byte) = value.last_mut() {
        *byte ^= 1;
    }
    let mut forged = content.clone();
    forged.insert(key.clone(), value);
    Ok(forged)
}

/// Waits until all have the zone of that serial, publishes it, and sees that all have the same.
async fn gather(masters: &mut BTreeMap<Dm, Master>, least: u32) -> Result<Arc<Zone>, Failure> {
    let mut zones: Vec<Arc<Zone>> = Vec::new();
    for (dm, master) in masters.iter_mut() {
        let next = async {
            loop {
                let (_, signed) = master.committed.recv().await?;
                if signed.zone().serial() >= least {
                    return Some(signed);
                }
            }
        };
        let Ok(Some(signed)) = timeout(PATIENCE, next).await else {
            let status = master.driver.status();
            return Err(Failure::failed(format!("{dm} has no zone in time: {status:?}")));
        };
        zones.push(Arc::clone(signed.zone()));
    }
    let first = zones.first().cloned().ok_or_else(|| Failure::failed("no DM"))?;
    if zones.iter().any(|zone| **zone != *first) {
        return Err(Failure::failed("two DMs have different zones"));
    }
    for master in masters.values_mut() {
        // All have the same bytes, so one check would do; but each looks for itself.
        if let Offered::Held(reason) = master.desk.offer(&first, low(now())) {
            return Err(Failure::failed(reason));
        }
        if !master.responder.publish(Arc::clone(&first)) {
            return Err(Failure::failed("the serial does not follow"));
        }
    }
    Ok(first)
}

async fn assemble(folder: &Path, first: u32) -> Result<BTreeMap<Dm, Master>, Failure> {
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
    let (work, shares) = keys()?;
    let mut masters = BTreeMap::new();
    for ((dm, node), share) in dms.iter().zip(nodes).zip(&shares) {
        let council = Council::new(DMS).ok_or_else(|| Failure::failed("no council"))?;
        let settings = Settings {
            grace: 3_000,
            round: 20_000,
            share_wait: 60_000,
            again: 500,
            ..Settings::new(*dm, council, first)
        };
        let share = key_share_from_bytes(share).map_err(Failure::failed)?;
        let rng = Box::new(generator().map_err(Failure::failed)?);
        let member = Member::new(settings, work.to_work(), share, rng, Memory::default());
        let client = Client::open(&Home::open(folder.join(writer(*dm)))?).await?;
        let memory = folder.join(format!("votes-{}", dm.number()));
        let (sender, committed) = mpsc::unbounded_channel();
        let driver =
            Driver::new(member, writers.clone(), council, "root".into(), client, memory, sender);
        node.set_policy(Arc::clone(&driver) as Arc<dyn bftkv::Policy>);
        let running = node.serve().await?;
        let rule = Rule {
            from: Prefix::new([127, 0, 0, 1].into(), 8).ok_or_else(|| Failure::failed("prefix"))?,
            key: None,
        };
        let responder = Arc::new(Responder::new(Name::root(), Access::new(vec![rule])));
        let any = ([127, 0, 0, 1], 0).into();
        let server = Server::bind(any, Arc::clone(&responder), ServerLimits::default()).await;
        let source = Shown::default();
        masters.insert(
            *dm,
            Master {
                running: Some(running),
                task: tokio::spawn(async {}),
                driver,
                source,
                committed,
                responder,
                desk: Desk::new(20),
                server: server.map_err(Failure::failed)?,
            },
        );
    }
    for master in masters.values_mut() {
        let source = Arc::new(master.source.clone());
        master.task = tokio::spawn(Arc::clone(&master.driver).run(source));
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
        ZoneWork::new(Name::root(), self.set.clone(), self.zsk.clone(), 20)
    }
}

type Shares = Vec<bftkv_dm::threshold::SecretBytes>;

fn keys() -> Result<(Keys, Shares), Failure> {
    let mut rng = generator().map_err(Failure::failed)?;
    let ksk = deal(DMS, SIGNERS, &mut rng).map_err(Failure::failed)?;
    let zsk = deal(DMS, SIGNERS, &mut rng).map_err(Failure::failed)?;
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
