//! Sealed messages: signed and encrypted. Paper: "Transport Security".

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use bftkv_protocol::{CertificateBytes, NodeId, Opened, Purpose, Seal, SealError, Sign, Stranger};
use sequoia_openpgp::crypto::SessionKey;
use sequoia_openpgp::packet::{PKESK, SKESK, Signature};
use sequoia_openpgp::parse::stream::{
    DecryptionHelper, DecryptorBuilder, MessageLayer, MessageStructure, VerificationError,
    VerificationHelper,
};
use sequoia_openpgp::parse::{PacketParser, Parse};
use sequoia_openpgp::serialize::stream::{Encryptor, LiteralWriter, Message, Signer};
use sequoia_openpgp::types::SymmetricAlgorithm;
use sequoia_openpgp::{Cert, Fingerprint, KeyHandle, Packet};

use crate::certificate::POLICY;
use crate::record::node_id;
use crate::signature::{check_digest, check_form, template};
use crate::{Certificate, Keyring, OwnKey, framing};

/// The greatest number of recipients of one message: four cliques and a store group of 256 each.
pub const MAX_RECIPIENTS: usize = 1280;
/// Packets in a message apart from those for its recipients: container, signature, content.
const MAX_OTHER_PACKETS: usize = 16;
/// How many session keys that claim to be for us are tried: an honest message has one.
const MAX_TRIES: usize = 4;

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
        let pair = self.own.signer(SystemTime::now()).map_err(own_key)?;
        let present: Vec<_> = certificates.iter().map(|one| one.present(time)).collect();
        let mut recipients = Vec::with_capacity(certificates.len());
        for (certificate, present) in certificates.iter().zip(&present) {
            let missing = || cannot(certificate.id(), "it has no encryption key that is valid now");
            recipients.push(present.recipient().ok_or_else(missing)?);
        }
        let mut sealed = Vec::with_capacity(plaintext.len().saturating_add(1024));
        let mut message = Message::new(&mut sealed);
        if !certificates.is_empty() {
            message = Encryptor::for_recipients(message, recipients).build().map_err(own_key)?;
        }
        let template = template(Purpose::Message, pair.public().fingerprint()).map_err(own_key)?;
        let mut signer = Signer::with_template(message, pair, template).map_err(own_key)?;
        for certificate in certificates {
            signer = signer.add_intended_recipient(certificate.cert());
        }
        let message = signer.build().map_err(own_key)?;
        let mut content = LiteralWriter::new(message).build().map_err(own_key)?;
        content.write_all(plaintext).map_err(own_key)?;
        content.finalize().map_err(own_key)?;
        Ok(sealed)
    }

    /// Decrypts, without believing anything yet.
    ///
    /// A parser that panics on what anybody may send must not take its caller along: one such
    /// defect is known (see `framing`), so the whole step is fenced. Nothing is shared with the
    /// code inside that a panic could leave half-changed.
    fn decrypt(&self, sealed: &[u8], limit: usize) -> Result<Decrypted, SealError> {
        framing::check(sealed).map_err(bad)?;
        catch_unwind(AssertUnwindSafe(|| self.decrypt_unfenced(sealed, limit)))
            .unwrap_or_else(|_| Err(SealError::Bad("the parser failed on it".to_owned())))
    }

    fn decrypt_unfenced(&self, sealed: &[u8], limit: usize) -> Result<Decrypted, SealError> {
        let helper = Helper { own: &self.own, packets: 0, encrypted: false, signature: None };
        let mut decryptor = DecryptorBuilder::from_bytes(sealed)
            .map_err(bad)?
            // The whole plaintext is held back until it is checked. Nothing is compressed, so it is
            // shorter than the message; a larger buffer would only be zeroed for nothing.
            .buffer_size(limit.min(sealed.len()).saturating_add(1))
            .with_policy(&POLICY, self.keyring.now(), helper)
            .map_err(bad)?;
        let mut plaintext = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        (&mut decryptor).take(most).read_to_end(&mut plaintext).map_err(bad)?;
        if plaintext.len() > limit {
            return Err(SealError::Bad(format!("more than {limit} bytes")));
        }
        let processed = decryptor.message_processed();
        let helper = decryptor.into_helper();
        let Some((signature, digest)) = helper.signature.filter(|_| processed) else {
            return Err(SealError::Bad("it is not signed".to_owned()));
        };
        let decrypted = Decrypted { plaintext, signature, digest, encrypted: helper.encrypted };
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
                claimed: node_id(&maker).ok(),
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
    digest: Vec<u8>,
    encrypted: bool,
}

