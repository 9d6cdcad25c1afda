//! Detection above the fault budget follows the formula of the text, with real proofs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

use bftkv_tests::detection::{Collusion, Draw, formula, formula_of_fresh};

/// Few trials: the command `detection` makes 100,000 for each number.
const TRIALS: u32 = 4_000;

/// Three standard deviations of a rate that is measured so often, rounded up.
const TOLERANCE: f64 = 0.025;

#[test]
fn detection_follows_the_formula_and_convicts_exactly_the_colluders() {
    for (n, f) in [(7, 3), (13, 5), (13, 9)] {
        let collusion = Collusion::new(n, f).unwrap();
        for size in [1, 3, 6] {
            let rates = collusion.try_often(Draw::WithReplacement, size, TRIALS, 1).unwrap();
            let (n, f) = (u32::from(n), u32::from(f));
            let (knowing, fresh) = (formula(n, f, size), formula_of_fresh(n, f, size));
            assert!((rates.knowing - knowing).abs() < TOLERANCE, "{n} {f} {size}: {rates:?}");
            assert!((rates.fresh - fresh).abs() < TOLERANCE, "{n} {f} {size}: {rates:?}");
        }
    }
}

/// The text: "|Q| = 3b+1 out of n = 4b+1, the detection rate is 100% up to f = 2b". It is while the
/// halves can be equal; at f = 2b one of them has b members, and one quorum in many misses it.
#[test]
fn quorums_of_the_default_setup_detect_always_but_for_one_quorum_at_the_limit() {
    for b in 1..=4_u8 {
        let (n, size) = (4 * b + 1, u32::from(3 * b + 1));
        for f in b..2 * b {
            let Some(collusion) = Collusion::new(n, f) else { continue };
            let rates = collusion.try_often(Draw::Distinct, size, TRIALS, 1).unwrap();
            assert!((rates.fresh - 1.0).abs() < f64::EPSILON, "b={b} f={f}: {rates:?}");
        }
    }
    assert!(Collusion::new(5, 2).is_none(), "n = 5 needs four signers: no second certificate");
    let rates = Collusion::new(9, 4).unwrap().try_often(Draw::Distinct, 7, TRIALS, 1).unwrap();
    assert!((rates.fresh - (1.0 - 1.0 / 36.0)).abs() < TOLERANCE, "{rates:?}");
}

#[test]
fn within_the_budget_there_is_no_second_certificate() {
    for (n, b) in [(4, 1), (7, 2), (10, 3), (13, 4), (16, 5)] {
        for f in 0..=b {
            assert!(Collusion::new(n, f).is_none(), "n={n} f={f}");
        }
        assert!(Collusion::new(n, b + 1).is_some(), "n={n}: one more is enough");
    }
}
