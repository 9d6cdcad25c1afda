//! Who may ask how often. Cheap checks come before dear ones.

use std::net::IpAddr;
use std::time::Instant;

use bftkv_protocol::NodeId;

use crate::ServerLimits;
use crate::network::network_of;
use crate::throttle::{Rate, Throttle};

/// What a message costs its address that cannot be opened: the node decrypted it for nothing, and
/// there is no identity to charge.
const JUNK_COST: u32 = 16;

/// How often an identity that asks too much is told so by a signed refusal, which is dear itself.
/// Otherwise it is told by an HTTP status.
const REFUSALS: Rate = Rate { per_second: 1, burst: 5 };

/// How many times as often a member of the configuration may ask: it repairs and gossips.
const MEMBER_FACTOR: u32 = 4;

/// How many times as often all strangers together may ask as those of one address.
const ALL_STRANGERS_FACTOR: u32 = 8;

/// The buckets of one server.
#[derive(Debug)]
pub(crate) struct Throttles {
    addresses: Throttle<IpAddr>,
    identities: Throttle<NodeId>,
    members: Throttle<NodeId>,
    refusals: Throttle<NodeId>,
    strangers: Throttle<IpAddr>,
    all_strangers: Throttle<()>,
}

impl Throttles {
    pub(crate) fn new(limits: &ServerLimits) -> Self {
        let times = |rate: Rate, factor: u32| Rate {
            per_second: rate.per_second.saturating_mul(factor),
            burst: rate.burst.saturating_mul(factor),
        };
        Self {
            addresses: Throttle::new(limits.requests_per_address),
            identities: Throttle::new(limits.requests_per_identity),
            members: Throttle::new(times(limits.requests_per_identity, MEMBER_FACTOR)),
            refusals: Throttle::new(REFUSALS),
            strangers: Throttle::new(limits.requests_of_strangers),
            all_strangers: Throttle::new(times(limits.requests_of_strangers, ALL_STRANGERS_FACTOR)),
        }
    }

    /// Before anything is read: may this address ask at all?
    pub(crate) fn allow_address(&self, address: IpAddr) -> bool {
        self.addresses.allow(&network_of(address), Instant::now())
    }

    /// The message could not be opened.
    pub(crate) fn charge_junk(&self, address: IpAddr) {
        self.addresses.charge(&network_of(address), JUNK_COST, Instant::now());
    }

    /// May an unknown sender at this address be answered? Its answer is the dearest: a certificate
    /// to be parsed, and all members' certificates to be sent.
    pub(crate) fn allow_stranger(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        self.strangers.allow(&network_of(address), now) && self.all_strangers.allow(&(), now)
    }

    /// May this authenticated sender ask?
    pub(crate) fn allow_identity(&self, sender: &NodeId, is_member: bool) -> bool {
        let throttle = if is_member { &self.members } else { &self.identities };
        throttle.allow(sender, Instant::now())
    }

    /// The request of this sender is as dear as several.
    pub(crate) fn charge_identity(&self, sender: &NodeId, is_member: bool, weight: u32) {
        let throttle = if is_member { &self.members } else { &self.identities };
        throttle.charge(sender, weight.saturating_sub(1), Instant::now());
    }

    /// May it be told by a signed refusal that it asks too much?
    pub(crate) fn allow_refusal(&self, sender: &NodeId) -> bool {
        self.refusals.allow(sender, Instant::now())
    }
}
