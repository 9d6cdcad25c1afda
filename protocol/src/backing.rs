//! How well a certified entry is backed by signers that were not cut out (rule R4).

use std::collections::BTreeSet;

use crate::{CertifiedEntry, Configurations, Group, NodeId};

/// How many signers of a certified entry are left that were not cut out since.
///
/// It says nothing about validity, which never depends on who was cut out, and expects that the
/// entry was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(clippy::exhaustive_enums, reason = "two thresholds make three classes")]
pub enum Backing {
    /// Fewer than b+1 in some clique: who lacks it does not store it before it is certified again.
    Lapsed,
    /// At least b+1 in every clique, but fewer than q in some.
    Thin,
    /// q in every clique.
    Full,
}

impl Backing {
    /// The backing of an entry, given who was cut out.
    #[must_use]
    pub fn of(entry: &CertifiedEntry, known: &Configurations, cut: &BTreeSet<NodeId>) -> Self {
        let Some((_, configuration)) = known.certifier(&entry.collective.configuration()) else {
            return Self::Lapsed;
        };
        let uncut =
            || entry.collective.shares().iter().map(|s| &s.signer).filter(|id| !cut.contains(*id));
        let of_clique = |clique: &Group| {
            let (have, thresholds) = (clique.count(uncut()), clique.thresholds());
            match () {
                () if have >= thresholds.q() => Self::Full,
                () if have >= thresholds.one_honest() => Self::Thin,
                () => Self::Lapsed,
            }
        };
        configuration.cliques().iter().map(of_clique).min().unwrap_or(Self::Lapsed)
    }
}
