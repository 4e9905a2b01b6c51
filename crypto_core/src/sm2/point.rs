//! Points of the curve y² = x³ - 3x + b in affine and Jacobian coordinates (x = X/Z², y = Y/Z³; infinity has Z = 0).
//!
//! The plain additions are incomplete: adding a point to itself, to its negative or to infinity gives Z = 0, and Z stays
//! 0 in all that follows. Callers either prove that it cannot happen or look at Z at the end and take a complete way.

use super::field::{Fe, invert_all};
use super::scalar::Scalar;
use super::words::{self, Words};
use zeroize::Zeroize;

const B: Words = words::hex("28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93");
const G_X: Words = words::hex("32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7");
const G_Y: Words = words::hex("bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0");

/// A point other than infinity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Affine {
    pub x: Fe,
    pub y: Fe,
}

/// Any point, infinity included.
#[derive(Clone, Copy)]
pub struct Jacobian {
    pub x: Fe,
    pub y: Fe,
    pub z: Fe,
}

impl Zeroize for Affine {
    fn zeroize(&mut self) {
        self.x.zeroize();
        self.y.zeroize();
    }
}

impl Zeroize for Jacobian {
    fn zeroize(&mut self) {
        self.x.zeroize();
        self.y.zeroize();
        self.z.zeroize();
    }
}

impl Affine {
    /// The base point G.
    pub fn generator() -> Self {
        Self {
            x: Fe::from_words(&G_X),
            y: Fe::from_words(&G_Y),
        }
    }

    /// x‖y, 64 bytes; `None` unless both are below p and on the curve.
    pub fn from_bytes(bytes: &[u8; 64]) -> Option<Self> {
        let (halves, _) = bytes.as_chunks::<32>();
        let point = Self {
            x: Fe::from_bytes(&halves[0])?,
            y: Fe::from_bytes(&halves[1])?,
        };
        point.is_on_curve().then_some(point)
    }

    /// x‖y, 64 bytes.
    pub fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.x.to_bytes());
        bytes[32..].copy_from_slice(&self.y.to_bytes());
        bytes
    }

    fn is_on_curve(&self) -> bool {
        let three = Fe::from_words(&[3, 0, 0, 0]);
        let right = self
            .x
            .square()
            .sub(&three)
            .mul(&self.x)
            .add(&Fe::from_words(&B));
        self.y.square() == right
    }

    pub fn negate(&self) -> Self {
        Self {
            x: self.x,
            y: self.y.negate(),
        }
    }
}

impl From<&Affine> for Jacobian {
    fn from(point: &Affine) -> Self {
        Self {
            x: point.x,
            y: point.y,
            z: Fe::ONE,
        }
    }
}

impl Jacobian {
    pub const INFINITY: Self = Self {
        x: Fe::ONE,
        y: Fe::ONE,
        z: Fe::ZERO,
    };

    pub fn is_infinity(&self) -> bool {
        self.z.is_zero()
    }

    /// 2·self; right for every point.
    pub fn double(&self) -> Self {
        let delta = self.z.square();
        let gamma = self.y.square();
        let beta = self.x.mul(&gamma);
        let difference_times_sum = self.x.sub(&delta).mul(&self.x.add(&delta));
        let alpha = difference_times_sum.double().add(&difference_times_sum);
        let beta_4 = beta.double().double();
        let x = alpha.square().sub(&beta_4.double());
        let z = self.y.add(&self.z).square().sub(&gamma).sub(&delta);
        let gamma_square_8 = gamma.square().double().double().double();
        let y = alpha.mul(&beta_4.sub(&x)).sub(&gamma_square_8);
        Self { x, y, z }
    }

    /// self + other, incomplete: see the top of this file.
    #[inline]
    pub fn add_affine_incomplete(&self, other: &Affine) -> Self {
        let zz = self.z.square();
        let h = other.x.mul(&zz).sub(&self.x);
        let r = other.y.mul(&zz.mul(&self.z)).sub(&self.y);
        let hh = h.square();
        let hhh = hh.mul(&h);
        let v = self.x.mul(&hh);
        let x = r.square().sub(&hhh).sub(&v.double());
        let y = r.mul(&v.sub(&x)).sub(&self.y.mul(&hhh));
        let z = self.z.mul(&h);
        Self { x, y, z }
    }

