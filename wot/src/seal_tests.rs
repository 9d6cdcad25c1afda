//! Tests of sealing and opening.

use sequoia_openpgp::serialize::stream::{LiteralWriter, Signer};

use super::*;
use crate::testing::{key, keyring_of};
use crate::{KeyringOptions, generate_key};

const LIMIT: usize = 100_000;

fn sealer(folder: &str) -> Sealer {
    Sealer::new(keyring_of(folder), key(folder))
}

fn pair() -> (Sealer, Sealer) {
    (sealer("gnupg-ed25519/n1"), sealer("gnupg-ed25519/n2"))
}

#[test]
fn a_message_reaches_all_its_recipients_and_nobody_else() {
    let (n1, n2) = pair();
    let n3 = sealer("gnupg-ed25519/n3");
    let sealed = n1.seal(&[n2.id().clone(), n1.id().clone()], b"hello").unwrap();
    let (sender, plaintext) = (n1.id().clone(), b"hello".to_vec());
    let opened = Opened { sender, plaintext, is_for_anybody: false };
    assert_eq!(n2.open(&sealed, LIMIT), Ok(opened.clone()));
    assert_eq!(n1.open(&sealed, LIMIT), Ok(opened));
    assert!(matches!(n3.open(&sealed, LIMIT), Err(SealError::Bad(_))));
}

#[test]
fn rsa_keys_and_empty_and_large_messages_work() {
    let (a1, a2) = (sealer("gnupg-rsa2048/a01"), sealer("gnupg-rsa2048/a02"));
    for length in [0, 1, 511, 512, 65_535, 65_536, 100_000] {
        let plaintext = vec![7; length];
        let sealed = a1.seal(&[a2.id().clone()], &plaintext).unwrap();
        assert_eq!(a2.open(&sealed, LIMIT).unwrap().plaintext, plaintext, "{length} bytes");
    }
}

#[test]
fn with_no_recipients_a_message_is_signed_only() {
    let (n1, n2) = pair();
    let sealed = n1.seal(&[], b"to anybody").unwrap();
    let opened = n2.open(&sealed, LIMIT).unwrap();
    assert_eq!((opened.plaintext.as_slice(), opened.is_for_anybody), (&b"to anybody"[..], true));
    // Signed only, but for somebody: others do not open it.
    let named = n1.write_signed_only_for(n2.id(), b"to you");
    assert!(!n2.open(&named, LIMIT).unwrap().is_for_anybody);
    n1.open(&named, LIMIT).unwrap_err();
}

#[test]
fn keys_of_version_6_sign_seal_and_open() {
    use sequoia_openpgp::cert::CertBuilder;
    let make = |user_id| {
        let builder = CertBuilder::new().set_profile(sequoia_openpgp::Profile::RFC9580).unwrap();
        let builder = builder.add_userid(user_id).add_signing_subkey();
        let cert = builder.add_transport_encryption_subkey().generate().unwrap().0;
        OwnKey::from_cert(cert, &crate::no_passphrase).unwrap()
    };
    let (a, b) = (make("a (http://h:1)"), make("b (http://h:2)"));
    let n1 = key("gnupg-ed25519/n1");
    let ring = Keyring::new(KeyringOptions::default());
    for own in [&a, &b, &n1] {
        ring.add_stranger(own.certificate_bytes()).unwrap();
    }
    assert_eq!(a.id().as_bytes().len(), 32);
    let signature = a.sign(Purpose::Share, b"m").unwrap();
    use bftkv_protocol::Verify;
    assert_eq!(ring.verify(a.id(), Purpose::Share, b"m", &signature), Ok(()));
    assert!(ring.verify(a.id(), Purpose::Share, b"n", &signature).is_err());
    // To both versions at once; the signature is by a subkey, the sender is the certificate.
    let (from, to) = (Sealer::new(ring.clone(), a.clone()), Sealer::new(ring.clone(), b.clone()));
    let sealed = from.seal(&[b.id().clone(), n1.id().clone()], b"hello").unwrap();
    for opener in [to, Sealer::new(ring.clone(), n1)] {
        let opened = opener.open(&sealed, LIMIT).unwrap();
        assert_eq!((&opened.sender, &opened.plaintext[..]), (a.id(), &b"hello"[..]));
    }
    // Certifications between version 6 keys are edges.
    let address = bftkv_protocol::Address::new("http://h:2").unwrap();
    let statement = crate::Statement::Certify { valid_for: None };
    let certified = a.certify(b.certificate_bytes(), &address, statement).unwrap();
    ring.add_stranger(&certified).unwrap();
    assert!(ring.graph().certifies(a.id(), b.id()));
}

