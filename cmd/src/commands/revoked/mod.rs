//! `bftkv revoked`.

mod export;
mod list;
mod show;

use bftkv::NodeId;
use bftkv::protocol::EquivocationProof;
use clap::Subcommand;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::public_home::PublicHome;

/// What to do with revocations.
#[derive(Debug, Subcommand)]
pub(crate) enum RevokedCommand {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Export(export::ExportArgs),
}

pub(crate) fn run(command: &RevokedCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        RevokedCommand::List(args) => list::run(args, context),
        RevokedCommand::Show(args) => show::run(args, context),
        RevokedCommand::Export(args) => export::run(args, context),
    }
}

/// The one certificate that `text` means. Its certificate need not be known if it is named by the
/// full fingerprint.
fn find(home: &PublicHome, text: &str) -> Result<NodeId, Failure> {
    match text.parse::<NodeId>() {
        Ok(id) => Ok(id),
        Err(_) => super::cert::find(home.certificates().keyring(), text),
    }
}

/// The proof against a certificate.
fn proof(home: &PublicHome, id: &NodeId) -> Result<EquivocationProof, Failure> {
    home.certificates().revoked().proof(id).ok_or_else(|| {
        Failure::failed(format!("this home has no proof of malice against {id}")).hint(
            "`bftkv revoked list` shows whom it has proofs against; `bftkv join` asks the nodes",
        )
    })
}
