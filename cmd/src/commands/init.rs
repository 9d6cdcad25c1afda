//! `bftkv init`.

use std::fmt;
use std::path::{Path, PathBuf};

use bftkv::wot::{OwnKey, generate_key};
use bftkv::{Home, NewHome};
use clap::Args;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::limited_read;
use crate::new_home::{NewSettings, save_revocation};
use crate::public_home::PublicHome;

/// The largest key or keyring that is read: a `GnuPG` export of tens of thousands of certificates.
const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;

/// Make a home: a new key, or keys and certificates from `GnuPG`.
///
/// The user ID says what the certificate is: "Real name (http://host:port)" is a node, which the
/// others reach at that URL; "Real name <email>" is a user, who owns what is written under that
/// address.
///
/// Examples:
///
///   bftkv --home n1 init --name 'Node one (http://n1.example:5701)'
///   bftkv init --name 'Alice Example <alice@example.org>' --protect
///   bftkv init --from cluster/n1          # a folder with pubring.gpg and secring.gpg
///   bftkv init --key secret.asc --certs everybody.asc
///
/// Beside a new key lies revocation.rev. Move it to a safe place: if the key is ever lost or stolen,
/// `bftkv cert revoke --self revocation.rev` makes it worthless, from any home.
///
/// After that: exchange certificates (`bftkv cert export`, `cert import`), certify each other
/// (`bftkv cert certify`), and look at the result (`bftkv graph`).
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    source: Source,

    /// Certificates to know from the start, besides the own one.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    certs: Vec<PathBuf>,

    /// Protect the new key by a passphrase, which is asked for. A node with a passphrase cannot
    /// start without a person.
    #[arg(long, requires = "name")]
    protect: bool,

    #[command(flatten)]
    settings: NewSettings,
}

/// Where the key comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Make a new key with this user ID.
    #[arg(long, value_name = "USER ID")]
    name: Option<String>,

    /// Take a folder that `GnuPG` filled: `secring.gpg` and `pubring.gpg`.
    #[arg(long, value_name = "FOLDER")]
    from: Option<PathBuf>,

    /// Take this secret key, as `gpg --export-secret-keys` prints it.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// What was made.
#[derive(Debug, Serialize)]
struct Report {
    home: PathBuf,
    fingerprint: String,
    user_ids: Vec<String>,
    node: bool,
    certificates: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation: Option<PathBuf>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.node { "node" } else { "user" };
        writeln!(f, "home         {}", self.home.display())?;
        writeln!(f, "certificate  {} ({kind})", self.fingerprint)?;
        self.user_ids.iter().try_for_each(|id| writeln!(f, "             {id}"))?;
        writeln!(f, "knows        {} certificates", self.certificates)?;
        if let Some(path) = &self.revocation {
            writeln!(f, "revocation   {} (keep it elsewhere)", path.display())?;
        }
        writeln!(f, "next: exchange certificates (`bftkv cert export -a`, `bftkv cert import`),")?;
        write!(f, "certify each other (`bftkv cert certify`), then `bftkv graph`")
    }
}

/// The key to be, and what comes with it.
struct Material {
    key: OwnKey,
    certificates: Vec<Vec<u8>>,
    revocation: Option<String>,
}

pub(crate) fn run(args: &InitArgs, context: &Context) -> Result<Exit, Failure> {
    let path = context.home();
    let config = args.settings.config()?;
    if path.join(Home::CONFIG).exists() || path.join(Home::KEY).exists() {
        return Err(bftkv::HomeError::Exists(path.to_owned()).into());
    }
    let mut material = material(args, context)?;
    for file in &args.certs {
        material.certificates.push(limited_read::read(file, MAX_FILE_BYTES)?);
    }
    let new = NewHome { key: &material.key, certificates: &material.certificates, config: &config };
    let home = Home::create(path, &new)?;
    let revocation = match material.revocation {
        Some(text) => Some(save_revocation(home.path(), &text)?),
        None => None,
    };
    context.output().show(&report(path, revocation)?)?;
    Ok(Exit::Done)
}

fn material(args: &InitArgs, context: &Context) -> Result<Material, Failure> {
    let Source { name, from, key } = &args.source;
    match (name, from, key) {
        (Some(name), _, _) => new_key(name, args.protect, context),
        (_, Some(folder), _) => from_folder(folder, context),
        (_, _, Some(file)) => {
            let bytes = Zeroizing::new(limited_read::read(file, MAX_FILE_BYTES)?);
            let key = open_key(&bytes, file, context)?;
            Ok(Material { key, certificates: Vec::new(), revocation: None })
        }
        // The arguments say that one of them is there.
        (None, None, None) => Err(Failure::usage("give --name, --from or --key")),
    }
}

fn new_key(name: &str, protect: bool, context: &Context) -> Result<Material, Failure> {
    let passphrase = context.passphrase();
    let chosen = if protect || passphrase.is_given() { passphrase.choose()? } else { None };
    let generated = generate_key(name, chosen.as_ref()).map_err(|error| {
        Failure::usage(format!("--name {name:?}: {error}"))
            .hint("a node is \"Real name (http://host:port)\", a user \"Real name <email>\"")
    })?;
    let revocation = Some(generated.revocation_file().map_err(Failure::failed)?);
    Ok(Material { key: generated.key, certificates: Vec::new(), revocation })
}

/// A folder as `gpg --export` and `gpg --export-secret-keys` fill it.
fn from_folder(folder: &Path, context: &Context) -> Result<Material, Failure> {
    let read = |name: &str| {
        limited_read::read(&folder.join(name), MAX_FILE_BYTES).map_err(|failure| {
            failure.hint(
                "--from takes a folder with secring.gpg (gpg --export-secret-keys) and \
                 pubring.gpg (gpg --export); docs/gnupg.md has the steps",
            )
        })
    };
    let secret = Zeroizing::new(read("secring.gpg")?);
    let key = open_key(&secret, &folder.join("secring.gpg"), context)?;
    Ok(Material { key, certificates: vec![read("pubring.gpg")?], revocation: None })
}

fn open_key(bytes: &[u8], file: &Path, context: &Context) -> Result<OwnKey, Failure> {
    OwnKey::from_bytes(bytes, &|key| context.passphrase().ask(key))
        .map_err(|error| Failure::failed(format!("{}: {error}", file.display())))
}

fn report(path: &Path, revocation: Option<PathBuf>) -> Result<Report, Failure> {
    let home = PublicHome::open(path)?;
    let keyring = home.certificates().keyring();
    let user_ids = keyring.identities(home.id());
    Ok(Report {
        home: path.to_owned(),
        fingerprint: home.id().to_string(),
        user_ids: user_ids.iter().map(super::cert::user_id).collect(),
        node: home.is_node(),
        certificates: keyring.len(),
        revocation,
    })
}
