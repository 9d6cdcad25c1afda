//! Shows entries that a crowd has signed of which nobody is a member.

use bftkv_protocol::{CertifiedEntry, CollectiveSignature, Outcome, Request, Variable};

use super::{ByzantineServer, Lair, share_by};

#[derive(Debug)]
pub(super) struct ForeignSignatures;

impl ByzantineServer for ForeignSignatures {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        lair.flaunt(request, by_the_crowd)
    }
}

fn by_the_crowd(lair: &mut Lair<'_>, variable: &Variable) -> Option<CertifiedEntry> {
    let signed = lair.any_signed(variable)?;
    let signers = lair.sybils.iter().chain([lair.signer]);
    let shares = signers.filter_map(|s| share_by(s, &signed, lair.configuration)).collect();
    let collective = CollectiveSignature::new(lair.configuration.digest(), shares);
    Some(CertifiedEntry { signed, collective })
}
