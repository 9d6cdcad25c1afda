//! Shows entries that a crowd has signed of which nobody is a member.

use bftkv_protocol::{Answer, CertifiedEntry, CollectiveSignature, Outcome, Request, Variable};

use super::{ByzantineServer, Lair, share_by};

#[derive(Debug)]
pub(super) struct ForeignSignatures;

impl ByzantineServer for ForeignSignatures {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        match request {
            Request::Read { variable, .. } => {
                let entry = by_the_crowd(lair, variable);
                if let Some(entry) = entry.clone().filter(|_| lair.rng.percent(20)) {
                    let others = lair.other_members();
                    let request = Request::Store { entry };
                    lair.posts.extend(others.into_iter().map(|id| (id, request.clone())));
                }
                Some(Ok(Answer::Entry(entry.map(Box::new))))
            }
            Request::Time { variable, .. } => {
                let entry = by_the_crowd(lair, variable).map(Box::new);
                let seen = entry.as_ref().map(|e| e.timestamp()).unwrap_or_default();
                Some(lair.time(variable, seen, entry))
            }
            other => lair.careless(other),
        }
    }
}

fn by_the_crowd(lair: &mut Lair<'_>, variable: &Variable) -> Option<CertifiedEntry> {
    let of_variable = lair.loot.signed.iter().filter(|s| s.entry.variable == *variable);
    let all: Vec<_> = of_variable.cloned().collect();
    let signed = lair.rng.pick(&all)?.clone();
    let signers = lair.sybils.iter().chain([lair.signer]);
    let shares = signers.filter_map(|s| share_by(s, &signed, lair.configuration)).collect();
    let collective = CollectiveSignature::new(lair.configuration.digest(), shares);
    Some(CertifiedEntry { signed, collective })
}
