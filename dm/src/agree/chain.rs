//! The certified manifests and the signed zones that a DM has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::{Content, Hash};
use super::manifest::Manifest;
use super::view::Link;
use super::work::SignedZone;

/// A certified manifest with its content.
#[derive(Clone, Debug)]
pub(super) struct Tip {
    pub(super) link: Link,
    pub(super) content: Arc<Content>,
    /// `None` before the first.
    pub(super) manifest: Option<Arc<Manifest>>,
}

/// The last few of both. The newest manifest is the one with the highest serial; one that does not
/// follow from the others, because its proposer was late, is left behind.
#[derive(Debug)]
pub(super) struct Chain<Z> {
    tips: BTreeMap<u32, Tip>,
    zones: BTreeMap<u32, (Link, Arc<Z>)>,
}

impl<Z> Chain<Z> {
    /// How many are kept.
    const KEPT: usize = 8;

    /// Nothing before this serial.
    pub(super) fn before(first: u32) -> Self {
        let link = Link { serial: first.saturating_sub(1), hash: Hash([0; 32]) };
        let genesis = Tip { link, content: Arc::default(), manifest: None };
        Self { tips: BTreeMap::from([(link.serial, genesis)]), zones: BTreeMap::new() }
    }

    /// A published zone, and nothing before it.
    pub(super) fn after(manifest: Arc<Manifest>, content: Arc<Content>, zone: Arc<Z>) -> Self
    where
        Z: SignedZone,
    {
        let link = manifest.link();
        let zones = (Link { serial: link.serial, hash: zone.digest() }, zone);
        let tip = Tip { link, content, manifest: Some(manifest) };
        Self {
            tips: BTreeMap::from([(link.serial, tip)]),
            zones: BTreeMap::from([(link.serial, zones)]),
        }
    }

    /// The newest manifest.
    pub(super) fn tip(&self) -> &Tip {
        // There is always one: `before` puts it there and `add` keeps the last.
        match self.tips.last_key_value() {
            Some((_, tip)) => tip,
            None => unreachable!("a chain has a tip"),
        }
    }

    pub(super) fn at(&self, link: &Link) -> Option<&Tip> {
        self.tips.get(&link.serial).filter(|tip| tip.link == *link)
    }

    pub(super) fn at_serial(&self, serial: u32) -> Option<&Tip> {
        self.tips.get(&serial)
    }

    pub(super) fn add(&mut self, tip: Tip) {
        self.tips.insert(tip.link.serial, tip);
        while self.tips.len() > Self::KEPT {
            self.tips.pop_first();
        }
    }

    /// The newest signed zone.
    pub(super) fn zone(&self) -> Option<&(Link, Arc<Z>)> {
        self.zones.last_key_value().map(|(_, zone)| zone)
    }

    pub(super) fn zone_link(&self) -> Option<Link> {
        self.zone().map(|(link, _)| *link)
    }

    pub(super) fn zone_at(&self, link: &Link) -> Option<&Arc<Z>> {
        self.zones.get(&link.serial).filter(|(have, _)| have == link).map(|(_, zone)| zone)
    }

    pub(super) fn has_zone(&self, serial: u32) -> bool {
        self.zones.contains_key(&serial)
    }

    pub(super) fn add_zone(&mut self, link: Link, zone: Arc<Z>) {
        self.zones.insert(link.serial, (link, zone));
        while self.zones.len() > Self::KEPT {
            self.zones.pop_first();
        }
    }
}
