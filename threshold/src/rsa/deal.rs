//! The dealer: makes a key and its shares, and must then forget.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, NonZero, Odd, RandomMod, Resize};
use zeroize::{Zeroize, Zeroizing};

use super::EXPONENT;
use super::key::{RsaKey, check_parties};
use super::number::Modulus;
use super::prime::{Rng, SafePrimes};
use super::share::RsaShare;
use crate::rand_core::CryptoRngCore;
use crate::{Error, Party, Roster};

/// f, a random polynomial modulo m whose value at 0 is d. Wiped when dropped.
struct Polynomial {
    params: BoxedMontyParams,
    /// From the lowest degree.
    coefficients: Vec<BoxedMontyForm>,
}

impl Drop for Polynomial {
    fn drop(&mut self) {
        self.coefficients.iter_mut().for_each(Zeroize::zeroize);
    }
}

impl Polynomial {
    fn new(
        order: &NonZero<BoxedUint>,
        secret: BoxedUint,
        k: usize,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Self, Error> {
        let odd = Odd::new((**order).clone()).into_option().ok_or(Error::Primes)?;
        let params = BoxedMontyParams::new(odd);
        let mut coefficients = Vec::with_capacity(k);
        coefficients.push(BoxedMontyForm::new(secret, &params));
        while coefficients.len() < k {
            let random = BoxedUint::random_mod_vartime(&mut Rng(rng), order);
            coefficients.push(BoxedMontyForm::new(random, &params));
        }
        Ok(Self { params, coefficients })
    }

    fn at(&self, x: Party) -> BoxedUint {
        let precision = self.params.bits_precision();
        let x = BoxedUint::from(x.number()).resize(precision);
        let x = BoxedMontyForm::new(x, &self.params);
        let mut value = Zeroizing::new(BoxedMontyForm::zero(&self.params));
        for coefficient in self.coefficients.iter().rev() {
            value = Zeroizing::new(value.mul(&x).add(coefficient));
        }
        value.retrieve()
    }
}

/// Makes a key of these primes and deals its shares, in the order of the parties, which must be
/// 1 to n. Source: Shoup, section 3, "the dealer".
///
/// The dealer's process must then end: the numbers that it worked with are wiped as far as this
/// crate holds them, but the arithmetic's own copies of m are not.
///
/// # Errors
///
/// [`Error::Threshold`] if the parties are not 1 to n.
pub fn deal(
    roster: &Roster,
    primes: &SafePrimes,
    rng: &mut dyn CryptoRngCore,
) -> Result<Vec<RsaShare>, Error> {
    check_parties(roster)?;
    let modulus = Modulus::new(&primes.product())?;
    let order = Zeroizing::new(primes.order()?);
    let exponent = BoxedUint::from(EXPONENT).resize(modulus.bits());
    let secret = exponent.invert_mod(&order).into_option().ok_or(Error::Primes)?;
    let polynomial = Polynomial::new(&order, secret, roster.threshold(), rng)?;

    let n = NonZero::new(primes.product()).into_option().ok_or(Error::Primes)?;
    let random = BoxedUint::random_mod_vartime(&mut Rng(rng), &n);
    let root = modulus.read(&random.to_be_bytes()).ok_or(Error::Primes)?;
    let base = root.square();
    let secrets: Vec<(Party, Zeroizing<BoxedUint>)> =
        roster.parties().iter().map(|i| (*i, Zeroizing::new(polynomial.at(*i)))).collect();
    let checks = secrets.iter().map(|(_, secret)| base.pow(secret)).collect();
    let key = RsaKey::new(roster.clone(), modulus, root, checks);
    key.check()?;
    let share = |(party, secret): (Party, Zeroizing<BoxedUint>)| {
        RsaShare::new(key.clone(), party, (*secret).clone())
    };
    secrets.into_iter().map(share).collect()
}
