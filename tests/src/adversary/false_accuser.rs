//! Accuses honest members: with proofs that bear their names and its own signatures, and with two
//! true signatures that do not contradict each other.

use bftkv_protocol::{
    EquivocationProof, NodeId, Outcome, Refusal, Request, Sign, SignatureShare, SignedEntry,
    decode, encode,
};

use super::{ByzantineServer, Lair, own_proof, statement_of};

#[derive(Debug)]
pub(super) struct FalseAccuser;

impl ByzantineServer for FalseAccuser {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        let answer = lair.careless(request);
        let Request::Sign { entry, .. } = request else { return answer };
        let others = lair.other_members();
        let victim = lair.rng.pick(&others)?.clone();
        let forged = renamed(lair, entry, &victim);
        let harmless = harmless_pair(lair, &victim);
        let proofs: Vec<EquivocationProof> = forged.into_iter().chain(harmless).collect();
        for proof in &proofs {
            let accuse = Request::Accuse(Box::new(proof.clone()));
            lair.posts.extend(others.iter().map(|id| (id.clone(), accuse.clone())));
        }
        if lair.rng.percent(50) { Some(Err(Refusal::Equivocation(proofs))) } else { answer }
    }
}

/// A proof against this server, with the victim's name in it.
fn renamed(lair: &mut Lair<'_>, entry: &SignedEntry, victim: &NodeId) -> Option<EquivocationProof> {
    let mut bytes = encode(&own_proof(lair, entry)?);
    let (mine, theirs) = (lair.signer.id().as_bytes(), victim.as_bytes());
    let at = bytes.windows(mine.len()).position(|window| window == mine)?;
    bytes.splice(at..at.checked_add(mine.len())?, theirs.iter().copied());
    decode(&bytes).ok()
}

/// Two true shares of the victim for two timestamps, given out as a contradiction.
fn harmless_pair(lair: &Lair<'_>, victim: &NodeId) -> Option<EquivocationProof> {
    let count = |entry: &bftkv_protocol::CertifiedEntry, share: &SignatureShare| {
        (statement_of(&entry.signed, lair.configuration), share.signature.clone())
    };
    let by_victim = lair.loot.certified.iter().filter_map(|entry| {
        let share = entry.collective.shares().iter().find(|share| share.signer == *victim)?;
        Some(count(entry, share))
    });
    let mut two = by_victim.take(2);
    let (first, second) = (two.next()?, two.next()?);
    EquivocationProof::of_shares(victim.clone(), first, second, lair.keys).ok()
}