#[test]
fn the_limit_holds_to_the_byte() {
    let (n1, n2) = pair();
    let sealed = n1.seal(&[n2.id().clone()], &[7; 1000]).unwrap();
    assert!(n2.open(&sealed, 1000).is_ok());
    assert!(matches!(n2.open(&sealed, 999), Err(SealError::Bad(_))));
    assert!(matches!(n2.open(&sealed, 0), Err(SealError::Bad(_))));
}

#[test]
fn a_message_cannot_be_passed_on_as_one_for_somebody_else() {
    // n2 decrypts what n1 sent to it and encrypts the signed part to n3.
    let (n1, n2) = pair();
    let n3 = sealer("gnupg-ed25519/n3");
    let signed = n1.write_signed_only_for(n2.id(), b"you owe me");
    let target = n2.keyring.certificate(n3.id()).unwrap();
    let mut sealed = Vec::new();
    let present = target.present(SystemTime::now());
    let recipients = [present.recipient().unwrap()];
    let message = Encryptor::for_recipients(Message::new(&mut sealed), recipients);
    let mut message = message.build().unwrap();
    message.write_all(&signed).unwrap();
    message.finalize().unwrap();
    let error = n3.open(&sealed, LIMIT).unwrap_err();
    assert_eq!(error, SealError::Bad("it was signed for another recipient".to_owned()));
}

#[test]
fn a_signature_for_another_purpose_does_not_open() {
    let (n1, n2) = pair();
    let certificate = n1.keyring.certificate(n2.id()).unwrap();
    for template in [
        template(Purpose::Share, n1.own.certificate().cert().fingerprint()).unwrap(),
        sequoia_openpgp::packet::signature::SignatureBuilder::new(
            sequoia_openpgp::types::SignatureType::Binary,
        ),
    ] {
        let mut sealed = Vec::new();
        let pair = n1.own.signer(SystemTime::now()).unwrap();
        let present = certificate.present(SystemTime::now());
        let recipients = [present.recipient().unwrap()];
        let message = Encryptor::for_recipients(Message::new(&mut sealed), recipients);
        let message = message.build().unwrap();
        let message = Signer::with_template(message, &*pair, template).unwrap();
        let message = message.add_intended_recipient(certificate.cert()).build().unwrap();
        let mut message = LiteralWriter::new(message).build().unwrap();
        message.write_all(b"x").unwrap();
        message.finalize().unwrap();
        assert!(matches!(n2.open(&sealed, LIMIT), Err(SealError::Bad(_))));
    }
}

#[test]
fn compressed_unsigned_and_nested_messages_are_refused() {
    use sequoia_openpgp::serialize::stream::Compressor;
    let (n1, n2) = pair();
    let certificate = n1.keyring.certificate(n2.id()).unwrap();
    let present = certificate.present(SystemTime::now());
    let recipients = || [present.recipient().unwrap()];
    let finish = |message: Message<'_>| {
        let mut content = LiteralWriter::new(message).build().unwrap();
        content.write_all(b"x").unwrap();
        content.finalize().unwrap();
    };
    let (mut compressed, mut unsigned, mut nested) = (Vec::new(), Vec::new(), Vec::new());
    finish(Compressor::new(Message::new(&mut compressed)).build().unwrap());
    let message = Message::new(&mut unsigned);
    finish(Encryptor::for_recipients(message, recipients()).build().unwrap());
    let message = Message::new(&mut nested);
    let message = Encryptor::for_recipients(message, recipients()).build().unwrap();
    let message = Encryptor::for_recipients(message, recipients()).build().unwrap();
    let template = template(Purpose::Message, n1.own.certificate().cert().fingerprint()).unwrap();
    let pair = n1.own.signer(SystemTime::now()).unwrap();
    let message = Signer::with_template(message, &*pair, template).unwrap();
    finish(message.add_intended_recipient(certificate.cert()).build().unwrap());
    for (name, sealed) in [("compressed", compressed), ("unsigned", unsigned), ("nested", nested)] {
        let result = n2.open(&sealed, LIMIT);
        assert!(matches!(result, Err(SealError::Bad(_))), "{name}: {result:?}");
    }
}

