//! `bftkv member`.

mod change;
mod list;

use clap::Subcommand;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// What to do with the members of a realm.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    List(list::ListArgs),
    Add(change::AddArgs),
    Remove(change::RemoveArgs),
    Leave(change::LeaveArgs),
}

pub(crate) fn run(command: &MemberCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        MemberCommand::List(_) => list::run(context),
        MemberCommand::Add(args) => change::add(args, context),
        MemberCommand::Remove(args) => change::remove(args, context),
        MemberCommand::Leave(args) => change::leave(args, context),
    }
}
