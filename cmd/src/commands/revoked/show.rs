//! `bftkv revoked show`.

use clap::Args;

use super::{find, proof};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::malice_view::MaliceView;

/// Show the proof against somebody who was cut out: what it signed, and where.
///
/// Example: bftkv revoked show http://n4.example:5701
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Fingerprint, key ID, e-mail address or URL.
    #[arg(value_name = "ID")]
    id: String,
}

pub(crate) fn run(args: &ShowArgs, context: &Context) -> Result<Exit, Failure> {
    let home = context.look_at_home()?;
    let proof = proof(&home, &find(&home, &args.id)?)?;
    context.output().show(&MaliceView::of(&proof, home.certificates()))?;
    Ok(Exit::Done)
}
