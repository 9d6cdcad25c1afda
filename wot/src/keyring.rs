//! All certificates that a node or client knows.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use bftkv_protocol::{
    Address, CertificateBytes, LendTrees, NodeId, Purpose, Sign, SignError, SignatureBytes,
    TreeMemory, Verify, VerifyError, verify_in_tree,
};
use lru::LruCache;
use sequoia_openpgp::{Fingerprint, KeyHandle};

use crate::cache::{CacheKey, SignatureCache};
use crate::graph::TrustGraph;
use crate::known_certificates::KnownCertificates;
use crate::record::{node_id, strip, strip_unknown};
use crate::signature::{UNKNOWN_MAKER, bad, maker, verify_detached};
use crate::{Certificate, CertificateError, CertificateRecord, Identity, OwnKey, graph_builder};

/// Bounds of a keyring, and the time at which it judges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyringOptions {
    /// Certificates of strangers that are kept at most. The oldest go first; whoever is forgotten
    /// joins again.
    pub max_strangers: usize,
    /// Bytes of certificates of strangers that are kept at most.
    pub max_stranger_bytes: usize,
    /// Parsed certificates that are kept at most, about 28 KiB each.
    pub parsed: NonZeroUsize,
    /// Verified signatures that are remembered at most, about 100 bytes each.
    pub signatures: NonZeroUsize,
    /// Trees under verified roots that are remembered at most, about 17 KB for each full batch.
    pub trees: NonZeroUsize,
    /// The time at which certifications are judged; `None` is the system's clock.
    pub time: Option<SystemTime>,
}

impl KeyringOptions {
    const PARSED: NonZeroUsize = NonZeroUsize::new(256).unwrap();
    const SIGNATURES: NonZeroUsize = NonZeroUsize::new(16 * 1024).unwrap();
    /// An entry that was signed in batches by its writer and by a quorum of a hundred members has 68.
    const TREES: NonZeroUsize = NonZeroUsize::new(128).unwrap();
}

impl Default for KeyringOptions {
    fn default() -> Self {
        Self {
            max_strangers: 4096,
            max_stranger_bytes: 16 * 1024 * 1024,
            parsed: Self::PARSED,
            signatures: Self::SIGNATURES,
            trees: Self::TREES,
            time: None,
        }
    }
}

/// Where a certificate came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Origin {
    /// From the own disk: never forgotten.
    Local,
    /// Handed over by a peer: forgotten when there are too many.
    Stranger,
}

/// A certificate was not found, or several were.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// Nobody.
    #[error("no certificate matches {0}")]
    Unknown(String),
    /// Several; name one by its full fingerprint.
    #[error("{text} means several certificates, name one by its fingerprint: {}", list(.matches))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// The candidates.
        matches: Vec<NodeId>,
    },
}

