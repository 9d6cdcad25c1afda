//! What of a zone is the zone's own.

use domain::base::iana::Rtype;

use crate::zone::{Key, Name, RrSet, Zone};

/// What a name is in its zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// The zone speaks for it.
    Own,
    /// Another zone begins here: only DS, and what denies it, are ours (RFC 4035 section 2.2).
    Cut,
    /// Below a cut, or below a DNAME: not ours.
    Below,
}

/// A name with its sets.
pub(crate) struct Owner<'a> {
    pub(crate) name: &'a Name,
    pub(crate) standing: Standing,
    pub(crate) sets: Vec<(&'a Key, &'a RrSet)>,
}

impl Owner<'_> {
    pub(crate) fn has(&self, rtype: Rtype) -> bool {
        self.sets.iter().any(|(key, _)| key.rtype() == rtype)
    }

    /// The types that a denial names here, without RRSIG and the denial's own.
    pub(crate) fn types(&self) -> Vec<Rtype> {
        let types = self.sets.iter().map(|(key, _)| key.rtype());
        let denied = |rtype: &Rtype| !is_denial(*rtype) && *rtype != Rtype::RRSIG;
        let shown = |rtype: &Rtype| {
            self.standing == Standing::Own || [Rtype::NS, Rtype::DS].contains(rtype)
        };
        types.filter(denied).filter(shown).collect()
    }

    /// The sets that are signed.
    pub(crate) fn signed(&self) -> impl Iterator<Item = (&Key, &RrSet)> {
        self.sets.iter().copied().filter(|(key, _)| self.signs(key.rtype()))
    }

    pub(crate) fn signs(&self, rtype: Rtype) -> bool {
        rtype != Rtype::RRSIG
            && match self.standing {
                Standing::Own => true,
                Standing::Cut => rtype == Rtype::DS || rtype == Rtype::NSEC,
                // Hashed names, if there is a DNAME at the apex.
                Standing::Below => rtype == Rtype::NSEC3,
            }
    }
}

pub(crate) fn is_denial(rtype: Rtype) -> bool {
    rtype == Rtype::NSEC || rtype == Rtype::NSEC3
}

/// All names that have sets, in canonical order. Whatever is below a cut comes right after it.
pub(crate) fn owners(zone: &Zone) -> Vec<Owner<'_>> {
    let mut owners: Vec<Owner<'_>> = Vec::new();
    for (key, set) in zone.sets() {
        match owners.last_mut().filter(|owner| owner.name == key.name()) {
            Some(owner) => owner.sets.push((key, set)),
            None => {
                let (name, standing) = (key.name(), Standing::Own);
                owners.push(Owner { name, standing, sets: vec![(key, set)] });
            }
        }
    }
    // The name below which nothing is ours.
    let mut end: Option<&Name> = None;
    for owner in &mut owners {
        if end.is_some_and(|end| owner.name.is_within(end)) {
            owner.standing = Standing::Below;
            continue;
        }
        let is_cut = owner.name != zone.apex() && owner.has(Rtype::NS);
        if is_cut {
            owner.standing = Standing::Cut;
        }
        end = (is_cut || owner.has(Rtype::DNAME)).then_some(owner.name);
    }
    owners
}
