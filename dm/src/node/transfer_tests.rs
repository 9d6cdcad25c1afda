//! AXFR as a source, also from a server or over a way that breaks it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::{Primary, PrimarySource, Source as _, content_of, read_tsig_key};
use crate::publish::{Access, Responder, Rule, Server, ServerLimits, TsigKey};
use crate::zone::{Limits, Name, Zone};

fn apex() -> Name {
    "a.".parse().unwrap()
}

fn zone(serial: u32, more: &str) -> Zone {
    let text = format!("a. 60 IN SOA a. a. {serial} 1 1 1 1\na. 60 IN NS n1.a.\n{more}");
    Zone::read(text.as_bytes(), Some(apex()), Limits::default()).unwrap()
}

fn key(byte: &str) -> TsigKey {
    read_tsig_key(&format!("k. hmac-sha256 {}=\n", byte.repeat(43))).unwrap()
}

async fn serve(zone: &Zone, key: Option<TsigKey>) -> (Server, Arc<Responder>) {
    let rule = Rule { from: "127.0.0.1".parse().unwrap(), key };
    let responder = Arc::new(Responder::new(apex(), Access::new(vec![rule])));
    assert!(responder.publish(Arc::new(zone.clone())));
    let any = ([127, 0, 0, 1], 0).into();
    let server = Server::bind(any, Arc::clone(&responder), ServerLimits::default()).await;
    (server.unwrap(), responder)
}

#[tokio::test]
async fn a_zone_comes_over_whole_from_a_server_that_wants_a_key() {
    let more: String = (0..2_000).map(|n| format!("n{n}.a. 60 IN A 192.0.2.1\n")).collect();
    let zone = zone(7, &more);
    let (server, _) = serve(&zone, Some(key("A"))).await;
    let primary = |key| Primary { address: server.local_addr(), key };
    let (right, none, other) = (primary(Some(key("A"))), primary(None), primary(Some(key("E"))));
    tokio::task::spawn_blocking(move || {
        assert_eq!(right.serial(&apex()), Ok(7));
        assert_eq!(right.transfer(&apex(), Limits::default()), Ok(zone));
        let few = Limits { bytes: 1_000, ..Limits::default() };
        assert!(right.transfer(&apex(), few).unwrap_err().contains("more than"));
        assert!(none.transfer(&apex(), Limits::default()).unwrap_err().contains("REFUSED"));
        assert!(other.transfer(&apex(), Limits::default()).unwrap_err().contains("TSIG"));
    })
    .await
    .unwrap();
    assert!(read_tsig_key("k. hmac-sha256").is_err() && read_tsig_key("k. x !").is_err());
}

/// What is done to the bytes of an answer.
type Damage = fn(&mut Vec<u8>, usize);

/// Stands before a server and damages its answers at a certain place.
struct Damaging {
    address: SocketAddr,
    damage: Arc<Mutex<Damage>>,
    at: Arc<AtomicUsize>,
}

impl Damaging {
    fn of(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let damage: Arc<Mutex<Damage>> = Arc::new(Mutex::new(|_, _| {}));
        let at = Arc::new(AtomicUsize::new(0));
        let (how, place) = (Arc::clone(&damage), Arc::clone(&at));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let mut answer = answer_of(server, &mut client);
                (*how.lock().unwrap())(&mut answer, place.load(Ordering::Relaxed));
                // Whoever has seen enough goes away.
                let _ = client.write_all(&answer);
            }
        });
        Self { address, damage, at }
    }

    fn with(&self, damage: Damage, at: usize) {
        *self.damage.lock().unwrap() = damage;
        self.at.store(at, Ordering::Relaxed);
    }
}

/// All that the server says to the client's question.
fn answer_of(server: SocketAddr, client: &mut TcpStream) -> Vec<u8> {
    let mut upstream = TcpStream::connect(server).unwrap();
    let mut length = [0; 2];
    client.read_exact(&mut length).unwrap();
    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
    client.read_exact(&mut question).unwrap();
    upstream.write_all(&[&length[..], &question].concat()).unwrap();
    upstream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).unwrap();
    answer
}

