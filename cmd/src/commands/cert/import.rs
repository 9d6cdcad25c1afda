//! `bftkv cert import`.

use std::fmt;
use std::path::PathBuf;

use bftkv::Certificates;
use bftkv::wot::read_certificates;
use clap::Args;
use serde::Serialize;

use super::user_id;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::limited_read;
use crate::output::count;

/// The largest keyring that is read.
const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;

/// Take certificates into this home.
///
/// Files as `gpg --export` and `bftkv cert export` write them, binary or armored, one certificate
/// or many. What is known already is completed by new certifications. Importing says nothing about
/// trust: for that, certify.
///
/// Examples:
///
///   bftkv cert import n2.asc n3.asc n4.asc
///   gpg --export | bftkv cert import -
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ImportArgs {
    /// Files; `-` is stdin.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// What became of each certificate.
#[derive(Debug, Default, Serialize)]
struct Report {
    imported: Vec<Imported>,
    refused: Vec<String>,
}

/// A certificate that was taken.
#[derive(Debug, Serialize)]
struct Imported {
    fingerprint: String,
    user_ids: Vec<String>,
    change: &'static str,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in &self.imported {
            let names = one.user_ids.join(", ");
            writeln!(f, "{:9}  {}  {names}", one.change, one.fingerprint)?;
        }
        write!(f, "{}", count(self.imported.len(), "certificate"))
    }
}

pub(crate) fn run(args: &ImportArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.look_at_home()?;
    let mut report = Report::default();
    for file in &args.files {
        let bytes = limited_read::read(file, MAX_FILE_BYTES)?;
        import(home.certificates(), &bytes, &mut report)
            .map_err(|reason| Failure::failed(format!("{}: {reason}", file.display())))?;
    }
    context.output().show(&report)?;
    if report.refused.is_empty() {
        return Ok(Exit::Done);
    }
    let failure =
        Failure::failed(format!("{} not imported", count(report.refused.len(), "certificate")));
    Err(report.refused.iter().fold(failure, |failure, reason| failure.hint(reason.clone())))
}

fn import(
    certificates: &Certificates,
    bytes: &[u8],
    report: &mut Report,
) -> Result<(), Box<dyn std::error::Error>> {
    let all = read_certificates(bytes)?;
    if all.is_empty() {
        return Err("there is no certificate in it".into());
    }
    for found in all {
        let record = match found {
            Ok(record) => record,
            Err(error) => {
                report.refused.push(error.to_string());
                continue;
            }
        };
        let before = certificates.bytes(record.id());
        let id = match certificates.import(record) {
            Ok(id) => id,
            Err(bftkv::HomeError::Certificate(error)) => {
                report.refused.push(error.to_string());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let after = certificates.bytes(&id);
        report.imported.push(Imported {
            fingerprint: id.to_string(),
            user_ids: certificates.keyring().identities(&id).iter().map(user_id).collect(),
            change: match before {
                None => "new",
                Some(_) if before == after => "unchanged",
                Some(_) => "completed",
            },
        });
    }
    Ok(())
}
