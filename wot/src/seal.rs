//! Sealed messages: signed and encrypted. Paper: "Transport Security".

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use bftkv_protocol::{
    CertificateBytes, NodeId, NotValidNow, Opened, Purpose, Seal, SealError, Sign, Stranger,
};
use sequoia_openpgp::packet::one_pass_sig::{OnePassSig3, OnePassSig6};
use sequoia_openpgp::packet::{Literal, OnePassSig, Signature};
use sequoia_openpgp::parse::Parse;
use sequoia_openpgp::serialize::Serialize;
use sequoia_openpgp::serialize::stream::{Encryptor, Message, Recipient};
use sequoia_openpgp::types::DataFormat;
use sequoia_openpgp::{Fingerprint, KeyHandle, KeyID, Packet};

use crate::certificate::PublicKey;
use crate::framing::{Frame, Signed};
use crate::record::node_id;
use crate::secret_key::SecretKey;
use crate::signature::{check_form, parse, template, verify};
use crate::{Certificate, Keyring, OwnKey, Standing, container, framing};

/// The greatest number of recipients of one message: four cliques and a store group of 256 each.
pub const MAX_RECIPIENTS: usize = 1280;
/// One packet for each recipient, and the container.
const MAX_PACKETS: usize = MAX_RECIPIENTS + 1;
/// How many session keys that claim to be for us are tried: an honest message has one.
const MAX_TRIES: usize = 4;
/// A text of bytes without name and date, as we write it. RFC 9580 section 5.9.
const LITERAL_HEADER: [u8; 6] = [b'b', 0, 0, 0, 0, 0];

/// Seals and opens messages with the own key and the certificates of a keyring.
#[derive(Debug, Clone)]
pub struct Sealer {
    keyring: Keyring,
    own: OwnKey,
}

impl Sealer {
    /// For this own key; peers are looked up in `keyring`.
    #[must_use]
    pub fn new(keyring: Keyring, own: OwnKey) -> Self {
        Self { keyring, own }
    }

    fn recipients(&self, ids: &[NodeId]) -> Result<Vec<Arc<Certificate>>, SealError> {
        if ids.len() > MAX_RECIPIENTS {
            return Err(SealError::Bad("too many recipients".to_owned()));
        }
        let known = |id: &NodeId| {
            self.keyring.certificate(id).ok_or_else(|| cannot(id, "its certificate is not known"))
        };
        ids.iter().map(known).collect()
    }

    fn write(
        &self,
        certificates: &[Arc<Certificate>],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let time = self.keyring.now();
        let key = self.own.signer(SystemTime::now()).map_err(own_key)?;
        let present: Vec<_> = certificates.iter().map(|one| one.present(time)).collect();
        let mut recipients = Vec::with_capacity(certificates.len());
        for (certificate, present) in certificates.iter().zip(&present) {
            let missing = || cannot(certificate.id(), "it has no encryption key that is valid now");
            recipients.push(present.encryption().ok_or_else(missing)?);
        }
        let signed = sign(&key, certificates, plaintext).map_err(own_key)?;
        if recipients.is_empty() {
            return Ok(signed);
        }
        if recipients.iter().all(|(_, features)| features.supports_seipdv2()) {
            let recipients = present.iter().filter_map(|one| one.recipient());
            return encrypt_v2(&signed, recipients.collect()).map_err(own_key);
        }
        let keys: Vec<_> = recipients.iter().map(|(key, _)| key).collect();
        container::seal_v1(&signed, &keys).map_err(own_key)
    }

    /// Decrypts, without believing anything yet.
    ///
    /// A parser that panics on what anybody may send must not take its caller along: one such
    /// defect is known (see `framing`), so the whole step is fenced. Nothing is shared with the
    /// code inside that a panic could leave half-changed.
    fn decrypt(&self, sealed: &[u8], limit: usize) -> Result<Decrypted, SealError> {
        catch_unwind(AssertUnwindSafe(|| self.decrypt_unfenced(sealed, limit)))
            .unwrap_or_else(|_| Err(SealError::Bad("the parser failed on it".to_owned())))
    }

    fn decrypt_unfenced(&self, sealed: &[u8], limit: usize) -> Result<Decrypted, SealError> {
        match framing::message(sealed, MAX_PACKETS).map_err(bad)? {
            framing::Message::Signed(signed) => self.read(&signed, limit, false),
            framing::Message::Sealed { session_keys, container } => {
                let inner = self.open_container(&session_keys, &container)?;
                self.read(&framing::signed(&inner).map_err(bad)?, limit, true)
            }
        }
    }

