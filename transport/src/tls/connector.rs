//! Both ends of a connection, as `rustls` wants them set up.

use std::fmt;
use std::sync::Arc;

use bftkv_protocol::{Channel, ChannelKey, ChannelStanding, NodeId, SealError};
use rustls::client::{
    AlwaysResolvesClientRawPublicKeys, ClientSessionMemoryCache, Resumption, Tls12Resumption,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::{AlwaysResolvesServerRawPublicKeys, ServerSessionMemoryCache};
use rustls::version::TLS13;
use rustls::{ClientConfig, CommonState, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::verifiers::{AnyKey, NodesKey};
use super::{ALPN, keys, server_name};
use crate::TransportError;

/// Sessions that a server, or a client, remembers so that the next connection costs no public-key
/// signatures: some 2 KiB each. Whose is forgotten shows its key again.
const SESSIONS: usize = 1024;

/// A connection to a node, whose key was that node's when it was made.
type TlsConnection = TlsStream<TcpStream>;

/// Makes connections to nodes.
#[derive(Clone)]
pub(crate) struct Connector {
    channel: Arc<dyn Channel>,
    tls: TlsConnector,
}

impl Connector {
    /// # Errors
    /// The cryptographic library cannot do TLS 1.3; ours.
    pub(crate) fn new(channel: Arc<dyn Channel>) -> Result<Self, SealError> {
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let verifier = NodesKey { channel: channel.clone(), algorithms };
        let own = AlwaysResolvesClientRawPublicKeys::new(keys::own(channel.clone()));
        let sessions = Arc::new(ClientSessionMemoryCache::new(SESSIONS));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(broken)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(own));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_sni = false;
        config.enable_early_data = false;
        config.resumption = Resumption::store(sessions).tls12_resumption(Tls12Resumption::Disabled);
        Ok(Self { channel, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// The own key, and those of others.
    pub(crate) fn channel(&self) -> &Arc<dyn Channel> {
        &self.channel
    }

    /// Whether a connection with this key at its other end is one to the node.
    pub(crate) fn leads_to(&self, node: &NodeId, key: &ChannelKey) -> bool {
        self.channel.standing(node, key) == ChannelStanding::Valid
    }

    /// Shakes hands with a node. Whose key it is is looked at afterwards too: no verifier is called
    /// when a session is resumed.
    ///
    /// # Errors
    /// [`TransportError::WrongKey`], or the connection broke.
    pub(crate) async fn connect(
        &self,
        node: &NodeId,
        stream: TcpStream,
    ) -> Result<(TlsConnection, ChannelKey), TransportError> {
        let name = server_name::of(node)
            .ok_or_else(|| TransportError::Unreachable("no name for the node".to_owned()))?;
        let connected = self.tls.connect(name, stream).await.map_err(not_shaken)?;
        let state: &CommonState = connected.get_ref().1;
        match peer_key(state) {
            Some(key) if self.leads_to(node, &key) => Ok((connected, key)),
            _ => Err(TransportError::WrongKey),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({})", self.channel.id())
    }
}

/// The server's side.
///
/// # Errors
/// The cryptographic library cannot do TLS 1.3; ours.
pub(crate) fn acceptor(channel: Arc<dyn Channel>) -> Result<TlsAcceptor, SealError> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let own = AlwaysResolvesServerRawPublicKeys::new(keys::own(channel));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(broken)?
        .with_client_cert_verifier(Arc::new(AnyKey { algorithms }))
        .with_cert_resolver(Arc::new(own));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 1;
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The key of the other end, also of a session that was resumed. None if it did not say that it
/// speaks our protocol: ALPN is not asked for by TLS itself, so its absence breaks no handshake.
pub(crate) fn peer_key(state: &CommonState) -> Option<ChannelKey> {
    if state.alpn_protocol() != Some(ALPN) {
        return None;
    }
    let spki: &CertificateDer<'_> = state.peer_certificates()?.first()?;
    keys::from_spki(spki.as_ref())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn broken(error: rustls::Error) -> SealError {
    SealError::OwnKey(format!("TLS cannot be set up: {error}"))
}

/// Whatever comes back instead of the node's handshake, there is no other way to that node.
fn not_shaken(error: std::io::Error) -> TransportError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => TransportError::WrongKey,
        _ => TransportError::Unreachable(format!("no TLS handshake: {error}")),
    }
}
