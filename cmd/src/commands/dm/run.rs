//! `bftkv dm run`.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bftkv::protocol::Sign as _;
use bftkv::{Client, Home, Node, NodeId, RunningNode};
use bftkv_dm::agree::{Council, Dm, Member};
use bftkv_dm::keys::ShareFile;
use bftkv_dm::node::{
    Committed, Driver, Letters, Publisher, ZoneWork, content_of, generator, kept_zone, replace,
};
use bftkv_dm::publish::{Desk, Notifier, Responder, Server, ServerLimits};
use bftkv_dm::sign::{Checked, Dnskey, Role};
use bftkv_dm::threshold::key_share_from_bytes;
use bftkv_dm::zone::Name;
use clap::Args;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::config::DmConfig;
use super::control::{self, Ask};
use super::keygen::check_p256;
use super::status::DmStatus;
use super::{KeyOf, low, now, read_shares};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::listening::LISTENING;
use crate::output;
use crate::stop::Stop;

/// Run a distribution master.
///
/// It sees the zone by itself (a file or AXFR), agrees with the other DMs through the store on what
/// is published, signs it with its share, and answers SOA, AXFR and IXFR; secondaries are told by
/// NOTIFY. The store's node of this DM runs in the same process. It prints one line when it
/// listens, and logs to stderr (-v for more). Ctrl-C or SIGTERM stops it; what it voted for and the
/// zone that it serves are on disk at any time.
///
/// Examples:
///
///   bftkv dm run dm.toml
///   bftkv dm status dm.toml
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RunArgs {
    /// The settings; docs/dm.md explains them.
    #[arg(value_name = "CONFIG")]
    config: PathBuf,

    /// Stop when stdin ends: for programs that start DMs.
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

/// Where it is asked how it stands, in the folder of its state.
pub(super) const SOCKET: &str = "control";
const VOTES: &str = "votes";
const ZONE: &str = "zone";
const HOLD: &str = "hold";
/// How long a DM has to tell a secondary before the next takes over.
const TAKEOVER: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &RunArgs, context: &Context) -> Result<Exit, Failure> {
    let config = DmConfig::read(&args.config)?;
    config.make_state()?;
    // The lock on the share's file keeps a second process from running with it.
    let writer = Home::open_with(config.writer(), &|key| context.passphrase().ask(key))?;
    let shares = open_shares(&config, &writer, context)?;
    context.block_on(async {
        let mut stop = Stop::listen(args.stop_with_stdin)?;
        let master = Master::start(&config, &shares, &writer).await?;
        master.announce(&config, context)?;
        stop.wait().await;
        tokio::select! {
            ended = master.shut_down() => ended?,
            () = stop.wait_for_signal() => return Err(Failure::failed("stopped at once")),
        }
        Ok(Exit::Done)
    })
}

/// Opened with their passphrases, or the key with which this DM writes.
fn open_shares(
    config: &DmConfig,
    writer: &Home,
    context: &Context,
) -> Result<Vec<ShareFile>, Failure> {
    let apex = config.apex()?;
    let key = if config.opens_by_gpg() { KeyOf::Gnupg } else { KeyOf::Home(writer) };
    let mut shares: Vec<ShareFile> = Vec::new();
    for path in config.shares() {
        // Not together: they are of several keys.
        let opened =
            read_shares(std::slice::from_ref(&path), (Some(&apex), Role::Zsk), key, context)?;
        for share in opened {
            check_share(config, &path, &share)?;
            if shares.iter().any(|known| known.share().group().id() == share.share().group().id()) {
                let text = format!("{} is a second share of one key", path.display());
                return Err(Failure::failed(text));
            }
            shares.push(share);
        }
    }
    if shares.is_empty() {
        return Err(Failure::failed("`share` names no share"));
    }
    Ok(shares)
}

fn check_share(config: &DmConfig, path: &Path, share: &ShareFile) -> Result<(), Failure> {
    let (party, me) = (share.party().number(), config.me()?);
    let path = path.display();
    if party != me.number() {
        return Err(Failure::failed(format!(
            "{path} is the share of DM {party}, and `me` is {me}"
        ))
        .hint("each DM needs its own share: the folder dm-N that dm keygen made for it"));
    }
    let (holders, council) = (share.share().group().roster().size(), config.council()?);
    if holders != council.size() {
        let text = format!(
            "the key of {path} has {holders} shares, and `masters` names {}",
            council.size()
        );
        return Err(Failure::failed(text).hint("there must be one share for each DM"));
    }
    check_p256(share.share().group().scheme(), share.share().group().roster())
}

