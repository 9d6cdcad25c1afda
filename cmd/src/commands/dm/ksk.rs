//! `bftkv dm ksk`.

use std::fmt;
use std::path::{Path, PathBuf};

use bftkv_dm::keys::{KeyFile, KskRoll, Schedule, Signers, ZskRoll};
use bftkv_dm::sign::{Dnskey, Role, dnskey_answer_bytes};
use bftkv_dm::time::show_date;
use bftkv_dm::zone::Name;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{KeyOf, low, read_shares, signer_of, time_of, write_file};
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
/// and the ZSKs that are named.
///
/// The sets go into the folder, one file for each slot. They are no secret.
///
/// To change the ZSK, name the new one and the day from which it signs: the sets have it a TTL
/// before and the old one for as long as caches may hold its signatures. `bftkv dm sign` refuses a
/// ZSK that comes too early.
///
/// To change the KSK, name shares of the new one and the day from which it is to be seen. Resolvers
/// that follow RFC 5011 trust it after 30 days. The steps are the days until it signs, then until
/// the old one is revoked, then until that is gone; with two steps it is not revoked (with 2,048-bit
/// RSA keys that answer would be too large). Each step falls on the first day of a slot. Later
/// meetings give the same day again, until the new key is the only one.
///
/// Examples:
///
///   bftkv dm ksk sign --ksk dm-*/offline/ksk.share --zsk zsk.key --out dnskeys
///   bftkv dm ksk sign --ksk *.share --zsk old.key --new-zsk new.key --zsk-roll 2027-01-10 --out d
///   bftkv dm ksk sign --ksk old-*.share --new-ksk new-*.share --ksk-roll 2027-01-10
///       --zsk zsk.key --from 2026-12-01 --days 160 --out dnskeys
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct KskSignArgs {
    /// Shares of the KSK, as many as sign.
    #[arg(long, value_name = "SHARE", num_args = 1.., required = true)]
    ksk: Vec<PathBuf>,

    /// Public parts of the ZSKs.
    #[arg(long, value_name = "KEY", num_args = 1.., required = true)]
    zsk: Vec<PathBuf>,

    /// Shares of the KSK that comes.
    #[arg(long, value_name = "SHARE", num_args = 1.., requires = "ksk_roll")]
    new_ksk: Vec<PathBuf>,

    /// The first day on which the KSK that comes is to be seen.
    #[arg(long, value_name = "DAY", requires = "new_ksk")]
    ksk_roll: Option<String>,

    /// Days of the steps of that change.
    #[arg(long, value_name = "DAYS", value_delimiter = ',', default_value = "40,20,40")]
    ksk_steps: Vec<u32>,

    /// Public part of the ZSK that comes.
    #[arg(long, value_name = "KEY", requires = "zsk_roll")]
    new_zsk: Option<PathBuf>,

    /// The first day on which the ZSK that comes signs; distribution masters switch as soon as it is
    /// safe, which may be the day before.
    #[arg(long, value_name = "DAY", requires = "new_zsk")]
    zsk_roll: Option<String>,

    /// The longest TTL of the zone in seconds: how long caches may need the old ZSK.
    #[arg(long, value_name = "SECONDS", default_value_t = 518_400)]
    zone_ttl: u32,

    /// Shares that are sealed to an OpenPGP key are opened by gpg: with its agent, or a card.
    #[arg(long)]
    gpg: bool,

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
        writeln!(f, "{sets} of {}, at most {} bytes in an answer", self.zone, self.answer_bytes)?;
        self.sets.iter().try_for_each(|set| writeln!(f, "  {set}"))
    }
}

fn sign(args: &KskSignArgs, context: &Context) -> Result<Exit, Failure> {
    let start = time_of(args.from.as_deref())?;
    let key = KeyOf::command(args.gpg);
    let shares = read_shares(&args.ksk, (None, Role::Ksk), key, context)?;
    let apex = shares.first().map(|share| share.apex().clone());
    let apex = apex.ok_or_else(|| Failure::usage("no share"))?;
    let zsks = args.zsk.iter().map(|path| zsk(path, &apex)).collect::<Result<_, _>>()?;
    let new_zsk = match (&args.new_zsk, &args.zsk_roll) {
        (Some(path), Some(day)) => Some(ZskRoll {
            new: zsk(path, &apex)?,
            switch: low(time_of(Some(day))?),
            zone_ttl: args.zone_ttl,
        }),
        _ => None,
    };
    let new_shares = read_shares(&args.new_ksk, (Some(&apex), Role::Ksk), key, context)?;
    let mut new_ksk = match &args.ksk_roll {
        Some(day) => {
            let publish = low(time_of(Some(day))?);
            let roll = KskRoll::new(publish, &args.ksk_steps, args.ttl).map_err(Failure::usage)?;
            Some((roll, signer_of(&new_shares)?))
        }
        None => None,
    };
    let mut schedule = Schedule::usual(low(start));
    (schedule.days, schedule.slot_days, schedule.valid_days) = (args.days, args.slot, args.valid);
    let mut signers = Signers {
        ksk: &mut signer_of(&shares)?,
        new_ksk: new_ksk.as_mut().map(|(roll, signer)| (*roll, signer as &mut _)),
        zsks,
        new_zsk,
    };
    let sets = schedule.sign_changing(&apex, args.ttl, &mut signers).map_err(Failure::failed)?;

    std::fs::create_dir(&args.out).map_err(|error| Failure::file(&args.out, &error))?;
    let (mut names, mut answer_bytes) = (Vec::new(), 0);
    for (slot, set) in (0u64..).zip(&sets) {
        let from = start.saturating_add(slot.saturating_mul(u64::from(args.slot) * 86_400));
        let name = args.out.join(format!("dnskey-{}.zone", show_date(from)));
        write_file(&name, &set.to_text())?;
        names.push(name.display().to_string());
        let bytes = dnskey_answer_bytes(&apex, set.keys(), set.signatures());
        answer_bytes = bytes.max(answer_bytes);
    }
    context.output().show(&Report { zone: apex.to_string(), sets: names, answer_bytes })?;
    Ok(Exit::Done)
}

fn zsk(path: &Path, apex: &Name) -> Result<Dnskey, Failure> {
    let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
    let file = KeyFile::open(path).map_err(failed)?;
    if (file.apex(), file.role()) != (apex, Role::Zsk) {
        return Err(failed(bftkv_dm::keys::Error::Malformed("ZSK of this zone")));
    }
    file.dnskey().map_err(failed)
}
