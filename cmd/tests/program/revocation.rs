//! Revoking by command, and proofs of malice in the hands of people.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at a surprise")]

use crate::support::{Cluster, bftkv, text};
use bftkv::protocol::{
    EntryHash, EquivocationProof, Purpose, ShareStatement, Sign as _, Timestamp,
};
use bftkv::{Home, MaliceFile, Variable};

/// Who has certified `target`, as `who` sees it.
fn certifiers(cluster: &Cluster, who: &str, target: &str) -> Vec<String> {
    let list = cluster.at(who, &["--json", "cert", "list"]).expect(0).json();
    let all = list.as_array().unwrap().clone();
    let one = all.iter().find(|one| one["fingerprint"] == *target).unwrap();
    let by = one["certified_by"].as_array().unwrap().iter();
    by.map(|id| id.as_str().unwrap().to_owned()).collect()
}

fn names(cluster: &Cluster) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(cluster.path(""))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| cluster.path(name).join("config.toml").is_file())
        .collect();
    names.sort();
    names
}

#[test]
fn an_operator_cuts_an_edge_and_the_nodes_hear_of_it() {
    let mut cluster = Cluster::create(&[]);
    let nodes: Vec<String> = names(&cluster).into_iter().filter(|name| name != "u1").collect();
    let [first, second, .., last] = &nodes[..] else { panic!("{nodes:?}") };
    let (from, target) = (cluster.id(first), cluster.id(last));
    assert!(certifiers(&cluster, second, &target).contains(&from));
    cluster.run(&[]);

    let unsure = cluster.at(first, &["cert", "revoke", &target[24..]]).expect(2);
    assert!(unsure.stderr.contains("cannot be undone"), "{unsure:?}");
    let own = cluster.at(first, &["cert", "revoke", &from]).expect(2);
    assert!(own.stderr.contains("--self"), "{own:?}");
    let reason = ["cert", "revoke", &target, "--reason", "its disk was sold"];
    let revoked = cluster.at(first, &[&["--json"], &reason[..]].concat()).expect(0).json();
    assert_eq!((&revoked["revoked"], &revoked["cut"]), (&"certification".into(), &true.into()));
    assert_eq!(revoked["told"].as_array().unwrap().len(), nodes.len() - 1, "{revoked}");

    assert!(certifiers(&cluster, first, &target).is_empty(), "cut out of its own graph");
    let others = certifiers(&cluster, second, &target);
    assert!(!others.contains(&from) && !others.is_empty(), "only its edge is gone: {others:?}");
    let list = cluster.at(first, &["revoked", "list"]).expect(0).text();
    assert!(list.contains("operator") && list.contains("its disk was sold"), "{list}");
    let nobody = cluster.at(second, &["revoked", "list"]).expect(0).text();
    assert!(nobody.contains("nobody"), "others decide for themselves: {nobody}");
    cluster.at("u1", &["put", "x", "as before"]).expect(0);
}

/// The revocation certificate that was put aside works without the key, from any home.
#[test]
fn a_lost_key_is_revoked_with_its_revocation_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let home = |name: &str| folder.path().join(name).display().to_string();
    let init = |name: &str, user: &str| {
        let ran = bftkv(&["--home", &home(name), "--json", "init", "--name", user]).expect(0);
        ran.json()["fingerprint"].as_str().unwrap().to_owned()
    };
    let lost = init("lost", "Lost <lost@example.org>");
    init("other", "Other <other@example.org>");
    let file = folder.path().join("revocation.rev");
    std::fs::rename(folder.path().join("lost/revocation.rev"), &file).unwrap();
    let text_of_file = std::fs::read_to_string(&file).unwrap();
    assert!(text_of_file.contains(&lost) && text_of_file.contains("bftkv cert revoke --self"));

    let other = home("other");
    let run = |arguments: &[&str]| bftkv(&[&["--home", &other], arguments].concat());
    run(&["cert", "revoke", "--self", text(&file)]).expect(2);
    run(&["cert", "revoke", "--self", text(&file), "--yes", "--offline"]).expect(0);
    let list = run(&["--json", "revoked", "list"]).expect(0).json();
    assert_eq!((&list[0]["fingerprint"], &list[0]["cause"]), (&lost.into(), &"own".into()));
    // A certificate that revokes nothing is none.
    let good = folder.path().join("good.pgp");
    std::fs::write(&good, run(&["cert", "export"]).expect(0).stdout).unwrap();
    let refused = run(&["cert", "revoke", "--self", text(&good), "--yes", "--offline"]).expect(1);
    assert!(refused.stderr.contains("it revokes nothing"), "{refused:?}");
}

