//! Reads a value under a password.

use std::fmt;
use std::time::Duration;

use bftkv::roaming::Password;
use bftkv::{Client, Opened, Renewal, Variable};
use serde::Serialize;

use super::put::degraded;
use super::shown;
use crate::commands::put::BACKGROUND;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Liar, liars};
use crate::output::{self, escape, hex};
use crate::variable::ShownVariable;

/// What was found, in JSON.
#[derive(Debug, Serialize)]
struct Report {
    found: bool,
    #[serde(flatten)]
    variable: ShownVariable,
    timestamp: Option<u64>,
    epoch: Option<u64>,
    value_hex: Option<String>,
    /// Nodes that said to hold no share of the password.
    lacking: Vec<String>,
    renewal: Option<ShownRenewal>,
    liars: Vec<Liar>,
}

/// What came of dealing shares again after the login, if that was due.
#[derive(Debug, Default, Serialize)]
struct ShownRenewal {
    /// Whether the value has been written again, with new shares.
    dealt: bool,
    epoch: Option<u64>,
    timestamp: Option<u64>,
    /// Nodes that still hold no share, if so many lack one that liars could do harm.
    degraded: Vec<String>,
    /// Why not.
    reason: Option<String>,
}

impl ShownRenewal {
    fn of(renewal: &Renewal, client: &Client) -> Self {
        let failed = |reason: String| Self { reason: Some(reason), ..Self::default() };
        match renewal {
            Renewal::Dealt(written) => Self {
                dealt: true,
                epoch: Some(written.epoch),
                timestamp: Some(written.timestamp.get()),
                degraded: shown(&written.degraded, client),
                reason: None,
            },
            Renewal::Failed(reason) => failed(format!("{reason}; the next login tries again")),
            _ => failed("the next login with a key of the owner's does it".to_owned()),
        }
    }
}

impl fmt::Display for ShownRenewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.reason, self.degraded.is_empty()) {
            (Some(reason), _) => {
                write!(f, "note: shares of the password are to be dealt again: {}", escape(reason))
            }
            (None, true) => write!(
                f,
                "note: shares of the password were dealt again, for the nodes of now; all who must \
                 hold one do"
            ),
            (None, false) => {
                write!(
                    f,
                    "note: shares of the password were dealt again\n{}",
                    degraded(&self.degraded)
                )
            }
        }
    }
}

/// Does it.
///
/// # Errors
/// The password is wrong, or what [`Client::get_with_password`] says.
pub(crate) fn get(
    variable: &Variable,
    password: &Password,
    deadline: Option<Duration>,
    context: &Context,
) -> Result<Exit, Failure> {
    let home = context.open_home()?;
    context.block_on(async {
        let client = Client::open(&home).await?;
        let opened = client.get_with_password(variable, password, deadline).await;
        let opened = opened.map_err(|error| Failure::operation(error, &client.names()));
        let shown = opened.and_then(|opened| show(variable, opened.as_ref(), &client, context));
        // The attempts that were used are given back in the background.
        client.finish(BACKGROUND).await;
        shown
    })
}

fn show(
    variable: &Variable,
    opened: Option<&Opened>,
    client: &Client,
    context: &Context,
) -> Result<Exit, Failure> {
    let exit = if opened.is_some() { Exit::Done } else { Exit::Absent };
    let liars = opened.map(|opened| liars(&opened.culprits, &client.names())).unwrap_or_default();
    let renewal = opened.and_then(|opened| opened.renewal.as_ref());
    let renewal = renewal.map(|renewal| ShownRenewal::of(renewal, client));
    if context.output().is_json() {
        let report = Report {
            found: opened.is_some(),
            variable: ShownVariable::from(variable),
            timestamp: opened.map(|opened| opened.timestamp.get()),
            epoch: opened.map(|opened| opened.epoch),
            value_hex: opened.map(|opened| hex(&opened.value)),
            lacking: opened.map(|opened| shown(&opened.lacking, client)).unwrap_or_default(),
            renewal,
            liars,
        };
        let text = serde_json::to_string(&report).map_err(Failure::failed)?;
        output::raw(format!("{text}\n").as_bytes())?;
        return Ok(exit);
    }
    liars.iter().for_each(|liar| eprintln!("{liar}"));
    renewal.iter().for_each(|renewal| eprintln!("{renewal}"));
    match opened {
        Some(opened) => output::value(&opened.value)?,
        None => eprintln!("absent: `{variable}` was never written"),
    }
    Ok(exit)
}
