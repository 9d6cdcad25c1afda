//! Checks of single sentences that no run of a cluster touches. Each holds in a build without bugs.

use std::collections::BTreeSet;
use std::sync::Arc;

use bftkv_protocol::server::{Context, Loaded, Reply, Server, ServerAction, admit};
use bftkv_protocol::{
    Abandon, Address, CertifiedEntry, CollectiveSignature, Configuration, ConfigurationDigest,
    Configurations, Domain, Entry, Evidence, Group, Identities, NodeId, Purpose, Realm, Refusal,
    Request, SignatureBytes, SignatureShare, SignedEntry, Slot, TimeStatement, Timestamp, Value,
    ValueDigest, Variable, VariableState, Verify, VerifyError, WriterSignature, decode, encode,
    sign_batch, verify_certified,
};
use bftkv_tests::detection::{Collusion, Draw};

/// A check: what it found wrong, if anything.
pub(crate) type Check = fn() -> Result<(), String>;

/// Anything that keeps a check from being made counts as a failed check.
type Made<T> = Result<T, String>;

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn hold(is_good: bool, what: &str) -> Result<(), String> {
    if is_good { Ok(()) } else { Err(what.to_owned()) }
}

/// Takes every signature for good and everybody for known.
struct Gullible;

impl Verify for Gullible {
    fn verify_packet(
        &self,
        _: &NodeId,
        _: Purpose,
        _: &[u8],
        _: &SignatureBytes,
    ) -> Result<(), VerifyError> {
        Ok(())
    }
}

impl Identities for Gullible {
    fn has_quorum_certificate(&self, _: &NodeId, _: &Address) -> bool {
        true
    }

    fn is_known(&self, _: &NodeId) -> bool {
        true
    }
}

fn node(number: u8) -> Made<NodeId> {
    NodeId::from_bytes(&[number; 20]).map_err(say)
}

fn configurations() -> Made<Arc<Configurations>> {
    let members: Vec<NodeId> = (1..5).map(node).collect::<Made<_>>()?;
    let group = || Group::new(members.clone());
    let realm = Realm::new("checks").map_err(say)?;
    let made = Configuration::new(realm, 1, vec![group()], group(), false);
    let first = made.map_err(say)?;
    Ok(Arc::new(Configurations::starting_with(first)))
}

fn configuration() -> Made<Arc<Configuration>> {
    Ok(Arc::clone(configurations()?.newest()))
}

fn signed(variable: &str) -> Made<SignedEntry> {
    let entry = Entry {
        realm: configuration()?.realm().clone(),
        variable: Variable::new(variable.as_bytes()).map_err(say)?,
        timestamp: Timestamp::new(1),
        value: Value::new(*b"v").map_err(say)?,
        is_final: false,
        writer: node(9)?,
        owner: Address::new("w@example.org").map_err(say)?,
    };
    let signature = WriterSignature::new(SignatureBytes::new([1; 8]).map_err(say)?);
    Ok(SignedEntry { entry, signature })
}

/// Rule R7: signed bytes begin with what they are for.
pub(crate) fn signed_bytes_name_their_purpose() -> Result<(), String> {
    let statement = TimeStatement {
        realm: configuration()?.realm().clone(),
        configuration: configuration()?.digest(),
        variable: Variable::new(*b"x").map_err(say)?,
        seen: Timestamp::new(1),
    };
    let begins = |bytes: &[u8], domain: Domain| {
        bytes.get(8..).is_some_and(|rest| rest.starts_with(domain.as_str().as_bytes()))
    };
    let entry = signed("x")?.entry.signed_bytes();
    let good = begins(&statement.signed_bytes(), Domain::Time) && begins(&entry, Domain::Entry);
    hold(good, "signed bytes do not begin with their domain")
}

/// Two entries under one root: their messages, what was signed, and the first one's signature.
fn two_under_one_root() -> Made<([Vec<u8>; 2], Vec<u8>, SignatureBytes)> {
    let messages = [signed("x")?.entry.signed_bytes(), signed("y")?.entry.signed_bytes()];
    let mut root = Vec::new();
    let sign = |_: Purpose, bytes: &[u8]| {
        root = bytes.to_vec();
        SignatureBytes::new([0xc2; 8]).map_err(say)
    };
    let mut signatures = sign_batch(Purpose::Entry, &messages, sign)?;
    Ok((messages, root, signatures.swap_remove(0)))
}

/// A leaf is hashed otherwise than a node.
pub(crate) fn roots_are_those_of_rfc_9162() -> Result<(), String> {
    let ([x, y], signed, _) = two_under_one_root()?;
    let leaf = |message: &[u8]| ValueDigest::of(&[&[0], message].concat());
    let (x, y) = (leaf(&x), leaf(&y));
    let root = ValueDigest::of(&[&[1], x.as_bytes().as_slice(), y.as_bytes()].concat());
    hold(signed.ends_with(root.as_bytes()), "the root is another")
}

