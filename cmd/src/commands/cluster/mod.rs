//! `bftkv cluster`.

mod create;
mod run;

use std::path::{Path, PathBuf};

use bftkv::Home;
use clap::Subcommand;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::public_home::PublicHome;

pub(crate) use create::ClusterSize;

/// A cluster on this machine.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    Create(create::CreateArgs),
    Run(run::RunArgs),
}

pub(crate) fn run(command: &ClusterCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        ClusterCommand::Create(args) => create::run(args, context),
        ClusterCommand::Run(args) => run::run(args, context),
    }
}

/// The homes in a cluster's folder: nodes and users.
#[derive(Debug)]
pub(crate) struct ClusterHomes {
    /// Those of nodes, in the order of their names.
    pub(crate) nodes: Vec<PathBuf>,
    /// Those of users.
    pub(crate) users: Vec<PathBuf>,
}

impl ClusterHomes {
    /// Looks for homes in the folder.
    ///
    /// # Errors
    /// The folder cannot be read, or has no node in it.
    pub(crate) fn find(folder: &Path) -> Result<Self, Failure> {
        let entries = std::fs::read_dir(folder).map_err(|error| Failure::file(folder, &error))?;
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.join(Home::CONFIG).is_file())
            .collect();
        paths.sort();
        let mut found = Self { nodes: Vec::new(), users: Vec::new() };
        for path in paths {
            let is_node = PublicHome::open(&path)?.is_node();
            let homes = if is_node { &mut found.nodes } else { &mut found.users };
            homes.push(path);
        }
        if found.nodes.is_empty() {
            let message = format!("{}: no homes of nodes in this folder", folder.display());
            return Err(
                Failure::failed(message).hint("`bftkv cluster create` makes a cluster's folder")
            );
        }
        Ok(found)
    }
}
