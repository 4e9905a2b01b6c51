//! Multiples of one point through a table, without doublings.
//!
//! An odd k is written with digits that are odd, between -(2^w - 1) and 2^w - 1: k = Σ d_i·2^(w·i). No digit is zero, so
//! there is nothing to skip and nothing to branch on; an even k is replaced by n - k. With E = (k + 2^L - 1)/2, L = w·windows,
//! the digits are d_i = 2·v_i - (2^w - 1), where v_i are the w-bit digits of E.
//!
//! The table of window i holds the odd multiples (2j + 1)·2^(w·i)·P for j below 2^(w-1). All partial sums and all entries are
//! different multiples below n, except that the last addition may meet equal points for one single k; then the sum
//! shows Z = 0 and callers take another way.

use super::field::Fe;
use super::point::{Affine, Jacobian};
use super::scalar::Scalar;
use super::words::{self, Words};
use std::sync::OnceLock;
use zeroize::{Zeroize, Zeroizing};

/// The odd signed digits of an odd number.
pub struct Digits {
    bits: [u64; 5],
    width: usize,
}

impl Zeroize for Digits {
    fn zeroize(&mut self) {
        self.bits.zeroize();
    }
}

impl Digits {
    /// Recode `odd` into `windows` digits of `width` bits; 256 <= width·windows < 320.
    #[inline]
    pub fn new(odd: &Words, width: usize, windows: usize) -> Self {
        let mut bits = [
            (odd[0] >> 1) | (odd[1] << 63),
            (odd[1] >> 1) | (odd[2] << 63),
            (odd[2] >> 1) | (odd[3] << 63),
            odd[3] >> 1,
            0,
        ];
        let top = width * windows - 1;
        bits[top / 64] |= 1 << (top % 64);
        Self { bits, width }
    }

    /// The w-bit digits v_i, one after the other.
    pub fn bits(&self) -> &[u64; 5] {
        &self.bits
    }

    /// For window i the place j of the digit's size 2j + 1, and all ones when the digit is negative.
    #[inline(always)]
    pub fn get(&self, window: usize) -> (usize, u64) {
        let position = window * self.width;
        let (word, shift) = (position / 64, position % 64);
        // Two shifts, since one of 64 bits is not defined.
        let above = if word < 4 { self.bits[word + 1] } else { 0 };
        let value = (self.bits[word] >> shift) | ((above << 1) << (63 - shift));
        let half = 1u64 << (self.width - 1);
        let negative = ((value >> (self.width - 1)) & 1).wrapping_sub(1);
        (((value ^ negative) & (half - 1)) as usize, negative)
    }
}

/// An affine point x, y as the arithmetic of one tier holds it, in one cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Entry(pub [u64; 8]);

impl Entry {
    fn new(point: &Affine) -> Self {
        let (x, y) = (point.x.montgomery_words(), point.y.montgomery_words());
        Self([x[0], x[1], x[2], x[3], y[0], y[1], y[2], y[3]])
    }

    #[inline(always)]
    pub fn point(&self) -> Affine {
        let [x0, x1, x2, x3, y0, y1, y2, y3] = self.0;
        Affine {
            x: Fe::from_montgomery_words([x0, x1, x2, x3]),
            y: Fe::from_montgomery_words([y0, y1, y2, y3]),
        }
    }
}

/// The table of one point.
pub struct Comb {
    entries: Box<[Entry]>,
    width: usize,
    windows: usize,
}

impl Comb {
    /// Prepare the table of `point` with windows of `width` bits.
    pub fn new(point: &Affine, width: usize) -> Self {
        let windows = 256usize.div_ceil(width);
        let mut bases = Vec::with_capacity(2 * windows);
        let mut base = Jacobian::from(point);
        for _ in 0..windows {
            let double = base.double();
            bases.extend([base, double]);
            base = (1..width).fold(double, |power, _| power.double());
        }
        let bases = Jacobian::to_affine_all(&bases);
        let mut multiples = Vec::with_capacity(windows << (width - 1));
        for pair in bases.as_chunks::<2>().0 {
            let mut multiple = Jacobian::from(&pair[0]);
            multiples.push(multiple);
            for _ in 1..1usize << (width - 1) {
                multiple = multiple.add_affine_incomplete(&pair[1]);
                multiples.push(multiple);
            }
        }
        let entries = Jacobian::to_affine_all(&multiples)
            .iter()
            .map(Entry::new)
            .collect();
        Self {
            entries,
            width,
            windows,
        }
    }

