//! The prime field of the curve, p = 2^256 - 2^224 - 2^96 + 2^64 - 1, four words per number, Montgomery form.
//!
//! -1/p modulo 2^64 is 1, so the quotient of a reduction step is the lowest word itself, and p + 1 is four signed powers
//! of two, so the step is shifts and additions. Every operation takes the same time for every value.
//! The SIMD file computes the same eight lanes at a time; tests compare the two.

use super::words::{self, Words};
use zeroize::Zeroize;

/// p, GB/T 32918.5 clause 2.
pub const P: Words = words::hex("fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff");
/// 2^256 modulo p: one, in Montgomery form.
const R1: Words = words::hex("0000000100000000000000000000000000000000ffffffff0000000000000001");
/// 2^512 modulo p.
const R2: Words = words::hex("0000000400000002000000010000000100000002ffffffff0000000200000003");

/// A field element a, held as a·2^256 modulo p, always below p.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fe(Words);

impl Zeroize for Fe {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// t·2^-256 modulo p, for t below p·2^256.
#[inline(always)]
fn montgomery_reduce(t: &[u64; 8]) -> Words {
    let mut low = [t[0], t[1], t[2], t[3]];
    for _ in 0..4 {
        let q = low[0];
        let (q_low, q_high) = (q << 32, q >> 32);
        // c = q·(p + 1)/2^64 = q·(2^192 - 2^160 - 2^32 + 1)
        let (c0, borrow) = q.borrowing_sub(q_low, false);
        let (c1, borrow) = 0u64.borrowing_sub(q_high, borrow);
        let (c2, borrow) = 0u64.borrowing_sub(q_low, borrow);
        let (c3, _) = q.borrowing_sub(q_high, borrow);
        let (w0, carry) = low[1].carrying_add(c0, false);
        let (w1, carry) = low[2].carrying_add(c1, carry);
        let (w2, carry) = low[3].carrying_add(c2, carry);
        let (w3, _) = c3.carrying_add(0, carry);
        low = [w0, w1, w2, w3];
    }
    let (sum, carry) = words::add(&low, &[t[4], t[5], t[6], t[7]]);
    words::subtract_once(&sum, carry, &P)
}

impl Fe {
    pub const ZERO: Self = Self([0; 4]);
    pub const ONE: Self = Self(R1);

    /// The number `value`, which must be below p, as a field element; for constants.
    pub fn from_words(value: &Words) -> Self {
        Self(montgomery_reduce(&words::multiply(value, &R2)))
    }

    /// The number itself, 0 <= value < p.
    #[inline]
    pub fn to_words(self) -> Words {
        let [w0, w1, w2, w3] = self.0;
        montgomery_reduce(&[w0, w1, w2, w3, 0, 0, 0, 0])
    }

    /// Read 32 big-endian bytes; `None` unless they are below p.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let value = words::from_bytes(bytes);
        let (_, below) = words::sub(&value, &P);
        below.then(|| Self::from_words(&value))
    }

    /// Write 32 big-endian bytes.
    pub fn to_bytes(self) -> [u8; 32] {
        words::to_bytes(&self.to_words())
    }

    /// a·2^256 modulo p, as held.
    #[inline]
    pub fn montgomery_words(self) -> Words {
        self.0
    }

    /// What [`Fe::montgomery_words`] gave, below p.
    #[inline]
    pub fn from_montgomery_words(words: Words) -> Self {
        Self(words)
    }

    #[inline(always)]
    pub fn add(&self, other: &Self) -> Self {
        let (sum, carry) = words::add(&self.0, &other.0);
        Self(words::subtract_once(&sum, carry, &P))
    }

    #[inline(always)]
    pub fn sub(&self, other: &Self) -> Self {
        let (difference, borrow) = words::sub(&self.0, &other.0);
        let correction = words::select(&[0; 4], &P, words::mask(borrow));
        Self(words::add(&difference, &correction).0)
    }

    #[inline]
    pub fn double(&self) -> Self {
        self.add(self)
    }

    #[inline]
    pub fn negate(&self) -> Self {
        Self::ZERO.sub(self)
    }

    #[inline]
    pub fn mul(&self, other: &Self) -> Self {
        Self(montgomery_reduce(&words::multiply(&self.0, &other.0)))
    }

    #[inline]
    pub fn square(&self) -> Self {
        Self(montgomery_reduce(&words::square(&self.0)))
    }

    /// self^(2^count)
    fn square_times(&self, count: u32) -> Self {
        (0..count).fold(*self, |power, _| power.square())
    }