/// A DM that runs.
struct Master {
    node: RunningNode,
    server: Server,
    driver: Arc<Driver>,
    publisher: Arc<Publisher>,
    tasks: JoinSet<()>,
    socket: PathBuf,
}

impl Master {
    async fn start(
        config: &DmConfig,
        shares: &[ShareFile],
        writer: &Home,
    ) -> Result<Self, Failure> {
        let (apex, council, me) = (config.apex()?, config.council()?, config.me()?);
        let source = config.source()?;
        let checked = Checked::default();
        let (mut member, kept) = member(config, shares, (&apex, &checked))?;
        let publisher = publisher(config, &apex, (me, council), checked)?;
        if let Some((_, signed)) = &kept
            && let Some(reason) = publisher.restore(signed.zone(), low(now()))
        {
            tracing::warn!(reason, "the zone that was kept is served on");
        }
        if let Ok(reason) = fs::read_to_string(config.state(HOLD)) {
            member.hold(Some(reason));
        }

        let node = Node::open(&Home::open(config.node())?)?;
        check_writer(config, writer, me)?;
        let client = Arc::new(Client::open(writer).await?);
        let (sender, committed) = mpsc::unbounded_channel();
        let writers: BTreeMap<NodeId, Dm> = config.writers()?.into_iter().collect();
        let keyring = node.certificates().keyring().clone();
        member.presign_with(Arc::new(Letters::new((me, writer.key()), keyring, &writers)));
        let word = config.zone_word()?;
        let votes = config.state(VOTES);
        let driver = Driver::new(member, writers, council, word, client, votes, sender);
        if let Some((manifest, _)) = &kept {
            driver.has(manifest.serial);
        }
        node.set_policy(Arc::clone(&driver) as Arc<dyn bftkv::Policy>);
        let server = Server::bind(config.listen(), publisher.responder(), ServerLimits::default());
        let server = server.await.map_err(|error| {
            Failure::failed(format!("{}: {error}", config.listen()))
                .hint("`listen` says where to answer; port 53 needs a permission of the system")
        })?;
        let node = node.serve().await?;
        let socket = config.state(SOCKET);
        let mut tasks = JoinSet::new();
        let listener = control::open(&socket)?;
        let hold = config.state(HOLD);
        let zone = apex.to_string();
        let both = (Arc::clone(&driver), Arc::clone(&publisher));
        tasks.spawn(control(listener, (zone, hold), (me, council), both));
        tasks.spawn(Arc::clone(&publisher).run(committed, || low(now())));
        tasks.spawn(Arc::clone(&driver).run(source));
        Ok(Self { node, server, driver, publisher, tasks, socket })
    }

    fn announce(&self, config: &DmConfig, context: &Context) -> Result<(), Failure> {
        let (dns, node): (SocketAddr, _) = (self.server.local_addr(), self.node.local_addr());
        let (apex, me, n) = (config.apex()?, config.me()?, config.council()?.size());
        let serving = self.publisher.zone().map(|zone| zone.serial());
        if context.output().is_json() {
            let object = serde_json::json!({
                "listening": dns.to_string(),
                "node": node.to_string(),
                "zone": apex.to_string(),
                "dm": me.number(),
                "serving": serving,
            });
            return output::raw(format!("{object}\n").as_bytes());
        }
        let serving = serving.map_or("nothing yet".to_owned(), |serial| serial.to_string());
        let text = format!("{dns} for {apex} as {me} of {n}; node at {node}; serves {serving}\n");
        output::raw(format!("{LISTENING}{text}").as_bytes())
    }

    async fn shut_down(mut self) -> Result<(), Failure> {
        self.tasks.shutdown().await;
        self.server.shutdown().await;
        drop(self.driver);
        self.node.shutdown().await?;
        // Another one is made at the next start.
        let _ = fs::remove_file(&self.socket);
        Ok(())
    }
}

