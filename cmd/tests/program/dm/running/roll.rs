//! A change of the ZSK while four masters run.

use std::time::{SystemTime, UNIX_EPOCH};

use bftkv_dm::keys::ShareFile;
use bftkv_dm::sign::{Dnskey, Role, zone_signer};
use bftkv_dm::time::show_date;

use super::masters::Masters;
use crate::support::bftkv;

const ALL: [usize; 4] = [1, 2, 3, 4];

/// That many days ago.
fn day(ago: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    show_date(now - ago * 86_400)
}

/// Sets that were signed before today have both ZSKs, and the last ones only the new. All but the fourth master have
/// shares of both: nobody restarts or says when to switch.
#[test]
fn four_masters_change_the_zsk_by_themselves() {
    let mut masters = Masters::new(4, 2);
    let path = |name: &str| masters.cluster.path(name).display().to_string();
    let fixed = ["dm", "keygen", &path("keys2"), "--zone", ".", "--shares", "4"];
    bftkv(&[&fixed[..], &["--threshold", "2", "--no-passphrase"]].concat()).expect(0);
    std::fs::remove_dir_all(masters.cluster.path("dnskeys")).unwrap();
    let ksk = [1, 2].map(|dm| path(&format!("keys/dm-{dm}/offline/ksk.share")));
    let (old, new, out) = (path("keys/zsk.key"), path("keys2/zsk.key"), path("dnskeys"));
    let (from, switch) = (day(15), day(1));
    bftkv(&[
        "dm",
        "ksk",
        "sign",
        "--ksk",
        &ksk[0],
        &ksk[1],
        "--zsk",
        &old,
        "--new-zsk",
        &new,
        "--zsk-roll",
        &switch,
        "--from",
        &from,
        "--out",
        &out,
    ])
    .expect(0);
    for dm in 1..=3 {
        let text = std::fs::read_to_string(masters.config(dm)).unwrap();
        let one = format!("share = \"keys/dm-{dm}/zsk.share\"");
        let both = format!("share = [\"keys/dm-{dm}/zsk.share\", \"keys2/dm-{dm}/zsk.share\"]");
        assert!(text.contains(&one), "{text}");
        std::fs::write(masters.config(dm), text.replace(&one, &both)).unwrap();
    }
    let new = ShareFile::open(&masters.cluster.path("keys2/dm-1/zsk.share"), &|| None).unwrap();
    let new_key = Dnskey::of(new.share().group(), Role::Zsk).unwrap();
    drop(new);

    masters.show_next(&[]);
    masters.start_all();
    let first = masters.wait_for(&ALL);
    assert!(zone_signer(&first).is_some_and(|key| key != new_key), "the old one signs first");
    masters.show_next(&[]);
    let second = masters.wait_for(&ALL);
    assert_eq!(zone_signer(&second), Some(new_key.clone()), "its time has come");
    // Also after a restart, and nobody goes back.
    ALL.into_iter().for_each(|dm| masters.stop(dm));
    masters.start_all();
    masters.show_next(&[]);
    let third = masters.wait_for(&ALL);
    assert!(third.serial() > second.serial());
    assert_eq!(zone_signer(&third), Some(new_key));
    for dm in ALL {
        assert_eq!(masters.status(dm)["liars"], serde_json::json!({}), "DM {dm}");
    }
}
