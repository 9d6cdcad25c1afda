//! A dictionary offline, against what was stolen from t-1 servers: records, shares, counters.

use std::collections::BTreeMap;

use bftkv_protocol::SecretShare;
use bftkv_roaming::{Blinded, Dleq, Enrolled, Evaluation, Index, Record, Rule, Share, evaluate};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::support::{ALICE, MALLORY, hosts, password, plan, rng};

const DICTIONARY: [&str; 6] =
    ["123456", "password", "letmein", "correct horse", "iloveyou", "trustno1"];
const PASSWORD: &str = "correct horse";

fn enrol(n: u8, rule: Rule) -> Enrolled {
    Record::enrol(plan(n, rule, 1), &password(PASSWORD), &mut rng()).unwrap()
}

/// One part of a guess: what a share gives for it, checked or not.
fn part(record: &Record, blinded: &Blinded, share: &Share) -> (Index, Evaluation) {
    let (answer, proof) = evaluate(share, &blinded.element(), &mut rng()).unwrap();
    let checked = blinded.check(record.commitments(), share.index(), &answer, &proof).unwrap();
    (share.index(), checked)
}

/// Finds the share in what a server keeps: of all 32 bytes that stand there in a row, it is those
/// that fit the commitments.
fn stolen(record: &Record, vault: &[u8]) -> Share {
    let index = |number: u8| Index::new(u16::from(number)).unwrap();
    let n = u8::try_from(record.nodes().len()).unwrap();
    let fits = |bytes: &[u8]| {
        let secret = SecretShare::from_bytes(bytes.try_into().unwrap());
        (1..=n).find_map(|number| Share::new(index(number), &secret, record.commitments()).ok())
    };
    vault.windows(32).find_map(fits).expect("the vault holds a share")
}

/// Which words of the dictionary somebody finds who stole the vaults of `count` servers after a
/// login. What is missing to t parts it takes from other places: parts of the stolen shares under
/// indices that are not theirs.
fn found(enrolled: &Enrolled, count: usize) -> Vec<&'static str> {
    let record = &enrolled.record;
    let mut hosts = hosts(enrolled);
    for host in &mut hosts {
        host.guess(ALICE, record, 1).unwrap();
    }
    let vaults = hosts[..count].iter().map(|host| &host.disk.vaults[record.variable()]);
    let shares: Vec<Share> = vaults.map(|vault| stolen(record, vault.as_bytes())).collect();
    let is_right = |word: &&str| {
        let guess = password(word);
        let blinded = Blinded::new(&guess, &mut rng()).unwrap();
        let mut parts: BTreeMap<Index, Evaluation> =
            shares.iter().map(|share| part(record, &blinded, share)).collect();
        let spare = parts.values().next().cloned();
        let mut free = (1..=u16::try_from(hosts.len()).unwrap()).map(|i| Index::new(i).unwrap());
        while parts.len() < record.threshold() {
            let (Some(index), Some(spare)) = (free.next(), spare.clone()) else { return false };
            parts.entry(index).or_insert(spare);
        }
        let output = blinded.finish(&guess, record.threshold(), &parts).unwrap();
        record.keys(&output).unwrap().is_some()
    };
    DICTIONARY.into_iter().filter(is_right).collect()
}

#[test]
fn a_dictionary_finds_nothing_with_what_t_less_one_servers_keep_and_everything_with_t() {
    for (n, rule) in [(4, Rule::Majority), (7, Rule::Most)] {
        let enrolled = enrol(n, rule);
        let t = enrolled.record.threshold();
        assert_eq!(found(&enrolled, t - 1), [""; 0], "n = {n}");
        assert_eq!(found(&enrolled, t), [PASSWORD], "and it is an attack: n = {n}");
    }
}

/// Whoever records a login, answers included, cannot even tell that the right password is right: the
/// blinding factor, which stays with the client, is missing.
#[test]
fn a_recorded_login_opens_nothing_for_whoever_recorded_it() {
    let enrolled = enrol(4, Rule::Majority);
    let record = &enrolled.record;
    let mut hosts = hosts(&enrolled);
    let recorded: BTreeMap<Index, Evaluation> = hosts
        .iter_mut()
        .map(|host| {
            let question = Blinded::new(&password(PASSWORD), &mut rng()).unwrap();
            let answer = host.evaluate(MALLORY, record, question.element()).unwrap();
            let index = record.index_of(&host.me).unwrap();
            let proof = Dleq::from_bytes(&answer.proof).unwrap();
            let checked = question.check(record.commitments(), index, &answer.element, &proof);
            (index, checked.unwrap())
        })
        .collect();
    let right = |seed: u64| {
        let blinded = Blinded::new(&password(PASSWORD), &mut ChaCha20Rng::seed_from_u64(seed));
        let output = blinded.unwrap().finish(&password(PASSWORD), record.threshold(), &recorded);
        record.keys(&output.unwrap()).unwrap().is_some()
    };
    assert!(!right(8));
    assert!(right(7), "with the client's own factor it opens");
}
