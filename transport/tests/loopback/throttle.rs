//! Who asks too often is slowed, and nobody else is. A rate of zero gives nothing back, so that no
//! test depends on the machine's speed.
// Clippy knows tests by their attribute only, not the helpers that they call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;

use crate::common::{Echo, FakeSeal, Node, ask_one, client, id, raw, read};
use bftkv_protocol::{NodeId, Request, Response};
use bftkv_transport::{
    BoxFuture, ClientLimits, Handler, HttpServer, HttpTransport, Peer, Rate, ServerLimits,
    TransportError, TransportRefusal,
};

const NEVER: Rate = Rate { per_second: 0, burst: 1 };
/// Whatever the machine does, more than this test sends within one second cannot come back.
const FEW: Rate = Rate { per_second: 1, burst: 10 };
/// Far more than comes back while they are sent.
const MANY: usize = 400;

async fn node(limits: ServerLimits) -> Node {
    Node::with(1, limits, Echo::default()).await
}

/// How many of many requests are answered, and what the others were told.
async fn served(peer: &Peer, who: u8) -> (usize, Vec<TransportError>) {
    let (transport, _seal) = client(who);
    let (mut served, mut refused) = (0, Vec::new());
    for _ in 0..MANY {
        match ask_one(&transport, peer.clone(), read(b"x")).await {
            Ok(_) => served += 1,
            Err(error) => refused.push(error),
        }
    }
    (served, refused)
}

fn is_429(error: &TransportError) -> bool {
    matches!(error, TransportError::Http { status: 429, .. })
}

#[tokio::test]
async fn an_identity_is_told_by_a_signed_refusal_and_others_are_served() {
    let node = node(ServerLimits { requests_per_identity: FEW, ..ServerLimits::default() }).await;
    let (first, refused) = served(&node.peer(), 100).await;
    assert!((10..MANY / 2).contains(&first), "{first} served");
    let signed = TransportError::Refused(TransportRefusal::TooManyRequests);
    assert!(refused.contains(&signed) && refused.iter().any(is_429), "{refused:?}");
    assert!(refused.iter().all(|error| *error == signed || is_429(error)));
    assert!(refused.iter().all(TransportError::is_transient));
    ask_one(&client(101).0, node.peer(), read(b"x")).await.unwrap();
    assert!(node.handler.handled() <= first + 1, "what is refused is not handled");
}

/// Says that everybody is a member.
struct Members(Echo);

impl Handler for Members {
    fn handle(&self, sender: NodeId, request: Request) -> BoxFuture<'_, Response> {
        self.0.handle(sender, request)
    }

    fn is_member(&self, sender: &NodeId) -> bool {
        *sender == id(2)
    }
}

#[tokio::test]
async fn a_member_may_ask_more_than_a_user() {
    // Sixty back in a minute is below the difference.
    let limits = ServerLimits {
        requests_per_identity: Rate { per_second: 1, burst: 50 },
        ..ServerLimits::default()
    };
    let seal = FakeSeal::new(1);
    let handler = Arc::new(Members(Echo::default()));
    let server = HttpServer::bind("127.0.0.1:0", limits, seal.clone(), handler).await.unwrap();
    let peer = Peer::new(seal.own(), format!("http://{}", server.local_addr()));
    let (user, _) = served(&peer, 100).await;
    let (member, _) = served(&peer, 2).await;
    assert!(user < 150 && member >= 200, "user {user}, member {member}");
}

#[tokio::test]
async fn an_address_is_slowed_before_its_body_is_read_and_junk_counts_more() {
    let limits = ServerLimits {
        requests_per_address: Rate { per_second: 1, burst: 100 },
        ..ServerLimits::default()
    };
    let node = node(limits).await;
    let address = node.server.local_addr();
    let mut opened = 0;
    for _ in 0..40 {
        match raw::status(&raw::send_and_read(address, &raw::post(b"junk")).await) {
            400 => opened += 1,
            status => assert_eq!(status, 429),
        }
    }
    // 17 tokens each: 100 are used up by six, and a bucket that is overdrawn takes long to mend.
    assert!((1..20).contains(&opened), "{opened} pieces of junk were opened");
    // Announced and never sent: the answer does not wait for it.
    let head = b"POST /bftkv/1/message HTTP/1.1\r\nhost: t\r\n\
        content-type: application/octet-stream\r\ncontent-length: 100\r\n\r\n";
    assert_eq!(raw::status(&raw::send_and_read(address, head).await), 429);
    assert_eq!(node.handler.handled(), 0);
}

#[tokio::test]
async fn strangers_are_limited_hardest() {
    let limits = ServerLimits { requests_of_strangers: FEW, ..ServerLimits::default() };
    let node = node(limits).await;
    let (transport, seal) = stranger(200);
    let join = || Request::Join { certificate: seal.certificate() };
    let mut refused = 0;
    for _ in 0..MANY {
        refused +=
            usize::from(is_429(&ask_one(&transport, node.peer(), join()).await.unwrap_err()));
    }
    assert!(refused > MANY / 2, "{refused} refused");
    // Those who are known are served all the same, and so are strangers where nothing was used up.
    ask_one(&client(100).0, node.peer(), read(b"x")).await.unwrap();
    let limits = ServerLimits { requests_of_strangers: NEVER, ..ServerLimits::default() };
    let closed = Node::with(3, limits, Echo::default()).await;
    assert!(is_429(&ask_one(&transport, closed.peer(), join()).await.unwrap_err()));
    ask_one(&client(100).0, closed.peer(), read(b"x")).await.unwrap();
}

/// Somebody whose certificate no node keeps.
fn stranger(byte: u8) -> (HttpTransport, Arc<FakeSeal>) {
    let seal = FakeSeal::new(byte);
    (HttpTransport::new(seal.clone(), ClientLimits::default()), seal)
}
