//! A writer that wants two values to count.

use std::sync::Arc;
use std::time::Duration;

use bftkv::protocol::{
    Address, Answer, CertifiedEntry, CollectiveSignature, Entry, Evidence, Purpose, Request, Sign,
    SignedEntry, Timestamp, WriterSignature,
};
use bftkv::transport::{AskOptions, ClientLimits, HttpTransport, Peer, Transport};
use bftkv::wot::{OwnKey, Sealer};
use bftkv::{Certificates, Configuration, Home, NodeId, Value, Variable};

use crate::failure::Failure;

/// How long a node may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody with a certificate that counts, who does not keep to the rules of a client.
pub(super) struct Forger {
    certificates: Certificates,
    key: OwnKey,
    owner: Address,
    configuration: Arc<Configuration>,
    transport: HttpTransport,
}

impl Forger {
    /// With the key of this home.
    ///
    /// # Errors
    /// It is no home.
    pub(super) fn new(home: &Home, configuration: Arc<Configuration>) -> Result<Self, Failure> {
        let (certificates, key) = (home.certificates()?, home.key());
        let owner = certificates.address(key.id()).ok_or_else(|| Failure::failed("no address"))?;
        let seal = Arc::new(Sealer::new(certificates.keyring().clone(), key.clone()));
        let transport = HttpTransport::new(seal, ClientLimits::default());
        Ok(Self { certificates, key, owner, configuration, transport })
    }

    /// Signs a value at a timestamp of its choice, and asks these nodes for their signatures. Gives
    /// the value with the signatures that it got.
    ///
    /// # Errors
    /// The key cannot sign.
    pub(super) async fn gather(
        &self,
        variable: &Variable,
        timestamp: u64,
        text: &str,
        nodes: &[NodeId],
    ) -> Result<CertifiedEntry, Failure> {
        let entry = Entry {
            realm: self.configuration.realm().clone(),
            variable: variable.clone(),
            timestamp: Timestamp::new(timestamp),
            value: Value::new(text).map_err(Failure::failed)?,
            is_final: false,
            writer: self.key.id().clone(),
            owner: self.owner.clone(),
        };
        let signature = self.key.sign(Purpose::Entry, &entry.signed_bytes());
        let signature = WriterSignature::new(signature.map_err(Failure::failed)?);
        let signed = SignedEntry { entry, signature };
        let request = Request::Sign { entry: signed.clone(), evidence: Evidence::default() };
        let shares = self.ask(nodes, request).await.into_iter().filter_map(|answer| match answer {
            Answer::Share(share) => Some(share),
            _ => None,
        });
        let collective = CollectiveSignature::new(self.configuration.digest(), shares.collect());
        Ok(CertifiedEntry { signed, collective })
    }

    /// Stores a value at these nodes; tells how many took it.
    pub(super) async fn store(&self, entry: &CertifiedEntry, nodes: &[NodeId]) -> usize {
        let answers = self.ask(nodes, Request::Store { entry: entry.clone() }).await;
        answers.iter().filter(|answer| **answer == Answer::Done).count()
    }

    async fn ask(&self, nodes: &[NodeId], request: Request) -> Vec<Answer> {
        let place = |node: &NodeId| {
            let url = self.certificates.url(node)?;
            Some(Peer::new(node.clone(), url.as_str()))
        };
        let peers = nodes.iter().filter_map(place).collect();
        let answers = self.transport.ask(peers, request, AskOptions::within(PATIENCE));
        let answers = answers.collect().await.into_iter();
        answers.filter_map(|(_, response)| response.ok()?.outcome.ok()).collect()
    }
}
