//! Writes a value under a password.

use std::fmt;

use bftkv::roaming::Password;
use bftkv::{Client, PasswordOptions, PutProtected, Variable};
use serde::Serialize;
use zeroize::Zeroizing;

use super::shown;
use crate::commands::put::BACKGROUND;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Liar, liars};
use crate::variable::ShownVariable;

/// What is to be written.
pub(crate) struct Protecting {
    pub(crate) variable: Variable,
    pub(crate) value: Zeroizing<Vec<u8>>,
    pub(crate) password: Password,
    pub(crate) options: PasswordOptions,
}

/// What was written.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    variable: ShownVariable,
    timestamp: u64,
    /// Counts the password records of the variable.
    epoch: u64,
    /// Nodes that hold no share, if so many lack one that liars could do harm.
    degraded: Vec<String>,
    liars: Vec<Liar>,
}

impl Report {
    pub(super) fn of(variable: &Variable, written: &PutProtected, client: &Client) -> Self {
        Self {
            variable: ShownVariable::from(variable),
            timestamp: written.timestamp.get(),
            epoch: written.epoch,
            degraded: shown(&written.degraded, client),
            liars: liars(&written.culprits, &client.names()),
        }
    }

    /// Shows it, with what a person must know besides.
    pub(super) fn show(&self, context: &Context) -> Result<(), Failure> {
        context.output().show(self)?;
        if !self.degraded.is_empty() {
            eprintln!("{}", degraded(&self.degraded));
        }
        self.liars.iter().for_each(|liar| eprintln!("{liar}"));
        Ok(())
    }
}

/// What a person must know of nodes without shares.
pub(super) fn degraded(nodes: &[String]) -> String {
    format!(
        "warning: no share of the password yet at {}; the next login (`bftkv get --password`) deals \
         again",
        nodes.join(", ")
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variable, timestamp, .. } = self;
        write!(f, "{} written at timestamp {timestamp} under a password", variable.variable)
    }
}

/// Does it.
///
/// # Errors
/// The password is wrong, or what [`Client::put_with_password`] says.
pub(crate) fn put(protecting: &Protecting, context: &Context) -> Result<Exit, Failure> {
    let home = context.open_home()?;
    let Protecting { variable, value, password, options } = protecting;
    context.block_on(async {
        let client = Client::open(&home).await?;
        let written = client.put_with_password(variable, value, password, *options).await;
        let written = written.map_err(|error| Failure::operation(error, &client.names()));
        let shown =
            written.and_then(|written| Report::of(variable, &written, &client).show(context));
        client.finish(BACKGROUND).await;
        shown.map(|()| Exit::Done)
    })
}
