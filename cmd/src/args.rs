//! The command line as it is typed. What the words mean is checked by each command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    bench, cert, cluster, completions, demo, dm, get, graph, history, init, join, member, password,
    put, register, registration, repair, revoked, secret, serve, sign, verify,
};
use crate::context::Context;
use crate::exit::{EXIT_CODES, Exit};
use crate::failure::Failure;

/// A key-value store that keeps its word although some of its servers lie.
///
/// Its nodes are OpenPGP certificates; groups of nodes that have all certified each other sign what
/// is written, and a reader checks the signatures. Everything that a node or a user needs is in one
/// folder, its home.
#[derive(Debug, Parser)]
#[command(name = "bftkv", version, after_long_help = EXIT_CODES, propagate_version = true)]
#[command(subcommand_required = true, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The home: the folder with key, certificates and settings [default: ~/.bftkv].
    #[arg(long, env = "BFTKV_HOME", value_name = "DIR", global = true)]
    pub(crate) home: Option<PathBuf>,

    /// Results on stdout and errors on stderr as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Log more: -v what happens, -vv also details, -vvv everything.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,

    /// Log lines as JSON.
    #[arg(long, global = true)]
    pub(crate) log_json: bool,

    /// Read the passphrase of the own key, or of shares, from this file descriptor instead of asking.
    #[arg(long, value_name = "N", global = true)]
    pub(crate) passphrase_fd: Option<u32>,
}

/// What to do. The help of a command is the comment at its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::DemoArgs),
    Init(init::InitArgs),
    /// List, import, export, certify and revoke certificates.
    #[command(subcommand)]
    Cert(cert::CertCommand),
    Graph(graph::GraphArgs),
    Serve(serve::ServeArgs),
    Put(put::PutArgs),
    Get(get::GetArgs),
    /// Change the password of a value, or have used attempts given back.
    #[command(subcommand)]
    Password(password::PasswordCommand),
    Register(register::RegisterArgs),
    Recover(register::RecoverArgs),
    /// See and approve who wants to be registered at this node.
    #[command(subcommand)]
    Registration(registration::RegistrationCommand),
    /// Keep a value under a random name and a random secret, which are shown once.
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    History(history::HistoryArgs),
    Sign(sign::SignArgs),
    Verify(verify::VerifyArgs),
    /// Show who was cut out of the web of trust, and prove why.
    #[command(subcommand)]
    Revoked(revoked::RevokedCommand),
    Join(join::JoinArgs),
    /// Show, add and remove the members of the realm.
    #[command(subcommand)]
    Member(member::MemberCommand),
    Repair(repair::RepairArgs),
    /// Make and run a local cluster of processes.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Sign zones with keys in shares: the distribution master of a DNS zone.
    #[command(subcommand)]
    Dm(dm::DmCommand),
    Bench(bench::BenchArgs),
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Demo(args) => demo::run(&args, context),
            Self::Init(args) => init::run(&args, context),
            Self::Cert(command) => cert::run(&command, context),
            Self::Graph(args) => graph::run(&args, context),
            Self::Serve(args) => serve::run(&args, context),
            Self::Put(args) => put::run(&args, context),
            Self::Get(args) => get::run(&args, context),
            Self::Password(command) => password::run(&command, context),
            Self::Register(args) => register::register(&args, context),
            Self::Recover(args) => register::recover(&args, context),
            Self::Registration(command) => registration::run(&command, context),
            Self::Secret(command) => secret::run(&command, context),
            Self::History(args) => history::run(&args, context),
            Self::Sign(args) => sign::run(&args, context),
            Self::Verify(args) => verify::run(&args, context),
            Self::Revoked(command) => revoked::run(&command, context),
            Self::Join(args) => join::run(&args, context),
            Self::Member(command) => member::run(&command, context),
            Self::Repair(args) => repair::run(&args, context),
            Self::Cluster(command) => cluster::run(&command, context),
            Self::Dm(command) => dm::run(&command, context),
            Self::Bench(args) => bench::run(&args, context),
            Self::Completions(args) => completions::run(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    /// Help that teaches: every command shows how it is typed.
    #[test]
    fn every_command_has_an_example() {
        fn check(command: &mut clap::Command, path: &str) {
            let subcommands: Vec<String> =
                command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
            if subcommands.is_empty() {
                let help = command.render_long_help().to_string();
                assert!(help.contains("Example"), "{path} has no example:\n{help}");
            }
            for name in subcommands {
                let sub = command.find_subcommand_mut(&name).unwrap();
                check(sub, &format!("{path} {name}"));
            }
        }
        check(&mut Cli::command(), "bftkv");
    }
}
