//! What secondaries, strangers and sources may do wrong (`docs/attacks.md`).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bftkv_threshold::{KeyShare as _, Roster, ed25519};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::tests::{request, responder, responder_for};
use super::{Desk, Offered, Server, ServerLimits};
use crate::sign::{BatchSigner as _, Denial, Dnskey, KeySet, Recipe, Role, ShareSigner, Terms};
use crate::zone::{Limits, Name, Rtype, Zone};

const NOW: u32 = 1_800_000_000;
const DAY: u32 = 86_400;
const IDLE: Duration = Duration::from_millis(300);

/// A server that lets two connections of each address in, and three requests through each.
async fn server(transfers: usize) -> Server {
    let limits = ServerLimits {
        connections: 64,
        connections_per_address: 2,
        transfers,
        requests_per_connection: 3,
        idle: IDLE,
        transfer: Duration::from_secs(5),
    };
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    Server::bind(any, Arc::new(responder(None)), limits).await.unwrap()
}

/// A connection from 127.0.0.`last`.
async fn connect(server: SocketAddr, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
    socket.connect(server).await.unwrap()
}

/// How many bytes the first message of the answer has; `None` if the connection is cut.
async fn ask(stream: &mut TcpStream, rtype: Rtype) -> Option<u16> {
    let message = request(rtype, None).finish();
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    stream.write_all(&[length.as_slice(), &message].concat()).await.ok()?;
    let read = async {
        let length = stream.read_u16().await.ok()?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await.ok()?;
        Some(length)
    };
    timeout(Duration::from_secs(5), read).await.expect("neither an answer nor an end")
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(test);
}

/// Addresses from 127.0.0.2 on exist without doing anything on Linux only.
#[cfg(target_os = "linux")]
#[test]
fn a_flood_of_connections_from_one_address_leaves_room_for_others() {
    run(async {
        let server = server(4).await;
        let at = server.local_addr();
        let mut flood = Vec::new();
        for _ in 0..40 {
            flood.push(connect(at, 1).await);
        }
        let mut other = connect(at, 2).await;
        assert!(ask(&mut other, Rtype::AXFR).await.is_some());
        let mut answered = 0;
        for stream in &mut flood {
            answered += u32::from(ask(stream, Rtype::SOA).await.is_some());
        }
        assert_eq!(answered, 2, "two places for each address");
        drop(flood);
        // Whoever goes leaves its place.
        tokio::time::sleep(IDLE).await;
        assert!(ask(&mut connect(at, 1).await, Rtype::SOA).await.is_some());
        server.shutdown().await;
    });
}

/// Whoever has one address of an IPv6 network has all of them.
#[test]
fn addresses_of_one_network_have_their_places_together() {
    let place = |address: &str| super::server::network_of(address.parse().unwrap());
    assert_eq!(place("2001:db8:1:2::3"), place("2001:db8:1:2:ffff::4"));
    assert_ne!(place("2001:db8:1:2::3"), place("2001:db8:1:3::3"));
    assert_ne!(place("192.0.2.1"), place("192.0.2.2"));
    assert_eq!(place("::ffff:192.0.2.1"), place("192.0.2.1"));
}

#[test]
fn strangers_take_no_place_from_those_who_may_have_the_zone() {
    run(async {
        let known = responder_for("127.0.0.1/32", None);
        let limits = ServerLimits { connections: 3, ..ServerLimits::default() };
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let server = Server::bind(any, Arc::new(known), limits).await.unwrap();
        let at = server.local_addr();
        let mut flood = Vec::new();
        for _ in 0..10 {
            flood.push(connect(at, 2).await);
        }
        assert!(ask(&mut flood[0], Rtype::SOA).await.is_some());
        let mut secondary = connect(at, 1).await;
        assert!(ask(&mut secondary, Rtype::AXFR).await.is_some());
        server.shutdown().await;
    });
}

#[test]
fn whoever_sends_nothing_half_a_message_or_too_much_is_cut_off() {
    run(async {
        let server = server(4).await;
        let at = server.local_addr();
        for begun in [&[][..], &[0], &[0, 100, 1, 2, 3]] {
            let mut stream = connect(at, 1).await;
            stream.write_all(begun).await.unwrap();
            let end = timeout(Duration::from_secs(5), stream.read_u8()).await;
            assert!(end.expect("it is still open").is_err());
        }
        let mut stream = connect(at, 1).await;
        for _ in 0..3 {
            assert!(ask(&mut stream, Rtype::AXFR).await.is_some());
        }
        assert_eq!(ask(&mut stream, Rtype::SOA).await, None, "the fourth request");
        server.shutdown().await;
    });
}

