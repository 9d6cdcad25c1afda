//! Four distribution masters, as an operator has them.

use super::masters::Masters;

const DMS: usize = 4;
const ALL: [usize; 4] = [1, 2, 3, 4];

/// What the ZSK signed of what never changed.
fn kept(zone: &bftkv_dm::zone::Zone) -> Vec<String> {
    let text = zone.to_string();
    let lines = text.lines().filter(|line| line.contains("RRSIG") && line.contains("NSEC 15"));
    lines.map(str::to_owned).collect()
}

#[test]
fn four_masters_publish_with_one_killed_and_come_back() {
    let mut masters = Masters::new(DMS, 2);
    masters.show_next(&[]);
    masters.start_all();
    let zone = masters.wait_for(&ALL);
    let (first, signatures) = (zone.serial(), kept(&zone));
    assert!(signatures.len() > 3, "{zone}");

    // Two of the others are held, so that the proposer of the next serial waits for votes when it is
    // killed.
    let proposer = masters.proposer(first + 1);
    let others: Vec<usize> = ALL.into_iter().filter(|dm| *dm != proposer).collect();
    for dm in &others[..2] {
        masters.dm("hold", *dm, &["an operator looks"]).expect(0);
    }
    masters.show_next(&[]);
    let has_views =
        |status: &serde_json::Value| status["views"].as_array().is_some_and(|v| v.len() >= 3);
    masters.wait_for_status(proposer, has_views);
    assert_eq!(masters.status(others[0])["held"], "an operator looks");
    masters.kill(proposer);
    let refused = masters.dm("status", proposer, &[]).expect(1);
    assert!(refused.stderr.contains("bftkv dm run"), "{refused:?}");
    for dm in &others[..2] {
        masters.dm("release", *dm, &[]).expect(0);
    }
    let second = masters.wait_for(&others).serial();
    assert!(second > first);

    others.iter().for_each(|dm| masters.stop(*dm));
    masters.start_all();
    for dm in &others {
        assert_eq!(masters.running[dm].served, second, "what was published is served at once");
    }
    let again = masters.wait_for(&ALL).serial();
    assert_eq!(again, second, "nothing changed, so nothing is signed");
    masters.show_next(&[]);
    let zone = masters.wait_for(&ALL);
    assert!(zone.serial() > second);
    assert_eq!(kept(&zone), signatures, "what did not change keeps its signatures");
    let liars = &masters.status(proposer)["liars"];
    assert_eq!(*liars, serde_json::json!({}), "who was killed is no liar");
}

/// They presign before they sign. After a restart nobody has presignatures any more, and new ones are
/// made.
#[test]
fn four_masters_with_a_p256_key_presign_and_publish() {
    let mut masters = Masters::with_p256(DMS, 2);
    masters.show_next(&[]);
    masters.start_all();
    let first = masters.wait_for(&ALL);
    assert!(first.to_string().contains("\tRRSIG\tSOA 13 "), "{first}");
    masters.wait_for_status(1, |status| {
        let ours = &status["presignatures"];
        ours["have"].as_u64() >= ours["wanted"].as_u64()
    });
    masters.show_next(&[]);
    let second = masters.wait_for(&ALL);
    assert!(second.serial() > first.serial());

    ALL.iter().for_each(|dm| masters.kill(*dm));
    masters.start_all();
    masters.show_next(&[]);
    let third = masters.wait_for(&ALL);
    assert!(third.serial() > second.serial());
    assert_eq!(kept(&third), kept(&first), "what did not change keeps its signatures");
    for dm in ALL {
        assert_eq!(masters.status(dm)["liars"], serde_json::json!({}), "{dm}");
    }
}
