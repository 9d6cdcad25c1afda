//! What a member tells people.

use std::collections::BTreeMap;

use super::content::Hash;
use super::council::Dm;
use super::decide::Dissent;
use super::member::Member;
use super::topic::Topic;
use super::view::Link;
use super::work::Work;

/// How things stand.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The signed zone.
    pub zone: Option<Link>,
    /// The newest certified manifest, if it is newer: it is being signed.
    pub signing: Option<u32>,
    /// The serial that is being agreed on, if any.
    pub round: Option<u32>,
    /// Who gave a view for it.
    pub views: Vec<Dm>,
    /// How many are needed.
    pub quorum: usize,
    /// What the source shows, and which serial it has.
    pub source: Option<(u32, Hash)>,
    /// What was seen differently when it was last decided.
    pub dissent: Vec<Dissent>,
    /// Who was caught with what.
    pub culprits: BTreeMap<Dm, String>,
    /// Why nothing is voted for, if so.
    pub held: Option<String>,
    /// With a P-256 key: how many presignatures there are, how many are wanted, and which batch is
    /// made next.
    pub presignatures: Option<(usize, usize, u32)>,
    /// What went wrong last.
    pub trouble: Option<String>,
}

impl<W: Work> Member<W> {
    /// How things stand.
    #[must_use]
    pub fn status(&self) -> Status {
        let (tip, zone) = (self.chain.tip().link.serial, self.chain.zone_link());
        let held = self.held.as_ref().map(|(_, reason)| reason.clone());
        let has_view =
            |dm: &Dm| self.heard.contains_key(&Topic::View { serial: self.round.serial, dm: *dm });
        let views = self.settings.council.everyone().filter(has_view);
        Status {
            zone,
            signing: (!self.chain.has_zone(tip) && tip >= self.settings.first).then_some(tip),
            round: self.round.active.then_some(self.round.serial),
            views: if self.round.active { views.collect() } else { Vec::new() },
            quorum: self.settings.council.quorum(),
            source: self.source.as_ref().map(|seen| (seen.serial, seen.root)),
            dissent: self.dissent.clone(),
            culprits: self.culprits.clone(),
            held: self.hold.clone().or(held),
            presignatures: self.presignature_status(),
            trouble: self.trouble.clone(),
        }
    }
}
