//! Numbers modulo the group's order n, four words each. Every operation takes the same time for every value.

use super::words::{self, Words};
use zeroize::Zeroize;

/// n, GB/T 32918.5 clause 2.
pub const N: Words = words::hex("fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123");
const N_MINUS_2: Words =
    words::hex("fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54121");
/// 2^512 modulo n.
const R2: Words = words::hex("1eb5e412a22b3d3b620fc84c3affe0d43464504ade6fa2fa901192af7c114f20");

/// -1/n modulo 2^64, by Newton's iteration.
const N_INVERSE: u64 = {
    let mut inverse = 1u64;
    let mut i = 0;
    while i < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(N[0].wrapping_mul(inverse)));
        i += 1;
    }
    inverse.wrapping_neg()
};

/// A number 0 <= value < n.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scalar(Words);

impl Zeroize for Scalar {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// t·2^-256 modulo n, for t below n·2^256.
#[inline]
fn montgomery_reduce(mut t: [u64; 8]) -> Words {
    let mut top = 0u64;
    for i in 0..4 {
        let q = t[i].wrapping_mul(N_INVERSE);
        let mut carry = 0;
        for j in 0..4 {
            (t[i + j], carry) = q.carrying_mul_add(N[j], t[i + j], carry);
        }
        let (word, over) = t[i + 4].carrying_add(carry, false);
        let (word, over_top) = word.carrying_add(top, false);
        t[i + 4] = word;
        top = u64::from(over | over_top);
    }
    words::subtract_once(&[t[4], t[5], t[6], t[7]], top != 0, &N)
}

/// a·b·2^-256 modulo n
fn montgomery(a: &Words, b: &Words) -> Words {
    montgomery_reduce(words::multiply(a, b))
}

impl Scalar {
    pub const ONE: Self = Self([1, 0, 0, 0]);

    /// Read 32 big-endian bytes; `None` unless they are below n.
    #[inline(never)] // The secret-memory test knows the branch by this function's name.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let value = words::from_bytes(bytes);
        let (_, below) = words::sub(&value, &N);
        below.then_some(Self(value))
    }

    /// Read 32 big-endian bytes as a number with 1 <= value < n.
    #[inline(never)] // The secret-memory test knows the branch by this function's name.
    pub fn from_bytes_nonzero(bytes: &[u8; 32]) -> Option<Self> {
        Self::from_bytes(bytes).filter(|scalar| !scalar.is_zero())
    }

    /// Any 256-bit number modulo n; 2^256 is below 2n.
    #[inline]
    pub fn reduce(value: &Words) -> Self {
        Self(words::subtract_once(value, false, &N))
    }

    /// Any 32 big-endian bytes modulo n.
    pub fn reduce_bytes(bytes: &[u8; 32]) -> Self {
        Self::reduce(&words::from_bytes(bytes))
    }

    /// Write 32 big-endian bytes.
    pub fn to_bytes(self) -> [u8; 32] {
        words::to_bytes(&self.0)
    }

    pub fn words(&self) -> &Words {
        &self.0
    }

    #[inline]
    pub fn add(&self, other: &Self) -> Self {
        let (sum, carry) = words::add(&self.0, &other.0);
        Self(words::subtract_once(&sum, carry, &N))
    }

    #[inline]
    pub fn sub(&self, other: &Self) -> Self {
        let (difference, borrow) = words::sub(&self.0, &other.0);
        let correction = words::select(&[0; 4], &N, words::mask(borrow));
        Self(words::add(&difference, &correction).0)
    }

    /// This number made ready to be a factor again and again.
    pub fn prepare(&self) -> Factor {
        Factor(montgomery(&self.0, &R2))
    }

    /// self·factor
    #[inline]
    pub fn mul_prepared(&self, factor: &Factor) -> Self {
        Self(montgomery(&self.0, &factor.0))
    }

    /// 1/self, and 0 for 0: self^(n - 2); the exponent is public.
    pub fn invert(&self) -> Self {
        let mut base = self.prepare();
        let mut power = Self::ONE.prepare();
        for bit in (0..256).rev() {
            power.0 = montgomery(&power.0, &power.0);
            if (N_MINUS_2[bit / 64] >> (bit % 64)) & 1 == 1 {
                power.0 = montgomery(&power.0, &base.0);
            }
        }
        let inverse = Self::ONE.mul_prepared(&power);
        base.zeroize();
        power.zeroize();
        inverse
    }

    #[inline]
    pub fn is_zero(&self) -> bool {
        words::is_zero(&self.0)
    }

    /// The one of self and n - self that is odd, and a mask that is all ones when it is the latter. Not for zero.
    #[inline]
    pub fn odd_or_negated(&self) -> (Words, u64) {
        let even = words::hidden_mask(self.0[0] & 1 == 0);
        let (negated, _) = words::sub(&N, &self.0);
        (words::select(&self.0, &negated, even), even)
    }
}

/// What only tests need.
#[cfg(test)]
impl Scalar {
    pub const ZERO: Self = Self([0; 4]);

    pub fn negate(&self) -> Self {
        Self::ZERO.sub(self)
    }

    pub fn mul(&self, other: &Self) -> Self {
        self.mul_prepared(&other.prepare())
    }
}

#[cfg(test)]
impl From<u64> for Scalar {
    fn from(value: u64) -> Self {
        Self([value, 0, 0, 0])
    }
}

/// A number in Montgomery form, as [`Scalar::mul_prepared`] takes it.
pub struct Factor(Words);

impl Zeroize for Factor {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sm2::tests::{edge_scalars, random_words};
    use ::sm2::elliptic_curve::PrimeField;

    fn theirs(scalar: &Scalar) -> ::sm2::Scalar {
        ::sm2::Scalar::from_repr(scalar.to_bytes().into()).unwrap()
    }

    #[test]
    fn every_operation_agrees_with_another_implementation() {
        let random = random_words(240)
            .into_iter()
            .map(|value| Scalar::reduce(&value));
        let scalars: Vec<Scalar> = edge_scalars().into_iter().chain(random).collect();
        for a in &scalars {
            assert_eq!(theirs(&a.negate()), -theirs(a));
            assert_eq!(theirs(&a.invert()), theirs(a).invert().unwrap());
            for b in &scalars {
                assert_eq!(theirs(&a.add(b)), theirs(a) + theirs(b));
                assert_eq!(theirs(&a.sub(b)), theirs(a) - theirs(b));
                assert_eq!(theirs(&a.mul(b)), theirs(a) * theirs(b));
            }
        }
        assert!(Scalar::ZERO.invert().is_zero());
    }

    #[test]
    fn bytes_are_taken_only_below_n_and_reduced_on_request() {
        assert!(Scalar::from_bytes(&words::to_bytes(&N)).is_none());
        assert!(Scalar::from_bytes(&[0xff; 32]).is_none());
        assert!(Scalar::from_bytes(&[0; 32]).is_some());
        assert!(Scalar::from_bytes_nonzero(&[0; 32]).is_none());
        assert!(Scalar::reduce(&N).is_zero());
        let (rest, _) = words::sub(&[u64::MAX; 4], &N);
        assert_eq!(Scalar::reduce_bytes(&[0xff; 32]).words(), &rest);
    }
}
