//! Answers for another variable than the one that was asked for.

use bftkv_protocol::{Answer, CertifiedEntry, Outcome, Refusal, Request, Variable};

use super::{ByzantineServer, Lair, share_by};

#[derive(Debug)]
pub(super) struct OtherVariable;

impl ByzantineServer for OtherVariable {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        match request {
            Request::Read { variable, .. } | Request::Digest { variable, .. } => {
                let entry = of_another(lair, variable).map(Box::new);
                Some(Ok(Answer::Entry(entry)))
            }
            Request::Time { variable, .. } => {
                let entry = of_another(lair, variable);
                let seen = entry.as_ref().map(CertifiedEntry::timestamp).unwrap_or_default();
                Some(lair.time(&renamed(variable)?, seen, entry.map(Box::new)))
            }
            Request::Sign { entry, .. } => {
                lair.loot.note_signed(entry);
                if lair.rng.percent(50) {
                    let proof = of_another(lair, &entry.entry.variable)?;
                    return Some(Err(Refusal::NotOwner(Box::new(proof))));
                }
                let mut other = entry.clone();
                other.entry.variable = renamed(&entry.entry.variable)?;
                let share = share_by(lair.signer, &other, lair.configuration)?;
                Some(Ok(Answer::Share(share)))
            }
            other => lair.careless(other),
        }
    }
}

/// A certified entry of another variable; if there is none, one of this variable renamed.
fn of_another(lair: &mut Lair<'_>, variable: &Variable) -> Option<CertifiedEntry> {
    let others: Vec<CertifiedEntry> =
        lair.loot.certified.iter().filter(|c| c.variable() != variable).cloned().collect();
    if let Some(other) = lair.rng.pick(&others) {
        return Some(other.clone());
    }
    let mut entry = lair.some_certified(variable)?;
    entry.signed.entry.variable = renamed(variable)?;
    Some(entry)
}

fn renamed(variable: &Variable) -> Option<Variable> {
    Variable::new([variable.as_bytes(), b"'"].concat()).ok()
}
