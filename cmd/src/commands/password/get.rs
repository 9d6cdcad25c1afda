//! Reads a value under a password.

use std::time::Duration;

use bftkv::roaming::Password;
use bftkv::{Client, Opened, Variable};
use serde::Serialize;

use crate::commands::put::BACKGROUND;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Liar, liars};
use crate::output::{self, hex};
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
    liars: Vec<Liar>,
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
    if context.output().is_json() {
        let report = Report {
            found: opened.is_some(),
            variable: ShownVariable::from(variable),
            timestamp: opened.map(|opened| opened.timestamp.get()),
            epoch: opened.map(|opened| opened.epoch),
            value_hex: opened.map(|opened| hex(&opened.value)),
            liars,
        };
        let text = serde_json::to_string(&report).map_err(Failure::failed)?;
        output::raw(format!("{text}\n").as_bytes())?;
        return Ok(exit);
    }
    liars.iter().for_each(|liar| eprintln!("{liar}"));
    match opened {
        Some(opened) => output::value(&opened.value)?,
        None => eprintln!("absent: `{variable}` was never written"),
    }
    Ok(exit)
}
