//! E-mail proofs: what shows that an address belongs to a certificate's owner.

use std::time::SystemTime;

use sequoia_openpgp::cert::amalgamation::ValidAmalgamation;
use sequoia_openpgp::packet::UserAttribute;
use sequoia_openpgp::packet::user_attribute::Subpacket;
use sequoia_openpgp::types::RevocationStatus;

use crate::certificate::POLICY;
use crate::{Certificate, Standing};

/// The subtype of the user attributes that hold e-mail proofs. Paper: App. B, "User Attribute
/// Packet", with subtype 101.
pub const EMAIL_PROOF_SUBTYPE: u8 = 101;

/// Whether an attribute holds a proof. Others (pictures) are of no use to us.
pub(crate) fn is_email_proof(attribute: &UserAttribute) -> bool {
    contents(attribute).next().is_some()
}

fn contents(attribute: &UserAttribute) -> impl Iterator<Item = Vec<u8>> {
    attribute.subpackets().filter_map(|subpacket| match subpacket.ok()? {
        Subpacket::Unknown(EMAIL_PROOF_SUBTYPE, content) => Some(content.into_vec()),
        _ => None,
    })
}

impl Certificate {
    /// The e-mail proofs that its own key has bound and not revoked, in force at `time`: any bytes
    /// (a DKIM signature, a SAML or OpenID assertion). Nobody here judges what is in them: whoever
    /// certifies the certificate may. Empty if the certificate does not count.
    ///
    /// Paper: App. B, "Can include any data necessary for email address proof".
    #[must_use]
    pub fn email_proofs(&self, time: SystemTime) -> Vec<Vec<u8>> {
        if self.standing(time) != Standing::Valid {
            return Vec::new();
        }
        let Ok(valid) = self.cert().with_policy(&POLICY, time) else { return Vec::new() };
        valid
            .user_attributes()
            .filter(|ua| !matches!(ua.revocation_status(), RevocationStatus::Revoked(_)))
            .flat_map(|ua| contents(ua.user_attribute()).collect::<Vec<_>>())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use bftkv_protocol::{Address, CertificateBytes};
    use sequoia_openpgp::cert::{CertBuilder, CipherSuite};
    use sequoia_openpgp::packet::UserID;
    use sequoia_openpgp::packet::signature::SignatureBuilder;
    use sequoia_openpgp::packet::user_attribute::Image;
    use sequoia_openpgp::serialize::SerializeInto;
    use sequoia_openpgp::types::SignatureType;
    use sequoia_openpgp::{Cert, Packet};

    use super::*;
    use crate::{CertificateRecord, Keyring, KeyringOptions, Origin, Statement, generate_key};

    const DKIM: &[u8] = b"DKIM-Signature: v=1; d=example.org";

    fn proof(content: &[u8]) -> UserAttribute {
        let subpacket = Subpacket::Unknown(EMAIL_PROOF_SUBTYPE, content.into());
        UserAttribute::new(&[subpacket]).unwrap()
    }

    /// A certificate with a proof and a picture, with its secret key.
    fn with_attributes() -> Cert {
        made_at(SystemTime::now())
    }

    fn made_at(time: SystemTime) -> Cert {
        let picture = Subpacket::Image(Image::JPEG(vec![7; 100].into()));
        CertBuilder::new()
            .set_cipher_suite(CipherSuite::Cv25519)
            .set_creation_time(time)
            .add_userid("Alice <alice@example.org>")
            .add_user_attribute(proof(DKIM))
            .add_user_attribute(UserAttribute::new(&[picture]).unwrap())
            .generate()
            .unwrap()
            .0
    }

    fn bytes(cert: &Cert) -> CertificateBytes {
        CertificateBytes::new(cert.clone().strip_secret_key_material().to_vec().unwrap()).unwrap()
    }

    fn proofs(keyring: &Keyring, cert: &Cert) -> Vec<Vec<u8>> {
        let id = crate::record::node_id(&cert.fingerprint()).unwrap();
        keyring.certificate(&id).unwrap().email_proofs(keyring.now())
    }

    fn empty() -> Keyring {
        Keyring::new(KeyringOptions::default())
    }

    #[test]
    fn a_proof_is_read_and_a_picture_is_none() {
        let (cert, keyring) = (with_attributes(), empty());
        keyring.add_stranger(&bytes(&cert)).unwrap();
        assert_eq!(proofs(&keyring, &cert), [DKIM]);
        let plain = generate_key("b <b@example.org>", None).unwrap().key;
        assert!(plain.certificate().email_proofs(SystemTime::now()).is_empty());
    }

    /// Whichever copy is known first, and whatever the other one lacks.
    #[test]
    fn a_proof_is_never_lost_by_merging() {
        let cert = with_attributes();
        let bare = cert.clone().retain_user_attributes(|_| false);
        let node = generate_key("n (http://h:1)", None).unwrap().key;
        let address = Address::new("alice@example.org").unwrap();
        let certify = |cert: &Cert| {
            node.certify(&bytes(cert), &address, Statement::Certify { valid_for: None }).unwrap()
        };
        for order in [[&cert, &bare], [&bare, &cert]] {
            let keyring = empty();
            keyring.add_stranger(&certify(order[0])).unwrap();
            keyring.add_stranger(&certify(order[1])).unwrap();
            keyring.add_stranger(&bytes(&bare)).unwrap();
            assert_eq!(proofs(&keyring, &cert), [DKIM]);
            // And what is handed on has it, to the byte.
            let kept = keyring.records()[0].0.bytes().clone();
            let other = empty();
            other.add_stranger(&kept).unwrap();
            assert_eq!(proofs(&other, &cert), [DKIM]);
        }
    }

    /// A member's word on the user ID and its word on the proof are two, and both stay.
    #[test]
    fn certifications_of_a_proof_and_of_the_user_id_do_not_displace_each_other() {
        let node = CertBuilder::new().add_userid("n (http://h:1)").generate().unwrap().0;
        let secret = node.primary_key().key().clone().parts_into_secret().unwrap();
        let mut pair = secret.into_keypair().unwrap();
        let earlier = SystemTime::now() - std::time::Duration::from_secs(1);
        let cert = made_at(earlier);
        let primary = cert.primary_key().key();
        let on_proof = SignatureBuilder::new(SignatureType::GenericCertification)
            .set_signature_creation_time(earlier)
            .unwrap()
            .sign_user_attribute_binding(&mut pair, primary, &proof(DKIM))
            .unwrap();
        let on_user_id = SignatureBuilder::new(SignatureType::GenericCertification)
            .sign_userid_binding(&mut pair, primary, &UserID::from("Alice <alice@example.org>"))
            .unwrap();
        let packets: [Packet; 4] = [
            proof(DKIM).into(),
            on_proof.into(),
            UserID::from("Alice <alice@example.org>").into(),
            on_user_id.into(),
        ];
        let certified = cert.clone().insert_packets(packets).unwrap().0;
        let keyring = empty();
        keyring.add_stranger(&bytes(&certified)).unwrap();
        keyring.add_stranger(&bytes(&cert.retain_user_attributes(|_| false))).unwrap();
        let merged = crate::record::parse(keyring.records()[0].0.bytes().as_bytes()).unwrap();
        let of_proof = merged.user_attributes().flat_map(|ua| ua.certifications()).count();
        let of_user_id = merged.userids().flat_map(|ua| ua.certifications()).count();
        assert_eq!((of_proof, of_user_id), (1, 1));
    }

    /// Anybody can append an attribute to anybody's certificate; only the owner's counts.
    #[test]
    fn a_proof_that_the_owner_has_not_bound_is_dropped() {
        let cert = with_attributes();
        let forged: Packet = proof(b"forged").into();
        let with_forged = cert.clone().insert_packets([forged]).unwrap().0;
        let keyring = empty();
        keyring.add_stranger(&bytes(&with_forged)).unwrap();
        assert_eq!(proofs(&keyring, &cert), [DKIM]);
        keyring.add(CertificateRecord::new(&bytes(&cert)).unwrap(), Origin::Local).unwrap();
        let kept = crate::record::parse(keyring.records()[0].0.bytes().as_bytes()).unwrap();
        assert_eq!(kept.user_attributes().count(), 1);
    }
}
