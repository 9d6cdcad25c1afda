//! Old keys in the wrong hands: members were replaced and cut out, and then their keys are stolen. With
//! the liars they make a quorum of a configuration that is long gone (rule R4: b+1 signers that
//! were not cut must remain).

use std::collections::BTreeSet;
use std::sync::Arc;

use bftkv_protocol::{
    CertifiedEntry, CollectiveSignature, Configuration, Entry, Group, NodeId, Purpose, Request,
    ShareStatement, Sign, SignatureShare, SignedEntry, Value, Variable, VouchStatement,
    WriterSignature,
};

use super::cluster::Cluster;
use super::fake_keys::FakeSigner;
use super::ground::Caller;

impl Cluster {
    /// Whoever holds such keys makes an entry of each old configuration for which they suffice, with the
    /// true signatures of its members, and asks everybody to store it and to vouch for it. Tells whether
    /// there was one.
    pub(crate) fn use_stolen_keys(&mut self) -> bool {
        if !self.ground.faults.cut_out() {
            return false;
        }
        let stolen: BTreeSet<NodeId> =
            self.liars.keys().chain(&self.ground.condemned).cloned().collect();
        let newest = Arc::clone(&self.ground.configuration);
        let enough = |clique: &Group| clique.count(&stolen) >= clique.thresholds().q();
        let all: Vec<Arc<Configuration>> = self.ground.configurations.all().cloned().collect();
        let mut old = all.iter().filter(|c| c.number() < newest.number());
        let Some(old) = old.find(|c| c.cliques().iter().all(enough)) else { return false };
        let Some(variable) = self.ground.rng.pick(&self.variables).cloned() else { return false };
        let thief = self.traitors.first().map(|traitor| traitor.signer.id().clone());
        let Some(entry) = self.forge(&variable, old, &stolen) else { return false };
        let Some(thief) = thief else { return false };
        let vouches = self.false_vouches(&entry, &newest);
        let entry = Box::new(entry);
        let requests = [
            Request::Store { entry: (*entry).clone() },
            Request::Vouch { entry: entry.clone(), vouches },
        ];
        let now = self.ground.now();
        self.ground.trace.line(now, || format!("stolen keys of configuration {}", old.number()));
        for node in newest.everyone().iter().filter(|id| self.nodes.contains_key(*id)) {
            for request in &requests {
                self.ground.request(&thief, node, Caller::Traitor, request);
            }
        }
        self.play();
        true
    }

    /// An entry of a traitor with the shares of all whose keys were stolen.
    fn forge(
        &self,
        variable: &Variable,
        old: &Configuration,
        stolen: &BTreeSet<NodeId>,
    ) -> Option<CertifiedEntry> {
        let traitor = self.traitors.first()?;
        let entry = Entry {
            realm: old.realm().clone(),
            variable: variable.clone(),
            timestamp: self.top(variable).saturating_add(3),
            value: Value::new(*b"made with stolen keys").ok()?,
            is_final: false,
            writer: traitor.signer.id().clone(),
            owner: traitor.owner.clone(),
        };
        let signature = traitor.signer.sign(Purpose::Entry, &entry.signed_bytes()).ok()?;
        let signed = SignedEntry { entry, signature: WriterSignature::new(signature) };
        let statement = ShareStatement {
            realm: old.realm().clone(),
            configuration: old.digest(),
            variable: variable.clone(),
            timestamp: signed.entry.timestamp,
            entry: signed.hash(),
        };
        let bytes = statement.signed_bytes();
        let signers = stolen.iter().filter(|id| old.clique_of(id).is_some());
        let signers = signers.map(|id| self.ground.keys.signer(id));
        let shares = signers.filter_map(|signer| signature_of(&signer, Purpose::Share, &bytes));
        let collective = CollectiveSignature::new(old.digest(), shares.collect());
        Some(CertifiedEntry { signed, collective })
    }

    /// What the liars among the members say.
    fn false_vouches(&self, entry: &CertifiedEntry, newest: &Configuration) -> CollectiveSignature {
        let bytes = VouchStatement::about(&entry.signed, newest).signed_bytes();
        let liars = self.liars.keys().filter(|id| newest.has_member(id));
        let signers = liars.map(|id| self.ground.keys.signer(id));
        let vouches = signers.filter_map(|signer| signature_of(&signer, Purpose::Vouch, &bytes));
        CollectiveSignature::new(newest.vouched(), vouches.collect())
    }
}

fn signature_of(signer: &FakeSigner, purpose: Purpose, bytes: &[u8]) -> Option<SignatureShare> {
    let signature = signer.sign(purpose, bytes).ok()?;
    Some(SignatureShare { signer: signer.id().clone(), signature })
}