    /// The table of G for secret numbers, made once per process: small, since all of a window is read each time.
    pub fn generator_secret() -> &'static Self {
        static TABLE: OnceLock<Comb> = OnceLock::new();
        TABLE.get_or_init(|| Self::new(&Affine::generator(), SECRET_WIDTH))
    }

    /// The table of G for public numbers, made once per process.
    pub fn generator_public() -> &'static Self {
        static TABLE: OnceLock<Comb> = OnceLock::new();
        TABLE.get_or_init(|| Self::new(&Affine::generator(), PUBLIC_WIDTH))
    }

    /// Odd multiple j of window i.
    pub fn window(&self, window: usize) -> &[Entry] {
        let size = 1 << (self.width - 1);
        &self.entries[window * size..(window + 1) * size]
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// k·P in constant time, 1 <= k < n: every entry of a window is read, and nothing branches on k.
    /// Gives Z = 0 for one single k, as said above.
    pub fn multiply(&self, k: &Scalar) -> Jacobian {
        let (mut odd, negative) = k.odd_or_negated();
        let mut digits = Digits::new(&odd, self.width, self.windows);
        let mut sum = Jacobian::from(&self.lookup(&digits, 0));
        for window in 1..self.windows {
            sum = sum.add_affine_incomplete(&self.lookup(&digits, window));
        }
        sum.y = sum.y.negate_if(negative);
        odd.zeroize();
        digits.zeroize();
        sum
    }

    #[inline(always)]
    fn lookup(&self, digits: &Digits, window: usize) -> Affine {
        let (index, negative) = digits.get(window);
        let index = std::hint::black_box(index);
        let mut found = Entry([0; 8]);
        for (j, entry) in self.window(window).iter().enumerate() {
            let mask = words::hidden_mask(j == index);
            for (word, candidate) in found.0.iter_mut().zip(entry.0) {
                *word |= candidate & mask;
            }
        }
        let mut point = found.point();
        point.y = point.y.negate_if(negative);
        point
    }

    /// The points whose sum is ±k·P, for each k with 1 <= k < n, in constant time: window after window, one point for each k.
    pub fn rows(&self, numbers: &[Scalar]) -> Vec<Affine> {
        let mut digits = Zeroizing::new(Vec::with_capacity(numbers.len()));
        for k in numbers {
            let (mut odd, _) = k.odd_or_negated();
            digits.push(Digits::new(&odd, self.width, self.windows));
            odd.zeroize();
        }
        let mut points = Vec::with_capacity(self.windows * numbers.len());
        for window in 0..self.windows {
            points.extend(digits.iter().map(|digits| self.lookup(digits, window)));
        }
        points
    }

    /// Append the points whose sum is k·P, for each public k, in the order of [`Self::rows`].
    pub fn append_rows_vartime(
        &self,
        points: &mut Vec<Affine>,
        numbers: impl Iterator<Item = Scalar>,
    ) {
        let recode = |k: Scalar| {
            let (odd, flipped) = k.odd_or_negated();
            (Digits::new(&odd, self.width, self.windows), flipped)
        };
        let digits: Vec<_> = numbers.map(recode).collect();
        for window in 0..self.windows {
            let point =
                |(digits, flipped): &(Digits, u64)| self.entry_vartime(digits, window, *flipped);
            points.extend(digits.iter().map(point));
        }
    }

    #[inline(always)]
    fn entry_vartime(&self, digits: &Digits, window: usize, flipped: u64) -> Affine {
        let (index, negative) = digits.get(window);
        let mut point = self.window(window)[index].point();
        if negative != flipped {
            point.y = point.y.negate();
        }
        point
    }

    /// `sum` + k·P for public k, 1 <= k < n; incomplete as said in the file on points.
    pub fn add_multiple_vartime(&self, sum: Option<Jacobian>, k: &Scalar) -> Jacobian {
        let (odd, flipped) = k.odd_or_negated();
        let digits = Digits::new(&odd, self.width, self.windows);
        let entry = |window: usize| self.entry_vartime(&digits, window, flipped);
        let (first, mut sum) = match sum {
            Some(sum) => (0, sum),
            None => (1, Jacobian::from(&entry(0))),
        };
        for window in first..self.windows {
            sum = sum.add_affine_incomplete(&entry(window));
        }
        sum
    }
}

