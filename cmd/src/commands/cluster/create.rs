//! `bftkv cluster create`.

use std::fmt;
use std::path::{Path, PathBuf};

use bftkv::protocol::Thresholds;
use bftkv::storage::StorageKind;
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::free_ports::free_ports;
use crate::new_home::{NewSettings, parse_kind};
use crate::output::count;
use crate::web::{Plan, Role, Web};

/// The most nodes of one kind: as many processes as a machine may bear.
const MOST_NODES: i64 = 100;

/// Make the homes of a local cluster below one folder.
///
/// Every home has a key without passphrase, and all certify each other as they must: for trying
/// things out on one machine. In earnest each key is made where it is used (`bftkv init`).
///
/// Example: bftkv cluster create /tmp/try --authority 4 --users 2
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The folder; it is made.
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    #[command(flatten)]
    size: ClusterSize,

    /// Users, who put and get: u1, u2, ...
    #[arg(long, value_name = "U", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=MOST_NODES))]
    users: u16,

    /// Ports from here upwards [default: free ones].
    #[arg(long, value_name = "PORT")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    base_port: Option<u16>,

    /// The realm's name [default: bftkv].
    #[arg(long, value_name = "NAME")]
    realm: Option<String>,

    /// The store: redb, leveldb, files or memory [default: redb].
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    storage: Option<StorageKind>,
}

/// How many nodes.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ClusterSize {
    /// Nodes that sign: n1, n2, ... Four tolerate one fault, seven two.
    #[arg(long, alias = "nodes", value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=MOST_NODES))]
    pub(crate) authority: u16,

    /// Nodes that only store: s1, s2, ... With none, those that sign also store.
    #[arg(long, value_name = "M", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=MOST_NODES))]
    pub(crate) store: u16,
}

impl ClusterSize {
    /// Makes the homes of this many nodes and users; `sealed`: with keys that offer no TLS.
    ///
    /// # Errors
    /// There are not so many ports, or the disk refuses.
    pub(crate) fn create(
        self,
        folder: &Path,
        users: u16,
        base_port: Option<u16>,
        settings: NewSettings,
        sealed: bool,
    ) -> Result<Vec<PathBuf>, Failure> {
        let mut plans = self.node_plans(base_port)?;
        plans.extend((1..=users).map(|n| Plan::person(format!("u{n}"), Role::User)));
        if sealed {
            plans.iter_mut().for_each(|plan| plan.sealed = true);
        }
        let web = Web::make(&plans)?;
        web.write_homes(folder, &self.settings(&web, settings))
    }

    /// Below four nodes a clique and whom it vouches for cannot be told apart in the web of trust,
    /// so the groups are named.
    fn settings(self, web: &Web, settings: NewSettings) -> NewSettings {
        if usize::from(self.authority) >= bftkv::Configuration::MIN_CLIQUE {
            return settings;
        }
        let (authority, store) = (web.ids(Role::Authority), web.ids(Role::Store));
        NewSettings { allow_small: true, authority, store, ..settings }
    }

    fn node_plans(self, base_port: Option<u16>) -> Result<Vec<Plan>, Failure> {
        let total = usize::from(self.authority).saturating_add(usize::from(self.store));
        let ports = free_ports(total, base_port)?;
        let authority = (1..=self.authority).map(|n| (format!("n{n}"), Role::Authority));
        let store = (1..=self.store).map(|n| (format!("s{n}"), Role::Store));
        let plans = authority.chain(store).zip(ports);
        Ok(plans.map(|((name, role), port)| Plan::node(name, role, port)).collect())
    }
}

/// What was made.
#[derive(Debug, Serialize)]
struct Report {
    folder: PathBuf,
    authority: u16,
    store: u16,
    users: u16,
    tolerated_faults: usize,
    homes: Vec<PathBuf>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.folder.display();
        let tolerates = match self.tolerated_faults {
            0 => "tolerates no fault".to_owned(),
            b => format!("tolerates {}", count(b, "faulty node")),
        };
        writeln!(
            f,
            "{folder}: {} that sign, {} that store, {}; {tolerates}",
            count(usize::from(self.authority), "node"),
            self.store,
            count(usize::from(self.users), "user"),
        )?;
        writeln!(f, "run it:  bftkv cluster run {folder}")?;
        if self.users > 0 {
            writeln!(f, "use it:  bftkv --home {folder}/u1 put greeting hello")?;
            writeln!(f, "         bftkv --home {folder}/u1 get greeting")?;
            writeln!(f, "         bftkv --home {folder}/u1 graph")?;
        }
        Ok(())
    }
}

pub(crate) fn run(args: &CreateArgs, context: &Context) -> Result<Exit, Failure> {
    let settings =
        NewSettings { realm: args.realm.clone(), storage: args.storage, ..NewSettings::default() };
    let ClusterSize { authority, store } = args.size;
    let homes = args.size.create(&args.folder, args.users, args.base_port, settings, false)?;
    let tolerated_faults = Thresholds::of(usize::from(authority)).b();
    let (folder, users) = (args.folder.clone(), args.users);
    context.output().show(&Report { folder, authority, store, users, tolerated_faults, homes })?;
    Ok(Exit::Done)
}
