//! `bftkv dm verify`.

use std::fmt;
use std::path::PathBuf;

use bftkv_dm::keys::KeyFile;
use bftkv_dm::sign::{DigestCheck, Dnskey, verify};
use bftkv_dm::time::{show, widen};
use bftkv_dm::zone::{Name, Rtype};
use clap::Args;
use serde::Serialize;

use super::{low, name_of, read_zone, time_of};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{count, escape};

/// Check a signed zone file, whoever signed it.
///
/// Everything that can be checked without the parent zone: that every set is signed that the zone
/// speaks for, and no other; that all signatures are right and hold now; that the absence of
/// everything else is denied (NSEC or NSEC3); and that the ZONEMD digest fits. Algorithms 8, 10,
/// 13, 14 and 15. Exit code 7 says that something is wrong.
///
/// Examples:
///
///   bftkv dm verify root.signed --origin .
///   bftkv dm verify example.com.signed --key ksk.key --at 2026-12-24
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct VerifyArgs {
    /// The zone file.
    #[arg(value_name = "ZONEFILE")]
    file: PathBuf,

    /// The zone's name [default: the owner of the first SOA record].
    #[arg(long, value_name = "NAME", value_parser = name_of)]
    origin: Option<Name>,

    /// The key that must have signed the zone's keys.
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,

    /// The day at whose beginning the signatures must hold [default: now].
    #[arg(long, value_name = "DAY")]
    at: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    valid: bool,
    zone: String,
    serial: u32,
    records: usize,
    signatures: usize,
    first_expiration: Option<String>,
    digest: &'static str,
    denial: &'static str,
    problem_count: usize,
    problems: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, signatures) =
            (count(self.records, "record"), count(self.signatures, "right signature"));
        writeln!(f, "zone {} {}: {records}, {signatures}", self.zone, self.serial)?;
        if let Some(time) = &self.first_expiration {
            writeln!(f, "  the first ends {time}")?;
        }
        writeln!(f, "  denial {}, ZONEMD {}", self.denial, self.digest)?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "  WRONG {}", escape(problem)))?;
        let more = self.problem_count.saturating_sub(self.problems.len());
        if more > 0 {
            writeln!(f, "  and {more} more")?;
        }
        write!(f, "{}", if self.valid { "valid" } else { "NOT VALID" })
    }
}

pub(crate) fn run(args: &VerifyArgs, context: &Context) -> Result<Exit, Failure> {
    let at = time_of(args.at.as_deref())?;
    let zone = read_zone(&args.file, args.origin.as_ref())?;
    let found = verify(&zone, low(at));
    let mut problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
    let mut problem_count = found.problem_count;
    if let Some(path) = &args.key {
        let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
        let key = KeyFile::open(path).and_then(|key| key.dnskey()).map_err(failed)?;
        let keys = zone.apex_set(Rtype::DNSKEY);
        if !keys.is_some_and(|keys| Dnskey::all(keys).any(|has| has == key)) {
            problems.insert(0, format!("the zone does not have the key {}", path.display()));
            problem_count = problem_count.saturating_add(1);
        }
    }
    let valid = problem_count == 0;
    context.output().show(&Report {
        valid,
        zone: zone.apex().to_string(),
        serial: zone.serial(),
        records: zone.records(),
        signatures: found.right_signatures,
        first_expiration: found.first_expiration.map(|time| show(widen(time, at))),
        digest: match found.digest {
            Some(DigestCheck::Right) => "right",
            Some(DigestCheck::Absent) => "absent",
            Some(_) => "wrong",
            None => "not checked",
        },
        denial: if found.nsec3 { "NSEC3" } else { "NSEC" },
        problem_count,
        problems,
    })?;
    Ok(if valid { Exit::Done } else { Exit::InvalidProof })
}
