//! `bftkv dm keygen`.

use std::fmt;
use std::path::{Path, PathBuf};

use bftkv::NodeId;
use bftkv::wot::Sealer;
use bftkv_dm::keys::{Ceremony, Lock, system_rng};
use bftkv_dm::sign::Role;
use bftkv_dm::threshold::rsa::SafePrimes;
use bftkv_dm::threshold::{Error, Roster, Scheme};
use bftkv_dm::zone::Name;
use clap::Args;
use serde::Serialize;

use super::{name_of, now, sealer};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Make a zone's keys and deal their shares.
///
/// Two keys are made: one that signs keys (KSK), one that signs the zone (ZSK). Nobody gets a whole
/// key: each of n parties gets a share, any k of which sign. Up to (n-1)/3 of them may be lost,
/// stolen or lying.
///
/// The folder has one folder for each party, to be handed over to it, and a transcript that names
/// the hash of every share's file, so that all can compare what they got. Keep `offline/ksk.share`
/// off the machine that signs the zone.
///
/// For a moment this process has the whole keys. Do it on a machine without network, before
/// witnesses, and destroy its memory afterwards.
///
/// RSA keys need safe primes. Looking for those of 2,048-bit keys takes minutes; `openssl prime
/// -generate -safe -bits 1024 -hex`, four times, is faster (one for each line of --primes).
///
/// Examples:
///
///   bftkv dm keygen keys
///   bftkv dm keygen keys --zone example.com --shares 4 --threshold 2 --algorithm p256
///   bftkv dm keygen keys --shares 4 --seal-to FPR1 FPR2 FPR3 FPR4
///   bftkv dm keygen keys --algorithm rsa --primes primes.txt
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct KeygenArgs {
    /// A new folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// The zone.
    #[arg(long, value_name = "NAME", default_value = ".", value_parser = name_of)]
    zone: Name,

    /// ed25519 (15), p256 (13) or rsa (8).
    #[arg(long, value_name = "NAME", default_value = "ed25519", value_parser = scheme_of)]
    algorithm: Scheme,

    /// n: how many get a share.
    #[arg(long, value_name = "N", default_value_t = 7)]
    shares: u8,

    /// k: how many sign together [default: more than half; for p256 (n-1)/3 and one more].
    #[arg(long, value_name = "K")]
    threshold: Option<usize>,

    /// Bits of RSA keys.
    #[arg(long, value_name = "BITS", default_value_t = 2_048)]
    bits: u32,

    /// Safe primes for RSA, hexadecimal, one in each line: two for the KSK, then two for the ZSK.
    #[arg(long, value_name = "FILE")]
    primes: Option<PathBuf>,

    /// Seal each party's shares to the encryption subkey of its OpenPGP key instead of with a
    /// passphrase: the fingerprints, in the order of the parties. Their certificates must be in the
    /// home (bftkv cert import), whose key signs.
    #[arg(long, value_name = "FPR", num_args = 1..)]
    seal_to: Vec<NodeId>,

    /// Leave the shares unsealed: whoever reads the files has them.
    #[arg(long, conflicts_with = "seal_to")]
    no_passphrase: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    folder: String,
    shares: usize,
    threshold: usize,
    sealed: bool,
    /// What others' trust begins with.
    anchor: String,
    transcript: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.transcript.trim_end())?;
        writeln!(
            f,
            "\nany {} of {} shares sign; they are in {}",
            self.threshold, self.shares, self.folder
        )?;
        if !self.sealed {
            writeln!(f, "WARNING: the shares are not sealed; whoever reads the files has them")?;
        }
        write!(f, "trust anchor: {}", self.anchor)
    }
}

pub(crate) fn run(args: &KeygenArgs, context: &Context) -> Result<Exit, Failure> {
    let failed = |error: bftkv_dm::keys::Error| Failure::failed(error);
    let n = usize::from(args.shares);
    let threshold = args.threshold.unwrap_or_else(|| usual_threshold(n, args.algorithm));
    let roster = Roster::first(args.shares, threshold).map_err(Failure::usage)?;
    check_p256(args.algorithm, &roster)?;
    let ceremony = Ceremony {
        apex: args.zone.clone(),
        scheme: args.algorithm,
        roster,
        rsa_bits: (args.bits, args.bits),
        now: now(),
    };
    let mut given = args.primes.as_deref().map(read_primes).transpose()?;
    let mut rng = system_rng().map_err(failed)?;
    let mut for_primes = system_rng().map_err(failed)?;
    let mut primes = |role: Role, bits: u32| match &mut given {
        Some(lines) => take_primes(lines),
        None => {
            eprintln!("looking for two safe primes of {} bits for the {role:?} ...", bits / 2);
            SafePrimes::generate(bits, &mut for_primes, &mut |_| {})
        }
    };
    let dealt = ceremony.deal(&mut primes, &mut rng).map_err(failed)?;
    let locks = Locks::choose(args, context)?;
    let transcript =
        ceremony.write(&dealt, &args.folder, &|party| locks.of(party), &mut rng).map_err(failed)?;
    let [ksk, _] = &dealt;
    let anchor = ksk.key_file().and_then(|key| Ok(key.dnskey()?.ds_line(&args.zone)));
    context.output().show(&Report {
        folder: args.folder.display().to_string(),
        shares: n,
        threshold,
        sealed: !args.no_passphrase,
        anchor: anchor.map_err(failed)?,
        transcript,
    })?;
    Ok(Exit::Done)
}

