//! Shows entries that few have signed, with one signature so often that it looks like many.

use bftkv_protocol::{CertifiedEntry, CollectiveSignature, Outcome, Request, Variable};

use super::{ByzantineServer, Lair, share_by};

#[derive(Debug)]
pub(super) struct RepeatedSignatures;

impl ByzantineServer for RepeatedSignatures {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        lair.flaunt(request, repeated)
    }
}

/// An entry that this server alone has signed, as often as there are members.
fn repeated(lair: &mut Lair<'_>, variable: &Variable) -> Option<CertifiedEntry> {
    let signed = lair.any_signed(variable)?;
    let share = share_by(lair.signer, &signed, lair.configuration)?;
    let shares = vec![share; lair.configuration.authority().len()];
    let collective = CollectiveSignature::new(lair.configuration.digest(), shares);
    Some(CertifiedEntry { signed, collective })
}
