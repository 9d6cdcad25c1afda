//! Proof files: checked offline, by us and by GnuPG; any changed byte is noticed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

use std::path::Path;
use std::process::Command;

use crate::support::{Keyrings, PATIENCE, PORTS, value, variable};
use bftkv::protocol::{CertifiedEntry, CollectiveSignature, Configurations};
use bftkv::{Certificates, Configuration, GetOptions, ProofFile, PutOptions};

async fn proof() -> (ProofFile, Configuration, Certificates) {
    let _alone = PORTS.lock().await;
    let mut keyrings = Keyrings::new("gnupg-rsa2048", "");
    let nodes = ["a01", "a02", "a03", "a04"];
    // The clique alone is authority and store: four nodes are a complete deployment.
    keyrings.start_all(&nodes).await;
    let client = keyrings.client("u02").await;
    let x = variable("proof");
    let put = PutOptions { deadline: Some(PATIENCE), ..PutOptions::default() };
    client.put(&x, value("to be shown to others"), put).await.unwrap();
    let get = GetOptions { proof: true, deadline: Some(PATIENCE), ..GetOptions::default() };
    let entry = client.get(&x, get).await.unwrap().entry.unwrap();
    keyrings.stop_all().await;
    let configuration = (*client.configuration().unwrap()).clone();
    (ProofFile::new(entry), configuration, keyrings.home("u02").certificates().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_holds_offline_and_no_byte_of_it_can_change() {
    let (proof, configuration, certificates) = proof().await;
    let known = Configurations::starting_with(configuration.clone());
    let keys = certificates.keyring();
    let bytes = proof.to_bytes();
    let checked = ProofFile::verify(&bytes, &known, keys).unwrap();
    assert_eq!(checked.to_bytes(), bytes, "canonical: the same bytes again");

    for position in 0..bytes.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[position] ^= change;
            let verdict = ProofFile::verify(&changed, &known, keys);
            assert!(verdict.is_err(), "byte {position} changed by {change:#x} is accepted");
        }
    }
    for length in 0..bytes.len() {
        assert!(ProofFile::verify(&bytes[..length], &known, keys).is_err());
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(ProofFile::verify(&longer, &known, keys).is_err());

    fewer_and_repeated_shares(proof.entry(), &configuration, &certificates);
    gpg_accepts_every_signature(&proof, &certificates);
}

fn fewer_and_repeated_shares(
    entry: &CertifiedEntry,
    configuration: &Configuration,
    certificates: &Certificates,
) {
    let shares = entry.collective.shares();
    let quorum = configuration.cliques()[0].thresholds().q();
    assert_eq!(shares.len(), quorum);
    let with = |shares: Vec<_>| {
        let collective = CollectiveSignature::new(configuration.digest(), shares);
        let signed = entry.signed.clone();
        ProofFile::new(CertifiedEntry { signed, collective }).to_bytes()
    };
    let known = Configurations::starting_with(configuration.clone());
    let verdict = |bytes: &[u8]| ProofFile::verify(bytes, &known, certificates.keyring());
    assert!(verdict(&with(shares.to_vec())).is_ok());
    assert!(verdict(&with(shares[1..].to_vec())).is_err(), "below the quorum");

    // One share in place of another, under its own name and under the other's.
    let mut repeated = shares.to_vec();
    repeated[0] = shares[1].clone();
    assert!(verdict(&with(repeated.clone())).is_err());
    repeated[0].signer = shares[0].signer.clone();
    assert!(verdict(&with(repeated)).is_err());
}

fn gpg_accepts_every_signature(proof: &ProofFile, certificates: &Certificates) {
    if Command::new("gpg").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "gpg is missing, and CI must have it");
        eprintln!("SKIPPED: gpg is missing, so it did not judge our signatures");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    gpg(home.path(), &["--import"], Some(certificates));
    for (i, one) in proof.detached_signatures().into_iter().enumerate() {
        let (message, signature) =
            (home.path().join(format!("{i}.bin")), home.path().join(format!("{i}.sig")));
        std::fs::write(&message, &one.message).unwrap();
        std::fs::write(&signature, &one.signature).unwrap();
        let arguments = ["--verify", signature.to_str().unwrap(), message.to_str().unwrap()];
        gpg(home.path(), &arguments, None);
        std::fs::write(&message, [&one.message[..], b"x"].concat()).unwrap();
        let refused = command(home.path()).args(arguments).output().unwrap();
        assert!(!refused.status.success(), "gpg must be able to say no");
    }
}

fn command(home: &Path) -> Command {
    let mut command = Command::new("gpg");
    command.arg("--homedir").arg(home).args(["--batch", "--quiet", "--no-auto-check-trustdb"]);
    command
}

fn gpg(home: &Path, arguments: &[&str], import: Option<&Certificates>) {
    let mut command = command(home);
    command.args(arguments);
    for (i, (record, _)) in import.into_iter().flat_map(|c| c.keyring().records()).enumerate() {
        let path = home.join(format!("import-{i}"));
        std::fs::write(&path, record.bytes().as_bytes()).unwrap();
        command.arg(path);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