/// k·G in constant time for every k with 1 <= k < n.
pub fn multiply_generator(k: &Scalar) -> Jacobian {
    let sum = Comb::generator_secret().multiply(k);
    if !sum.is_infinity() {
        return sum;
    }
    // The single k that the comb cannot do, by way of its neighbour.
    let neighbour = Comb::generator_secret().multiply(&k.sub(&Scalar::ONE));
    neighbour.add(&Jacobian::from(&Affine::generator()))
}

/// Width of the windows for secret numbers: 43 windows, 88 KiB.
pub const SECRET_WIDTH: usize = 6;
/// Width of the windows for public numbers: 32 windows, 256 KiB.
pub const PUBLIC_WIDTH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sm2::scalar::N;
    use crate::sm2::tests::edge_scalars;

    #[test]
    fn digits_are_odd_and_add_up() {
        for width in [5, 6, 7, 8] {
            let windows = 256usize.div_ceil(width);
            for k in edge_scalars() {
                let (odd, _) = k.odd_or_negated();
                assert_eq!(odd[0] & 1, 1);
                let digits = Digits::new(&odd, width, windows);
                let base = Scalar::from(1 << width);
                let sum = (0..windows).rev().fold(Scalar::ZERO, |sum, window| {
                    let (index, negative) = digits.get(window);
                    assert!(index < 1 << (width - 1));
                    let size = Scalar::from(2 * index as u64 + 1);
                    let digit = if negative == 0 { size } else { size.negate() };
                    sum.mul(&base).add(&digit)
                });
                assert_eq!(sum.words(), &odd);
            }
        }
    }

    #[test]
    fn the_comb_agrees_with_double_and_add() {
        let seven = point_of(7);
        for point in [Affine::generator(), seven] {
            let combs = [SECRET_WIDTH, PUBLIC_WIDTH].map(|width| Comb::new(&point, width));
            for k in edge_scalars() {
                let expected = super::super::point::multiply_vartime(&point, &k).to_affine();
                for comb in &combs {
                    let constant_time = comb.multiply(&k);
                    if !constant_time.is_infinity() {
                        assert!(constant_time.to_affine() == expected);
                        let sum = comb.add_multiple_vartime(None, &k);
                        assert!(sum.to_affine() == expected);
                    }
                }
            }
        }
    }

    fn point_of(k: u64) -> Affine {
        super::super::point::multiply_vartime(&Affine::generator(), &Scalar::from(k))
            .to_affine()
            .unwrap()
    }

    /// The single number at which the last addition of the comb meets equal points: 30·2^252 - n.
    #[test]
    fn the_one_number_that_the_comb_cannot_do_is_done_by_its_neighbour() {
        let (k, _) = words::sub(&[0, 0, 0, 15 << 60], &N);
        let (k, _) = words::add(&k, &[0, 0, 0, 15 << 60]);
        let k = Scalar::reduce(&k);
        assert!(Comb::generator_secret().multiply(&k).is_infinity());
        let expected = super::super::point::multiply_vartime(&Affine::generator(), &k);
        for k in [k, k.negate()] {
            assert!(
                multiply_generator(&k).to_affine().unwrap().x == expected.to_affine().unwrap().x
            );
        }
    }
}
