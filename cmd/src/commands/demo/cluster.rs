//! Four nodes in this process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bftkv::transport::Handler;
use bftkv::{Certificates, Client, Configuration, Home, Node, NodeId, RunningNode};
use tempfile::TempDir;

use super::liar::Liar;
use super::traitor::Traitor;
use crate::failure::Failure;
use crate::free_ports::free_ports;
use crate::new_home::NewSettings;
use crate::web::{Plan, Role, Web};

/// The nodes' names.
pub(super) const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

/// Four nodes and three people, in a temporary folder.
pub(super) struct DemoCluster {
    folder: TempDir,
    nodes: BTreeMap<&'static str, DemoNode>,
}

struct DemoNode {
    node: Node,
    address: SocketAddr,
    running: Option<RunningNode>,
}

impl DemoCluster {
    /// Makes keys and certifications, writes the homes, opens the nodes.
    ///
    /// # Errors
    /// The disk or the system refuses.
    pub(super) fn make() -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(Failure::failed)?;
        let ports = free_ports(NODES.len(), None)?;
        let mut plans: Vec<Plan> = NODES
            .iter()
            .zip(&ports)
            .map(|(name, port)| Plan::node(*name, Role::Authority, *port))
            .collect();
        plans.push(Plan::person("alice", Role::User));
        plans.push(Plan::person("trudy", Role::User));
        plans.push(Plan::person("mallory", Role::Stranger));
        Web::make(&plans)?.write_homes(folder.path(), &NewSettings::default())?;
        let mut nodes = BTreeMap::new();
        for (name, port) in NODES.into_iter().zip(ports) {
            let node = Node::open(&Home::open(folder.path().join(name))?)?;
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            nodes.insert(name, DemoNode { node, address, running: None });
        }
        Ok(Self { folder, nodes })
    }

    /// The home of somebody.
    pub(super) fn home(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client of somebody's home.
    ///
    /// # Errors
    /// Those of [`Client::open`].
    pub(super) async fn client(&self, name: &str) -> Result<Client, Failure> {
        Ok(Client::open(&Home::open(self.home(name))?).await?)
    }

    /// Starts an honest node.
    ///
    /// # Errors
    /// The port was taken meanwhile.
    pub(super) async fn start(&mut self, name: &str) -> Result<SocketAddr, Failure> {
        let handler = self.node(name)?.node.handler();
        self.start_with(name, handler).await
    }

    /// Starts a node that lies.
    ///
    /// # Errors
    /// The port was taken meanwhile.
    pub(super) async fn start_liar(&mut self, name: &str) -> Result<SocketAddr, Failure> {
        let handler = Arc::new(Liar::new(self.node(name)?.node.handler()));
        self.start_with(name, handler).await
    }

    /// Starts a node that signs whatever it is asked to.
    ///
    /// # Errors
    /// The port was taken meanwhile.
    pub(super) async fn start_traitor(&mut self, name: &str) -> Result<Arc<Traitor>, Failure> {
        let key = Home::open(self.home(name))?.key();
        let configuration = self.configuration(name)?.digest();
        let honest = self.node(name)?.node.handler();
        let traitor = Arc::new(Traitor::new(honest, key, configuration));
        self.start_with(name, Arc::clone(&traitor) as Arc<dyn Handler>).await?;
        Ok(traitor)
    }

    async fn start_with(
        &mut self,
        name: &str,
        handler: Arc<dyn Handler>,
    ) -> Result<SocketAddr, Failure> {
        let node = self.node(name)?;
        node.running = Some(node.node.serve_with(node.address, handler).await?);
        Ok(node.address)
    }

    /// Stops a node.
    ///
    /// # Errors
    /// It does not stop cleanly.
    pub(super) async fn stop(&mut self, name: &str) -> Result<(), Failure> {
        match self.node(name)?.running.take() {
            Some(running) => Ok(running.shutdown().await?),
            None => Ok(()),
        }
    }

    /// The certificate of a node.
    ///
    /// # Errors
    /// There is no such node.
    pub(super) fn id(&mut self, name: &str) -> Result<NodeId, Failure> {
        Ok(self.node(name)?.node.id().clone())
    }

    /// The configuration that a node serves.
    ///
    /// # Errors
    /// There is no such node.
    pub(super) fn configuration(&mut self, name: &str) -> Result<Arc<Configuration>, Failure> {
        Ok(self.node(name)?.node.configuration())
    }

    /// The certificates that a node knows.
    ///
    /// # Errors
    /// There is no such node.
    pub(super) fn certificates(&mut self, name: &str) -> Result<Certificates, Failure> {
        Ok(self.node(name)?.node.certificates().clone())
    }

    fn node(&mut self, name: &str) -> Result<&mut DemoNode, Failure> {
        let missing = || Failure::failed(format!("the demo has no node {name}"));
        self.nodes.get_mut(name).ok_or_else(missing)
    }
}