fn list(ids: &[NodeId]) -> String {
    ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

/// All certificates that a node or client knows. Cheap to clone: clones share everything.
///
/// Certificates are kept unparsed; members and recent writers are parsed once and stay in a
/// bounded cache.
#[derive(Clone)]
pub struct Keyring {
    inner: Arc<Inner>,
}

struct Inner {
    options: KeyringOptions,
    state: RwLock<KnownCertificates>,
    /// Held while a certificate is merged and put back, so that no addition is lost.
    adding: Mutex<()>,
    parsed: Mutex<LruCache<NodeId, Arc<Certificate>>>,
    signatures: SignatureCache,
    trees: Trees,
    graph: Mutex<Option<KnownGraph>>,
}

/// Trees of batched signatures, for all threads.
struct Trees(Mutex<TreeMemory>);

impl LendTrees for Trees {
    /// Each use leaves the trees whole, so a panic elsewhere left nothing half-done.
    fn lend<T>(&self, work: impl FnOnce(&mut TreeMemory) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A graph with what it was built from, and when.
struct KnownGraph {
    generation: u64,
    time: SystemTime,
    graph: Arc<TrustGraph>,
}

impl Keyring {
    /// A built graph is used for so long; certifications that expire meanwhile count a little
    /// longer. Configurations do not change by themselves, so nothing depends on it.
    const GRAPH_AGE: Duration = Duration::from_secs(300);

    /// A keyring without certificates.
    #[must_use]
    pub fn new(options: KeyringOptions) -> Self {
        let parsed = Mutex::new(LruCache::new(options.parsed));
        let signatures = SignatureCache::new(options.signatures);
        let trees = Trees(Mutex::new(TreeMemory::new(options.trees)));
        let (state, adding, graph) = (RwLock::default(), Mutex::default(), Mutex::default());
        let inner = Inner { options, state, adding, parsed, signatures, trees, graph };
        Self { inner: Arc::new(inner) }
    }

    /// Adds a certificate, or merges it with the copy that is known. Returns whether anything
    /// changed. A stranger's certificate that becomes local stays local.
    ///
    /// # Errors
    /// [`CertificateError`]: the known copy stays as it was.
    pub fn add(&self, record: CertificateRecord, origin: Origin) -> Result<bool, CertificateError> {
        let _one_at_a_time = self.adding();
        let known = self.read().records.get(record.id()).cloned();
        let (record, origin) = match known {
            Some((old, known_origin)) => {
                let origin = origin.min(known_origin);
                if old.bytes() == record.bytes() {
                    if origin == known_origin {
                        return Ok(false);
                    }
                    (record, origin)
                } else {
                    (self.merge(&old, &record)?, origin)
                }
            }
            None => (record, origin),
        };
        Ok(self.insert(record, origin))
    }

    /// Adds every certificate of a keyring file in memory as local. Returns the fingerprints in
    /// order, and why others were not kept.
    ///
    /// # Errors
    /// When it is no keyring at all.
    pub fn import(
        &self,
        bytes: &[u8],
    ) -> Result<Vec<Result<NodeId, CertificateError>>, CertificateError> {
        let add = |one: Result<CertificateRecord, CertificateError>| {
            let record = one?;
            let id = record.id().clone();
            self.add(record, Origin::Local)?;
            Ok(id)
        };
        Ok(crate::read_certificates(bytes)?.into_iter().map(add).collect())
    }

    /// Adds a certificate that a peer handed over (join, introduce, or an answer to one).
    ///
    /// # Errors
    /// [`CertificateError`]: the peer's fault.
    pub fn add_stranger(&self, bytes: &CertificateBytes) -> Result<NodeId, CertificateError> {
        let record = CertificateRecord::new(bytes)?;
        let id = record.id().clone();
        self.add(record, Origin::Stranger)?;
        Ok(id)
    }

    /// Makes a known certificate local, so that it is not forgotten: that of a member, or of the
    /// writer of a stored entry. Returns whether it is known.
    pub fn keep(&self, id: &NodeId) -> bool {
        let _one_at_a_time = self.adding();
        let known = self.record(id);
        known.is_some_and(|record| {
            self.insert((*record).clone(), Origin::Local);
            true
        })
    }

    /// Cuts a certificate out of the trust graph: from now on it is no node, and has no edge to or
    /// from anybody. For ever, whatever is added later; it need not be known yet. What it signed
    /// stays checkable. Returns whether it was not cut before.
    ///
    /// Paper: §3.2, revocation.
    pub fn cut_out(&self, id: NodeId) -> bool {
        self.write().cut_out(id)
    }

    /// Whether the certificate was cut out.
    #[must_use]
    pub fn is_cut(&self, id: &NodeId) -> bool {
        self.read().cut().contains(id)
    }

    /// Everybody who was cut out.
    #[must_use]
    pub fn cut(&self) -> BTreeSet<NodeId> {
        self.read().cut().clone()
    }

    /// The certificate as it is kept.
    #[must_use]
    pub fn record(&self, id: &NodeId) -> Option<Arc<CertificateRecord>> {
        self.read().records.get(id).map(|(record, _)| Arc::clone(record))
    }

    /// All certificates, in ascending order of fingerprint.
    #[must_use]
    pub fn records(&self) -> Vec<(Arc<CertificateRecord>, Origin)> {
        self.read().records.values().cloned().collect()
    }

    /// The certificate, parsed. It stays in a bounded cache.
    #[must_use]
    pub fn certificate(&self, id: &NodeId) -> Option<Arc<Certificate>> {
        if let Some(known) = self.parsed().get(id) {
            return Some(Arc::clone(known));
        }
        let record = self.record(id)?;
        let certificate = Arc::new(Certificate::from_record(&record).ok()?);
        // If the record was replaced meanwhile, its successor must not be hidden by this one.
        let mut parsed = self.parsed();
        if self.record(id).is_some_and(|now| Arc::ptr_eq(&now, &record)) {
            parsed.put(id.clone(), Arc::clone(&certificate));
        }
        Some(certificate)
    }

    /// Whether this copy of the signer's certificate holds the key that a signature names as its
    /// maker, or is not known at all. If not, the signer may have made a subkey since. Nothing is
    /// verified: it says only whether a newer copy may help.
    #[must_use]
    pub fn holds_maker(&self, signer: &NodeId, signature: &SignatureBytes) -> bool {
        let certificate = self.certificate(signer);
        certificate.is_none_or(|certificate| certificate.is_maker(signature.as_bytes()))
    }

    /// Whether the certificate is known.
    #[must_use]
    pub fn contains(&self, id: &NodeId) -> bool {
        self.read().records.contains_key(id)
    }

    /// How many certificates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The URL of a node.
    #[must_use]
    pub fn url(&self, id: &NodeId) -> Option<Address> {
        self.certificate(id)?.url(self.now())
    }

    /// The identities of a certificate that are valid now.
    #[must_use]
    pub fn identities(&self, id: &NodeId) -> Vec<Identity> {
        self.certificate(id).map_or_else(Vec::new, |cert| cert.identities(self.now()))
    }

    /// Finds a certificate by its fingerprint, its 64-bit key ID, or its e-mail address or URL.
    ///
    /// # Errors
    /// [`LookupError`]: nobody, or several.
    pub fn find(&self, text: &str) -> Result<NodeId, LookupError> {
        let text = text.trim().trim_start_matches("0x");
        let mut matches = self.matches(text);
        match (matches.pop(), matches.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                matches.push(last);
                Err(LookupError::Ambiguous { text: text.to_owned(), matches })
            }
            (None, _) => Err(LookupError::Unknown(text.to_owned())),
        }
    }

    fn matches(&self, text: &str) -> Vec<NodeId> {
        if let Ok(id) = text.parse::<NodeId>() {
            return if self.contains(&id) { vec![id] } else { Vec::new() };
        }
        if text.len() == 16
            && let Ok(key_id) = u64::from_str_radix(text, 16)
        {
            let found = self.by_key_id(&key_id.to_be_bytes());
            return found.into_iter().collect();
        }
        self.by_address(text)
    }

    /// Claims are looked through first, so that only candidates are parsed.
    fn by_address(&self, text: &str) -> Vec<NodeId> {
        let text = text.trim_end_matches('/');
        let is = |one: &Identity| one.address.as_str() == text;
        let candidates: Vec<NodeId> = self
            .read()
            .records
            .values()
            .filter(|(record, _)| record.claims().iter().any(is))
            .map(|(record, _)| record.id().clone())
            .collect();
        candidates.into_iter().filter(|id| self.identities(id).iter().any(is)).collect()
    }

    pub(crate) fn by_key_id(&self, key_id: &[u8]) -> BTreeSet<NodeId> {
        self.read().key_ids.get(key_id).cloned().unwrap_or_default()
    }

    /// Certificates that hold, or claim to hold, the key with this fingerprint: that whose primary
    /// key it is, then local ones, then a few of strangers that name it as a subkey.
    pub(crate) fn by_key(&self, key: &Fingerprint) -> Vec<Arc<Certificate>> {
        // Anybody can name a foreign subkey; only its owner can bind it for signing.
        const MAX_CLAIMANTS: usize = 4;
        let Ok(key) = node_id(key) else { return Vec::new() };
        let (local, strangers) = self.read().claimants(&key);
        let claimants = local.into_iter().chain(strangers.into_iter().take(MAX_CLAIMANTS));
        let ids = std::iter::once(key).chain(claimants);
        ids.filter_map(|id| self.certificate(&id)).collect()
    }

    /// Certificates for the answer to join: those of `first` (the members) in their order, then
    /// the others of nodes and local ones, as many as fit in `max_bytes`.
    #[must_use]
    pub fn for_join(&self, first: &[NodeId], max_bytes: usize) -> Vec<CertificateBytes> {
        let state = self.read();
        let named: BTreeSet<&NodeId> = first.iter().collect();
        let others = state.records.iter().filter(|(id, (record, origin))| {
            !named.contains(id) && (record.claims_node() || *origin == Origin::Local)
        });
        let members = first.iter().filter_map(|id| state.records.get(id));
        let mut left = max_bytes;
        let fits = |(record, _): &(Arc<CertificateRecord>, Origin)| {
            left = left.checked_sub(record.bytes().as_bytes().len())?;
            Some(record.bytes().clone())
        };
        members.chain(others.map(|(_, known)| known)).map_while(fits).collect()
    }

    /// The trust graph of all certificates, built anew when something changed.
    #[must_use]
    pub fn graph(&self) -> Arc<TrustGraph> {
        let (generation, time) = (self.read().generation, self.now());
        let mut known = self.inner.graph.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref()
            && known.generation == generation
            && time.duration_since(known.time).is_ok_and(|age| age <= Self::GRAPH_AGE)
        {
            return Arc::clone(&known.graph);
        }
        let graph = Arc::new(graph_builder::build(self, time));
        *known = Some(KnownGraph { generation, time, graph: Arc::clone(&graph) });
        graph
    }

    /// Grows with every change of a certificate, and when one is cut out.
    pub(crate) fn generation(&self) -> u64 {
        self.read().generation
    }

    /// The time at which this keyring judges.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.inner.options.time.unwrap_or_else(SystemTime::now)
    }

    /// Signs, and remembers the signature as one that was found good: a member's share comes back
    /// to it within S.
    ///
    /// # Errors
    /// The own key cannot sign.
    pub fn sign_with(
        &self,
        key: &OwnKey,
        purpose: Purpose,
        message: &[u8],
    ) -> Result<SignatureBytes, SignError> {
        let signature = key.sign(purpose, message)?;
        self.signatures().note_good(question(key.id(), purpose, message, &signature));
        Ok(signature)
    }

    pub(crate) fn signatures(&self) -> &SignatureCache {
        &self.inner.signatures
    }

    /// Two copies of one certificate: everything that either has. If that is too much, only
    /// certifications by known certificates are taken over, so that nobody can crowd them out.
    fn merge(
        &self,
        old: &CertificateRecord,
        new: &CertificateRecord,
    ) -> Result<CertificateRecord, CertificateError> {
        let (mine, theirs) = (Certificate::from_record(old)?, Certificate::from_record(new)?);
        let merged = mine.cert().clone().merge_public(theirs.cert().clone());
        let merged = strip(merged.map_err(CertificateError::malformed)?)?;
        CertificateRecord::from_cert(&merged).or_else(|_| {
            let known = |issuer: &KeyHandle| self.knows(issuer);
            CertificateRecord::from_cert(&strip_unknown(merged, known)?)
        })
    }

    fn knows(&self, issuer: &KeyHandle) -> bool {
        match issuer {
            KeyHandle::Fingerprint(full) => node_id(full).is_ok_and(|id| self.contains(&id)),
            KeyHandle::KeyID(short) => !self.by_key_id(short.as_bytes()).is_empty(),
        }
    }

    fn insert(&self, record: CertificateRecord, origin: Origin) -> bool {
        let id = record.id().clone();
        let mut state = self.write();
        state.insert(record, origin);
        let forgotten = state.shrink(&self.inner.options);
        drop(state);
        let mut parsed = self.parsed();
        parsed.pop(&id);
        forgotten.iter().for_each(|id| {
            parsed.pop(id);
        });
        true
    }

    // Every change of the state is complete before its lock is released, so a panic elsewhere
    // leaves nothing half-done behind.
    fn read(&self) -> RwLockReadGuard<'_, KnownCertificates> {
        self.inner.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, KnownCertificates> {
        self.inner.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn adding(&self) -> MutexGuard<'_, ()> {
        self.inner.adding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parsed(&self) -> MutexGuard<'_, LruCache<NodeId, Arc<Certificate>>> {
        self.inner.parsed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verify for Keyring {
    fn verify_packet(
        &self,
        signer: &NodeId,
        purpose: Purpose,
        message: &[u8],
        signature: &SignatureBytes,
    ) -> Result<(), VerifyError> {
        let certificate = self
            .certificate(signer)
            .ok_or_else(|| VerifyError::UnknownCertificate(signer.clone()))?;
        let key = question(signer, purpose, message, signature);
        self.signatures()
            .check(key, || verify_detached(&certificate, purpose, message, signature))
            .map_err(|reason| match reason {
                // The signer may have made the subkey after this copy of the certificate.
                UNKNOWN_MAKER => VerifyError::UnknownCertificate(signer.clone()),
                reason => bad(signer, reason),
            })
    }

    fn verify(
        &self,
        signer: &NodeId,
        purpose: Purpose,
        message: &[u8],
        signature: &SignatureBytes,
    ) -> Result<(), VerifyError> {
        let is_known = |signer: &NodeId| self.contains(signer);
        let by = (signer, purpose);
        verify_in_tree(&self.inner.trees, self, is_known, by, message, signature)
    }

    fn packet_made_by(&self, _: &NodeId, signature: &SignatureBytes) -> Option<NodeId> {
        node_id(&maker(signature)?).ok()
    }
}

/// What is remembered of a check.
fn question(
    signer: &NodeId,
    purpose: Purpose,
    message: &[u8],
    signature: &SignatureBytes,
) -> Option<CacheKey> {
    let domain = purpose.domain().as_str().as_bytes();
    CacheKey::of(&[signer.as_bytes(), domain, message, signature.as_bytes()])
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("certificates", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
