//! `bftkv dm sign`.

use std::fmt;
use std::path::{Path, PathBuf};

use bftkv_dm::keys::{ShareFile, check_change, current};
use bftkv_dm::sign::{
    BatchSigner, Denial, Dnskey, KeySet, Nsec3, Recipe, Role, Terms, strip, verify, zone_signer,
};
use bftkv_dm::zone::{Name, Zone, is_after};
use clap::Args;
use serde::Serialize;

use super::{
    KeyOf, Signer, forget, low, name_of, now, read_key_set, read_shares, read_zone, signer_of,
    write_file,
};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::count;

/// Sign a zone file with key shares.
///
/// The shares are all on this machine: for a zone that one person signs, or to try it out. (The
/// distribution masters sign together over the network, and no machine has two shares.)
///
/// The zone gets DNSKEY, RRSIG, NSEC or NSEC3 records and a ZONEMD digest over all of it. It is
/// verified before it is written. With --previous, what has not changed keeps its signature as
/// long as that holds.
///
/// The key that signs keys is needed, unless DNSKEY sets were signed ahead (`bftkv dm ksk sign`).
/// While the ZSK changes, give all sets and the previous zone: then a ZSK is refused that caches
/// cannot know yet, and so is a set without the key of the previous zone.
///
/// Examples:
///
///   bftkv dm sign example.com.zone --zsk dm-[1-4]/zsk.share --ksk dm-[1-4]/offline/ksk.share
///   bftkv dm sign root.zone --zsk dm-*/zsk.share --dnskeys dnskeys/*.zone -o root.signed
///   bftkv dm sign new.zone --zsk *.share --dnskeys *.dnskey --previous old.signed --nsec3
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct SignArgs {
    /// The zone file.
    #[arg(value_name = "ZONEFILE")]
    file: PathBuf,

    /// The zone's name [default: the one that the shares are for].
    #[arg(long, value_name = "NAME", value_parser = name_of)]
    origin: Option<Name>,

    /// Shares of the ZSK: as many as sign (with p256, twice as many less one).
    #[arg(long, value_name = "SHARE", num_args = 1.., required = true)]
    zsk: Vec<PathBuf>,

    /// Shares of the KSK.
    #[arg(long, value_name = "SHARE", num_args = 1.., conflicts_with = "dnskeys")]
    ksk: Vec<PathBuf>,

    /// DNSKEY sets that were signed ahead; the one for now is taken.
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "ksk")]
    dnskeys: Vec<PathBuf>,

    /// Where the signed zone goes [default: ZONEFILE.signed].
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// The signed zone before this one.
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,

    /// Deny by hashes: NSEC3, without salt and extra rounds.
    #[arg(short = '3', long)]
    nsec3: bool,

    /// Leave delegations without DS out of NSEC3.
    #[arg(long, requires = "nsec3")]
    opt_out: bool,

    /// No ZONEMD record.
    #[arg(long)]
    no_zonemd: bool,

    /// Take DNSSEC records out of the zone file first.
    #[arg(long)]
    strip: bool,

    /// Another serial than the file's.
    #[arg(long, value_name = "N")]
    serial: Option<u32>,

    /// Days for which signatures hold; they are made again when a third is left.
    #[arg(long, value_name = "DAYS", default_value_t = 13)]
    days: u32,

    /// Shares that are sealed to an OpenPGP key are opened by gpg: with its agent, or a card.
    #[arg(long)]
    gpg: bool,

    /// Destroy the files of the shares afterwards (`bftkv dm forget`).
    #[arg(long)]
    forget: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    zone: String,
    serial: u32,
    out: String,
    signatures: usize,
    new_signatures: usize,
    forgotten: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signatures = count(self.signatures, "signature");
        write!(
            f,
            "{} {}: {signatures}, {} of them new",
            self.zone, self.serial, self.new_signatures
        )?;
        write!(f, ", verified; in {}", self.out)?;
        if self.forgotten > 0 {
            write!(f, "\n{} destroyed", count(self.forgotten, "share"))?;
        }
        Ok(())
    }
}

