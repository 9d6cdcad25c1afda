//! `bftkv password change`.

use bftkv::{Client, PasswordOptions};
use clap::Args;

use super::put::Report;
use super::{Threshold, ask, choose};
use crate::commands::put::BACKGROUND;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::variable::VariableArgs;

/// Change the password of a value.
///
/// The value is sealed anew, under a key that is dealt anew to the nodes. From then on the old
/// password opens nothing, old versions included.
///
/// Example:
///
///   bftkv password change notes
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    variable: VariableArgs,

    /// Read the old password from this file descriptor instead of asking.
    #[arg(long, value_name = "N")]
    password_fd: Option<u32>,

    /// Read the new password from this file descriptor instead of asking.
    #[arg(long, value_name = "N")]
    new_password_fd: Option<u32>,

    /// From now on so many nodes must answer at a login [default: as many as now].
    #[arg(long, value_enum)]
    threshold: Option<Threshold>,
}

pub(super) fn run(args: &ChangeArgs, context: &Context) -> Result<Exit, Failure> {
    let variable = args.variable.variable()?;
    let old = ask(args.password_fd, &format!("Password of {variable}: "))?;
    let new = choose(args.new_password_fd, &variable.to_string())?;
    let home = context.open_home()?;
    context.block_on(async {
        let client = Client::open(&home).await?;
        let rule = args.threshold.map(Into::into);
        let options = PasswordOptions { rule, ..PasswordOptions::default() };
        let changed = client.change_password(&variable, &old, &new, options).await;
        let changed = changed.map_err(|error| Failure::operation(error, &client.names()));
        let shown =
            changed.and_then(|written| Report::of(&variable, &written, &client).show(context));
        client.finish(BACKGROUND).await;
        shown.map(|()| Exit::Done)
    })
}
