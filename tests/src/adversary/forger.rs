//! Makes entries up: other values, later timestamps, writers that nobody knows.

use bftkv_protocol::{
    Answer, CertifiedEntry, CollectiveSignature, NodeId, Outcome, Refusal, Request, Sign,
    SignatureBytes, SignatureShare, Value, Variable,
};

use super::{ByzantineServer, Lair};

#[derive(Debug)]
pub(super) struct Forger;

impl ByzantineServer for Forger {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        match request {
            Request::Read { variable, .. } | Request::Digest { variable, .. } => {
                let entry = forge(lair, variable).or_else(|| lair.some_certified(variable));
                Some(Ok(Answer::Entry(entry.map(Box::new))))
            }
            Request::Time { variable, .. } => {
                let entry = forge(lair, variable).map(Box::new);
                let seen = entry.as_ref().map(|e| e.timestamp()).unwrap_or_default();
                Some(lair.time(variable, seen, entry))
            }
            Request::Sign { entry, .. } if lair.rng.percent(60) => {
                lair.loot.note_signed(entry);
                match forge(lair, &entry.entry.variable) {
                    Some(forged) if lair.rng.percent(50) => {
                        Some(Err(Refusal::NotOwner(Box::new(forged))))
                    }
                    Some(forged) => Some(Err(Refusal::Sealed(Box::new(forged)))),
                    None => Some(Ok(Answer::Share(bad_share(lair)?))),
                }
            }
            other => lair.careless(other),
        }
    }
}

/// A share in somebody's name, with a signature out of the air.
fn bad_share(lair: &mut Lair<'_>) -> Option<SignatureShare> {
    let mut all = lair.other_members();
    all.push(lair.signer.id().clone());
    let signer = lair.rng.pick(&all)?.clone();
    let signature = SignatureBytes::new(lair.rng.number().to_be_bytes()).ok()?;
    Some(SignatureShare { signer, signature })
}

/// A true entry, changed.
fn forge(lair: &mut Lair<'_>, variable: &Variable) -> Option<CertifiedEntry> {
    let mut forged = lair.some_certified(variable)?;
    let entry = &mut forged.signed.entry;
    match lair.rng.below(5) {
        0 => entry.value = Value::new(*b"forged").ok()?,
        1 => entry.timestamp = entry.timestamp.saturating_add(1),
        2 => entry.is_final = !entry.is_final,
        3 => entry.writer = NodeId::from_bytes(&[0xEE; 20]).ok()?,
        _ => {
            // One signer too few: the same entry, no longer certified.
            let shares = forged.collective.shares().iter().skip(1).cloned().collect();
            let named = forged.collective.configuration();
            forged.collective = CollectiveSignature::new(named, shares);
        }
    }
    Some(forged)
}
