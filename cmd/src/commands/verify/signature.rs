//! `bftkv verify` of a file's signature.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bftkv::wot::FileSignature;
use bftkv::{NodeId, SignedFile, SignedFileError, verify_file};
use serde::Serialize;

use super::{Signer, signer, write, write_commands};
use crate::commands::cert::user_id;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::limited_read;
use crate::output::escape;
use crate::public_home::PublicHome;
use crate::utc;

/// The endings of detached signatures.
const ENDINGS: [&str; 2] = ["asc", "sig"];

/// Where `bftkv sign` puts the signature of a file.
pub(crate) fn signature_beside(file: &Path) -> PathBuf {
    with_ending(file, "asc")
}

fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// The signature that lies beside a file, if there is one.
pub(super) fn found_beside(file: &Path) -> Option<PathBuf> {
    if file == Path::new("-") {
        return None;
    }
    ENDINGS.iter().map(|ending| with_ending(file, ending)).find(|path| path.is_file())
}

/// The file that a signature belongs to by its name.
pub(super) fn signed_by(signature: &Path) -> Option<PathBuf> {
    let ending = signature.extension()?.to_str()?;
    ENDINGS.contains(&ending).then(|| signature.with_extension(""))
}

/// What a signature of a file shows.
#[derive(Debug, Serialize)]
struct Report {
    valid: bool,
    file: PathBuf,
    signer: String,
    key: String,
    identities: Vec<Vouched>,
    /// When, by the signer's clock: seconds since 1970.
    made: Option<u64>,
    realm: String,
    /// What else judges it.
    commands: Vec<String>,
}

/// A user ID with the members that certify it.
#[derive(Debug, Serialize)]
struct Vouched {
    user_id: String,
    certified_by: Vec<Signer>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "valid: {}", escape(&self.file.display().to_string()))?;
        for identity in &self.identities {
            writeln!(f, "signed by: {}", identity.user_id)?;
            identity
                .certified_by
                .iter()
                .try_for_each(|who| writeln!(f, "  certified by: {who}"))?;
        }
        writeln!(f, "certificate: {}", self.signer)?;
        if let Some(made) = self.made {
            writeln!(f, "made: {} by the signer's clock", utc::show(made))?;
        }
        writeln!(f, "realm: {}", self.realm)?;
        write_commands(f, &self.commands)
    }
}

/// Checks the signature at `signature` of the file at `file`; `-` is stdin.
pub(super) fn run(
    file: &Path,
    signature: &Path,
    export: Option<&Path>,
    home: &PublicHome,
    context: &Context,
) -> Result<Exit, Failure> {
    if file == Path::new("-") && signature == Path::new("-") {
        return Err(Failure::usage("only one of the file and its signature can come from stdin"));
    }
    let bytes = limited_read::read(signature, FileSignature::MAX_BYTES)?;
    let invalid = |error: &SignedFileError| explain(error, signature, file);
    let read = FileSignature::read(&bytes).map_err(|error| invalid(&error.into()))?;
    let known = home.configurations()?;
    let mut content: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(file).map_err(|error| Failure::file(file, &error))?)
    };
    let verified = verify_file(&read, home.certificates(), known.newest(), &mut *content);
    let verified = verified.map_err(|error| invalid(&error))?;
    let commands = match export {
        Some(folder) => write_certificate(&read, file, signature, folder)?,
        None => Vec::new(),
    };
    context.output().show(&report(&verified, &read, file, home, commands))?;
    Ok(Exit::Done)
}

fn report(
    verified: &SignedFile,
    signature: &FileSignature,
    file: &Path,
    home: &PublicHome,
    commands: Vec<String>,
) -> Report {
    let names: BTreeMap<NodeId, String> = home.certificates().names();
    let identities = verified.identities.iter().map(|(identity, certifiers)| Vouched {
        user_id: user_id(identity),
        certified_by: certifiers.iter().map(|id| signer(id, &names)).collect(),
    });
    Report {
        valid: true,
        file: file.to_owned(),
        signer: verified.signer.to_string(),
        key: verified.key.to_string(),
        identities: identities.collect(),
        made: verified.made.map(utc::seconds),
        realm: signature.realm().to_string(),
        commands,
    }
}

/// Writes the signer's certificate for other programs; gives the commands that judge.
fn write_certificate(
    read: &FileSignature,
    file: &Path,
    signature: &Path,
    folder: &Path,
) -> Result<Vec<String>, Failure> {
    std::fs::create_dir(folder).map_err(|error| Failure::file(folder, &error))?;
    let certificate = folder.join("signer.pgp");
    write(&certificate, read.certificate().bytes().as_bytes())?;
    Ok(vec![
        format!("gpg --import {}", certificate.display()),
        format!("gpg --verify {} {}", signature.display(), file.display()),
    ])
}

fn explain(error: &SignedFileError, signature: &Path, file: &Path) -> Failure {
    let failure = Failure::new(Exit::InvalidProof, format!("{}: {error}", signature.display()));
    match error {
        SignedFileError::Realm { .. } => {
            failure.hint("check it with --home of somebody in that realm")
        }
        SignedFileError::NoQuorumCertificate { .. } => failure.hint(
            "the certifications that it carries are not by members whom this home knows, or no \
             longer count: `bftkv graph` shows the members, `bftkv join` fetches certificates",
        ),
        SignedFileError::Signature(bftkv::wot::FileSignatureError::NoCertificate) => {
            failure.hint(format!("gpg --verify {} {}", signature.display(), file.display()))
        }
        SignedFileError::Signature(bftkv::wot::FileSignatureError::Standing { .. }) => failure
            .hint(
                "if the owner has a newer copy of the certificate, import it: `bftkv cert import`",
            ),
        _ => failure,
    }
}
