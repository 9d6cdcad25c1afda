//! `bftkv dm`: the distribution master.

mod config;
mod control;
mod demo;
mod export;
mod forget;
mod gnupg;
mod keygen;
mod ksk;
mod reseal;
mod run;
mod sign;
mod status;
mod together;
mod transcript;
mod verify;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bftkv::Home;
use bftkv::wot::Sealer;
use bftkv_dm::keys::{KeyAccess, ShareFile, Unlock};
use bftkv_dm::node::replace;
use bftkv_dm::sign::{KeySet, Role, ShareSigner};
use bftkv_dm::threshold::SecretBytes;
use bftkv_dm::zone::{Limits, Name, Zone};
use clap::Subcommand;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// What to do with keys in shares, and the zones that they sign.
#[derive(Debug, Subcommand)]
pub(crate) enum DmCommand {
    Demo(demo::DemoArgs),
    Run(run::RunArgs),
    Status(status::StatusArgs),
    Hold(status::HoldArgs),
    Release(status::ReleaseArgs),
    Keygen(keygen::KeygenArgs),
    /// Make a zone's keys among all who get shares, so that nobody ever has a whole one.
    #[command(subcommand)]
    Together(together::TogetherCommand),
    /// Sign what a key ceremony was, and check that all have signed it.
    #[command(subcommand)]
    Transcript(transcript::TranscriptCommand),
    /// Use the key that signs keys, off the machine that signs the zone.
    #[command(subcommand)]
    Ksk(ksk::KskCommand),
    Sign(sign::SignArgs),
    Verify(verify::VerifyArgs),
    Export(export::ExportArgs),
    Reseal(reseal::ResealArgs),
    Forget(forget::ForgetArgs),
}

pub(crate) fn run(command: &DmCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        DmCommand::Demo(args) => demo::run(args, context),
        DmCommand::Run(args) => run::run(args, context),
        DmCommand::Status(args) => status::run(args, context),
        DmCommand::Hold(args) => status::hold(args, context),
        DmCommand::Release(args) => status::release(args, context),
        DmCommand::Keygen(args) => keygen::run(args, context),
        DmCommand::Together(command) => together::run(command, context),
        DmCommand::Transcript(command) => transcript::run(command, context),
        DmCommand::Ksk(command) => ksk::run(command, context),
        DmCommand::Sign(args) => sign::run(args, context),
        DmCommand::Verify(args) => verify::run(args, context),
        DmCommand::Export(args) => export::run(args, context),
        DmCommand::Reseal(args) => reseal::run(args, context),
        DmCommand::Forget(args) => forget::run(args, context),
    }
}

/// The home's key, to sign and to open what others' keys have signed.
fn sealer(context: &Context) -> Result<Sealer, Failure> {
    sealer_of(&context.open_home()?)
}

fn sealer_of(home: &Home) -> Result<Sealer, Failure> {
    let certificates = home.certificates()?;
    Ok(Sealer::new(certificates.keyring().clone(), home.key()))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The same as signatures have it.
fn low(secs: u64) -> u32 {
    u32::try_from(secs & u64::from(u32::MAX)).unwrap_or_default()
}

/// A day as it is typed, or now.
fn time_of(date: Option<&str>) -> Result<u64, Failure> {
    let Some(text) = date else { return Ok(now()) };
    let wrong = || Failure::usage(format!("{text:?} is no day")).hint("write it as 2026-11-28");
    bftkv_dm::time::read_date(text).ok_or_else(wrong)
}

/// A zone's name as it is typed.
fn name_of(text: &str) -> Result<Name, String> {
    text.parse().map_err(|error| format!("no name of a zone: {error}"))
}

fn read_zone(path: &Path, origin: Option<&Name>) -> Result<Zone, Failure> {
    Zone::read_file(path, origin.cloned(), Limits::default())
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

/// Whose OpenPGP key opens shares.
#[derive(Clone, Copy)]
enum KeyOf<'a> {
    /// The command's home.
    Command,
    /// This one, which is open already.
    Home(&'a Home),
    /// GnuPG: its agent, or a card.
    Gnupg,
}

impl KeyOf<'_> {
    fn command(gpg: bool) -> Self {
        if gpg { Self::Gnupg } else { Self::Command }
    }
}

/// What opens the file of a share: a passphrase, or an OpenPGP key.
struct Opener<'a> {
    context: &'a Context,
    whose: KeyOf<'a>,
    file: &'a Path,
    key: OnceCell<Sealer>,
}

impl Opener<'_> {
    fn open_key(&self) -> Result<Sealer, Failure> {
        let opened;
        let home = match self.whose {
            KeyOf::Home(home) => home,
            KeyOf::Command | KeyOf::Gnupg => {
                opened = self.context.open_home()?;
                &opened
            }
        };
        // A key that opens without being asked for anything protects nothing.
        if Home::open(home.path()).is_ok() {
            let (key, file) = (home.path().display(), self.file.display());
            eprintln!(
                "warning: the key in {key} has no passphrase: whoever reads it and {file} has the share"
            );
        }
        sealer_of(home)
    }
}

impl Unlock for Opener<'_> {
    fn passphrase(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.context.passphrase().bytes(&format!("Passphrase for {}: ", self.file.display()))
    }

    fn key(&self) -> Result<KeyAccess<'_>, String> {
        if let KeyOf::Gnupg = self.whose {
            return Ok(KeyAccess::Held(&gnupg::Gnupg));
        }
        if self.key.get().is_none() {
            let key = self.open_key().map_err(|failure| failure.message().to_owned())?;
            let _ = self.key.set(key);
        }
        self.key.get().map(|key| KeyAccess::Own(key)).ok_or_else(|| "no key".to_owned())
    }
}

/// Shares from their files, each locked for as long as it is used.
fn read_shares(
    files: &[PathBuf],
    (apex, role): (Option<&Name>, Role),
    whose: KeyOf<'_>,
    context: &Context,
) -> Result<Vec<ShareFile>, Failure> {
    let mut shares: Vec<ShareFile> = Vec::new();
    for path in files {
        let opener = Opener { context, whose, file: path, key: OnceCell::new() };
        let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
        let share = ShareFile::open(path, &opener).map_err(failed)?;
        let apex = apex.or(shares.first().map(ShareFile::apex)).unwrap_or(share.apex()).clone();
        share.check(&apex, role).map_err(failed)?;
        shares.push(share);
    }
    Ok(shares)
}

type Signer = ShareSigner<bftkv_dm::keys::SystemRng>;

fn signer_of(shares: &[ShareFile]) -> Result<Signer, Failure> {
    let bytes: Vec<SecretBytes> = shares.iter().map(ShareFile::to_secret_bytes).collect();
    let rng = bftkv_dm::keys::system_rng().map_err(Failure::failed)?;
    ShareSigner::new(&bytes, rng).map_err(Failure::failed)
}

/// A DNSKEY set that was signed ahead.
fn read_key_set(path: &Path, apex: &Name) -> Result<KeySet, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    KeySet::from_text(&text, apex)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

/// Makes folders that only their owner can enter.
fn private_folders() -> std::fs::DirBuilder {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Puts a file in place at once and on disk, so that nobody reads half of it, also after a power cut.
fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    replace(path, &[text.as_bytes()]).map_err(|error| Failure::file(path, &error))
}
