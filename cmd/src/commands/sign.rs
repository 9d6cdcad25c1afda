//! `bftkv sign`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use bftkv::wot::FileSignatureError;
use bftkv::{Certificates, SignedFileError, sign_file};
use clap::Args;
use serde::Serialize;

use super::verify::signature_beside;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// Sign a file, so that others can check it offline.
///
/// The signature is a detached OpenPGP signature in a file of its own. It carries your quorum
/// certificate: your certificate with the certifications of the clique members. So whoever knows
/// the clique can check it with `bftkv verify` without knowing you, and `gpg --verify` takes it
/// like any other. Nothing is sent anywhere. The file may be of any size.
///
/// Examples:
///
///   bftkv sign report.pdf                          # writes report.pdf.asc
///   bftkv verify report.pdf                        # by anybody with a home of the realm
///   gpg --verify report.pdf.asc report.pdf         # by anybody with your certificate
///   gpg --auto-key-import --verify report.pdf.asc report.pdf
///   tar c src | bftkv sign - > src.tar.asc
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct SignArgs {
    /// The file; `-` is stdin, and the signature goes to stdout.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Where the signature goes [default: FILE.asc]. An existing file is not overwritten.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
}

/// What was signed.
#[derive(Debug, Serialize)]
struct Report {
    signature: PathBuf,
    signer: String,
    realm: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "signed: {}", self.signature.display())
    }
}

pub(crate) fn run(args: &SignArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.open_home()?;
    let certificates = home.certificates()?;
    let key = home.key();
    let id = key.certificate().id();
    let configuration = certificates.configuration(id, &home.config().realm)?;
    let stdin = args.file == Path::new("-");
    let mut file: Box<dyn Read> = if stdin {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(&args.file).map_err(|error| Failure::file(&args.file, &error))?)
    };
    let signed = sign_file(&key, &certificates, &configuration, &mut *file);
    let signature = signed.map_err(|error| explain(&error, &certificates))?;
    let armored = signature.armored().map_err(Failure::failed)?;
    let path = match &args.signature {
        Some(path) => path.clone(),
        None if stdin => return output::raw(armored.as_bytes()).map(|()| Exit::Done),
        None => signature_beside(&args.file),
    };
    write(&path, armored.as_bytes())?;
    context.output().show(&Report {
        signature: path,
        signer: id.to_string(),
        realm: signature.realm().to_string(),
    })?;
    Ok(Exit::Done)
}

fn explain(error: &SignedFileError, certificates: &Certificates) -> Failure {
    match error {
        SignedFileError::NoQuorumCertificate { .. } => {
            Failure::new(Exit::Refused, error.to_string()).hint(
                "have more than b members certify your certificate (`bftkv cert certify` on their \
                 nodes), and import what comes back or `bftkv join`",
            )
        }
        SignedFileError::Signature(FileSignatureError::TooLarge(_)) => Failure::failed(error)
            .hint("a new key with one user ID, certified once by each member, is small enough"),
        SignedFileError::Signature(FileSignatureError::Standing { id, .. }) => {
            let names = certificates.names();
            let name = names.get(id).cloned().unwrap_or_default();
            Failure::failed(error).hint(format!("the own certificate ({name}) must count now"))
        }
        _ => Failure::failed(error),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = File::create_new(path).and_then(|mut file| file.write_all(bytes));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::failed(format!("{} exists", path.display()))
            .hint("name another file with --signature, or remove it"),
        _ => Failure::file(path, &error),
    })
}
