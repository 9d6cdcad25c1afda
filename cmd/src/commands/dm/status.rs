//! `bftkv dm status`, `hold` and `release`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use bftkv_dm::agree::{Council, Dm};
use bftkv_dm::node::{Driver, Publisher};
use bftkv_dm::publish::Notified;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::config::DmConfig;
use super::control::{Ask, ask};
use super::run::SOCKET;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Show how a running distribution master stands.
///
/// Which serial it serves, what it sees, whose views are there, who saw something else, what is
/// held, who was caught lying, and which secondaries know.
///
/// Example: bftkv dm status dm.toml
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The settings of the DM.
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
}

/// Let a distribution master vote for nothing until it is released.
///
/// It goes on serving the zone that it has. The hold survives a restart. The others go on without
/// it, unless too few are left.
///
/// Example: bftkv dm hold dm.toml "the registry reports a mistake in org"
#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    /// The settings of the DM.
    #[arg(value_name = "CONFIG")]
    config: PathBuf,

    /// Why, for whoever looks at the status.
    #[arg(value_name = "REASON")]
    reason: String,
}

/// Let a distribution master go on, and let pass what it held.
///
/// A change that is too large for it, or a zone that failed the last check, waits until somebody
/// has looked at it (`bftkv dm status`) and releases it. What is released is that one content.
///
/// Example: bftkv dm release dm.toml
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The settings of the DM.
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
}

/// How a DM stands.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DmStatus {
    zone: String,
    dm: u8,
    /// The serial that is served.
    serving: Option<u32>,
    digest: Option<String>,
    source_serial: Option<u32>,
    source_error: Option<String>,
    /// What the source could not take into account, and why.
    source_notes: Vec<String>,
    /// The serial that is agreed on.
    round: Option<u32>,
    views: Vec<u8>,
    missing: Vec<u8>,
    /// Why what this DM writes is not certified, if so.
    store_error: Option<String>,
    quorum: usize,
    signing: Option<u32>,
    dissent: Vec<Differs>,
    liars: BTreeMap<u8, String>,
    held: Option<String>,
    held_zone: Option<String>,
    trouble: Option<String>,
    /// With a P-256 key.
    presignatures: Option<Presigned>,
    secondaries: BTreeMap<String, String>,
}

/// How many presignatures there are, how many are wanted, and the next batch of them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Presigned {
    have: usize,
    wanted: usize,
    batch: u32,
}

/// Who saw something else for a delegation than was agreed on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Differs {
    delegation: String,
    /// What each of them saw: the sets that change, by name and type.
    seen: BTreeMap<u8, Vec<String>>,
}

