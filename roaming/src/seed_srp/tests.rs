//! The text's scheme with itself, from set-up to login.

use crypto_bigint::U2048;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::group::bytes;
use super::{Dealt, ElementBytes, Login, Opened, Server, SrpError, setup};
use crate::Password;

const F: usize = 1;
const N: u16 = 4;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(7)
}

fn password(text: &str) -> Password {
    Password::new(text).unwrap()
}

fn servers(dealt: &Dealt) -> Vec<Server> {
    dealt.records.iter().cloned().map(Server::new).collect()
}

fn proof(index: u16) -> Vec<u8> {
    format!("signature of server {index}").into_bytes()
}

/// Logs in at these servers, in this order.
fn login(
    servers: &mut [Server],
    indices: &[u16],
    text: &str,
    rng: &mut ChaCha20Rng,
) -> Result<Opened, SrpError> {
    let mut login = Login::new(password(text), F, N, rng)?;
    for index in indices {
        let server = &mut servers[usize::from(*index) - 1];
        let answer = server.answer(login.element(), &proof(*index), rng)?;
        login.take(*index, answer)?;
    }
    login.open()
}

#[test]
fn any_quorum_opens_the_value_with_the_password_and_nothing_without() {
    let mut rng = rng();
    let dealt = setup(&password("correct horse"), F + 1, N, &mut rng).unwrap();
    let mut servers = servers(&dealt);
    for indices in [&[1, 2, 3][..], &[4, 2, 3], &[1, 2, 3, 4]] {
        let opened = login(&mut servers, indices, "correct horse", &mut rng).unwrap();
        assert_eq!(opened.key, dealt.key);
        assert_eq!(opened.proofs.len(), indices.len());
        assert!(indices.iter().all(|index| opened.proofs[index] == proof(*index)));
    }
    let wrong = login(&mut servers, &[1, 2, 3], "battery staple", &mut rng);
    assert_eq!(wrong.unwrap_err(), SrpError::WrongPassword);
    let few = login(&mut servers, &[1, 2], "correct horse", &mut rng);
    assert_eq!(few.unwrap_err(), SrpError::TooFew { have: 2, need: 3 });
}

/// The checks that the text lacks. Without them X = 0 gives KS = 0, so every proof without a password.
#[test]
fn elements_outside_of_the_group_get_no_answer_and_cost_no_try() {
    let mut rng = rng();
    let dealt = setup(&password("x"), F + 1, N, &mut rng).unwrap();
    let mut server = servers(&dealt).remove(0);
    let p_less_one = {
        // -1 modulo p: p is what is not an element by one.
        let mut bytes: ElementBytes = [0xff; 256];
        bytes.copy_from_slice(&super::group::prime());
        bytes[255] -= 1;
        bytes
    };
    let bad = [[0; 256], bytes(&U2048::ONE), p_less_one, super::group::prime(), [0xff; 256]];
    for element in bad.iter().cycle().take(3 * usize::try_from(Server::TRIES).unwrap()) {
        let refused = server.answer(element, b"proof", &mut rng);
        assert_eq!(refused.unwrap_err(), SrpError::Element);
    }
    let login = Login::new(password("x"), F, N, &mut rng).unwrap();
    assert!(server.answer(login.element(), b"proof", &mut rng).is_ok());
}

#[test]
fn a_server_stops_answering_whoever_shows_no_proof() {
    let mut rng = rng();
    let dealt = setup(&password("x"), F + 1, N, &mut rng).unwrap();
    let mut server = servers(&dealt).remove(0);
    let login = Login::new(password("guess"), F, N, &mut rng).unwrap();
    for _ in 0..Server::TRIES {
        server.answer(login.element(), b"proof", &mut rng).unwrap();
    }
    let refused = server.answer(login.element(), b"proof", &mut rng);
    assert_eq!(refused.unwrap_err(), SrpError::NoTries);
    server.accept();
    assert!(server.answer(login.element(), b"proof", &mut rng).is_ok());
}

#[test]
fn indices_are_the_clients_and_count_once() {
    let mut rng = rng();
    let dealt = setup(&password("x"), F + 1, N, &mut rng).unwrap();
    let mut servers = servers(&dealt);
    let mut login = Login::new(password("x"), F, N, &mut rng).unwrap();
    let answer = servers[0].answer(login.element(), b"proof", &mut rng).unwrap();
    for index in [0, N + 1] {
        assert_eq!(login.take(index, answer.clone()), Err(SrpError::Indices));
    }
    login.take(1, answer.clone()).unwrap();
    assert_eq!(login.take(1, answer), Err(SrpError::Indices));
    for (threshold, n) in [(0, 4), (5, 4), (1, 0), (1, 257)] {
        assert_eq!(setup(&password("x"), threshold, n, &mut rng).unwrap_err(), SrpError::Indices);
    }
    assert_eq!(Login::new(password("x"), 2, 4, &mut rng).unwrap_err(), SrpError::Indices);
}

/// A weakness that range checks do not mend: one lying server is a wrong password to the client.
#[test]
fn one_lying_server_locks_the_owner_out() {
    let mut rng = rng();
    let dealt = setup(&password("x"), F + 1, N, &mut rng).unwrap();
    let mut servers = servers(&dealt);
    let mut login = Login::new(password("x"), F, N, &mut rng).unwrap();
    for index in 1..=N {
        let server = &mut servers[usize::from(index) - 1];
        let mut answer = server.answer(login.element(), &proof(index), &mut rng).unwrap();
        if index == 1 {
            answer.y = bytes(&U2048::from(4_u8));
        }
        login.take(index, answer).unwrap();
    }
    assert_eq!(login.open().unwrap_err(), SrpError::WrongPassword);
}
