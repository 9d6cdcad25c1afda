//! The official vectors of RFC 9497 against the combination of shares.

use std::collections::BTreeMap;

use bftkv_protocol::ElementBytes;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE;
use curve25519_dalek::scalar::Scalar;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

use crate::dleq::Dleq;
use crate::group::{self, Mode};
use crate::oprf::{Blinded, evaluate};
use crate::sharing::{Commitments, split};

struct Vector {
    secret: Scalar,
    public: Option<[u8; 32]>,
    input: Vec<u8>,
    blind: Scalar,
    blinded: ElementBytes,
    evaluated: ElementBytes,
    proof: Option<(Vec<u8>, Scalar)>,
    output: Vec<u8>,
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn bytes(text: &str) -> [u8; 32] {
    unhex(text).try_into().unwrap()
}

fn scalar(text: &str) -> Scalar {
    group::scalar(&bytes(text)).unwrap()
}

fn vectors(mode: &str) -> Vec<Vector> {
    let lines = include_str!("../testdata/rfc9497.txt").lines().filter(|l| !l.starts_with('#'));
    let fields = lines.map(|line| line.split(' ').collect::<Vec<_>>());
    let chosen: Vec<Vector> = fields
        .filter(|fields| fields[0] == mode)
        .map(|f| Vector {
            secret: scalar(f[1]),
            public: (f[2] != "-").then(|| bytes(f[2])),
            input: unhex(f[3]),
            blind: scalar(f[4]),
            blinded: ElementBytes::from_bytes(bytes(f[5])),
            evaluated: ElementBytes::from_bytes(bytes(f[6])),
            proof: (f[7] != "-").then(|| (unhex(f[7]), scalar(f[8]))),
            output: unhex(f[9]),
        })
        .collect();
    assert_eq!(chosen.len(), 2);
    chosen
}

/// k split among n, then any t of the n evaluate: blinded element and output are the RFC's.
#[test]
fn any_t_of_n_shares_give_the_output_of_the_rfc() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for vector in vectors("0") {
        let whole = RISTRETTO_BASEPOINT_TABLE * &vector.secret;
        for (n, t) in [(1, 1), (4, 3), (7, 5), (10, 7)] {
            let mut polynomial = vec![Zeroizing::new(vector.secret)];
            polynomial.extend((1..t).map(|_| group::random(&mut rng).unwrap()));
            let (commitments, shares) = split(&polynomial, n).unwrap().unwrap();
            assert_eq!(commitments.to_bytes()[0], group::encode(&whole));
            let blinded = Blinded::with_factor(&vector.input, Zeroizing::new(vector.blind));
            assert_eq!(blinded.element(), vector.blinded);
            for skipped in 0..=n - t {
                let evaluations: BTreeMap<_, _> = shares[skipped..]
                    .iter()
                    .map(|share| {
                        let (answer, proof) =
                            evaluate(share, &blinded.element(), &mut rng).unwrap();
                        let index = share.index();
                        (index, blinded.check(&commitments, index, &answer, &proof).unwrap())
                    })
                    .collect();
                let output = blinded.finish_bytes(&vector.input, t, &evaluations).unwrap();
                assert_eq!(output.to_vec(), vector.output, "n={n} t={t} without {skipped}");
            }
        }
    }
}

#[test]
fn one_share_of_one_evaluates_and_proves_as_the_rfc_does() {
    for vector in vectors("1") {
        let point = group::hash_to_group(&vector.input, Mode::Voprf) * vector.blind;
        assert_eq!(group::encode(&point), vector.blinded);
        let answer = point * vector.secret;
        assert_eq!(group::encode(&answer), vector.evaluated);
        let public = RISTRETTO_BASEPOINT_TABLE * &vector.secret;
        assert_eq!(Some(public.compress().to_bytes()), vector.public);
        let (expected, random) = vector.proof.unwrap();
        let proof = Dleq::prove_with(&vector.secret, &point, &answer, &random);
        let (challenge, response) = (proof.to_bytes(), proof.to_bytes());
        assert_eq!([*challenge.halves().0, *response.halves().1].concat(), expected);
        assert!(proof.verify(&public, &point, &answer));
        assert!(!proof.verify(&public, &point, &(answer + point)));
        // The output of this mode differs by its tags; the combined function is the other mode's.
        assert_eq!(vector.output.len(), 64);
        let alone = Commitments::from_bytes(&[group::encode(&public)]).unwrap();
        assert_eq!(alone.threshold(), 1);
    }
}
