//! Refuses with lies.

use bftkv_protocol::{Address, Outcome, Refusal, Request, Sign, SignedEntry, Slot};

use super::{ByzantineServer, Lair};

#[derive(Debug)]
pub(super) struct Refuser;

impl ByzantineServer for Refuser {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        match request {
            Request::Sign { entry, .. } => {
                lair.loot.note_signed(entry);
                Some(Err(refusal(lair, entry)?))
            }
            Request::Store { entry } => {
                lair.loot.note_certified(entry);
                Some(Err(Refusal::StorageUnavailable))
            }
            Request::Time { .. } | Request::Read { .. } | Request::Digest { .. }
                if lair.rng.percent(50) =>
            {
                Some(Err(Refusal::Busy))
            }
            other => lair.careless(other),
        }
    }
}

fn refusal(lair: &mut Lair<'_>, entry: &SignedEntry) -> Option<Refusal> {
    let old = lair.some_certified(&entry.entry.variable).map(Box::new);
    let owner = Address::new("nobody@example.org").ok()?;
    let slot = Slot {
        writer: lair.signer.id().clone(),
        owner: owner.clone(),
        is_final: true,
        ..Slot::of(entry)
    };
    Some(match (lair.rng.below(7), old) {
        (0, Some(old)) => Refusal::NotOwner(old),
        (1, Some(old)) => Refusal::Sealed(old),
        (2, _) => Refusal::Outstanding(vec![slot]),
        (3, _) => Refusal::OutstandingFinal(Box::new(slot)),
        (4, _) => Refusal::NoQuorumCertificate { owner },
        (5, _) => Refusal::TooManySlots(vec![slot]),
        _ => Refusal::Equivocation(Vec::new()),
    })
}