#[test]
fn a_stranger_is_told_apart_and_can_bring_a_certificate() {
    let n1 = sealer("gnupg-ed25519/n1");
    let stranger = generate_key("carol <carol@example.org>", None).unwrap().key;
    let ring = Keyring::new(KeyringOptions::default());
    ring.add_stranger(n1.own.certificate_bytes()).unwrap();
    let carol = Sealer::new(ring, stranger.clone());
    let sealed = carol.seal(&[n1.id().clone()], b"let me in").unwrap();
    let Err(SealError::Stranger(told)) = n1.open(&sealed, LIMIT) else { panic!("no stranger") };
    assert_eq!(told.claimed_key.as_ref(), Some(carol.id()));
    assert_eq!(told.plaintext, b"let me in");
    let opened = n1.open_from(&sealed, LIMIT, stranger.certificate_bytes()).unwrap();
    assert_eq!(&opened.sender, carol.id());
    assert!(!n1.keyring.contains(carol.id()), "not kept");
    let other = key("gnupg-ed25519/n3");
    let wrong = n1.open_from(&sealed, LIMIT, other.certificate_bytes());
    assert!(matches!(wrong, Err(SealError::Bad(_))));
}

#[test]
fn an_expired_or_revoked_sender_or_recipient_does_not_count() {
    let n1 = sealer("gnupg-ed25519/n1");
    let carol = generate_key("carol <carol@example.org>", None).unwrap();
    let ring = Keyring::new(KeyringOptions::default());
    ring.add_stranger(n1.own.certificate_bytes()).unwrap();
    let sealed = Sealer::new(ring, carol.key).seal(&[n1.id().clone()], b"x").unwrap();
    n1.keyring.import(&carol.revocation).unwrap();
    let Err(SealError::NotValidNow(told)) = n1.open(&sealed, LIMIT) else { panic!("it counts") };
    assert_eq!(
        (told.plaintext.as_slice(), told.reason.as_str()),
        (&b"x"[..], "the certificate is revoked")
    );
    let id = crate::record::split(&carol.revocation).unwrap().pop().unwrap().unwrap();
    let recipient = n1.seal(&[id.id().clone()], b"x");
    assert!(matches!(recipient, Err(SealError::Recipient { .. })));
    let unknown = NodeId::from_bytes(&[1; 20]).unwrap();
    assert!(matches!(n1.seal(&[unknown], b"x"), Err(SealError::Recipient { .. })));
}

#[test]
fn damage_never_panics_and_never_changes_what_is_read() {
    let (n1, n2) = pair();
    let sealed = n1.seal(&[n2.id().clone()], b"hello").unwrap();
    let original = n2.open(&sealed, LIMIT).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(opened) = n2.open(&flipped, LIMIT) {
            assert_eq!(opened, original, "bit {bit}");
        }
    }
    for length in 0..sealed.len() {
        assert!(n2.open(&sealed[..length], LIMIT).is_err(), "{length} bytes");
    }
    for garbage in [&b""[..], b"\xa3\x01\x5b\xff", b"-----BEGIN PGP MESSAGE-----", &[0xff; 64]] {
        assert!(matches!(n2.open(garbage, LIMIT), Err(SealError::Bad(_))));
    }
}