/// A writer's signature over many entries is no member's share, and says what it is for.
pub(crate) fn a_root_over_entries_certifies_nothing() -> Result<(), String> {
    let ([x, _], root, signature) = two_under_one_root()?;
    let taken = Gullible.verify(&node(9)?, Purpose::Share, &x, &signature).is_ok();
    let domain = Domain::Entry.as_str().as_bytes();
    let is_named = root.windows(domain.len()).any(|window| window == domain);
    hold(!taken && is_named, "a root over entries was taken for one over shares")
}

/// Every list in a message has a limit.
pub(crate) fn endless_lists_do_not_decode() -> Result<(), String> {
    let entry = signed("x")?;
    let slot = Slot::of(&entry);
    let bytes = encode(&Refusal::Outstanding(vec![slot; 5000]));
    hold(decode::<Refusal>(&bytes).is_err(), "a list of 5,000 slots was decoded")
}

/// A name that begins with a fingerprint is that certificate's own.
pub(crate) fn reserved_names_are_kept() -> Result<(), String> {
    let entry = signed(&format!("{}/x", node(8)?))?;
    let (me, configurations, cut) = (node(1)?, configurations()?, BTreeSet::new());
    let context = Context {
        me: &me,
        configurations: &configurations,
        cut: &cut,
        keys: &Gullible,
        identities: &Gullible,
    };
    let writer = entry.entry.writer.clone();
    let request = Request::Sign { entry, evidence: Evidence::default() };
    let refused = matches!(admit(&writer, request, &context), Err(Refusal::Reserved(_)));
    hold(refused, "a stranger may write under a name that is reserved")
}

/// Rule R4: S names the configuration whose members signed.
pub(crate) fn another_configuration_certifies_nothing() -> Result<(), String> {
    let share = |signer| {
        let signature = SignatureBytes::new([2; 8]).map_err(say)?;
        Ok(SignatureShare { signer: node(signer)?, signature })
    };
    let shares = (1..5).map(share).collect::<Made<Vec<_>>>()?;
    let elsewhere = ConfigurationDigest::from_bytes([4; 32]);
    let collective = CollectiveSignature::new(elsewhere, shares);
    let certified = CertifiedEntry { signed: signed("x")?, collective };
    let known = configurations()?;
    let result = verify_certified(&certified, &known, &Gullible);
    hold(result.is_err(), "an entry of another configuration is valid here")
}

/// Rule R6: whoever signed two certified entries at one timestamp is convicted, and nobody else.
pub(crate) fn two_certified_entries_convict() -> Result<(), String> {
    let collusion = Collusion::new(7, 3).ok_or("no collusion")?;
    collusion.try_often(Draw::Distinct, 7, 1, 1).map(|_| ())
}

/// Rule R3: an abandon raises seen(x), also at a member that has not signed the attempt yet. A
/// request that was slower than its abandon must find nobody who signs it.
pub(crate) fn what_was_abandoned_is_not_signed_later() -> Result<(), String> {
    let entry = signed("x")?;
    let abandon = Abandon {
        realm: entry.entry.realm.clone(),
        attempt: entry.id(),
        writer: entry.entry.writer.clone(),
        owner: entry.entry.owner.clone(),
        signature: SignatureBytes::new([3; 8]).map_err(say)?,
    };
    let evidence = Evidence::default;
    let mut member =
        Member { server: Server::new(configurations()?), state: VariableState::default() };
    member.answer(Request::Abandon { abandon, evidence: evidence() })?;
    let reply = member.answer(Request::Sign { entry, evidence: evidence() })?;
    let refused = matches!(reply, Reply::Plain(Err(Refusal::OldTimestamp { .. })));
    hold(refused, "an abandoned attempt was signed")
}

/// A member with one variable.
struct Member {
    server: Server,
    state: VariableState,
}

impl Member {
    fn answer(&mut self, request: Request) -> Made<Reply> {
        let (me, writer, cut) = (node(1)?, node(9)?, BTreeSet::new());
        let configurations = configurations()?;
        let context = Context {
            me: &me,
            configurations: &configurations,
            cut: &cut,
            keys: &Gullible,
            identities: &Gullible,
        };
        self.server.handle_request(1, admit(&writer, request, &context).map_err(say)?);
        while let Some(action) = self.server.poll() {
            match action {
                ServerAction::Load { ticket, .. } => {
                    let loaded = Loaded { state: self.state.clone(), version: None };
                    self.server.handle_loaded(ticket, Ok(loaded), &Gullible);
                }
                ServerAction::Persist { ticket, batch } => {
                    if let Some((_, marks)) = batch.marks.into_iter().last() {
                        self.state.marks = marks;
                    }
                    self.server.handle_persisted(ticket, Ok(()));
                }
                ServerAction::Reply { reply, .. } => return Ok(reply),
                _ => {}
            }
        }
        Err("no answer".to_owned())
    }
}
