//! Powers with a secret exponent, which are most of what a signature by RSA shares costs.
//!
//! Pure Rust by default. With the feature `rsa-openssl` OpenSSL's assembler does it in half of the
//! time, also constant in the exponent (`BN_mod_exp_mont_consttime`); see `docs/threshold.md`.

use crypto_bigint::BoxedUint;

use super::number::{Modulus, Residue};

/// base^exponent modulo N. The time tells `bits`, the most bits that the exponent can have, and no
/// more of it.
#[cfg(not(feature = "rsa-openssl"))]
pub(super) fn pow_secret(_: &Modulus, base: &Residue, exponent: &BoxedUint, bits: u32) -> Residue {
    base.pow_bounded_exp(exponent, bits)
}

/// base^exponent modulo N. The time tells `bits`, the most bits that the exponent can have, and no
/// more of it.
#[cfg(feature = "rsa-openssl")]
pub(super) fn pow_secret(
    numbers: &Modulus,
    base: &Residue,
    exponent: &BoxedUint,
    bits: u32,
) -> Residue {
    let power = openssl_power(numbers, base, exponent).ok().and_then(|bytes| numbers.read(&bytes));
    // OpenSSL fails when memory is short. A base that is no unit has the power 0, which is not read.
    power.unwrap_or_else(|| base.pow_bounded_exp(exponent, bits))
}

/// The big-endian encoding of the power, as long as N.
#[cfg(feature = "rsa-openssl")]
fn openssl_power(
    numbers: &Modulus,
    base: &Residue,
    exponent: &BoxedUint,
) -> Result<Vec<u8>, openssl::error::ErrorStack> {
    use openssl::bn::{BigNum, BigNumContext};
    use zeroize::Zeroizing;

    let base = BigNum::from_slice(&numbers.write(base))?;
    let modulus = BigNum::from_slice(&numbers.to_bytes())?;
    let bytes = Zeroizing::new(exponent.to_be_bytes());
    let mut exponent = BigNum::from_slice(&bytes)?;
    exponent.set_const_time();
    let mut power = BigNum::new()?;
    let mut context = BigNumContext::new()?;
    let done = power.mod_exp(&base, &exponent, &modulus, &mut context);
    exponent.clear();
    done?;
    power.to_vec_padded(i32::try_from(numbers.size()).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever computes it: small powers, multiplied out.
    #[test]
    fn a_power_is_the_product_of_its_factors() {
        // 2^1536 - 1 is odd; that it is no RSA modulus does not matter here.
        let modulus = Modulus::new(&BoxedUint::max(1536)).unwrap();
        let mut bytes = vec![7; modulus.size()];
        bytes[0] = 1;
        let base = modulus.read(&bytes).unwrap();
        let mut product = modulus.one();
        for exponent in 0..40_u64 {
            let exponent = BoxedUint::from(exponent);
            assert!(pow_secret(&modulus, &base, &exponent, 64) == product);
            product = product.mul(&base);
        }
    }

    /// The other way to compute it says the same of exponents of full length.
    #[test]
    fn long_exponents_have_the_same_powers_in_every_build() {
        let modulus = Modulus::new(&BoxedUint::max(2048)).unwrap();
        let base = modulus.read(&vec![0x5a; modulus.size()]).unwrap();
        for first in [0_u8, 1, 0x80, 0xff] {
            let mut bytes = vec![0xc3; modulus.size()];
            bytes[0] = first;
            let exponent = BoxedUint::from_be_slice(&bytes, modulus.bits()).unwrap();
            let power = pow_secret(&modulus, &base, &exponent, modulus.bits());
            assert!(power == base.pow(&exponent));
        }
    }
}
