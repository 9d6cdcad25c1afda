//! DS records that follow from what a TLD's own server shows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bftkv_dm::publish::{Access, Responder, Rule, Server, ServerLimits};
use bftkv_dm::zone::{Key, Limits, Name, Rtype, Zone};

use super::masters::{Masters, PATIENCE, zone_text};
use crate::support::{bftkv, text};

/// A zone of that name and serial, signed by a key of its own with shares by the program, and its trust anchor.
fn signed(masters: &Masters, apex: &str, serial: u32) -> (Zone, String) {
    let at = |name: &str| text(&masters.cluster.path(&format!("{name}-{serial}"))).to_owned();
    let keys = at("tld");
    let fixed = ["dm", "keygen", &keys, "--zone", apex, "--shares", "4", "--threshold", "3"];
    bftkv(&[&fixed[..], &["--no-passphrase"]].concat()).expect(0);
    let soa = format!("{apex} 60 IN SOA n.{apex} n.{apex} {serial} 9 9 9 9\n");
    let plain = soa + &format!("{apex} 60 IN NS n.{apex}\nn.{apex} 60 IN A 192.0.2.1\n");
    let zone = at("zone");
    std::fs::write(&zone, plain).unwrap();
    let shares =
        |what: &str| (1..=3).map(|dm| format!("{keys}/dm-{dm}/{what}")).collect::<Vec<_>>();
    let (zsk, ksk) = (shares("zsk.share"), shares("offline/ksk.share"));
    let mut sign = vec!["dm", "sign", &zone, "--zsk"];
    sign.extend(zsk.iter().map(String::as_str));
    sign.push("--ksk");
    sign.extend(ksk.iter().map(String::as_str));
    bftkv(&sign).expect(0);
    let signed = std::fs::read(format!("{zone}.signed")).unwrap();
    let signed = Zone::read(&signed, Some(apex.parse().unwrap()), Limits::default()).unwrap();
    let anchor = bftkv(&["dm", "export", &format!("{keys}/ksk.key"), "--ds"]).expect(0);
    (signed, anchor.text().trim().replacen(" IN DS", " 86400 IN DS", 1) + "\n")
}

#[test]
fn the_ds_records_of_a_tld_follow_the_keys_that_it_shows() {
    let mut masters = Masters::new(4, 2);
    let (first, anchor) = signed(&masters, "ch.", 1);
    // What was signed in the same second would not be newer.
    std::thread::sleep(Duration::from_millis(1_100));
    let (second, next_anchor) = signed(&masters, "ch.", 2);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rule = Rule { from: "127.0.0.1".parse().unwrap(), key: None };
    let responder = Arc::new(Responder::new("ch.".parse().unwrap(), Access::new(vec![rule])));
    assert!(responder.publish(Arc::new(first)));
    let any = ([127, 0, 0, 1], 0).into();
    let (shown, limits) = (Arc::clone(&responder), ServerLimits::default());
    let server = runtime.block_on(Server::bind(any, shown, limits)).unwrap();

    // The file has the records of two keys; the zone is signed by the first, and then by the second alone.
    let is_other = |line: &&str| !(line.starts_with("ch.") && line.contains("DS"));
    let mut root: String =
        zone_text(1).lines().filter(is_other).map(|line| format!("{line}\n")).collect();
    root += &(anchor + &next_anchor);
    for dm in 1..=4 {
        masters.put_file(&format!("zone{dm}"), &root);
        let config = std::fs::read_to_string(masters.config(dm)).unwrap();
        let config = config.replacen("[source]\n", "[source]\nchild_every_s = 1\n", 1);
        let child =
            format!("[[source.child]]\nzone = \"ch\"\nserver = \"{}\"\n", server.local_addr());
        // Nobody answers for another one.
        let silent = "[[source.child]]\nzone = \"de\"\nserver = \"127.0.0.1:1\"\n";
        std::fs::write(masters.config(dm), config + &child + silent).unwrap();
    }
    masters.start_all();
    let key = Key::new("ch.".parse::<Name>().unwrap(), Rtype::DS);
    let until = Instant::now() + PATIENCE;
    let wait_for = |masters: &mut Masters, count: usize| loop {
        let zones: Vec<Zone> = (1..=4).filter_map(|dm| masters.served(dm)).collect();
        let records = |zone: &Zone| zone.set(&key).map_or(0, |set| set.len());
        if zones.len() == 4 && zones.iter().all(|zone| records(zone) == count) {
            return zones.into_iter().next().unwrap();
        }
        assert!(Instant::now() < until, "{:#}", masters.status(1));
        std::thread::sleep(Duration::from_millis(100));
    };
    wait_for(&mut masters, 2);
    let accepted = |dm: usize| masters.cluster.path(&format!("state{dm}/children")).exists();
    while !(1..=4).all(accepted) {
        assert!(Instant::now() < until, "{:#}", masters.status(1));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(responder.publish(Arc::new(second)));
    let zone = wait_for(&mut masters, 1);
    let left = zone.set(&key).unwrap().records().next().unwrap().to_vec();
    let line: String = left[4..].iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(next_anchor.to_lowercase().replace(' ', "").contains(&line), "{next_anchor} {line}");
    // What is not taken is said by each DM, once it has asked.
    while masters.status(1)["source_notes"].as_array().is_none_or(Vec::is_empty) {
        assert!(Instant::now() < until, "{:#}", masters.status(1));
        std::thread::sleep(Duration::from_millis(100));
    }
    let status = masters.status(1);
    let notes = status["source_notes"].as_array().unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    let note = notes[0].as_str().unwrap();
    assert!(note.starts_with("de.: DS records stay as they are: DNSKEY of de."), "{note}");
}
