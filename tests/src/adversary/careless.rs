//! What a server does that has no rules: the ground on which the liars build.

use bftkv_protocol::{
    Answer, CertifiedEntry, NodeId, Outcome, Purpose, Refusal, Request, Sign, SignatureShare,
    SignedEntry, TimeStatement, Timestamp, Variable, VouchStatement,
};

use super::{Lair, share_by};

impl Lair<'_> {
    /// Remembers and answers as an honest server might, but signs everything.
    pub(super) fn careless(&mut self, request: &Request) -> Option<Outcome> {
        match request {
            Request::Time { variable, evidence } => {
                let memory = self.memory.entry(variable.clone()).or_default().clone();
                let latest = memory.latest.filter(|_| *evidence).map(Box::new);
                Some(self.time(variable, memory.seen, latest))
            }
            Request::Sign { entry, .. } => {
                self.loot.note_signed(entry);
                let memory = self.memory.entry(entry.entry.variable.clone()).or_default();
                memory.seen = memory.seen.max(entry.entry.timestamp);
                let share = share_by(self.signer, entry, self.configuration)?;
                Some(Ok(Answer::Share(share)))
            }
            Request::Store { entry } => {
                self.loot.note_certified(entry);
                if self.rng.percent(30) {
                    self.keep(entry);
                }
                Some(Ok(Answer::Done))
            }
            Request::Read { variable, .. } | Request::Digest { variable, .. } => {
                let latest = self.memory.entry(variable.clone()).or_default().latest.clone();
                Some(Ok(Answer::Entry(latest.map(Box::new))))
            }
            Request::Versions { .. } => Some(Ok(Answer::Versions(vec![Timestamp::new(77)]))),
            Request::Abandoned { .. } => Some(Ok(Answer::Abandons(Vec::new()))),
            Request::Abandon { .. } | Request::Accuse(_) => Some(Ok(Answer::Done)),
            Request::Vouch { entry, .. } => {
                self.loot.note_certified(entry);
                Some(Ok(Answer::Vouch(self.vouch(&entry.signed)?)))
            }
            _ => Some(Err(Refusal::Malformed)),
        }
    }

    /// A true signature that says that this server stores the entry.
    pub(super) fn vouch(&self, entry: &SignedEntry) -> Option<SignatureShare> {
        let bytes = VouchStatement::about(entry, self.configuration).signed_bytes();
        let signature = self.signer.sign(Purpose::Vouch, &bytes).ok()?;
        Some(SignatureShare { signer: self.signer.id().clone(), signature })
    }

    fn keep(&mut self, entry: &CertifiedEntry) {
        let memory = self.memory.entry(entry.variable().clone()).or_default();
        if memory.latest.as_ref().is_none_or(|latest| latest.timestamp() < entry.timestamp()) {
            memory.latest = Some(entry.clone());
        }
    }

    /// A time answer with a true signature, whatever it says.
    pub(super) fn time(
        &mut self,
        variable: &Variable,
        seen: Timestamp,
        latest: Option<Box<CertifiedEntry>>,
    ) -> Outcome {
        let statement = TimeStatement {
            realm: self.configuration.realm().clone(),
            configuration: self.configuration.digest(),
            variable: variable.clone(),
            seen,
        };
        let signature = self.signer.sign(Purpose::Time, &statement.signed_bytes()).ok();
        Ok(Answer::Time { seen, latest, signature })
    }

    /// Some entry that passed by.
    pub(super) fn some_certified(&mut self, variable: &Variable) -> Option<CertifiedEntry> {
        let all: Vec<CertifiedEntry> =
            self.loot.certified.iter().filter(|c| c.variable() == variable).cloned().collect();
        self.rng.pick(&all).cloned()
    }

    /// Shows readers and writers an entry that is made up for their variable, and now and then brings
    /// it to the other members.
    pub(super) fn flaunt(
        &mut self,
        request: &Request,
        make_up: fn(&mut Self, &Variable) -> Option<CertifiedEntry>,
    ) -> Option<Outcome> {
        match request {
            Request::Read { variable, .. } | Request::Digest { variable, .. } => {
                let entry = make_up(self, variable);
                if let Some(entry) = entry.clone().filter(|_| self.rng.percent(20)) {
                    let others = self.other_members();
                    let request = Request::Store { entry };
                    self.posts.extend(others.into_iter().map(|id| (id, request.clone())));
                }
                Some(Ok(Answer::Entry(entry.map(Box::new))))
            }
            Request::Time { variable, .. } => {
                let entry = make_up(self, variable).map(Box::new);
                let seen = entry.as_ref().map(|e| e.timestamp()).unwrap_or_default();
                Some(self.time(variable, seen, entry))
            }
            other => self.careless(other),
        }
    }

    /// One of the entries of the variable that writers have signed, by chance.
    pub(super) fn any_signed(&mut self, variable: &Variable) -> Option<SignedEntry> {
        let of_variable = self.loot.signed.iter().filter(|s| s.entry.variable == *variable);
        let all: Vec<_> = of_variable.cloned().collect();
        self.rng.pick(&all).cloned()
    }

    pub(super) fn other_members(&self) -> Vec<NodeId> {
        let mut all = self.configuration.authority();
        all.remove(self.signer.id());
        all.into_iter().collect()
    }
}