    /// Tries the session keys that name one of ours.
    fn open_container(
        &self,
        session_keys: &[Frame<'_>],
        container: &Frame<'_>,
    ) -> Result<Vec<u8>, SealError> {
        let ours = session_keys.iter().filter_map(|frame| {
            let key = self.own.decryptor(&recipient(&frame.body)?)?;
            Some((frame, key))
        });
        let mut verdict = "it is not encrypted to this node";
        for (frame, key) in ours.take(MAX_TRIES) {
            let Ok(Packet::PKESK(pkesk)) = Packet::from_bytes(frame.bytes) else { continue };
            let Some((algorithm, key)) = pkesk.decrypt(&mut &**key, None) else { continue };
            match container::open(container.bytes, &container.body, algorithm, &key) {
                Ok(inner) => return Ok(inner),
                Err(reason) => verdict = reason,
            }
        }
        Err(bad(verdict))
    }

    fn read(
        &self,
        signed: &Signed<'_>,
        limit: usize,
        encrypted: bool,
    ) -> Result<Decrypted, SealError> {
        let text = signed.literal.body.strip_prefix(&LITERAL_HEADER);
        let plaintext = text.ok_or_else(|| bad("its text has a name, a date or another form"))?;
        if plaintext.len() > limit {
            return Err(SealError::Bad(format!("more than {limit} bytes")));
        }
        let signature = parse(signed.signature.bytes).map_err(bad)?;
        check_announcement(signed.announcement.bytes, &signature).map_err(bad)?;
        let decrypted = Decrypted { plaintext: plaintext.to_vec(), signature, encrypted };
        decrypted.check_recipient(self.own.id())?;
        Ok(decrypted)
    }
}

impl Seal for Sealer {
    fn id(&self) -> &NodeId {
        self.own.id()
    }

    fn seal(&self, recipients: &[NodeId], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        self.write(&self.recipients(recipients)?, plaintext)
    }

    fn open(&self, sealed: &[u8], limit: usize) -> Result<Opened, SealError> {
        let decrypted = self.decrypt(sealed, limit)?;
        let maker = decrypted.maker()?;
        let mut verdict = None;
        for certificate in self.keyring.by_key(&maker) {
            match decrypted.check(&certificate, &maker, self.keyring.now()) {
                Ok(()) => return Ok(decrypted.opened(&certificate)),
                Err(error) => verdict = Some(error),
            }
        }
        match verdict {
            Some(error) => Err(error),
            None => Err(SealError::Stranger(Box::new(Stranger {
                claimed_key: node_id(&maker).ok(),
                plaintext: decrypted.plaintext,
            }))),
        }
    }

    fn open_from(
        &self,
        sealed: &[u8],
        limit: usize,
        certificate: &CertificateBytes,
    ) -> Result<Opened, SealError> {
        let decrypted = self.decrypt(sealed, limit)?;
        let certificate = Certificate::parse(certificate).map_err(bad)?;
        let maker = decrypted.maker()?;
        decrypted.check(&certificate, &maker, self.keyring.now())?;
        Ok(decrypted.opened(&certificate))
    }
}

/// A message that was decrypted; its one signature is not checked yet.
struct Decrypted {
    plaintext: Vec<u8>,
    signature: Signature,
    encrypted: bool,
}

impl Decrypted {
    /// Whoever was sent a message must not be able to pass it on as one for somebody else.
    fn check_recipient(&self, own: &NodeId) -> Result<(), SealError> {
        let mut named = self.signature.intended_recipients();
        if self.is_for_anybody() || named.any(|id| id.as_bytes() == own.as_bytes()) {
            return Ok(());
        }
        Err(SealError::Bad("it was signed for another recipient".to_owned()))
    }

    fn is_for_anybody(&self) -> bool {
        !self.encrypted && self.signature.intended_recipients().next().is_none()
    }

    fn maker(&self) -> Result<Fingerprint, SealError> {
        check_form(&self.signature, Purpose::Message).map_err(bad)
    }

    /// A message is of today, so the sender's key must be valid now.
    fn check(
        &self,
        certificate: &Certificate,
        maker: &Fingerprint,
        time: SystemTime,
    ) -> Result<(), SealError> {
        let key = certificate.signing_key(maker).ok_or_else(|| bad("not a signing key"))?;
        verify(&self.signature, key, &self.plaintext).map_err(bad)?;
        if certificate.present(time).may_sign(maker) {
            return Ok(());
        }
        let reason = match certificate.standing(time) {
            Standing::Valid => {
                "the key that signed is expired, revoked or not for signing".to_owned()
            }
            Standing::Expired => "the certificate is expired, or not yet valid".to_owned(),
            Standing::Revoked => "the certificate is revoked".to_owned(),
            Standing::Invalid(reason) => reason,
        };
        let (sender, plaintext) = (certificate.id().clone(), self.plaintext.clone());
        Err(SealError::NotValidNow(Box::new(NotValidNow { sender, reason, plaintext })))
    }

