//! `bftkv secret`: values under random names and random passwords.

use std::fmt;
use std::path::PathBuf;

use bftkv::roaming::Password;
use bftkv::{Client, PasswordOptions, Value, Variable};
use clap::{Args, Subcommand};
use serde::Serialize;
use zeroize::Zeroizing;

use super::password::{PasswordArgs, get};
use super::put::BACKGROUND;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::limited_read;
use crate::output::hex;

/// Bytes of a random name, and of a random secret: 128 bits.
const RANDOM_BYTES: usize = 16;

/// Keep a value under a random name and a random secret, which are shown once.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    Put(SecretPutArgs),
    Get(SecretGetArgs),
}

/// Store a value; prints the name and the secret that open it.
///
/// The secret is shown this once and stored nowhere. It is the password of the value: the nodes
/// cannot open it, and allow few wrong ones.
///
/// Examples:
///
///   bftkv secret put --file api-key.txt
///   generate-key | bftkv --json secret put --file -
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct SecretPutArgs {
    /// Read the value from this file; `-` is stdin. (Not from the command line, where others see it.)
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

/// Read a value; asks for its secret.
///
/// Example: bftkv secret get secret/5f1d1c0a4b7e9d3322b0f1a6c8e47d90
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct SecretGetArgs {
    /// The name that `bftkv secret put` printed.
    name: String,

    #[command(flatten)]
    password: PasswordArgs,
}

/// What opens the value.
#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    secret: &'a str,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "name    {}\nsecret  {}", self.name, self.secret)
    }
}

pub(crate) fn run(command: &SecretCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        SecretCommand::Put(args) => put(args, context),
        SecretCommand::Get(args) => {
            let variable = Variable::new(args.name.as_bytes().to_vec()).map_err(Failure::usage)?;
            get(&variable, &args.password.ask("Secret: ")?, None, context)
        }
    }
}

fn put(args: &SecretPutArgs, context: &Context) -> Result<Exit, Failure> {
    let value = Zeroizing::new(limited_read::read(&args.file, Value::MAX_BYTES)?);
    let name = format!("secret/{}", random()?.as_str());
    let variable = Variable::new(name.as_bytes().to_vec()).map_err(Failure::failed)?;
    let secret = random()?;
    let password = Password::new(secret.as_bytes()).map_err(Failure::failed)?;
    let home = context.open_home()?;
    context.block_on(async {
        let client = Client::open(&home).await?;
        let options = PasswordOptions::default();
        let written = client.put_with_password(&variable, &value, &password, options).await;
        written.map_err(|error| Failure::operation(error, &client.names()))?;
        context.output().show(&Report { name: &name, secret: &secret })?;
        client.finish(BACKGROUND).await;
        Ok(Exit::Done)
    })
}

fn random() -> Result<Zeroizing<String>, Failure> {
    let mut bytes = Zeroizing::new([0; RANDOM_BYTES]);
    getrandom::fill(&mut *bytes).map_err(Failure::failed)?;
    Ok(Zeroizing::new(hex(&*bytes)))
}
