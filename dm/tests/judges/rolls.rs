//! unbound follows our changes of keys, and stops believing when they come in the wrong order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bftkv_dm::keys::{KskPhase, KskRoll, Signers};
use bftkv_dm::publish::{Access, Responder, Server, ServerLimits};
use bftkv_dm::sign::{BatchSigner as _, Denial, Dnskey, Recipe, Role, Terms};
use bftkv_dm::zone::{Limits, Name, Zone};

use crate::daemons::Daemon;
use crate::programs::{is_here, now};
use crate::signers::{Signer, Zsk, ed25519_key};

/// Everything is forgotten after a second.
const CONTENT: &str = "\
$TTL 1
@ SOA ns admin 1 1800 900 604800 1
@ NS ns
ns A 192.0.2.1
";

/// A zone with changing keys behind our own server.
struct Served {
    runtime: tokio::runtime::Runtime,
    responder: Arc<Responder>,
    server: Server,
    serial: u32,
    ksk: Signer,
    new_ksk: Signer,
}

fn apex() -> Name {
    "example.".parse().unwrap()
}

impl Served {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let responder = Arc::new(Responder::new(apex(), Access::default()));
        let any = "127.0.0.1:0".parse().unwrap();
        let bound = Server::bind(any, Arc::clone(&responder), ServerLimits::default());
        let server = runtime.block_on(bound).unwrap();
        let (ksk, new_ksk) = (ed25519_key(1), ed25519_key(2));
        Self { runtime, responder, server, serial: 1, ksk, new_ksk }
    }

    fn port(&self) -> u16 {
        self.server.local_addr().port()
    }

    /// Publishes the next serial: a DNSKEY set of this phase and TTL with these ZSKs, and the zone
    /// signed by the first of them.
    fn publish(&mut self, phase: KskPhase, zsks: &mut [&mut Zsk], ttl: u32) {
        let terms = Terms::usual(now()).unwrap();
        let roll = KskRoll::new(now(), &[40, 20, 40], ttl).unwrap();
        let keys: Vec<_> = zsks.iter().map(|zsk| zsk.dnskey()).collect();
        let mut signers = Signers {
            ksk: &mut self.ksk,
            new_ksk: Some((roll, &mut self.new_ksk)),
            zsks: keys.clone(),
            new_zsk: None,
        };
        let set = signers.set(&apex(), &keys, (phase, ttl, &terms)).unwrap();
        let recipe = Recipe::new(set, keys[0].clone(), Denial::Nsec, true, terms).unwrap();
        let content = Zone::read(CONTENT.as_bytes(), Some(apex()), Limits::default()).unwrap();
        self.serial += 1;
        let content = content.with_serial(self.serial).unwrap();
        assert!(self.responder.publish(Arc::new(zsks[0].sign(&recipe, &content, None))));
    }

    /// A resolver whose trust begins with the old KSK, and which follows RFC 5011.
    fn resolver(&self, more: &str) -> Daemon {
        let anchor = Dnskey::of(self.ksk.key(), Role::Ksk).unwrap().line(&apex()) + "\n";
        let more = format!("  auto-trust-anchor-file: \"FOLDER/auto\"\n{more}");
        Daemon::resolver("example.", self.port(), &more, &[("auto", &anchor)])
    }

    /// Whether the resolver says in time that the newest zone is secure.
    fn is_secure_at(&self, resolver: &Daemon) -> bool {
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            let said = resolver.dig(&["example.", "SOA"]);
            let flags = said.lines().find(|line| line.starts_with(";; flags:")).unwrap_or_default();
            if said.contains(&format!(" {} 1800 ", self.serial)) {
                return flags.contains(" ad;");
            }
            if said.contains("status: SERVFAIL") {
                return false;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("neither secure nor bogus:\n{}", resolver.log());
    }
}