/// The member, and the zone with which it goes on.
fn member(
    config: &DmConfig,
    shares: &[ShareFile],
    (apex, checked): (&Name, &Checked),
) -> Result<(Member<ZoneWork>, Option<Committed>), Failure> {
    let key = |share: &ShareFile| Dnskey::of(share.share().group(), Role::Zsk);
    let keys: Vec<Dnskey> =
        shares.iter().map(key).collect::<Result<_, _>>().map_err(Failure::failed)?;
    let sets = config.key_sets()?;
    if !keys.iter().any(|key| sets.iter().any(|set| set.has(key))) {
        return Err(Failure::failed("none of the DNSKEY sets has the key of a share")
            .hint("sign new ones with this ZSK: bftkv dm ksk sign"));
    }
    let work = ZoneWork::new(apex.clone(), sets, keys, config.most_percent());
    let work = work.with_checked(checked.clone());
    let votes = config.state(VOTES);
    let memory = Driver::recall(&votes).map_err(|error| {
        Failure::file(&votes, &error).hint(
            "a DM that does not know what it voted for must not vote: it needs a new certificate \
             and a place in the council that it has not had",
        )
    })?;
    let copy =
        |share: &ShareFile| key_share_from_bytes(&share.to_secret_bytes()).map_err(Failure::failed);
    let (first, others) = shares.split_first().ok_or_else(|| Failure::failed("no share"))?;
    let rng = Box::new(generator().map_err(Failure::failed)?);
    let mut member = Member::new(config.settings()?, work, copy(first)?, rng, memory);
    for share in others {
        member = member.with_share(copy(share)?);
    }
    let path = config.state(ZONE);
    let damaged = |error: String| {
        Failure::failed(format!("{}: {error}", path.display()))
            .hint("remove the file: the DM then fetches all zones from the store again")
    };
    let kept = kept_zone(&path, apex).map_err(|error| damaged(error.to_string()))?;
    if let Some((manifest, signed)) = &kept {
        let content = content_of(signed.zone()).map_err(|error| damaged(error.to_string()))?;
        member.resume(Arc::clone(manifest), content, Arc::clone(signed)).map_err(damaged)?;
    }
    Ok((member, kept))
}

fn publisher(
    config: &DmConfig,
    apex: &Name,
    (me, council): (Dm, Council),
    checked: Checked,
) -> Result<Arc<Publisher>, Failure> {
    let responder = Arc::new(Responder::new(apex.clone(), config.access()?));
    let place = (usize::from(me.number()).saturating_sub(1), council.size());
    let notifier = Notifier::new(config.secondaries()?, place, TAKEOVER);
    let desk = Desk::new(config.most_percent()).with_checked(checked);
    Ok(Publisher::new(desk, responder, notifier, config.state(ZONE)))
}

fn check_writer(config: &DmConfig, writer: &Home, me: Dm) -> Result<(), Failure> {
    let key = writer.key();
    let id = key.id();
    if config.writers()?.iter().any(|(named, dm)| named == id && *dm == me) {
        return Ok(());
    }
    let path = config.writer().display().to_string();
    Err(Failure::failed(format!("{path} is {id}, and `masters` names another one for {me}"))
        .hint("`masters` has the certificates with which DM 1, DM 2, ... write, in that order"))
}

async fn control(
    listener: UnixListener,
    (zone, hold): (String, PathBuf),
    of: (Dm, Council),
    (driver, publisher): (Arc<Driver>, Arc<Publisher>),
) {
    let answer = move |ask| match ask {
        Ask::Status => {
            let status = DmStatus::of(zone.clone(), of, &driver, &publisher);
            serde_json::to_value(status).unwrap_or_default()
        }
        Ask::Hold(reason) => match replace(&hold, &[reason.as_bytes()]) {
            Ok(()) => {
                driver.hold(Some(reason));
                done("held: it votes for nothing until it is released")
            }
            Err(error) => done(&format!("NOT held: {}: {error}", hold.display())),
        },
        Ask::Release => done(&release(&hold, &driver, &publisher)),
    };
    control::serve(listener, answer).await;
}

fn done(text: &str) -> serde_json::Value {
    serde_json::json!({ "done": text })
}

fn release(hold: &Path, driver: &Driver, publisher: &Publisher) -> String {
    let was_held = hold.exists();
    if was_held && let Err(error) = fs::remove_file(hold) {
        return format!("NOT released: {}: {error}", hold.display());
    }
    let content = driver.release();
    let zone = publisher.release();
    match (content, zone) {
        (_, Some(serial)) => format!("released: serial {serial} is published"),
        (Some(_), None) => "released: the change passes when it is proposed again".to_owned(),
        (None, None) if was_held => "released: it votes again".to_owned(),
        (None, None) => "nothing was held".to_owned(),
    }
}