/// More than half, so that two sets of signers always share one; with P-256 as few as can be,
/// because 2k-1 have to presign.
pub(super) fn usual_threshold(n: usize, scheme: Scheme) -> usize {
    let faults = n.saturating_sub(1) / 3;
    if scheme == Scheme::EcdsaP256 { faults.saturating_add(1).max(2) } else { n / 2 + 1 }
}

/// With more, the fault of a few would stop all.
pub(super) fn check_p256(scheme: Scheme, roster: &Roster) -> Result<(), Failure> {
    let needed = roster.threshold().saturating_mul(2).saturating_sub(1);
    let alive = roster.size().saturating_sub(roster.faults());
    if scheme != Scheme::EcdsaP256 || needed <= alive {
        return Ok(());
    }
    Err(Failure::usage(format!("with p256, {needed} have to presign, and {alive} may be left"))
        .hint("choose a lower threshold"))
}

/// What each party's shares are sealed with.
enum Locks<'a> {
    None,
    /// One for each party, who types it; from a file descriptor the same for all.
    Passphrases(Vec<zeroize::Zeroizing<Vec<u8>>>),
    Keys(Sealer, &'a [NodeId]),
}

impl<'a> Locks<'a> {
    fn choose(args: &'a KeygenArgs, context: &Context) -> Result<Self, Failure> {
        if args.no_passphrase {
            return Ok(Self::None);
        }
        if args.seal_to.is_empty() {
            let choose = |party| context.passphrase().choose_bytes(&format!("dm-{party}"));
            return Ok(Self::Passphrases((1..=args.shares).map(choose).collect::<Result<_, _>>()?));
        }
        let (keys, shares) = (args.seal_to.len(), usize::from(args.shares));
        if keys != shares {
            return Err(Failure::usage(format!("--seal-to has {keys} keys for {shares} shares")));
        }
        Ok(Self::Keys(sealer(context)?, &args.seal_to))
    }

    fn of(&self, party: u8) -> Option<Lock<'_>> {
        let place = usize::from(party).checked_sub(1)?;
        match self {
            Self::None => Some(Lock::None),
            Self::Passphrases(all) => all.get(place).map(|words| Lock::Passphrase(words)),
            Self::Keys(seal, all) => all.get(place).map(|to| Lock::Key { seal, to }),
        }
    }
}

type Lines = std::vec::IntoIter<Vec<u8>>;

fn read_primes(path: &Path) -> Result<Lines, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    let text = zeroize::Zeroizing::new(text);
    let line = |line: &str| -> Option<Vec<u8>> {
        let digit = |at: usize| u8::from_str_radix(line.get(at..at.checked_add(2)?)?, 16).ok();
        (0..line.len()).step_by(2).map(digit).collect()
    };
    let lines: Option<Vec<_>> = text.lines().map(line).collect();
    let lines = lines.ok_or_else(|| {
        Failure::failed(format!("{}: hexadecimal numbers are wanted", path.display()))
    })?;
    Ok(lines.into_iter())
}

fn take_primes(lines: &mut Lines) -> Result<SafePrimes, Error> {
    let (Some(p), Some(q)) = (lines.next(), lines.next()) else { return Err(Error::Primes) };
    SafePrimes::from_be_bytes(&p, &q)
}

pub(super) fn scheme_of(text: &str) -> Result<Scheme, String> {
    match text.to_ascii_lowercase().as_str() {
        "8" | "rsa" | "rsasha256" => Ok(Scheme::Rsa),
        "13" | "p256" | "ecdsap256sha256" => Ok(Scheme::EcdsaP256),
        "15" | "ed25519" => Ok(Scheme::Ed25519),
        _ => Err("ed25519, p256 or rsa".to_owned()),
    }
}