    /// 1/self, and 0 for 0: self^(p - 2) by an addition chain over the runs of ones of p - 2.
    pub fn invert(&self) -> Self {
        let ones_2 = self.square().mul(self);
        let ones_4 = ones_2.square_times(2).mul(&ones_2);
        let ones_8 = ones_4.square_times(4).mul(&ones_4);
        let ones_16 = ones_8.square_times(8).mul(&ones_8);
        let ones_24 = ones_16.square_times(8).mul(&ones_8);
        let ones_28 = ones_24.square_times(4).mul(&ones_4);
        let ones_30 = ones_28.square_times(2).mul(&ones_2);
        let ones_31 = ones_30.square().mul(self);
        let ones_32 = ones_31.square().mul(self);
        let ones_62 = ones_31.square_times(31).mul(&ones_31);
        // p - 2 in binary: 31 ones, a zero, 128 ones, 32 zeros, 62 ones, a zero, a one.
        let power = (0..4).fold(ones_31.square(), |power, _| {
            power.square_times(32).mul(&ones_32)
        });
        power
            .square_times(94)
            .mul(&ones_62)
            .square_times(2)
            .mul(self)
    }

    #[inline]
    pub fn is_zero(&self) -> bool {
        words::is_zero(&self.0)
    }

    /// `b` where `mask` is all ones, `a` where it is zero.
    #[inline(always)]
    pub fn select(a: &Self, b: &Self, mask: u64) -> Self {
        Self(words::select(&a.0, &b.0, mask))
    }

    /// -self where `mask` is all ones.
    #[inline]
    pub fn negate_if(&self, mask: u64) -> Self {
        Self::select(self, &self.negate(), std::hint::black_box(mask))
    }
}

/// Replace every element by its inverse (0 by 0) with one inversion: Montgomery's trick.
pub fn invert_all(elements: &mut [Fe]) {
    let mut product = Fe::ONE;
    let mut before = Vec::with_capacity(elements.len());
    for element in elements.iter() {
        before.push(product);
        // A zero would make every product zero: one stands in for it.
        product = product.mul(&Fe::select(
            element,
            &Fe::ONE,
            words::mask(element.is_zero()),
        ));
    }
    let mut inverse = product.invert();
    for (element, before) in elements.iter_mut().zip(&before).rev() {
        let zero = words::mask(element.is_zero());
        let next = inverse.mul(&Fe::select(element, &Fe::ONE, zero));
        *element = Fe::select(&inverse.mul(before), &Fe::ZERO, zero);
        inverse = next;
    }
    before.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sm2::tests::{edge_words, random_words};
    use fiat_crypto::sm2_64 as fiat;

    fn elements() -> Vec<Fe> {
        let below_p = |value: Words| words::subtract_once(&value, false, &P);
        edge_words()
            .into_iter()
            .chain(random_words(260))
            .map(|value| Fe(below_p(value)))
            .collect()
    }

    fn check(ours: Fe, theirs: impl Fn(&mut fiat::fiat_sm2_montgomery_domain_field_element)) {
        let mut expected = fiat::fiat_sm2_montgomery_domain_field_element([0; 4]);
        theirs(&mut expected);
        assert_eq!(ours.0, expected.0);
        assert!(words::sub(&ours.0, &P).1, "below p");
    }

    #[test]
    fn every_operation_agrees_with_the_proved_one() {
        let elements = elements();
        for a in &elements {
            let theirs_a = fiat::fiat_sm2_montgomery_domain_field_element(a.0);
            check(a.square(), |out| fiat::fiat_sm2_square(out, &theirs_a));
            check(a.negate(), |out| fiat::fiat_sm2_opp(out, &theirs_a));
            for b in &elements {
                let theirs_b = fiat::fiat_sm2_montgomery_domain_field_element(b.0);
                check(a.mul(b), |out| {
                    fiat::fiat_sm2_mul(out, &theirs_a, &theirs_b)
                });
                check(a.add(b), |out| {
                    fiat::fiat_sm2_add(out, &theirs_a, &theirs_b)
                });
                check(a.sub(b), |out| {
                    fiat::fiat_sm2_sub(out, &theirs_a, &theirs_b)
                });
            }
        }
    }

    #[test]
    fn the_laws_of_a_field_hold() {
        let elements = elements();
        for a in &elements {
            let inverse = a.invert();
            assert!(a.is_zero() || a.mul(&inverse) == Fe::ONE);
            assert!(!a.is_zero() || inverse.is_zero());
            for b in &elements {
                assert!(a.mul(b) == b.mul(a));
                assert!(a.add(b).sub(b) == *a);
                assert!(a.mul(&b.add(&Fe::ONE)) == a.mul(b).add(a));
            }
        }
        let mut inverses = elements.clone();
        invert_all(&mut inverses);
        for (inverse, element) in inverses.iter().zip(&elements) {
            assert!(
                *inverse == element.invert(),
                "a zero must not touch the others"
            );
        }
    }

    #[test]
    fn bytes_are_taken_only_below_p() {
        for (value, taken) in [([0; 4], true), (P, false), ([u64::MAX; 4], false)] {
            assert_eq!(Fe::from_bytes(&words::to_bytes(&value)).is_some(), taken);
        }
        let (largest, _) = words::sub(&P, &[1, 0, 0, 0]);
        let largest = words::to_bytes(&largest);
        assert_eq!(Fe::from_bytes(&largest).unwrap().to_bytes(), largest);
    }
}
