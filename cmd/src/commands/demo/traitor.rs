//! A node that signs two values for one timestamp.

use std::sync::{Arc, Mutex, PoisonError};

use bftkv::protocol::{
    Answer, CertifiedEntry, ConfigurationDigest, NodeId, Outcome, Purpose, Refusal, Request,
    Response, ShareStatement, Sign as _, SignatureShare, SignedEntry,
};
use bftkv::transport::{BoxFuture, Handler};
use bftkv::wot::OwnKey;

/// Signs whatever it is asked to sign, and shows readers what suits it; answers all else as an
/// honest node would.
pub(super) struct Traitor {
    honest: Arc<dyn Handler>,
    key: OwnKey,
    configuration: ConfigurationDigest,
    shown: Mutex<Option<CertifiedEntry>>,
}

impl Traitor {
    /// Puts a traitor with this key in front of an honest node's handler.
    pub(super) fn new(
        honest: Arc<dyn Handler>,
        key: OwnKey,
        configuration: ConfigurationDigest,
    ) -> Self {
        Self { honest, key, configuration, shown: Mutex::default() }
    }

    /// From now on readers of its variable are shown this entry.
    pub(super) fn show(&self, entry: CertifiedEntry) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(entry);
    }

    fn answer(&self, request: &Request) -> Option<Outcome> {
        match request {
            Request::Sign { entry, .. } => Some(self.sign(entry)),
            Request::Read { variable, .. } | Request::Digest { variable, .. } => {
                let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
                let shown = shown.as_ref().filter(|entry| entry.variable() == variable)?;
                Some(Ok(Answer::Entry(Some(Box::new(shown.clone())))))
            }
            _ => None,
        }
    }

    /// No look at what it has signed before: that is the treason.
    fn sign(&self, entry: &SignedEntry) -> Outcome {
        let statement = ShareStatement {
            realm: entry.entry.realm.clone(),
            configuration: self.configuration,
            variable: entry.entry.variable.clone(),
            timestamp: entry.entry.timestamp,
            entry: entry.hash(),
        };
        let signature = self.key.sign(Purpose::Share, &statement.signed_bytes());
        let signature = signature.map_err(|_| Refusal::StorageUnavailable)?;
        Ok(Answer::Share(SignatureShare { signer: self.key.id().clone(), signature }))
    }
}

impl Handler for Traitor {
    fn handle(&self, sender: NodeId, request: Request) -> BoxFuture<'_, Response> {
        match self.answer(&request) {
            Some(outcome) => {
                let response = Response { configuration: self.configuration, outcome };
                Box::pin(std::future::ready(response))
            }
            None => self.honest.handle(sender, request),
        }
    }
}
