//! The secret number k of a signature.
//!
//! k = HMAC-SM3(d, kernel entropy ‖ e ‖ attempt), drawn again until 1 <= k < n. Kernel entropy alone would do; keyed
//! with d and bound to e, a broken generator still never gives one k to two messages (the idea of RFC 6979, hedged).
//! Nothing survives the call, so a fork cannot repeat a nonce.

use crate::errors::Result;
use crate::random;
use crate::sm3::HmacSm3;
use sm2::Scalar;
use sm2::elliptic_curve::PrimeField;
use zeroize::Zeroize;

/// The nonces of one signature, in the order in which they are to be tried.
pub struct Nonces<'a> {
    mac: &'a HmacSm3,
    entropy: [u8; 32],
    digest: [u8; 32],
    attempt: u32,
}

impl Drop for Nonces<'_> {
    fn drop(&mut self) {
        self.entropy.zeroize();
    }
}

impl<'a> Nonces<'a> {
    /// Draw kernel entropy for one signature of digest `e` under the private key that keys `mac`.
    pub fn new(mac: &'a HmacSm3, digest: &[u8; 32]) -> Result<Self> {
        let mut entropy = [0; 32];
        random::fill(&mut entropy)?;
        Ok(Self {
            mac,
            entropy,
            digest: *digest,
            attempt: 0,
        })
    }

    /// The next k, uniform in 1..n. A candidate out of range has a chance of 2^-32 and tells nothing of the others.
    pub fn draw(&mut self) -> Scalar {
        loop {
            let mut candidate =
                self.mac
                    .mac(&[&self.entropy, &self.digest, &self.attempt.to_be_bytes()]);
            self.attempt = self.attempt.wrapping_add(1);
            let scalar = Option::<Scalar>::from(Scalar::from_repr(candidate.into()));
            candidate.zeroize();
            if let Some(k) = scalar.filter(|k| !bool::from(k.is_zero())) {
                return k;
            }
        }
    }
}