impl Decrypted {
    /// Whoever was sent a message must not be able to pass it on as one for somebody else.
    fn check_recipient(&self, own: &NodeId) -> Result<(), SealError> {
        let named: Vec<&Fingerprint> = self.signature.intended_recipients().collect();
        let for_us = named.iter().any(|id| id.as_bytes() == own.as_bytes());
        let for_anybody = named.is_empty() && !self.encrypted;
        if for_us || for_anybody {
            return Ok(());
        }
        Err(SealError::Bad("it was signed for another recipient".to_owned()))
    }

    fn maker(&self) -> Result<Fingerprint, SealError> {
        if self.signature.unhashed_area().iter().next().is_some() {
            return Err(SealError::Bad("its unhashed area is not empty".to_owned()));
        }
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
        if !certificate.present(time).may_sign(maker) {
            let standing = certificate.standing(time);
            return Err(bad(format!("the sender's key is not valid now ({standing:?})")));
        }
        check_digest(&self.signature, key, &self.digest).map_err(bad)
    }

    fn opened(self, certificate: &Certificate) -> Opened {
        Opened { sender: certificate.id().clone(), plaintext: self.plaintext }
    }
}

/// Gives Sequoia the own keys and takes the signature from it. It never gives certificates, so
/// that Sequoia does not verify (and remember for ever) the signature itself.
struct Helper<'a> {
    own: &'a OwnKey,
    packets: usize,
    encrypted: bool,
    signature: Option<(Signature, Vec<u8>)>,
}

impl VerificationHelper for Helper<'_> {
    fn inspect(&mut self, parser: &PacketParser<'_>) -> sequoia_openpgp::Result<()> {
        self.packets = self.packets.saturating_add(1);
        if self.packets > MAX_RECIPIENTS.saturating_add(MAX_OTHER_PACKETS) {
            return Err(refuse("too many packets"));
        }
        match &parser.packet {
            Packet::CompressedData(_) => Err(refuse("compressed messages are refused")),
            Packet::SEIP(_) if self.encrypted => Err(refuse("encrypted twice")),
            Packet::SEIP(_) => {
                self.encrypted = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn get_certs(&mut self, _: &[KeyHandle]) -> sequoia_openpgp::Result<Vec<Cert>> {
        Ok(Vec::new())
    }

    fn check(&mut self, structure: MessageStructure<'_>) -> sequoia_openpgp::Result<()> {
        let mut signatures = structure.into_iter().flat_map(|layer| match layer {
            MessageLayer::SignatureGroup { results } => results,
            _ => Vec::new(),
        });
        let (one, another) = (signatures.next(), signatures.next());
        let (Some(Err(VerificationError::MissingKey { sig })), None) = (one, another) else {
            return Err(refuse("it must have exactly one well-formed signature"));
        };
        let digest = sig.computed_digest().ok_or_else(|| refuse("its digest is missing"))?;
        self.signature = Some((sig.clone(), digest.to_vec()));
        Ok(())
    }
}

impl DecryptionHelper for Helper<'_> {
    fn decrypt(
        &mut self,
        pkesks: &[PKESK],
        _: &[SKESK],
        algorithm: Option<SymmetricAlgorithm>,
        decrypt: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> sequoia_openpgp::Result<Option<Cert>> {
        let ours = pkesks.iter().filter_map(|pkesk| {
            let pair = self.own.decryptor(&pkesk.recipient()?)?;
            Some((pkesk, pair))
        });
        for (pkesk, mut pair) in ours.take(MAX_TRIES) {
            if let Some((algorithm, key)) = pkesk.decrypt(&mut pair, algorithm)
                && decrypt(algorithm, &key)
            {
                return Ok(None);
            }
        }
        Err(refuse("it is not encrypted to this node"))
    }
}

fn refuse(reason: &'static str) -> sequoia_openpgp::anyhow::Error {
    sequoia_openpgp::Error::InvalidOperation(reason.to_owned()).into()
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
