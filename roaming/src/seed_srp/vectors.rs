//! Test vectors, made apart in plain integers: `testdata/make-seed-srp.py`.

use std::collections::BTreeMap;

use crypto_bigint::U2048;
use zeroize::Zeroizing;

use super::client::{Login, deal, exponent};
use super::group::{Group, bytes, encode};
use super::server::{Answer, Record, Server};
use crate::Password;

const VECTORS: &str = include_str!("../../testdata/seed-srp.txt");

fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    let lines = VECTORS.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, hex) = line.split_once(' ').unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (name, (0..hex.len()).step_by(2).map(byte).collect())
        })
        .collect()
}

#[test]
fn every_number_of_the_scheme_is_that_of_the_vectors() {
    let vectors = vectors();
    let of = |name: &str| vectors[name].clone();
    let number = |name: &str| Zeroizing::new(U2048::from_be_slice(&of(name)));
    let group = Group::new();
    let password = Password::new(of("password")).unwrap();
    let salt: [u8; 32] = of("salt").try_into().unwrap();

    let x = exponent(&group, &password, &salt, &group.power(&number("S"))).unwrap();
    assert_eq!(bytes(&x).to_vec(), of("x"));
    let polynomial = [number("S"), number("a1")];
    let dealt = deal(&group, &password, salt, &polynomial, 4).unwrap();
    assert_eq!(dealt.key.to_vec(), of("key"));
    let mut login = Login::with_secret(Group::new(), password, 1, 4, number("a")).unwrap();
    assert_eq!(login.element().to_vec(), of("X"));
    let element = group.element(login.element()).unwrap();
    for (i, record) in (1..).zip(dealt.records) {
        let Record { y, v, .. } = &record;
        assert_eq!((bytes(y).to_vec(), v.to_vec()), (of(&format!("y{i}")), of("v")));
        let to_y = encode(&element.mul(&group.power(y)));
        assert_eq!(to_y.to_vec(), of(&format!("Y{i}")));
        let server = Server::new(record);
        let secret = number(&format!("b{i}"));
        let (b, shared) = server.share_key(login.element(), &element, &secret).unwrap();
        assert_eq!(b.to_vec(), of(&format!("B{i}")));
        assert_eq!(shared.to_vec(), of(&format!("KS{i}")));
        let answer = Answer { y: to_y, b, salt, sealed: Vec::new() };
        let of_client = login.shared(&answer, &x).unwrap();
        assert_eq!(of_client.to_vec(), of(&format!("KS{i}")));
        login.take(i, answer).unwrap();
    }
    assert_eq!(login.combine().unwrap(), group.power(&number("S")));
}
