//! `bftkv dm ksk`.

use std::fmt;
use std::path::PathBuf;

use bftkv_dm::keys::{KeyFile, Schedule};
use bftkv_dm::sign::{Role, dnskey_answer_bytes};
use bftkv_dm::time::show_date;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{low, read_shares, signer_of, time_of, write_file};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::count;

/// What to do with the key that signs keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KskCommand {
    Sign(KskSignArgs),
}

pub(crate) fn run(command: &KskCommand, context: &Context) -> Result<Exit, Failure> {
    let KskCommand::Sign(args) = command;
    sign(args, context)
}

/// Sign DNSKEY sets ahead of time.
///
/// The machines that sign the zone hold no share of the KSK. Instead, enough holders of KSK shares
/// meet now and then and sign the DNSKEY sets for a time to come: for 90 days, in slots of 10, each
/// signature holding for 21, so that the next meeting may be 11 days late. Each set has the KSK
/// and the ZSKs that are named; more ZSKs are for a change of keys.
///
/// The sets go into the folder, one file for each slot. They are no secret.
///
/// Examples:
///
///   bftkv dm ksk sign --ksk dm-*/offline/ksk.share --zsk zsk.key --out dnskeys
///   bftkv dm ksk sign --ksk a.share b.share --zsk zsk.key --from 2026-12-01 --out dnskeys
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct KskSignArgs {
    /// Shares of the KSK, as many as sign.
    #[arg(long, value_name = "SHARE", num_args = 1.., required = true)]
    ksk: Vec<PathBuf>,

    /// Public parts of the ZSKs.
    #[arg(long, value_name = "KEY", num_args = 1.., required = true)]
    zsk: Vec<PathBuf>,

    /// A new folder for the sets.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// The first day [default: from now on].
    #[arg(long, value_name = "DAY")]
    from: Option<String>,

    /// Days in all.
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    days: u32,

    /// Days of a slot.
    #[arg(long, value_name = "DAYS", default_value_t = 10)]
    slot: u32,

    /// Days for which each signature holds.
    #[arg(long, value_name = "DAYS", default_value_t = 21)]
    valid: u32,

    /// The set's TTL in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 172_800)]
    ttl: u32,
}

#[derive(Debug, Serialize)]
struct Report {
    zone: String,
    sets: Vec<String>,
    answer_bytes: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets = count(self.sets.len(), "DNSKEY set");
        writeln!(f, "{sets} of {}, {} bytes in an answer", self.zone, self.answer_bytes)?;
        self.sets.iter().try_for_each(|set| writeln!(f, "  {set}"))
    }
}

fn sign(args: &KskSignArgs, context: &Context) -> Result<Exit, Failure> {
    let start = time_of(args.from.as_deref())?;
    let shares = read_shares(&args.ksk, (None, Role::Ksk), context)?;
    let apex = shares.first().map(|share| share.apex().clone());
    let apex = apex.ok_or_else(|| Failure::usage("no share"))?;
    let mut keys = Vec::new();
    for path in &args.zsk {
        let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
        let file = KeyFile::open(path).map_err(failed)?;
        if (file.apex(), file.role()) != (&apex, Role::Zsk) {
            return Err(failed(bftkv_dm::keys::Error::Malformed("ZSK of this zone")));
        }
        keys.push(file.dnskey().map_err(failed)?);
    }
    let mut schedule = Schedule::usual(low(start));
    (schedule.days, schedule.slot_days, schedule.valid_days) = (args.days, args.slot, args.valid);
    let mut signer = signer_of(&shares)?;
    let sets = schedule.sign(&apex, &keys, args.ttl, &mut signer).map_err(Failure::failed)?;

    std::fs::create_dir(&args.out).map_err(|error| Failure::file(&args.out, &error))?;
    let (mut names, mut answer_bytes) = (Vec::new(), 0);
    for (slot, set) in (0u64..).zip(&sets) {
        let from = start.saturating_add(slot.saturating_mul(u64::from(args.slot) * 86_400));
        let name = args.out.join(format!("dnskey-{}.zone", show_date(from)));
        write_file(&name, &set.to_text())?;
        names.push(name.display().to_string());
        answer_bytes = dnskey_answer_bytes(&apex, set.keys(), set.signatures());
    }
    context.output().show(&Report { zone: apex.to_string(), sets: names, answer_bytes })?;
    Ok(Exit::Done)
}