#[test]
fn with_too_many_transfers_under_way_questions_are_still_answered() {
    run(async {
        let server = server(0).await;
        let at = server.local_addr();
        assert_eq!(ask(&mut connect(at, 1).await, Rtype::AXFR).await, None);
        assert_eq!(ask(&mut connect(at, 1).await, Rtype::IXFR).await, None);
        tokio::time::sleep(IDLE).await;
        assert!(ask(&mut connect(at, 1).await, Rtype::SOA).await.is_some());
        server.shutdown().await;
    });
}

fn signer(seed: u64) -> ShareSigner<ChaCha20Rng> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let shares = ed25519::deal(&Roster::first(4, 2).unwrap(), &mut rng).unwrap();
    let shares: Vec<_> = shares.iter().map(|share| share.to_secret_bytes()).collect();
    ShareSigner::new(&shares, rng).unwrap()
}

/// A signed zone whose key set was signed at one time and the rest at another.
fn signed(serial: u32, names: u32, (keys_at, at): (u32, u32)) -> Arc<Zone> {
    let more: String = (0..names).map(|n| format!("n{n} NS a.\n")).collect();
    let text = format!("$TTL 60\n. SOA a. b. {serial} 1800 900 604800 60\n. NS a.\n{more}");
    let zone = Zone::read(text.as_bytes(), Some(Name::root()), Limits::default()).unwrap();
    let (mut ksk, mut zsk) = (signer(1), signer(2));
    let key = Dnskey::of(zsk.key(), Role::Zsk).unwrap();
    let terms = |at| Terms::usual(at).unwrap();
    let keys = KeySet::sign(&Name::root(), vec![key.clone()], 60, &terms(keys_at), &mut ksk);
    let recipe = Recipe::new(keys.unwrap(), key, Denial::Nsec, true, terms(at)).unwrap();
    Arc::new(recipe.sign(&zone, None, &mut zsk).unwrap())
}

/// What is wrong is held with a reason that names the record, and what was good goes on.
#[test]
fn a_zone_of_another_time_or_serial_is_held_and_says_why() {
    let now = (NOW, NOW);
    let mut desk = Desk::new(50);
    assert_eq!(desk.offer(&signed(5, 20, now), NOW), Offered::Right);
    let cases = [
        ("its serial does not follow 5", signed(4, 20, now)),
        ("its serial does not follow 5", signed(5, 20, now)),
        // Half of all numbers away: neither before nor after (RFC 1982).
        ("its serial does not follow 5", signed(5 + (1 << 31), 20, now)),
        // The clock of whoever signed is a day ahead.
        (". RRSIG NS: does not hold before", signed(6, 20, (NOW, NOW + DAY))),
        // The keys have expired, and so has the zone.
        (". RRSIG DNSKEY: expired at", signed(6, 20, (NOW - 14 * DAY, NOW))),
        (". RRSIG NS: expired at", signed(6, 20, (NOW, NOW - 14 * DAY))),
        ("sets change, of", signed(6, 60, now)),
        // Of those that are neither signatures nor denials.
        ("sets change, of", signed(6, 35, now)),
    ];
    for (wanted, zone) in cases {
        let offered = desk.offer(&zone, NOW);
        let Offered::Held(why) = &offered else { panic!("{wanted}: {offered:?}") };
        assert!(why.contains(wanted), "{wanted}: {why}");
        assert_eq!(desk.held().unwrap().1, why);
    }
    // A clock that is a day behind or ahead here: nothing is published that does not hold.
    for off in [NOW - DAY, NOW + 14 * DAY] {
        assert!(matches!(desk.offer(&signed(6, 20, now), off), Offered::Held(_)));
    }
    assert!(matches!(desk.offer(&signed(6, 20, now), NOW), Offered::Right));
    assert!(desk.held().is_none());
    // What an operator releases goes out, once.
    assert!(matches!(desk.offer(&signed(7, 90, now), NOW), Offered::Held(_)));
    assert_eq!(desk.release().unwrap().serial(), 7);
    assert!(desk.release().is_none());
    assert_eq!(desk.offer(&signed(8, 90, now), NOW), Offered::Right);
}
