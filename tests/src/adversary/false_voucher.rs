//! Vouches for what it has not, and shows entries that nobody but liars vouches for.

use bftkv_protocol::{Answer, CertifiedEntry, CollectiveSignature, Outcome, Request, Variable};

use super::{ByzantineServer, Lair};

#[derive(Debug)]
pub(super) struct FalseVoucher;

impl ByzantineServer for FalseVoucher {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        if let Request::Sign { entry, .. } = request
            && !lair.loot.signed.contains(entry)
        {
            lair.loot.note_signed(entry);
        }
        if let Request::Vouch { entry, .. } = request {
            return Some(Ok(Answer::Vouch(lair.vouch(&entry.signed)?)));
        }
        lair.flaunt(request, vouched)
    }
}

/// Somebody's attempt, certified by this server alone.
fn vouched(lair: &mut Lair<'_>, variable: &Variable) -> Option<CertifiedEntry> {
    let signed = lair.any_signed(variable)?;
    let vouch = lair.vouch(&signed)?;
    let collective = CollectiveSignature::new(lair.configuration.vouched(), vec![vouch]);
    Some(CertifiedEntry { signed, collective })
}
