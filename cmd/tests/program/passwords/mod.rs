//! What a person sees of passwords: errors, thresholds, shares that are dealt again.

mod core_dumps;

use crate::support::{Cluster, Ran};

fn with(cluster: &Cluster, who: &str, arguments: &[&str], password: &str) -> Ran {
    let arguments = [arguments, &["--password-fd", "0"]].concat();
    cluster.at_with(who, &arguments, password.as_bytes())
}

/// Where a node listens.
fn address(cluster: &Cluster, node: &str) -> String {
    let listed = cluster.at(node, &["--json", "graph"]).expect(0).json();
    listed["own"]["address"].as_str().unwrap().to_owned()
}

#[test]
fn wrong_passwords_are_counted_until_none_is_left_and_the_owner_gives_them_back() {
    let mut cluster = Cluster::create(&["--users", "2"]);
    cluster.run(&[]);
    // With four nodes the larger threshold is the same as the other; plain values have none.
    let most = ["put", "notes", "under the stone", "--threshold", "most"];
    let refused = with(&cluster, "u1", &most, "right").expect(2);
    assert!(refused.stderr.contains("with 4 servers n-b and 2b+1 are the same"), "{refused:?}");
    assert!(refused.stderr.contains("hint: leave --threshold out"), "{refused:?}");
    cluster.at("u1", &["put", "plain", "x", "--threshold", "most"]).expect(2);

    with(&cluster, "u1", &["put", "notes", "under the stone"], "right").expect(0);
    for left in (0..10).rev() {
        let wrong = with(&cluster, "u2", &["get", "notes"], "wrong").expect(3);
        let said = match left {
            0 => "no attempts are left: the next one comes back within a day".to_owned(),
            1 => "1 attempt is left".to_owned(),
            left => format!("{left} attempts are left"),
        };
        assert!(wrong.stderr.starts_with(&format!("error: wrong password; {said}\n")), "{wrong:?}");
        assert_eq!(wrong.stderr.contains("bftkv password reset"), left == 0, "{wrong:?}");
        assert!(wrong.stdout.is_empty());
    }
    // Now the right one opens nothing either; it says until when, and what the owner can do.
    let none = with(&cluster, "u2", &["get", "notes"], "right").expect(3);
    assert!(none.stderr.starts_with("error: no attempts are left: "), "{none:?}");
    assert!(none.stderr.contains("the next attempt comes back in 2"), "{none:?}");
    assert!(none.stderr.contains("hint: wait, or have the owner's key"), "{none:?}");
    assert!(none.stderr.contains("bftkv password reset"), "{none:?}");
    let none = with(&cluster, "u2", &["--json", "get", "notes"], "right").expect(3);
    let error: serde_json::Value = serde_json::from_str(&none.stderr).unwrap();
    assert!(error["hints"][0].as_str().unwrap().contains("bftkv password reset"), "{error}");
    // Strangers lock nobody else out, and nobody else resets.
    assert_eq!(
        with(&cluster, "u1", &["get", "notes"], "right").expect(0).text(),
        "under the stone"
    );
    let not_owner = cluster.at("u2", &["password", "reset", "notes"]);
    assert_ne!(not_owner.code, 0, "{not_owner:?}");
    cluster.at("u1", &["password", "reset", "notes"]).expect(0);
    assert_eq!(
        with(&cluster, "u2", &["get", "notes"], "right").expect(0).text(),
        "under the stone"
    );
}

/// The larger threshold, where there is one. Values lie at other nodes than shares do, so that the
/// value is read and the password is not enough.
#[test]
fn one_node_may_be_down_and_when_too_few_servers_answer_they_are_named() {
    let mut cluster = Cluster::create(&["--nodes", "5", "--store", "4"]);
    cluster.run(&[]);
    let most = ["put", "notes", "under the stone", "--threshold", "most"];
    with(&cluster, "u1", &most, "right").expect(0);
    let away = [address(&cluster, "n4"), address(&cluster, "n5")];
    cluster.stop();
    cluster.run(&["--nodes", "n1,n2,n3,n4,s1,s2,s3"]);
    assert_eq!(
        with(&cluster, "u1", &["get", "notes"], "right").expect(0).text(),
        "under the stone"
    );
    cluster.stop();
    cluster.run(&["--nodes", "n1,n2,n3,s1,s2,s3"]);
    let few = with(&cluster, "u1", &["get", "notes", "--deadline", "3"], "right").expect(5);
    assert!(few.stderr.starts_with("error: only 3 of the 4 servers needed answered"), "{few:?}");
    for away in away {
        assert!(few.stderr.contains(&away), "{away} is silent: {few:?}");
    }
    assert!(few.stderr.contains("hint: "), "{few:?}");
}

#[test]
fn the_next_login_deals_again_and_says_so() {
    let mut cluster = Cluster::create(&[]);
    cluster.run(&["--nodes", "n1,n2,n3"]);
    let away = address(&cluster, "n4");
    for variable in ["notes", "more"] {
        let put = with(&cluster, "u1", &["put", variable, "under the stone"], "right").expect(0);
        assert!(put.stderr.contains("warning: no share of the password yet at"), "{put:?}");
        assert!(put.stderr.contains(&away), "{put:?}");
    }
    cluster.stop();
    cluster.run(&[]);
    // The others suffice, so on a busy machine a login may be over before it hears what n4 lacks.
    let note = "note: shares of the password were dealt again";
    let renewed = (0..20).any(|_| {
        let opened = with(&cluster, "u1", &["get", "notes"], "right").expect(0);
        assert_eq!(opened.text(), "under the stone");
        assert!(opened.stderr.is_empty() || opened.stderr.starts_with(note), "{opened:?}");
        !opened.stderr.is_empty()
    });
    assert!(renewed, "no login dealt again");
    let get = || with(&cluster, "u1", &["--json", "get", "more"], "right").expect(0).json();
    let json = (0..20).map(|_| get()).find(|json| !json["renewal"].is_null());
    let json = json.expect("no login dealt again");
    let renewal = &json["renewal"];
    assert_eq!((&renewal["dealt"], &renewal["epoch"]), (&true.into(), &2.into()), "{json}");
    assert_eq!((&json["lacking"][0], &json["epoch"]), (&away.into(), &1.into()), "{json}");
    let settled = (0..20).map(|_| get()).find(|json| json["renewal"].is_null());
    let settled = settled.expect("each login deals again");
    assert!(settled["lacking"].as_array().unwrap().is_empty(), "{settled}");
    assert!(settled["epoch"].as_u64() >= Some(2), "{settled}");
}