    fn opened(self, certificate: &Certificate) -> Opened {
        let is_for_anybody = self.is_for_anybody();
        Opened { sender: certificate.id().clone(), plaintext: self.plaintext, is_for_anybody }
    }
}

/// Authenticated chunks: left to Sequoia, which chooses them if all recipients can open them.
fn encrypt_v2(signed: &[u8], recipients: Vec<Recipient<'_>>) -> sequoia_openpgp::Result<Vec<u8>> {
    let mut sealed = Vec::with_capacity(signed.len().saturating_add(1024));
    let mut message = Encryptor::for_recipients(Message::new(&mut sealed), recipients).build()?;
    message.write_all(signed)?;
    message.finalize()?;
    Ok(sealed)
}

/// A text and its signature: what every recipient sees.
fn sign(
    mut key: &SecretKey,
    recipients: &[Arc<Certificate>],
    plaintext: &[u8],
) -> sequoia_openpgp::Result<Vec<u8>> {
    let public = key.public();
    let mut template = template(Purpose::Message, public.fingerprint())?;
    if !recipients.is_empty() {
        let named: Vec<_> = recipients.iter().map(|one| one.cert().fingerprint()).collect();
        template = template.set_intended_recipients(named)?;
    }
    let signature = template.sign_message(&mut key, plaintext)?;
    let mut literal = Literal::new(DataFormat::Binary);
    literal.set_body(plaintext.to_vec());
    let mut signed = Vec::with_capacity(plaintext.len().saturating_add(512));
    Packet::from(announcement(&signature, public)?).serialize(&mut signed)?;
    Packet::from(literal).serialize(&mut signed)?;
    Packet::from(signature).serialize(&mut signed)?;
    Ok(signed)
}

fn announcement(signature: &Signature, key: &PublicKey) -> sequoia_openpgp::Result<OnePassSig> {
    match signature {
        Signature::V6(v6) => {
            let mut one = OnePassSig6::new(signature.typ(), key.fingerprint());
            one.set_pk_algo(signature.pk_algo());
            one.set_hash_algo(signature.hash_algo());
            one.set_salt(v6.salt().to_vec());
            one.set_last(true);
            Ok(one.into())
        }
        _ => {
            let mut one = OnePassSig3::new(signature.typ());
            one.set_pk_algo(signature.pk_algo());
            one.set_hash_algo(signature.hash_algo());
            one.set_issuer(key.keyid());
            one.set_last(true);
            Ok(one.into())
        }
    }
}

/// What announces a signature is not covered by it, so it must say what the signature says.
fn check_announcement(packet: &[u8], signature: &Signature) -> Result<(), &'static str> {
    let Ok(Packet::OnePassSig(one)) = Packet::from_bytes(packet) else {
        return Err("its signature is not announced");
    };
    let salt = match signature {
        Signature::V6(v6) => Some(v6.salt()),
        _ => None,
    };
    let made_by = |issuer: &KeyHandle| issuer.aliases(one.issuer());
    let agrees = one.typ() == signature.typ()
        && one.pk_algo() == signature.pk_algo()
        && one.hash_algo() == signature.hash_algo()
        && one.salt() == salt
        && one.last_raw() == 1
        && signature.get_issuers().iter().any(made_by);
    if agrees { Ok(()) } else { Err("another signature is announced than there is") }
}

/// Whom a session key is for, without reading more of it. RFC 9580 section 5.1.
fn recipient(session_key: &[u8]) -> Option<KeyHandle> {
    let (version, rest) = session_key.split_first()?;
    match version {
        3 => Some(KeyID::from_bytes(rest.first_chunk::<8>()?).into()),
        6 => {
            let (length, rest) = rest.split_first()?;
            let (version, fingerprint) = rest.get(..usize::from(*length))?.split_first()?;
            Some(Fingerprint::from_bytes(*version, fingerprint).ok()?.into())
        }
        _ => None,
    }
}

fn bad(reason: impl std::fmt::Display) -> SealError {
    SealError::Bad(reason.to_string())
}

fn own_key(reason: impl std::fmt::Display) -> SealError {
    SealError::OwnKey(reason.to_string())
}

fn cannot(recipient: &NodeId, reason: &str) -> SealError {
    SealError::Recipient { recipient: recipient.clone(), reason: reason.to_owned() }
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