    /// self + other, incomplete, and whether the two were equal, as far as neither was infinity.
    pub fn add_incomplete(&self, other: &Self) -> (Self, bool) {
        let (zz1, zz2) = (self.z.square(), other.z.square());
        let u1 = self.x.mul(&zz2);
        let s1 = self.y.mul(&zz2.mul(&other.z));
        let h = other.x.mul(&zz1).sub(&u1);
        let r = other.y.mul(&zz1.mul(&self.z)).sub(&s1);
        let hh = h.square();
        let hhh = hh.mul(&h);
        let v = u1.mul(&hh);
        let x = r.square().sub(&hhh).sub(&v.double());
        let y = r.mul(&v.sub(&x)).sub(&s1.mul(&hhh));
        let z = self.z.mul(&other.z).mul(&h);
        (Self { x, y, z }, h.is_zero() & r.is_zero())
    }

    /// self + other for any two points; its time tells whether one is infinity or both are equal.
    pub fn add(&self, other: &Self) -> Self {
        if self.is_infinity() {
            return *other;
        }
        if other.is_infinity() {
            return *self;
        }
        match self.add_incomplete(other) {
            (_, true) => self.double(),
            (sum, false) => sum,
        }
    }

    /// The affine form; `None` for infinity.
    #[inline(never)] // The secret-memory test knows the branch by this function's name.
    pub fn to_affine(self) -> Option<Affine> {
        (!self.is_infinity()).then(|| self.scale(&self.z.invert()))
    }

    /// The affine form, given 1/Z.
    fn scale(&self, z_inverse: &Fe) -> Affine {
        let square = z_inverse.square();
        Affine {
            x: self.x.mul(&square),
            y: self.y.mul(&square.mul(z_inverse)),
        }
    }

    /// The affine forms of points none of which is infinity, with one inversion.
    pub fn to_affine_all(points: &[Self]) -> Vec<Affine> {
        let mut inverses: Vec<Fe> = points.iter().map(|point| point.z).collect();
        invert_all(&mut inverses);
        points
            .iter()
            .zip(&inverses)
            .map(|(point, inverse)| point.scale(inverse))
            .collect()
    }

    fn select(a: &Self, b: &Self, mask: u64) -> Self {
        Self {
            x: Fe::select(&a.x, &b.x, mask),
            y: Fe::select(&a.y, &b.y, mask),
            z: Fe::select(&a.z, &b.z, mask),
        }
    }
}

/// Width of the windows of [`multiply`] and how many cover 256 bits.
const WINDOW: usize = 5;
const WINDOWS: usize = 52;
const ODD_MULTIPLES: usize = 1 << (WINDOW - 1);

/// k·P in constant time, 1 <= k < n; for points that are met once.
///
/// k is written with odd signed digits, so no digit is zero. Every accumulated multiple but the last is smaller than n, so
/// the incomplete addition meets equal points at most in the last step, where the doubling is computed as well and
/// one of the two selected.
pub fn multiply(point: &Affine, k: &Scalar) -> Jacobian {
    let mut table = [Jacobian::from(point); ODD_MULTIPLES];
    let double = table[0].double();
    for i in 1..ODD_MULTIPLES {
        table[i] = table[i - 1].add_incomplete(&double).0;
    }
    let (odd, negative) = k.odd_or_negated();
    let mut digits = super::comb::Digits::new(&odd, WINDOW, WINDOWS);
    let entry = |digits: &super::comb::Digits, window: usize| {
        let (index, negative) = digits.get(window);
        let mut entry = table[0];
        for (i, candidate) in table.iter().enumerate().skip(1) {
            entry = Jacobian::select(&entry, candidate, words::hidden_mask(i == index));
        }
        entry.y = entry.y.negate_if(negative);
        entry
    };
    let mut sum = entry(&digits, WINDOWS - 1);
    for window in (0..WINDOWS - 1).rev() {
        for _ in 0..WINDOW {
            sum = sum.double();
        }
        let next = entry(&digits, window);
        let (added, equal) = sum.add_incomplete(&next);
        sum = if window == 0 {
            Jacobian::select(&added, &sum.double(), words::hidden_mask(equal))
        } else {
            added
        };
    }
    digits.zeroize();
    table.zeroize();
    sum.y = sum.y.negate_if(negative);
    sum
}

