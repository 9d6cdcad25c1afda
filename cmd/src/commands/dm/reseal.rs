//! `bftkv dm reseal`.

use std::cell::OnceCell;
use std::fmt;
use std::path::PathBuf;

use bftkv::NodeId;
use bftkv_dm::keys::{Lock, ShareFile, system_rng};
use clap::Args;
use serde::Serialize;

use super::{KeyOf, Opener, sealer};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Seal the file of a share anew: to another key, with another passphrase.
///
/// The file is opened as always: with the home's key, or with its passphrase (--passphrase-fd, or typed). A new
/// one takes its place at once; the old one stays whole if anything goes wrong. While a DM runs with
/// it, it is refused. The share stays the same.
///
/// Its file's hash is then another one than in the transcript of the ceremony, so sign that first. Disks and
/// file systems may keep the old file, which whatever sealed it still opens.
///
/// Examples:
///
///   bftkv dm reseal dm-1/zsk.share --seal-to FPR
///   bftkv dm reseal dm-1/zsk.share --passphrase
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ResealArgs {
    /// The file of a share.
    #[arg(value_name = "SHARE")]
    file: PathBuf,

    /// A share that is sealed to an OpenPGP key is opened by gpg: with its agent, or a card.
    #[arg(long)]
    gpg: bool,

    #[command(flatten)]
    lock: NewLock,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct NewLock {
    /// Seal it to the encryption subkey of this OpenPGP key, whose certificate must be in the home.
    #[arg(long, value_name = "FPR")]
    seal_to: Option<NodeId>,

    /// Seal it with a new passphrase, which is typed twice. With --passphrase-fd it is that one, for a share that was
    /// not sealed with a passphrase before.
    #[arg(long)]
    passphrase: bool,

    /// Leave it unsealed: whoever reads the file has the share.
    #[arg(long)]
    no_passphrase: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    file: String,
    party: u8,
    sealed: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.sealed { "is sealed anew" } else { "is NOT sealed any more" };
        write!(f, "{}, the share of dm-{}, {how}", self.file, self.party)
    }
}

pub(crate) fn run(args: &ResealArgs, context: &Context) -> Result<Exit, Failure> {
    let failed =
        |error: bftkv_dm::keys::Error| Failure::failed(format!("{}: {error}", args.file.display()));
    let opener =
        Opener { context, whose: KeyOf::command(args.gpg), file: &args.file, key: OnceCell::new() };
    let share = ShareFile::open(&args.file, &opener).map_err(failed)?;
    let party = share.party().number();
    let (passphrase, sealer) = match &args.lock {
        NewLock { passphrase: true, .. } => {
            (Some(context.passphrase().choose_bytes(&format!("dm-{party}"))?), None)
        }
        NewLock { seal_to: Some(_), .. } => (None, Some(sealer(context)?)),
        _ => (None, None),
    };
    let lock = match (&passphrase, &sealer, &args.lock.seal_to) {
        (Some(words), ..) => Lock::Passphrase(words),
        (None, Some(seal), Some(to)) => Lock::Key { seal, to },
        _ => Lock::None,
    };
    let mut rng = system_rng().map_err(failed)?;
    share.replace(&args.file, lock, &mut rng).map_err(failed)?;
    let file = args.file.display().to_string();
    context.output().show(&Report { file, party, sealed: !args.lock.no_passphrase })?;
    Ok(Exit::Done)
}
