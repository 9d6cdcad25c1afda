//! Our primary serves other people's secondaries, and other people's resolver believes these.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bftkv_dm::publish::{
    Access, Notified, Notifier, Responder, Rule, Secondary, Server, ServerLimits, TsigKey,
};
use bftkv_dm::sign::{BatchSigner as _, Dnskey, Role};
use bftkv_dm::zone::{Limits, Name, Zone};
use tokio::runtime::Runtime;

use crate::daemons::{Daemon, Kind, servers_here};
use crate::root_zone::{all_versions, published};
use crate::signers::{Zsk, ed25519_key, p256_key, rsa_key};

struct Primary {
    runtime: Runtime,
    responder: Arc<Responder>,
    server: Server,
}

fn tsig(kind: Kind) -> TsigKey {
    TsigKey::new(&kind.key(), "hmac-sha256", &[7; 32]).unwrap()
}

impl Primary {
    fn start(kinds: &[Kind]) -> Self {
        let runtime = Runtime::new().unwrap();
        let from = "127.0.0.1".parse().unwrap();
        let rules = kinds.iter().map(|kind| Rule { from, key: Some(tsig(*kind)) }).collect();
        let responder = Arc::new(Responder::new(Name::root(), Access::new(rules)));
        let bound = Server::bind(
            "127.0.0.1:0".parse().unwrap(),
            Arc::clone(&responder),
            ServerLimits::default(),
        );
        let server = runtime.block_on(bound).unwrap();
        Self { runtime, responder, server }
    }

    /// Publishes the zone, tells the secondaries, and waits until each of them serves it.
    fn publish(&self, zone: &Arc<Zone>, secondaries: &[(Kind, Daemon)]) {
        assert!(self.responder.publish(Arc::clone(zone)));
        let told = secondaries.iter().map(|(kind, daemon)| Secondary {
            address: ([127, 0, 0, 1], daemon.port()).into(),
            key: Some(tsig(*kind)),
        });
        let notifier = Notifier::new(told.collect(), (0, 1), Duration::from_secs(60));
        self.runtime.block_on(notifier.tell(Arc::clone(zone)));
        let states = notifier.status();
        assert!(states.values().all(|state| state.1 == Notified::Acknowledged), "{states:?}");
        let until = Instant::now() + Duration::from_secs(60);
        for (kind, daemon) in secondaries {
            while serial(daemon) != Some(zone.serial()) {
                assert!(Instant::now() < until, "{kind:?} has not got it:\n{}", daemon.log());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn serial(daemon: &Daemon) -> Option<u32> {
    daemon.dig(&[".", "SOA", "+short", "+norec"]).split_whitespace().nth(2)?.parse().ok()
}

/// The whole zone as the secondary has it.
fn copy(daemon: &Daemon) -> Zone {
    let text = daemon.dig(&[".", "AXFR", "+onesoa", "+nocomments", "+nostats", "+nocmd"]);
    Zone::read(text.as_bytes(), Some(Name::root()), Limits::default()).unwrap()
}

fn resolver(server: &Daemon, anchor: &str) -> Daemon {
    let more = "  trust-anchor-file: \"FOLDER/anchor\"";
    Daemon::resolver(".", server.port(), more, &[("anchor", anchor)])
}

/// Unbound says that what this server says is secure: data, no data, no such name. With another
/// trust anchor it answers nothing.
fn is_believed(kind: Kind, server: &Daemon, anchor: &str) {
    let believing = resolver(server, anchor);
    for (question, status) in [
        ([".", "SOA"], "NOERROR"),
        (["nl", "DS"], "NOERROR"),
        // A delegation without DS.
        (["zw", "DS"], "NOERROR"),
        (["no-such-domain", "DS"], "NXDOMAIN"),
    ] {
        let said = believing.dig(&question);
        let flags = said.lines().find(|line| line.starts_with(";; flags:")).unwrap_or_default();
        let is_secure = said.contains(&format!("status: {status}")) && flags.contains(" ad;");
        assert!(is_secure, "{kind:?} {question:?}: {said}\n{}", believing.log());
    }
    let other = Dnskey::of(ed25519_key(9).key(), Role::Ksk).unwrap().line(&Name::root());
    let doubting = resolver(server, &other);
    let said = doubting.dig(&["nl", "DS"]);
    assert!(said.contains("status: SERVFAIL"), "{kind:?}: {said}\n{}", doubting.log());
}

/// The secondaries get the first zone whole, every other one by what has changed, and serve it
/// to the byte.
fn secondaries_follow(zones: &[Arc<Zone>]) {
    let kinds = servers_here();
    let primary = Primary::start(&kinds);
    let port = primary.server.local_addr().port();
    let started: Vec<_> =
        kinds.iter().map(|kind| (*kind, Daemon::secondary(*kind, port))).collect();
    let (first, last) = (zones.first().unwrap(), zones.last().unwrap());
    let text = first.to_string();
    let anchor = text.lines().find(|line| line.contains("\tDNSKEY\t257")).unwrap();

    primary.publish(first, &started);
    for (kind, daemon) in &started {
        assert!(copy(daemon) == **first, "{kind:?} serves something else:\n{}", daemon.log());
    }
    for zone in &zones[1..] {
        primary.publish(zone, &started);
    }
    for (kind, daemon) in &started {
        assert!(copy(daemon) == **last, "{kind:?} serves something else:\n{}", daemon.log());
        is_believed(*kind, daemon, anchor);
    }

    let sent = primary.responder.sent();
    let updates = u64::try_from(zones.len() - 1).unwrap();
    for kind in &kinds {
        let to = sent[kind.program()];
        eprintln!("{kind:?} was sent {to:?}");
        assert_eq!((to.whole, to.increments), (1, updates), "{kind:?}");
        // A few kilobytes each; the zone has 2 MB.
        assert!(to.increment_bytes / updates < 8_000, "{kind:?}: {to:?}");
    }
    primary.runtime.block_on(primary.server.shutdown());
}

#[test]
fn secondaries_follow_by_increments_and_are_believed() {
    secondaries_follow(&published().0);
}

#[test]
#[ignore = "takes a minute: RSA and P-256"]
fn secondaries_follow_with_every_algorithm() {
    let mut rsa = Zsk::shares(rsa_key(1_536, 2));
    secondaries_follow(&all_versions(&mut rsa_key(2_048, 1), &mut rsa).0);
    secondaries_follow(&all_versions(&mut p256_key(1), &mut Zsk::whole_p256()).0);
}