/// k·P for public k, 0 <= k < n; its time depends on k.
pub fn multiply_vartime(point: &Affine, k: &Scalar) -> Jacobian {
    let base = Jacobian::from(point);
    let double = base.double();
    let mut odd_multiples = [base; 8];
    for i in 1..8 {
        odd_multiples[i] = odd_multiples[i - 1].add(&double);
    }
    let odd_multiples = Jacobian::to_affine_all(&odd_multiples);
    let mut sum = Jacobian::INFINITY;
    for digit in non_adjacent_form(k.words()).into_iter().rev() {
        sum = sum.double();
        if digit != 0 {
            let entry = odd_multiples[usize::from(digit.unsigned_abs() / 2)];
            let entry = if digit < 0 { entry.negate() } else { entry };
            sum = sum.add(&Jacobian::from(&entry));
        }
    }
    sum
}

/// Digits 0 or odd within ±15, least significant first, at most every fifth of them not zero.
fn non_adjacent_form(k: &Words) -> Vec<i8> {
    let mut rest = [k[0], k[1], k[2], k[3], 0];
    let mut digits = Vec::with_capacity(257);
    while rest.iter().any(|word| *word != 0) {
        let mut digit = 0i8;
        if rest[0] & 1 == 1 {
            digit = (rest[0] & 31) as i8;
            if digit > 15 {
                digit -= 32;
            }
            let change = if digit >= 0 {
                [u64::from(digit.unsigned_abs()).wrapping_neg(), u64::MAX]
            } else {
                [u64::from(digit.unsigned_abs()), 0]
            };
            let mut carry = false;
            for (i, word) in rest.iter_mut().enumerate() {
                (*word, carry) = word.carrying_add(change[usize::from(i > 0)], carry);
            }
        }
        digits.push(digit);
        for i in 0..5 {
            rest[i] = (rest[i] >> 1) | rest.get(i + 1).map_or(0, |next| next << 63);
        }
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sm2::tests::edge_scalars;
    use ::sm2::elliptic_curve::PrimeField;
    use ::sm2::elliptic_curve::sec1::ToEncodedPoint;

    #[test]
    fn both_multiplications_agree_with_another_implementation() {
        for k in edge_scalars() {
            let theirs = ::sm2::Scalar::from_repr(k.to_bytes().into()).unwrap();
            let theirs = (::sm2::ProjectivePoint::GENERATOR * theirs).to_affine();
            let expected = theirs.to_encoded_point(false);
            let generator = Affine::generator();
            for point in [multiply(&generator, &k), multiply_vartime(&generator, &k)] {
                let point = point.to_affine().unwrap();
                assert_eq!(point.to_bytes(), expected.as_bytes()[1..]);
            }
        }
        let zero = multiply_vartime(&Affine::generator(), &Scalar::ZERO);
        assert!(zero.is_infinity());
    }

    #[test]
    fn complete_addition_knows_equal_opposite_and_infinite_points() {
        let g = Jacobian::from(&Affine::generator());
        let double = g.double().to_affine().unwrap();
        assert!(g.add(&g).to_affine() == Some(double));
        let opposite = Jacobian::from(&Affine::generator().negate());
        assert!(g.add(&opposite).is_infinity());
        assert!(g.add(&Jacobian::INFINITY).to_affine() == g.to_affine());
        assert!(Jacobian::INFINITY.add(&g).to_affine() == g.to_affine());
        assert!(Jacobian::INFINITY.double().is_infinity());
        // Once infinite, always infinite.
        let sum = g.add_affine_incomplete(&Affine::generator());
        assert!(sum.is_infinity());
        assert!(sum.add_affine_incomplete(&double).is_infinity());
    }
}
