//! `bftkv dm forget`.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bftkv_dm::keys::{Error, ShareFile};
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::count;

/// Destroy the files of shares, for ever.
///
/// Each file is overwritten and deleted. Disks and file systems may keep older copies, and
/// backups do: a share that must be worthless is made so by a new key. When fewer shares are left
/// than sign together, the key is lost.
///
/// Example: bftkv dm forget old/zsk.share --yes
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Files of shares.
    #[arg(value_name = "SHARE", required = true)]
    files: Vec<PathBuf>,

    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    forgotten: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} destroyed", count(self.forgotten, "share"))
    }
}

pub(crate) fn run(args: &ForgetArgs, context: &Context) -> Result<Exit, Failure> {
    if !args.yes {
        let files = count(args.files.len(), "share");
        return Err(Failure::usage(format!("this would destroy {files} for ever"))
            .hint("say --yes if that is what you want"));
    }
    args.files.iter().try_for_each(|path| destroy(path))?;
    context.output().show(&Report { forgotten: args.files.len() })?;
    Ok(Exit::Done)
}

/// Overwrites and deletes the file of a share, and no other file.
pub(super) fn destroy(path: &Path) -> Result<(), Failure> {
    match ShareFile::open(path, &|| None) {
        // One that is sealed is a share too.
        Ok(_) | Err(Error::NeedsPassphrase | Error::NeedsKey { .. }) => {}
        Err(error) => return Err(Failure::failed(format!("{}: {error}", path.display()))),
    }
    let overwrite = || {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let length = usize::try_from(file.metadata()?.len()).unwrap_or_default();
        file.write_all(&vec![0; length])?;
        file.sync_all()?;
        std::fs::remove_file(path)
    };
    overwrite().map_err(|error| Failure::file(path, &error))
}