pub(crate) fn run(args: &SignArgs, context: &Context) -> Result<Exit, Failure> {
    let key = KeyOf::command(args.gpg);
    let zsk = read_shares(&args.zsk, (args.origin.as_ref(), Role::Zsk), key, context)?;
    let apex = zsk.first().map(|share| share.apex().clone());
    let apex = apex.ok_or_else(|| Failure::usage("no share"))?;
    let ksk = read_shares(&args.ksk, (Some(&apex), Role::Ksk), key, context)?;
    let mut signer = Counting { signer: signer_of(&zsk)?, made: 0 };

    let zone = content(args, &apex)?;
    let previous = args.previous.as_deref().map(|path| read_zone(path, Some(&apex))).transpose()?;
    check_serial(&zone, previous.as_ref())?;
    let signed = sign(args, (&zone, previous.as_ref()), &ksk, &mut signer)?;

    let report = verify(&signed, low(now()));
    if let Some(problem) = report.problems.first() {
        return Err(Failure::failed(format!("the zone was signed wrongly: {problem}"))
            .hint("nothing was written; this is a mistake of ours"));
    }
    let out = args.out.clone().unwrap_or_else(|| signed_name(&args.file));
    write_file(&out, &signed.to_string())?;
    drop((zsk, ksk));
    let mut forgotten = 0usize;
    for path in args.zsk.iter().chain(&args.ksk).filter(|_| args.forget) {
        forget::destroy(path)?;
        forgotten = forgotten.saturating_add(1);
    }
    context.output().show(&Report {
        zone: apex.to_string(),
        serial: signed.serial(),
        out: out.display().to_string(),
        signatures: report.right_signatures,
        new_signatures: signer.made,
        forgotten,
    })?;
    Ok(Exit::Done)
}

fn sign(
    args: &SignArgs,
    (zone, previous): (&Zone, Option<&Zone>),
    ksk: &[ShareFile],
    zsk: &mut Counting,
) -> Result<Zone, Failure> {
    let terms = terms(args.days)?;
    let key = Dnskey::of(zsk.key(), Role::Zsk).map_err(Failure::failed)?;
    let keys = if ksk.is_empty() {
        let before = previous.and_then(zone_signer);
        signed_ahead(&args.dnskeys, zone.apex(), (&key, before.as_ref()))?
    } else {
        let ttl = zone.soa().map_err(Failure::failed)?.ttl_secs;
        let mut signer = signer_of(ksk)?;
        KeySet::sign(zone.apex(), vec![key.clone()], ttl, &terms, &mut signer)
            .map_err(Failure::failed)?
    };
    let nsec3 = Denial::Nsec3(Nsec3 { opt_out: args.opt_out, ..Nsec3::default() });
    let denial = if args.nsec3 { nsec3 } else { Denial::Nsec };
    let recipe = Recipe::new(keys, key, denial, !args.no_zonemd, terms).map_err(Failure::failed)?;
    recipe.sign(zone, previous, zsk).map_err(|error| {
        let failure = Failure::failed(&error);
        match error {
            bftkv_dm::sign::Error::Unwanted(_) => failure.hint("--strip takes it out"),
            _ => failure,
        }
    })
}

fn content(args: &SignArgs, apex: &Name) -> Result<Zone, Failure> {
    let mut zone = read_zone(&args.file, Some(apex))?;
    if args.strip {
        zone = strip(&zone).map_err(Failure::failed)?;
    }
    match args.serial {
        Some(serial) => zone.with_serial(serial).map_err(Failure::failed),
        None => Ok(zone),
    }
}

/// Whoever has a version would never fetch another one with the same serial, or one before.
fn check_serial(zone: &Zone, previous: Option<&Zone>) -> Result<(), Failure> {
    let Some(previous) = previous else { return Ok(()) };
    let (new, old) = (zone.serial(), previous.serial());
    let same = strip(previous).is_ok_and(|previous| previous == *zone);
    if same || is_after(new, old) {
        return Ok(());
    }
    Err(Failure::failed(format!("serial {new} is not after {old}, the previous zone's"))
        .hint("--serial sets another one"))
}

fn terms(days: u32) -> Result<Terms, Failure> {
    let (now, secs) = (low(now()), days.saturating_mul(86_400));
    let (from, until) = (now.wrapping_sub(3_600), now.wrapping_add(secs));
    Terms::new(from, until, now.wrapping_add(secs / 3)).map_err(Failure::usage)
}

/// The set for now, if the ZSK may sign under it.
fn signed_ahead(
    files: &[PathBuf],
    apex: &Name,
    (zsk, before): (&Dnskey, Option<&Dnskey>),
) -> Result<KeySet, Failure> {
    let sets: Result<Vec<KeySet>, Failure> =
        files.iter().map(|path| read_key_set(path, apex)).collect();
    let sets = sets?;
    let set = current(&sets, low(now())).cloned().ok_or_else(|| {
        Failure::failed("none of the DNSKEY sets holds now")
            .hint("sign new ones: bftkv dm ksk sign")
    })?;
    check_change(&sets, zsk, before, low(now())).map_err(Failure::failed)?;
    Ok(set)
}

fn signed_name(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".signed");
    name.into()
}

/// Counts what it signs.
struct Counting {
    signer: Signer,
    made: usize,
}

impl BatchSigner for Counting {
    fn key(&self) -> &dyn bftkv_dm::threshold::GroupKey {
        self.signer.key()
    }

    fn sign(&mut self, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, bftkv_dm::sign::Error> {
        self.made = self.made.saturating_add(messages.len());
        self.signer.sign(messages)
    }
}
