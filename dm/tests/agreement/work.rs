//! Zones of texts, with real signatures.

use std::collections::BTreeMap;

use bftkv_dm::agree::{Content, Draft, Hash, Refusal, SetKey, SignedZone, Work};
use bftkv_dm::threshold::GroupKey;

/// Which messages are signed already, by message; and the rest.
#[derive(Debug)]
pub struct Plan {
    serial: u32,
    key: usize,
    kept: BTreeMap<SetKey, (Vec<u8>, Vec<u8>)>,
    keys: Vec<SetKey>,
    messages: Vec<Vec<u8>>,
}

#[derive(Debug, Clone)]
#[allow(dead_code, reason = "`Debug` shows all fields, and the digest is over that")]
pub struct Zone {
    pub serial: u32,
    /// Which key signed it.
    pub key: usize,
    pub sets: BTreeMap<SetKey, (Vec<u8>, Vec<u8>)>,
    soa: Vec<u8>,
    last: Vec<u8>,
}

impl Zone {
    pub fn content(&self) -> Content {
        let mut content = Content::default();
        for (key, (value, _)) in &self.sets {
            content.insert(key.clone(), value.clone());
        }
        content
    }
}

impl SignedZone for Zone {
    fn digest(&self) -> Hash {
        Hash::of(format!("{self:?}").as_bytes())
    }

    fn renew_at(&self) -> u32 {
        u32::MAX
    }
}

#[derive(Debug)]
pub struct Texts {
    /// How many sets may change at once.
    pub limit: usize,
    /// The keys: the second signs from `roll` on.
    pub keys: Vec<Box<dyn GroupKey>>,
    /// In seconds since 1970.
    pub roll: u32,
    /// What the first message begins with.
    pub word: &'static str,
}

/// What stands in a manifest whose zone that key signs.
pub fn keys_of(key: usize) -> Vec<u8> {
    format!("key {key}").into_bytes()
}

fn key_in(keys: &[u8]) -> usize {
    if keys == keys_of(1) { 1 } else { 0 }
}

impl Work for Texts {
    type Plan = Plan;
    type Zone = Zone;

    fn keys(&self, _: Option<&Zone>, inception: u32, _: u32) -> Result<Vec<u8>, String> {
        Ok(keys_of(usize::from(inception >= self.roll)))
    }

    fn check_keys(
        &self,
        keys: &[u8],
        base: Option<&Zone>,
        inception: u32,
        _: u32,
    ) -> Result<(), Refusal> {
        let key = key_in(keys);
        let lie = |what: &str| Err(Refusal::Lie(what.into()));
        match base.map_or(0, |base| base.key) {
            _ if keys != keys_of(key) => lie("other keys"),
            0 if key == 1 && inception < self.roll => lie("the key is too new"),
            1 if key == 0 => lie("back to a key that was given up"),
            _ => Ok(()),
        }
    }

    fn check_change(&self, before: &Content, after: &Content) -> Result<(), String> {
        let count = before.delta_to(after).len();
        if count > self.limit { Err(format!("{count} sets change")) } else { Ok(()) }
    }

    fn plan(&self, draft: &Draft<'_, Zone>) -> Result<Plan, String> {
        let key = key_in(&draft.manifest.keys);
        let base = draft.base.filter(|base| base.key == key);
        let mut plan = Plan {
            serial: draft.manifest.serial,
            key,
            kept: BTreeMap::new(),
            keys: Vec::new(),
            messages: vec![format!("{} {}", self.word, draft.manifest.serial).into_bytes()],
        };
        for (key, value) in draft.content.sets() {
            let signed = base.and_then(|base| base.sets.get(key));
            match signed.filter(|(have, _)| have == value) {
                Some(signed) => drop(plan.kept.insert(key.clone(), signed.clone())),
                None => {
                    plan.keys.push(key.clone());
                    plan.messages.push([format!("{key:?}").as_bytes(), value].concat());
                    plan.kept.insert(key.clone(), (value.clone(), Vec::new()));
                }
            }
        }
        Ok(plan)
    }

    fn messages<'a>(&self, plan: &'a Plan) -> &'a [Vec<u8>] {
        &plan.messages
    }

    fn is_signer(&self, plan: &Plan, key: &dyn GroupKey) -> bool {
        self.keys.get(plan.key).is_some_and(|signer| signer.id() == key.id())
    }

    fn is_signed(&self, plan: &Plan, message: &[u8], signature: &[u8]) -> bool {
        self.keys[plan.key].verify(message, signature)
    }

    fn digest_message(&self, _: &Plan, sigs: &[Vec<u8>]) -> Result<Vec<u8>, String> {
        Ok(sigs.concat())
    }

    fn finish(&self, plan: &Plan, sigs: &[Vec<u8>], last: &[u8]) -> Result<Zone, String> {
        let (soa, sigs) = sigs.split_first().ok_or("no signatures")?;
        let mut sets = plan.kept.clone();
        for (key, sig) in plan.keys.iter().zip(sigs) {
            sets.get_mut(key).ok_or("no set")?.1 = sig.clone();
        }
        Ok(Zone { serial: plan.serial, key: plan.key, sets, soa: soa.clone(), last: last.to_vec() })
    }
}

/// A set, by name and type.
pub fn key(name: &str, rtype: u16) -> SetKey {
    let labels = name.split('.').filter(|label| !label.is_empty());
    SetKey::new(labels.rev().map(str::as_bytes), rtype).unwrap()
}

/// A root with three delegations.
pub fn root() -> Content {
    let mut content = Content::default();
    content.insert(key("", 2), b"a.root".to_vec());
    for tld in ["com", "net", "org"] {
        content.insert(key(tld, 2), format!("ns.{tld}").into_bytes());
        content.insert(key(tld, 43), format!("ds of {tld}").into_bytes());
        content.insert(key(&format!("ns.{tld}"), 1), b"192.0.2.1".to_vec());
    }
    content
}
