//! What the agreement needs to know of zones and signatures in them.

use std::fmt;
use std::sync::Arc;

use bftkv_threshold::GroupKey;

use super::content::{Content, Hash};
use super::manifest::Manifest;
use super::member::Refusal;

/// What is to become a signed zone. Everything follows from it, in the same way for everybody.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "it is read, and made in tests")]
pub struct Draft<'a, Z> {
    /// Serial, times, keys.
    pub manifest: &'a Manifest,
    /// The content with the manifest's root.
    pub content: &'a Arc<Content>,
    /// The signed zone that the manifest names as its base.
    pub base: Option<&'a Z>,
}

/// Makes signed zones out of content and signatures. Pure: the same draft gives the same bytes at
/// every DM, or nothing is signed.
///
/// The errors are texts for people; a draft that a quorum certified gives none.
pub trait Work: fmt::Debug + Send {
    /// What is to be signed in a zone, and what is signed already.
    type Plan: Send + Sync + fmt::Debug;
    /// A signed zone.
    type Zone: SignedZone;

    /// The DNSKEY set and its signatures for a zone that builds on this one and whose signatures
    /// are valid in this time. [`Work::check_keys`] of the same finds nothing.
    ///
    /// # Errors
    /// There are none that may follow.
    fn keys(
        &self,
        base: Option<&Self::Zone>,
        inception: u32,
        expiry: u32,
    ) -> Result<Vec<u8>, String>;

    /// Whether these may follow on those of that zone at that time.
    ///
    /// # Errors
    /// [`Refusal::Lie`] only for what follows from these arguments alone: no honest DM proposes
    /// it. What depends on our own files is [`Refusal::Never`].
    fn check_keys(
        &self,
        keys: &[u8],
        base: Option<&Self::Zone>,
        inception: u32,
        expiry: u32,
    ) -> Result<(), Refusal>;

    /// Whether so much may change without a person having looked at it.
    ///
    /// # Errors
    /// Why not.
    fn check_change(&self, before: &Content, after: &Content) -> Result<(), String>;

    /// What is to be signed.
    ///
    /// # Errors
    /// The content makes no zone.
    fn plan(&self, draft: &Draft<'_, Self::Zone>) -> Result<Self::Plan, String>;

    /// The bytes that are to be signed, in the order of the plan. At least one: the SOA's.
    fn messages<'a>(&self, plan: &'a Self::Plan) -> &'a [Vec<u8>];

    /// Whether this is the key that signs the plan.
    fn is_signer(&self, plan: &Self::Plan, key: &dyn GroupKey) -> bool;

    /// Whether this is a signature over the message by the key that signs the plan. It may remember what was right.
    fn is_signed(&self, plan: &Self::Plan, message: &[u8], signature: &[u8]) -> bool;

    /// The bytes that are to be signed for the ZONEMD, when the others are.
    ///
    /// # Errors
    /// There are too few signatures.
    fn digest_message(&self, plan: &Self::Plan, sigs: &[Vec<u8>]) -> Result<Vec<u8>, String>;

    /// The signed zone.
    ///
    /// # Errors
    /// It is not right: a check before publishing failed.
    fn finish(
        &self,
        plan: &Self::Plan,
        sigs: &[Vec<u8>],
        digest_sig: &[u8],
    ) -> Result<Self::Zone, String>;
}

/// A signed zone, as far as the agreement looks at it.
pub trait SignedZone: Send + Sync + fmt::Debug {
    /// Of all of its bytes.
    fn digest(&self) -> Hash;

    /// When its earliest signature should have been renewed: seconds since 1970.
    fn renew_at(&self) -> u32;
}
