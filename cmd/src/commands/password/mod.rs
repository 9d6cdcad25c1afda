//! Values under passwords: `bftkv put --password`, `bftkv get --password`, `bftkv password`.

mod change;
mod get;
mod put;
mod reset;

use std::collections::BTreeSet;

use bftkv::roaming::{Password, Rule};
use bftkv::{Client, NodeId};
use clap::{Args, Subcommand, ValueEnum};

pub(crate) use self::get::get;
pub(crate) use self::put::{Protecting, put};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::passphrase::PassphraseSource;

/// Whether a password is meant, and where it comes from.
#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// Ask for a password: the value is sealed under a key that only this password and a quorum of
    /// nodes give. No node can guess it, and each allows a few wrong ones only.
    #[arg(long)]
    password: bool,

    /// Read the password from this file descriptor (its first line) instead of asking.
    #[arg(long, value_name = "N")]
    password_fd: Option<u32>,
}

/// How many of the n nodes must answer at a login, where b of them may be faulty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Threshold {
    /// 2b+1 nodes: any b may be down, or more where n is more than 3b+1.
    Majority,
    /// n-b nodes, which must be more than 2b+1: more must be stolen, and answer, for a guess. No
    /// more than b may be down.
    Most,
}

impl From<Threshold> for Rule {
    fn from(threshold: Threshold) -> Self {
        match threshold {
            Threshold::Majority => Self::Majority,
            Threshold::Most => Self::Most,
        }
    }
}

/// The names that people know of these nodes.
fn shown(nodes: &BTreeSet<NodeId>, client: &Client) -> Vec<String> {
    let names = client.names();
    nodes.iter().map(|id| names.get(id).cloned().unwrap_or_else(|| id.to_string())).collect()
}

impl PasswordArgs {
    /// Whether one is meant.
    pub(crate) fn is_given(&self) -> bool {
        self.password || self.password_fd.is_some()
    }

    /// The password of something that exists.
    ///
    /// # Errors
    /// There is no terminal to ask at, or it is empty.
    pub(crate) fn ask(&self, text: &str) -> Result<Password, Failure> {
        ask(self.password_fd, text)
    }

    /// A password for something new, typed twice.
    ///
    /// # Errors
    /// As [`PasswordArgs::ask`], or the two differ.
    pub(crate) fn choose(&self, what: &str) -> Result<Password, Failure> {
        choose(self.password_fd, what)
    }
}

fn ask(fd: Option<u32>, text: &str) -> Result<Password, Failure> {
    let bytes = PassphraseSource::new(fd)?.bytes(text).ok_or_else(|| {
        Failure::failed("cannot ask for a password here: there is no terminal")
            .hint("hand it over with --password-fd")
    })?;
    Password::new(bytes.to_vec()).map_err(Failure::usage)
}

fn choose(fd: Option<u32>, what: &str) -> Result<Password, Failure> {
    let bytes = PassphraseSource::new(fd)?.choose_bytes(what)?;
    Password::new(bytes.to_vec()).map_err(Failure::usage)
}

/// Change a password, or have used attempts given back.
#[derive(Debug, Subcommand)]
pub(crate) enum PasswordCommand {
    Change(change::ChangeArgs),
    Reset(reset::ResetArgs),
}

pub(crate) fn run(command: &PasswordCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        PasswordCommand::Change(args) => change::run(args, context),
        PasswordCommand::Reset(args) => reset::run(args, context),
    }
}