/// Waits until the resolver's file says this of the key.
fn wait_for(resolver: &Daemon, tag: u16, state: &str) {
    let until = Instant::now() + Duration::from_secs(40);
    let line = || {
        let file = resolver.file("auto");
        let mut lines = file.lines().map(str::to_owned);
        lines.find(|line| line.contains(&format!("id = {tag} "))).unwrap_or_default()
    };
    while !line().contains(state) {
        let (file, log) = (resolver.file("auto"), resolver.log());
        assert!(Instant::now() < until, "{tag} is not {state}:\n{file}\n{log}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

const PATIENCE: &str = "  permit-small-holddown: yes\n  add-holddown: 2\n  del-holddown: 2\n";

#[test]
fn a_resolver_follows_a_change_of_ksk_that_waits_and_no_other() {
    if !is_here("unbound") || !is_here("dig") {
        return;
    }
    let mut served = Served::start();
    let mut zsk = Zsk::shares(ed25519_key(3));
    let zsks = &mut [&mut zsk];
    served.publish(KskPhase::Old, zsks, 1);
    // One holds new keys down for two seconds; the other for thirty days, as RFC 5011 says. What
    // waits long enough for the first comes too early for the second.
    let (follows, early) = (served.resolver(PATIENCE), served.resolver(""));
    assert!(served.is_secure_at(&follows) && served.is_secure_at(&early));

    let tag = |key: Dnskey| key.tag();
    let new = tag(Dnskey::of(served.new_ksk.key(), Role::Ksk).unwrap());
    let revoked = tag(Dnskey::of(served.ksk.key(), Role::Ksk).unwrap().revoked());
    served.publish(KskPhase::Published, zsks, 1);
    wait_for(&follows, new, "VALID");
    assert!(served.is_secure_at(&follows) && served.is_secure_at(&early));
    served.publish(KskPhase::Switched, zsks, 1);
    std::thread::sleep(Duration::from_secs(2));
    assert!(served.is_secure_at(&follows), "{}", follows.log());
    assert!(!served.is_secure_at(&early), "a key was trusted at once");
    served.publish(KskPhase::Revoked, zsks, 1);
    wait_for(&follows, revoked, "REVOKED");
    assert!(served.is_secure_at(&follows), "{}", follows.log());
    served.publish(KskPhase::New, zsks, 1);
    std::thread::sleep(Duration::from_secs(2));
    assert!(served.is_secure_at(&follows), "{}", follows.log());
    served.runtime.block_on(served.server.shutdown());
}

#[test]
fn a_change_of_zsk_is_secure_all_the_time_if_the_key_was_seen_before() {
    if !is_here("unbound") || !is_here("dig") {
        return;
    }
    let mut served = Served::start();
    let (mut old, mut new) = (Zsk::shares(ed25519_key(3)), Zsk::shares(ed25519_key(4)));
    served.publish(KskPhase::Old, &mut [&mut old], 1);
    let resolver = served.resolver("");
    assert!(served.is_secure_at(&resolver));
    served.publish(KskPhase::Old, &mut [&mut old, &mut new], 1);
    std::thread::sleep(Duration::from_millis(2_100));
    assert!(served.is_secure_at(&resolver));
    // This set stays in the cache, and has both keys.
    served.publish(KskPhase::Old, &mut [&mut new, &mut old], 3_600);
    std::thread::sleep(Duration::from_millis(2_100));
    assert!(served.is_secure_at(&resolver), "{}", resolver.log());
    served.publish(KskPhase::Old, &mut [&mut new], 3_600);
    std::thread::sleep(Duration::from_millis(2_100));
    assert!(served.is_secure_at(&resolver), "{}", resolver.log());
    // A key that nobody has seen.
    let mut unseen = Zsk::shares(ed25519_key(5));
    served.publish(KskPhase::Old, &mut [&mut unseen], 3_600);
    std::thread::sleep(Duration::from_millis(2_100));
    assert!(!served.is_secure_at(&resolver), "the cache has the old set");
    served.runtime.block_on(served.server.shutdown());
}
