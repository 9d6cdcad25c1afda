//! How likely a reader detects more liars than the configuration tolerates.
//!
//! Paper: §5, "Detecting equivocation on read". A writer and f colluding members show one half of
//! the honest members one value and the other half another, both certified. A reader who asks |Q|
//! random members detects it when it sees both: all who signed both are then convicted by proof.

use std::collections::BTreeSet;
use std::sync::Arc;

use bftkv_protocol::{
    Address, CertifiedEntry, CollectiveSignature, Configuration, Configurations, Entry,
    EquivocationProof, Group, NodeId, Purpose, Realm, ShareStatement, Sign, SignatureShare,
    SignedEntry, Thresholds, Timestamp, Value, Variable, WriterSignature,
};

use crate::sim::{FakeKeys, FakeSigner, Rng, node};

/// How often it was detected, of all trials.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Rates {
    /// By a reader who knows one of the values already, as the formula of the text has it.
    pub knowing: f64,
    /// By a reader who knows nothing before.
    pub fresh: f64,
}

/// How the members are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there are no more ways")]
pub enum Draw {
    /// Each question goes to any member, as the formula assumes.
    WithReplacement,
    /// So many different members, as a quorum has them.
    Distinct,
}

/// D_p = 1-((n+f)/2n)^|Q|. Paper: §5.
#[must_use]
pub fn formula(n: u32, f: u32, size: u32) -> f64 {
    let hidden = f64::from(n + f) / f64::from(2 * n);
    1.0 - hidden.powf(f64::from(size))
}

/// The same for a reader who must see both values: the text counts only one of the two ways to
/// see a single one. Differs: Pr[Q in F+H1 or Q in F+H2] has two terms, less what both count.
#[must_use]
pub fn formula_of_fresh(n: u32, f: u32, size: u32) -> f64 {
    let none = (f64::from(f) / f64::from(n)).powf(f64::from(size));
    1.0 - 2.0 * (1.0 - formula(n, f, size)) + none
}

/// One clique, its colluders, and two certified entries at one timestamp.
#[derive(Debug)]
pub struct Collusion {
    known: Configurations,
    keys: FakeKeys,
    colluders: BTreeSet<NodeId>,
    halves: [BTreeSet<NodeId>; 2],
    entries: [CertifiedEntry; 2],
}

impl Collusion {
    /// f of n members and a writer sign two values; `None` if one half of the honest members is
    /// too small for the second certificate.
    #[must_use]
    pub fn new(n: u8, f: u8) -> Option<Self> {
        let members: Vec<NodeId> = (0..n).map(node).collect();
        let group = || Group::new(members.clone());
        let realm = Realm::new("detection").ok()?;
        let made = Configuration::new(realm, 1, vec![group()], group(), false).ok()?;
        let known = Configurations::starting_with(made);
        let configuration = Arc::clone(known.newest());
        let keys = FakeKeys::new(7, configuration.everyone());
        let (colluders, honest) = members.split_at(usize::from(f));
        let (first, second) = honest.split_at(honest.len().div_ceil(2));
        let certify = |value: &str, half: &[NodeId]| {
            let signers: Vec<&NodeId> = colluders.iter().chain(half).collect();
            let enough = signers.len() >= Thresholds::of(usize::from(n)).q();
            enough.then(|| certified(&configuration, &keys, value, &signers)).flatten()
        };
        let entries = [certify("one", first)?, certify("two", second)?];
        let set = |nodes: &[NodeId]| nodes.iter().cloned().collect::<BTreeSet<_>>();
        let (colluders, halves) = (set(colluders), [set(first), set(second)]);
        Some(Self { known, keys, colluders, halves, entries })
    }

    /// Asks `size` members in each of so many trials.
    ///
    /// # Errors
    /// A sentence, if a detection did not convict exactly those who signed both.
    pub fn try_often(
        &self,
        draw: Draw,
        size: u32,
        trials: u32,
        seed: u64,
    ) -> Result<Rates, String> {
        let mut rng = Rng::new(seed);
        let members: Vec<NodeId> = self.known.newest().authority().into_iter().collect();
        let (mut knowing, mut fresh) = (0_u32, 0_u32);
        for _ in 0..trials {
            let asked = self.ask(draw, size, &members, &mut rng);
            let sees = |half: &BTreeSet<NodeId>| asked.iter().any(|id| half.contains(id));
            let [first, second] = self.halves.each_ref().map(sees);
            if second {
                self.convict()?;
                knowing = knowing.saturating_add(1);
                fresh = fresh.saturating_add(u32::from(first));
            }
        }
        let of_all = |count| f64::from(count) / f64::from(trials.max(1));
        Ok(Rates { knowing: of_all(knowing), fresh: of_all(fresh) })
    }

    fn ask(&self, draw: Draw, size: u32, members: &[NodeId], rng: &mut Rng) -> Vec<NodeId> {
        match draw {
            Draw::WithReplacement => (0..size).filter_map(|_| rng.pick(members).cloned()).collect(),
            Draw::Distinct => rng.sample(members, usize::try_from(size).unwrap_or(usize::MAX)),
        }
    }

    /// What a reader does who sees both entries: every colluder is convicted, and nobody else but
    /// the writer.
    fn convict(&self) -> Result<(), String> {
        let [first, second] = &self.entries;
        let proofs = EquivocationProof::of_certified(first, second, &self.known, &self.keys);
        let mut guilty: BTreeSet<NodeId> = proofs.iter().map(|p| p.guilty().clone()).collect();
        guilty.remove(&first.entry().writer);
        if guilty == self.colluders { Ok(()) } else { Err(format!("convicted: {guilty:?}")) }
    }
}

fn certified(
    configuration: &Configuration,
    keys: &FakeKeys,
    value: &str,
    signers: &[&NodeId],
) -> Option<CertifiedEntry> {
    let writer: FakeSigner = keys.signer(&node(200));
    let entry = Entry {
        realm: configuration.realm().clone(),
        variable: Variable::new(*b"x").ok()?,
        timestamp: Timestamp::new(1),
        value: Value::new(value.as_bytes()).ok()?,
        is_final: false,
        writer: writer.id().clone(),
        owner: Address::new("w@example.org").ok()?,
    };
    let signature = writer.sign(Purpose::Entry, &entry.signed_bytes()).ok()?;
    let signed = SignedEntry { entry, signature: WriterSignature::new(signature) };
    let statement = ShareStatement {
        realm: configuration.realm().clone(),
        configuration: configuration.digest(),
        variable: signed.entry.variable.clone(),
        timestamp: signed.entry.timestamp,
        entry: signed.hash(),
    };
    let share = |id: &&NodeId| {
        let signature = keys.signer(id).sign(Purpose::Share, &statement.signed_bytes()).ok()?;
        Some(SignatureShare { signer: (*id).clone(), signature })
    };
    let shares = signers.iter().map(share).collect::<Option<Vec<_>>>()?;
    let collective = CollectiveSignature::new(configuration.digest(), shares);
    Some(CertifiedEntry { signed, collective })
}