/// Every way to cut an answer off, and every bit of it turned: an error that names the server, or
/// the right zone. Without a key, what is turned in an address goes through unseen, but nothing
/// worse happens.
#[tokio::test]
async fn a_damaged_transfer_is_an_error_that_names_the_server() {
    let zone = zone(7, "n1.a. 60 IN A 192.0.2.1\nb.a. 60 IN NS n1.a.\n");
    for key in [Some(key("A")), None] {
        let (server, _) = serve(&zone, key.clone()).await;
        let (address, zone) = (server.local_addr(), zone.clone());
        tokio::task::spawn_blocking(move || damage_all(address, key, &zone)).await.unwrap();
    }
}

fn damage_all(server: SocketAddr, key: Option<TsigKey>, zone: &Zone) {
    let proxy = Damaging::of(server);
    let has_key = key.is_some();
    let primary = Primary { address: proxy.address, key };
    let transfer = || primary.transfer(&apex(), Limits::default());
    assert_eq!(transfer().as_ref(), Ok(zone));
    let named = format!("AXFR of a. from {}: ", proxy.address);
    let is_named =
        |told: &Result<Zone, String>| told.as_ref().is_err_and(|error| error.starts_with(&named));
    let (mut bytes, mut found) = (0, 0);
    loop {
        proxy.with(|answer, at| answer.truncate(at), bytes);
        let told = transfer();
        if told.is_ok() {
            assert_eq!(told.as_ref(), Ok(zone), "cut off after {bytes} bytes");
            break;
        }
        assert!(is_named(&told), "cut off after {bytes} bytes: {told:?}");
        bytes += 1;
    }
    assert!(bytes > 100);
    for bit in 0..bytes * 8 {
        proxy.with(|answer, bit| answer[bit / 8] ^= 1 << (bit % 8), bit);
        let told = transfer();
        let is_unseen = told.as_ref().is_ok_and(|told| !has_key || told == zone);
        assert!(is_unseen || is_named(&told), "bit {bit}: {told:?}");
        found += usize::from(told.is_err());
    }
    assert!(found > bytes * 2, "{found} of {} are found", bytes * 8);
}

#[tokio::test]
async fn a_source_that_breaks_is_read_again_when_it_is_whole() {
    let (old, new) = (zone(7, ""), zone(8, "n1.a. 60 IN A 192.0.2.1\n"));
    let (server, responder) = serve(&old, None).await;
    let address = server.local_addr();
    let work = move || {
        let proxy = Damaging::of(address);
        let primary = Primary { address: proxy.address, key: None };
        let source = PrimarySource::new(primary, apex());
        let seen = |zone: &Zone| Ok((zone.serial(), Arc::new(content_of(zone).unwrap())));
        assert_eq!(source.read(), seen(&old));
        assert!(responder.publish(Arc::new(new.clone())));
        // The last bytes are missing.
        proxy.with(|answer, bytes| answer.truncate(answer.len().saturating_sub(bytes)), 20);
        for _ in 0..3 {
            assert!(source.read().unwrap_err().contains(&proxy.address.to_string()));
        }
        proxy.with(|_, _| {}, 0);
        assert_eq!(source.read(), seen(&new));
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

/// Who sends something now and then is not waited for longer than who sends nothing.
#[test]
fn a_server_that_drips_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let primary = Primary { address: listener.local_addr().unwrap(), key: None };
    let drip = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The length of a long message, and then some of it. It ends when the other side goes.
        let mut sent = stream.write_all(&[0xff, 0xff]);
        while sent.is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(20));
            sent = stream.write_all(&[0]);
        }
    });
    let wrong = primary.ask_keys(&apex(), std::time::Duration::from_millis(200)).unwrap_err();
    assert_eq!(wrong, "it takes too long");
    drip.join().unwrap();
}
