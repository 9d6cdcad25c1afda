//! How DMs hand secrets to each other: by their OpenPGP certificates.

use std::collections::BTreeMap;
use std::fmt;

use bftkv::NodeId;
use bftkv::protocol::{Purpose, Seal as _, Sign as _, SignatureBytes, Verify as _, VerifyError};
use bftkv::wot::{Keyring, OwnKey, Sealer};
use bftkv_threshold::SecretBytes;

use crate::agree::{Dm, NotSigned, Sealing};

/// More than any dealing has.
const MAX_LETTER: usize = 512 * 1024;

/// Seals to the certificates with which the DMs write, and signs with ours.
///
/// The signature inside is a detached one: whether it is right does not depend on who looks, nor
/// when. Were it a sealed message, its signer could make one that only the receiver accepts, and
/// then its complaint would look forged to all others.
pub struct Letters {
    me: Dm,
    key: OwnKey,
    keyring: Keyring,
    sealer: Sealer,
    masters: BTreeMap<Dm, NodeId>,
}

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letters").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Letters {
    /// For this DM with its key; the keyring has the others' certificates, sooner or later.
    #[must_use]
    pub fn new((me, key): (Dm, OwnKey), keyring: Keyring, writers: &BTreeMap<NodeId, Dm>) -> Self {
        let sealer = Sealer::new(keyring.clone(), key.clone());
        let masters = writers.iter().map(|(id, dm)| (*dm, id.clone())).collect();
        Self { me, key, keyring, sealer, masters }
    }

    fn id_of(&self, dm: Dm) -> Result<&NodeId, String> {
        self.masters.get(&dm).ok_or_else(|| format!("there is no {dm}"))
    }
}

/// Who signed, the signature, and what is signed.
fn parts(signed: &[u8]) -> Option<(Dm, SignatureBytes, &[u8])> {
    let (number, rest) = signed.split_first()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (signature, text) = rest.split_at_checked(length)?;
    Some((Dm::new(*number)?, SignatureBytes::new(signature.to_vec()).ok()?, text))
}

impl Sealing for Letters {
    fn seal(&self, to: Dm, text: &[u8]) -> Result<Vec<u8>, String> {
        let signature = self.key.sign(Purpose::File, text).map_err(|error| error.to_string())?;
        let signature = signature.as_bytes();
        let length = u32::try_from(signature.len()).map_err(|error| error.to_string())?;
        let size = signature.len().saturating_add(text.len()).saturating_add(5);
        // Its buffer does not move, so no copy of the secret stays behind.
        let mut signed = SecretBytes::new(Vec::with_capacity(size));
        signed.push(self.me.number());
        for part in [&length.to_be_bytes()[..], signature, text] {
            signed.extend_from_slice(part);
        }
        let to = self.id_of(to)?.clone();
        self.sealer.seal(&[to], &signed).map_err(|error| error.to_string())
    }

    fn open(&self, sealed: &[u8]) -> Result<SecretBytes, String> {
        let opened = self.sealer.open(sealed, MAX_LETTER).map_err(|error| error.to_string())?;
        Ok(SecretBytes::new(opened.plaintext))
    }

    fn check(&self, signed: &[u8]) -> Result<(Dm, SecretBytes), NotSigned> {
        let forged = |why: &str| NotSigned::Forged(why.to_owned());
        let (dm, signature, text) = parts(signed).ok_or_else(|| forged("malformed"))?;
        let id = self.id_of(dm).map_err(|why| forged(&why))?;
        match self.keyring.verify_packet(id, Purpose::File, text, &signature) {
            Ok(()) => Ok((dm, SecretBytes::new(text.to_vec()))),
            Err(error @ VerifyError::Bad { .. }) => Err(forged(&error.to_string())),
            Err(error) => Err(NotSigned::Unknown(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use bftkv::wot::{KeyringOptions, generate_key};

    use super::*;

    /// DM 1, 2 and 3, who know each other.
    fn three() -> Vec<Letters> {
        let keys: Vec<OwnKey> = (1..=3)
            .map(|number| generate_key(&format!("DM <dm{number}@example.com>"), None).unwrap().key)
            .collect();
        let keyring = Keyring::new(KeyringOptions::default());
        let mut writers = BTreeMap::new();
        for (number, key) in (1..).zip(&keys) {
            keyring.add_stranger(key.certificate_bytes()).unwrap();
            writers.insert(key.certificate().id().clone(), Dm::new(number).unwrap());
        }
        let of = |(number, key)| {
            Letters::new((Dm::new(number).unwrap(), key), keyring.clone(), &writers)
        };
        (1..).zip(keys).map(of).collect()
    }

    #[test]
    fn only_the_receiver_opens_and_everybody_sees_who_signed() {
        let all = three();
        let [one, two, three] = &all[..] else { panic!() };
        let sealed = one.seal(two.me, b"a share").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"a share"));
        assert!(three.open(&sealed).is_err());
        let signed = two.open(&sealed).unwrap();
        for who in [one, two, three] {
            let (by, text) = who.check(&signed).unwrap();
            assert_eq!((by, text.as_slice()), (one.me, &b"a share"[..]));
        }
        for at in 0..signed.len() {
            let mut forged = signed.to_vec();
            forged[at] ^= 1;
            let verdict = three.check(&forged);
            // Some bits of an OpenPGP packet are not under the signature, and it is not of one form.
            assert!(verdict.is_err() || verdict.unwrap().1 == three.check(&signed).unwrap().1);
        }
        let mut other = signed.to_vec();
        *other.last_mut().unwrap() ^= 1;
        assert!(matches!(three.check(&other), Err(NotSigned::Forged(_))));
        assert!(matches!(three.check(&signed[..4]), Err(NotSigned::Forged(_))));
    }

    /// What a certificate is missing for is not forged.
    #[test]
    fn who_does_not_know_the_signer_does_not_judge() {
        let all = three();
        let signed = all[1].open(&all[0].seal(all[1].me, b"a share").unwrap()).unwrap();
        let masters = &all[2].masters;
        let writers = masters.iter().map(|(dm, id)| (id.clone(), *dm)).collect();
        let empty = Keyring::new(KeyringOptions::default());
        let stranger = Letters::new((all[2].me, all[2].key.clone()), empty, &writers);
        assert!(matches!(stranger.check(&signed), Err(NotSigned::Unknown(_))));
    }
}