/// Whoever stole the key writes nothing with it any more.
#[test]
fn a_revoked_key_is_accepted_by_nobody() {
    let mut cluster = Cluster::create(&["--users", "2"]);
    cluster.run(&[]);
    let put = ["put", "x", "v", "--deadline", "3"];
    cluster.at("u1", &put).expect(0);
    let file = cluster.path("u1/revocation.rev");
    let revoke = ["--json", "cert", "revoke", "--yes", "--self", text(&file)];
    let revoked = cluster.at("u2", &revoke).expect(0).json();
    assert_eq!((&revoked["revoked"], &revoked["silent"]), (&"key".into(), &serde_json::json!([])));
    let refused = cluster.at("u1", &put);
    assert!(refused.code != 0, "{refused:?}");
    assert_eq!(cluster.at("u2", &["get", "x"]).expect(0).stdout, b"v", "what was written stays");
}

/// Two shares of a member for one place, as a traitor would give them.
fn proof_against(cluster: &Cluster, who: &str) -> MaliceFile {
    let home = Home::open(cluster.path(who)).unwrap();
    let certificates = home.certificates().unwrap();
    let configuration = certificates.configuration(home.key().id(), &home.config().realm).unwrap();
    let side = |hash| {
        let statement = ShareStatement {
            realm: configuration.realm().clone(),
            configuration: configuration.digest(),
            variable: Variable::new("price").unwrap(),
            timestamp: Timestamp::new(7),
            entry: EntryHash::from_bytes([hash; 32]),
        };
        let signature = home.key().sign(Purpose::Share, &statement.signed_bytes()).unwrap();
        (statement, signature)
    };
    let guilty = home.key().id().clone();
    let keys = certificates.keyring();
    MaliceFile::new(EquivocationProof::of_shares(guilty, side(1), side(2), keys).unwrap())
}

#[test]
fn a_proof_of_malice_is_shown_exported_and_checked() {
    let cluster = Cluster::create(&["--users", "2"]);
    let traitor = names(&cluster).remove(0);
    let (file, target) = (proof_against(&cluster, &traitor), cluster.id(&traitor));
    let path = cluster.path("traitor.malice");
    std::fs::write(&path, file.to_bytes()).unwrap();
    let checked = cluster.at("u1", &["--json", "verify", text(&path)]).expect(0).json();
    assert_eq!((&checked["guilty"], &checked["valid"]), (&target.as_str().into(), &true.into()));
    assert_eq!((&checked["variable"], &checked["timestamp"]), (&"price".into(), &7.into()));
    let parts = cluster.path("parts");
    let shown = cluster.at("u1", &["verify", text(&path), "--export", text(&parts)]).expect(0);
    assert!(shown.text().contains("gpg --verify") && parts.join("second.sig").is_file());

    let mut changed = file.to_bytes();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&path, changed).unwrap();
    let refused = cluster.at("u1", &["verify", text(&path)]).expect(7);
    assert!(refused.stderr.contains("proves nothing"), "{refused:?}");

    // As a client leaves it in its home when it has caught somebody.
    let folder = cluster.path("u2/revoked");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join(format!("{target}.malice")), file.to_bytes()).unwrap();
    let list = cluster.at("u2", &["revoked", "list"]).expect(0).text();
    assert!(list.contains("proof") && list.contains("price at timestamp 7"), "{list}");
    let shown = cluster.at("u2", &["revoked", "show", &target]).expect(0).text();
    assert!(shown.contains("two different values"), "{shown}");
    let exported = cluster.at("u2", &["revoked", "export", &target]).expect(0).stdout;
    assert_eq!(exported, file.to_bytes());
    let none = cluster.at("u1", &["revoked", "export", &target]).expect(1);
    assert!(none.stderr.contains("bftkv join"), "{none:?}");
}