#[test]
fn damage_of_what_is_only_signed_never_changes_what_is_read() {
    let (n1, n2) = pair();
    let sealed = n1.seal(&[], b"hello").unwrap();
    let original = n2.open(&sealed, LIMIT).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match n2.open(&flipped, LIMIT) {
            Ok(opened) => assert_eq!(opened, original, "bit {bit}"),
            Err(SealError::Stranger(_) | SealError::Bad(_)) => {}
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
}

#[test]
fn what_announces_the_signature_must_agree_with_it() {
    let (n1, n2) = pair();
    let signed = n1.seal(&[], b"hello").unwrap();
    assert!(n2.open(&signed, LIMIT).is_ok());
    // Header and length, then version, type, hash, algorithm, key ID, and whether it is the last.
    for bit in 0..15 * 8 {
        let mut other = signed.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        let result = n2.open(&other, LIMIT);
        assert!(matches!(result, Err(SealError::Bad(_))), "bit {bit}: {result:?}");
    }
}

/// What we encrypt in one piece, Sequoia's own reader decrypts, and finds unchanged.
#[test]
fn sequoia_opens_what_we_seal() {
    use sequoia_openpgp::parse::stream::DecryptorBuilder;
    let (n1, n2) = pair();
    for length in [0, 1, 15, 16, 17, 8191, 70_000] {
        let plaintext = vec![7; length];
        let sealed = n1.seal(&[n1.id().clone(), n2.id().clone()], &plaintext).unwrap();
        let helper = Reader(n2.own.clone());
        let mut reader = DecryptorBuilder::from_bytes(&sealed)
            .unwrap()
            .with_policy(&crate::certificate::POLICY, None, helper)
            .unwrap();
        let mut read = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut read).unwrap();
        assert_eq!(read, plaintext);
    }
}

struct Reader(OwnKey);

impl sequoia_openpgp::parse::stream::VerificationHelper for Reader {
    fn get_certs(
        &mut self,
        _: &[KeyHandle],
    ) -> sequoia_openpgp::Result<Vec<sequoia_openpgp::Cert>> {
        Ok(vec![key("gnupg-ed25519/n1").certificate().cert().clone()])
    }

    fn check(
        &mut self,
        structure: sequoia_openpgp::parse::stream::MessageStructure<'_>,
    ) -> sequoia_openpgp::Result<()> {
        use sequoia_openpgp::parse::stream::MessageLayer;
        let layers: Vec<_> = structure.into_iter().collect();
        let [MessageLayer::Encryption { .. }, MessageLayer::SignatureGroup { results }] =
            layers.as_slice()
        else {
            panic!("{layers:?}")
        };
        assert!(results.len() == 1 && results[0].is_ok(), "{results:?}");
        Ok(())
    }
}

impl sequoia_openpgp::parse::stream::DecryptionHelper for Reader {
    fn decrypt(
        &mut self,
        pkesks: &[sequoia_openpgp::packet::PKESK],
        _: &[sequoia_openpgp::packet::SKESK],
        algorithm: Option<sequoia_openpgp::types::SymmetricAlgorithm>,
        decrypt: &mut dyn FnMut(
            Option<sequoia_openpgp::types::SymmetricAlgorithm>,
            &sequoia_openpgp::crypto::SessionKey,
        ) -> bool,
    ) -> sequoia_openpgp::Result<Option<sequoia_openpgp::Cert>> {
        for pkesk in pkesks {
            let Some(own) = pkesk.recipient().and_then(|id| self.0.decryptor(&id)) else {
                continue;
            };
            if let Some((algorithm, key)) = pkesk.decrypt(&mut &**own, algorithm) {
                assert!(decrypt(algorithm, &key));
            }
        }
        Ok(None)
    }
}

impl Sealer {
    /// The signed part alone, as a recipient sees it after decrypting.
    fn write_signed_only_for(&self, recipient: &NodeId, plaintext: &[u8]) -> Vec<u8> {
        let certificate = self.keyring.certificate(recipient).unwrap();
        let pair = self.own.signer(SystemTime::now()).unwrap();
        let template = template(Purpose::Message, pair.public().fingerprint()).unwrap();
        let mut signed = Vec::new();
        let signer = Signer::with_template(Message::new(&mut signed), &*pair, template).unwrap();
        let message = signer.add_intended_recipient(certificate.cert()).build().unwrap();
        let mut content = LiteralWriter::new(message).build().unwrap();
        content.write_all(plaintext).unwrap();
        content.finalize().unwrap();
        signed
    }
}
