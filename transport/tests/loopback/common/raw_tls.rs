//! TLS by hand: clients that do what no well-behaved client does, and that check nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bftkv_protocol::{NodeId, Request, encode};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::ring;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuiteCommon, ClientConfig, ConnectionTrafficSecrets, DigitallySignedStruct, Error,
    SignatureScheme, SupportedCipherSuite, Tls13CipherSuite,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fake_channel::{secret, spki};

/// How a client shakes hands. The default is what a good one does.
pub struct Hands {
    /// The key that it shows; `None`: none at all.
    pub shown: Option<u8>,
    /// The secret with which it signs.
    pub signs: u8,
    pub alpn: Vec<Vec<u8>>,
    /// The ciphers that it uses; `None`: all.
    pub suite: Option<SupportedCipherSuite>,
    /// Whether it takes a raw public key of the server, or wants an X.509 certificate.
    pub raw: bool,
}

impl Hands {
    pub fn of(seed: u8) -> Self {
        Self {
            shown: Some(seed),
            signs: seed,
            alpn: vec![b"bftkv/1".to_vec()],
            suite: None,
            raw: true,
        }
    }

    pub async fn shake(self, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        self.shake_over(TcpStream::connect(address).await?).await
    }

    pub async fn shake_over(self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let mut provider = ring::default_provider();
        if let Some(suite) = self.suite {
            provider.cipher_suites = vec![suite];
        }
        let verifier = Arc::new(Anybody { raw: self.raw });
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match self.shown {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let shown = vec![CertificateDer::from(spki(shown))];
                let key = Arc::new(CertifiedKey::new(shown, secret(self.signs)));
                let resolver = AlwaysResolvesClientRawPublicKeys::new(key);
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        config.alpn_protocols = self.alpn;
        let name = ServerName::try_from("test.invalid").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

#[derive(Debug)]
struct Anybody {
    raw: bool,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}

/// AES-GCM whose keys are worn out after so many records, and that counts them.
#[derive(Clone, Copy)]
pub struct CountedKeys(&'static dyn Tls13AeadAlgorithm, &'static [AtomicUsize; 2]);

impl CountedKeys {
    pub fn worn_out_after(records: u64) -> (SupportedCipherSuite, Self) {
        let SupportedCipherSuite::Tls13(real) = TLS13_AES_128_GCM_SHA256;
        let keys = Self(real.aead_alg, Box::leak(Box::default()));
        let common = CipherSuiteCommon {
            suite: real.common.suite,
            hash_provider: real.common.hash_provider,
            confidentiality_limit: records,
        };
        let suite = Tls13CipherSuite {
            common,
            hkdf_provider: real.hkdf_provider,
            aead_alg: Box::leak(Box::new(keys)),
            quic: None,
        };
        (SupportedCipherSuite::Tls13(Box::leak(Box::new(suite))), keys)
    }

    /// Keys so far, of the own direction and of the other one; those of the handshake included.
    pub fn counts(&self) -> (usize, usize) {
        let [own, other] = self.1;
        (own.load(Ordering::SeqCst), other.load(Ordering::SeqCst))
    }
}

impl Tls13AeadAlgorithm for CountedKeys {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.1[0].fetch_add(1, Ordering::SeqCst);
        self.0.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.1[1].fetch_add(1, Ordering::SeqCst);
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

/// The question as `docs/wire.md` describes it, written a second time on purpose.
#[derive(Serialize, Deserialize)]
struct Question {
    version: u8,
    from: NodeId,
    to: NodeId,
    request: ByteBuf,
}

/// A question.
pub fn question(version: u8, from: u8, to: u8, request: &Request) -> Vec<u8> {
    let request = ByteBuf::from(encode(request));
    encode(&Question { version, from: super::id(from), to: super::id(to), request })
}