impl DmStatus {
    pub(super) fn of(
        zone: String,
        (me, council): (Dm, Council),
        driver: &Driver,
        publisher: &Publisher,
    ) -> Self {
        let status = driver.status();
        let served = publisher.zone();
        let missing = council.everyone().filter(|dm| !status.views.contains(dm));
        let missing = missing.map(Dm::number);
        let sets = |changes: &bftkv_dm::agree::Changes| {
            changes.keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        let differs = |dissent: &bftkv_dm::agree::Dissent| Differs {
            delegation: dissent.delegation.to_string(),
            seen: dissent.seen.iter().map(|(dm, changes)| (dm.number(), sets(changes))).collect(),
        };
        let told = publisher.notifier().status();
        let secondaries = told.into_iter().map(|(address, (serial, what))| {
            let what = match what {
                Notified::Trying(tries) => format!("serial {serial}: no answer yet, try {tries}"),
                Notified::Acknowledged => format!("serial {serial}: knows"),
                Notified::HasIt => format!("serial {serial}: has it"),
                Notified::Refused(code) => format!("serial {serial}: answers {code}"),
                other => format!("serial {serial}: {other:?}"),
            };
            (address.to_string(), what)
        });
        Self {
            zone,
            dm: me.number(),
            serving: served.as_ref().map(|zone| zone.serial()),
            digest: served.map(|zone| zone.root().to_string()),
            source_serial: status.source.map(|(serial, _)| serial),
            source_error: driver.blind(),
            source_notes: driver.notes(),
            round: status.round,
            views: status.views.iter().map(|dm| dm.number()).collect(),
            missing: if status.round.is_some() { missing.collect() } else { Vec::new() },
            store_error: driver.unwritten(),
            quorum: status.quorum,
            signing: status.signing,
            dissent: status.dissent.iter().map(differs).collect(),
            liars: status.culprits.iter().map(|(dm, what)| (dm.number(), what.clone())).collect(),
            held: status.held,
            held_zone: publisher.held(),
            trouble: status.trouble,
            presignatures: status.presignatures.map(|(have, wanted, batch)| Presigned {
                have,
                wanted,
                batch,
            }),
            secondaries: secondaries.collect(),
        }
    }
}

fn list(dms: &[u8]) -> String {
    let names: Vec<String> = dms.iter().map(|dm| format!("DM {dm}")).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

impl fmt::Display for DmStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.serving {
            Some(serial) => writeln!(f, "{} as DM {}: serves {serial}", self.zone, self.dm)?,
            None => writeln!(f, "{} as DM {}: serves nothing yet", self.zone, self.dm)?,
        }
        match (self.source_serial, &self.source_error) {
            (_, Some(error)) => writeln!(f, "source: {error}")?,
            (Some(serial), None) => writeln!(f, "source: serial {serial}")?,
            (None, None) => writeln!(f, "source: not read yet")?,
        }
        self.source_notes.iter().try_for_each(|note| writeln!(f, "source: {note}"))?;
        if let Some(serial) = self.signing {
            writeln!(f, "serial {serial} is agreed on and being signed")?;
        }
        if let Some(serial) = self.round {
            let (views, quorum) = (list(&self.views), self.quorum);
            writeln!(f, "agreeing on {serial}: views of {views}; {quorum} are needed")?;
            if self.views.len() < self.quorum {
                writeln!(f, "  waiting for {}", list(&self.missing))?;
            }
        }
        if let Some(Presigned { have, wanted, batch }) = &self.presignatures {
            writeln!(f, "presignatures: {have} of {wanted}; the next batch is {batch}")?;
        }
        if let Some(error) = &self.store_error {
            writeln!(f, "store: {error}")?;
        }
        for differs in &self.dissent {
            for (dm, sets) in &differs.seen {
                let (place, sets) = (&differs.delegation, sets.join(", "));
                writeln!(f, "DM {dm} saw something else for {place}: {sets}")?;
            }
        }
        for (dm, what) in &self.liars {
            writeln!(f, "liar: DM {dm}: {what}")?;
        }
        for held in self.held.iter().chain(&self.held_zone) {
            writeln!(f, "HELD: {held}\n  when you have looked at it: bftkv dm release CONFIG")?;
        }
        if let Some(trouble) = &self.trouble {
            writeln!(f, "trouble: {trouble}")?;
        }
        self.secondaries.iter().try_for_each(|(at, what)| writeln!(f, "secondary {at}: {what}"))
    }
}

pub(crate) fn run(args: &StatusArgs, context: &Context) -> Result<Exit, Failure> {
    let socket = DmConfig::read(&args.config)?.state(SOCKET);
    let status: DmStatus = ask(&socket, &Ask::Status)?;
    context.output().show(&status)?;
    Ok(Exit::Done)
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    done: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.done)
    }
}

pub(crate) fn hold(args: &HoldArgs, context: &Context) -> Result<Exit, Failure> {
    let socket = DmConfig::read(&args.config)?.state(SOCKET);
    let told: Told = ask(&socket, &Ask::Hold(args.reason.clone()))?;
    context.output().show(&told)?;
    Ok(Exit::Done)
}

pub(crate) fn release(args: &ReleaseArgs, context: &Context) -> Result<Exit, Failure> {
    let socket = DmConfig::read(&args.config)?.state(SOCKET);
    let told: Told = ask(&socket, &Ask::Release)?;
    context.output().show(&told)?;
    Ok(Exit::Done)
}
