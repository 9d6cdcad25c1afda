//! `bftkv cert export`.

use bftkv::NodeId;
use bftkv::wot::armor;
use clap::Args;

use super::find;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::public_home::PublicHome;

/// Write a certificate to stdout, to be given to others.
///
/// It holds no secrets. GnuPG reads it, and so does `bftkv cert import`.
///
/// Examples:
///
///   bftkv cert export -a > me.asc
///   bftkv cert export alice@example.org > alice.pgp
///   bftkv cert export --all | bftkv --home other cert import -
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ExportArgs {
    /// Fingerprint, key ID, e-mail address or URL [default: the own certificate].
    #[arg(value_name = "ID", conflicts_with = "all")]
    id: Option<String>,

    /// In ASCII armor, for mail and eyes.
    #[arg(short, long)]
    armor: bool,

    /// Every certificate that this home knows.
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: &ExportArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.look_at_home()?;
    let mut exported = Vec::new();
    for id in wanted(args, &home)? {
        let Some(bytes) = home.certificates().bytes(&id) else { continue };
        if args.armor {
            exported.extend(armor(&bytes).map_err(Failure::failed)?.into_bytes());
        } else {
            exported.extend_from_slice(bytes.as_bytes());
        }
    }
    output::raw(&exported)?;
    Ok(Exit::Done)
}

fn wanted(args: &ExportArgs, home: &PublicHome) -> Result<Vec<NodeId>, Failure> {
    let keyring = home.certificates().keyring();
    if args.all {
        return Ok(keyring.records().iter().map(|(record, _)| record.id().clone()).collect());
    }
    let one = args.id.as_ref().map(|id| find(keyring, id));
    Ok(vec![one.unwrap_or_else(|| Ok(home.id().clone()))?])
}
