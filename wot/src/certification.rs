//! Certifications: who vouches for a user ID, checked cryptographically.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use bftkv_protocol::NodeId;
use sequoia_openpgp::KeyHandle;
use sequoia_openpgp::cert::amalgamation::UserIDAmalgamation;
use sequoia_openpgp::packet::Signature;
use sequoia_openpgp::policy::{HashAlgoSecurity, Policy};
use sequoia_openpgp::serialize::MarshalInto;
use sequoia_openpgp::types::SignatureType;

use crate::cache::{CacheKey, SignatureCache};
use crate::certificate::{Certificate, POLICY, PublicKey};
use crate::signature::check_digest;
use crate::{Identity, IdentityKind};

/// Somebody whose certifications count now: its primary key may certify, and it is neither
/// expired nor revoked.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) id: NodeId,
    key: PublicKey,
}

impl Issuer {
    /// The certificate as an issuer at `time`, if it may certify.
    pub(crate) fn new(certificate: &Certificate, time: SystemTime) -> Option<Self> {
        let key = certificate.present(time).certifying_key()?.clone();
        Some(Self { id: certificate.id().clone(), key })
    }
}

/// Finds issuers by what a signature says of its maker: several, if it names a 64-bit key ID that
/// several certificates share.
pub(crate) type Lookup<'a> = &'a dyn Fn(&KeyHandle) -> Vec<Arc<Issuer>>;

/// Who has certified `target`, valid at `time`: distinct issuers of a valid certification of one
/// of its user IDs that `counts` accepts. Nobody, if `target` itself does not count then.
pub(crate) fn certifiers(
    target: &Certificate,
    time: SystemTime,
    counts: impl Fn(&Identity) -> bool,
    lookup: Lookup<'_>,
    cache: &SignatureCache,
) -> BTreeSet<NodeId> {
    let present = target.present(time);
    let wanted = present.identities().iter().filter(|(_, one)| counts(one));
    let wanted: BTreeSet<&[u8]> = wanted.map(|(user_id, _)| user_id.value()).collect();
    let user_ids = target.cert().userids().filter(|ua| wanted.contains(ua.userid().value()));
    user_ids.flat_map(|ua| UserIdCheck { target, ua, time, cache }.certifiers(lookup)).collect()
}

/// The identity under which a certificate takes part in the graph: a node by its URL, anybody
/// else by an e-mail address.
pub(crate) fn counts_for(is_node: bool) -> impl Fn(&Identity) -> bool {
    let wanted = if is_node { IdentityKind::Node } else { IdentityKind::User };
    move |identity| identity.kind == wanted
}

/// One user ID of a certificate, looked at from one time.
struct UserIdCheck<'a> {
    target: &'a Certificate,
    ua: UserIDAmalgamation<'a>,
    time: SystemTime,
    cache: &'a SignatureCache,
}

impl UserIdCheck<'_> {
    /// The newest valid statement of an issuer decides: a certification, or its revocation.
    fn certifiers(&self, lookup: Lookup<'_>) -> Vec<NodeId> {
        let mut decided: BTreeMap<NodeId, bool> = BTreeMap::new();
        for signature in self.statements() {
            for issuer in signature.get_issuers().iter().flat_map(lookup) {
                let own = issuer.id == *self.target.id();
                if !own && !decided.contains_key(&issuer.id) && self.is_made_by(signature, &issuer)
                {
                    decided.insert(issuer.id.clone(), self.vouches(signature));
                }
            }
        }
        decided.into_iter().filter(|(_, vouches)| *vouches).map(|(id, _)| id).collect()
    }

    /// Statements by others that may count, newest first, revocations before certifications of
    /// the same second.
    fn statements(&self) -> Vec<&Signature> {
        let all = self.ua.certifications().chain(self.ua.other_revocations());
        let mut statements: Vec<&Signature> = all.filter(|s| self.may_count(s)).collect();
        statements.sort_by_key(|s| {
            let revokes = s.typ() == SignatureType::CertificationRevocation;
            std::cmp::Reverse((s.signature_creation_time(), revokes))
        });
        statements
    }

    /// Persona certifications say that nothing was checked; GnuPG does not count them either.
    /// Local ones are for their maker's eyes only.
    fn may_count(&self, signature: &Signature) -> bool {
        let kind = matches!(
            signature.typ(),
            SignatureType::GenericCertification
                | SignatureType::CasualCertification
                | SignatureType::PositiveCertification
                | SignatureType::CertificationRevocation
        );
        let born = self.target.cert().primary_key().key().creation_time();
        let made = signature.signature_creation_time();
        kind && made.is_some_and(|made| made >= born && made <= self.time)
            && signature.exportable_certification() != Some(false)
            && POLICY.signature(signature, HashAlgoSecurity::CollisionResistance).is_ok()
    }

    /// An expired certification no longer vouches, and hides older ones.
    fn vouches(&self, signature: &Signature) -> bool {
        let expired = signature.signature_expiration_time().is_some_and(|end| end <= self.time);
        signature.typ() != SignatureType::CertificationRevocation && !expired
    }

    fn is_made_by(&self, signature: &Signature, issuer: &Issuer) -> bool {
        #[cfg(test)]
        if crate::testing::is_gullible() {
            return true;
        }
        let Some(digest) = self.digest(signature) else { return false };
        let key = cache_key(signature, issuer, &digest);
        self.cache.check(key, || check_digest(signature, &issuer.key, &digest)).is_ok()
    }

    /// The digest that a certification of this user ID signs.
    fn digest(&self, signature: &Signature) -> Option<Vec<u8>> {
        let builder = signature.hash_algo().context().ok()?;
        let mut hash = builder.for_signature(signature.version());
        let primary = self.target.cert().primary_key().key();
        signature.hash_userid_binding(&mut hash, primary, self.ua.userid()).ok()?;
        hash.into_digest().ok()
    }
}

fn cache_key(signature: &Signature, issuer: &Issuer, digest: &[u8]) -> Option<CacheKey> {
    let mpis = signature.mpis().to_vec().ok()?;
    CacheKey::of(&[b"certification", issuer.id.as_bytes(), digest, &mpis])
}
