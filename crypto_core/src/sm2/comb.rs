//! Multiples of one point through a table: 64 windows of 4 bits, so that a multiplication is 64 additions, no doubling.

use sm2::elliptic_curve::PrimeField;
use sm2::elliptic_curve::point::BatchNormalize;
use sm2::elliptic_curve::subtle::{ConditionallySelectable, ConstantTimeEq};
use sm2::{AffinePoint, ProjectivePoint, Scalar};
use std::sync::OnceLock;
use zeroize::Zeroizing;

const WINDOWS: usize = 64;
const DIGITS: usize = 16;

/// `windows[i][j]` is j·16^i·P; j = 0 is infinity, which the addition formulas take like any other point. About 72 KiB.
pub struct Comb {
    windows: Box<[[AffinePoint; DIGITS]]>,
}

impl Comb {
    /// Prepare the table of `point`; worth it from a dozen multiplications on.
    pub fn new(point: &AffinePoint) -> Self {
        let mut multiples = Vec::with_capacity(WINDOWS * DIGITS);
        let mut base = ProjectivePoint::from(*point);
        for _ in 0..WINDOWS {
            let mut multiple = ProjectivePoint::IDENTITY;
            for _ in 0..DIGITS {
                multiples.push(multiple);
                multiple += base;
            }
            base = multiple;
        }
        let affine = ProjectivePoint::batch_normalize(multiples.as_slice());
        Self {
            windows: affine.as_chunks::<DIGITS>().0.into(),
        }
    }

    /// The table of the curve's base point G, made once per process.
    pub fn generator() -> &'static Self {
        static GENERATOR: OnceLock<Comb> = OnceLock::new();
        GENERATOR.get_or_init(|| Self::new(&AffinePoint::GENERATOR))
    }

    /// k·P in constant time: every entry of a window is read, and nothing branches on k.
    pub fn multiply(&self, k: &Scalar) -> ProjectivePoint {
        let digits = Zeroizing::new(digits(k));
        let mut sum = ProjectivePoint::IDENTITY;
        for (window, digit) in self.windows.iter().zip(digits.iter()) {
            let mut entry = AffinePoint::IDENTITY;
            for (j, candidate) in window.iter().enumerate() {
                entry.conditional_assign(candidate, digit.ct_eq(&(j as u8)));
            }
            sum += &entry;
        }
        sum
    }

    /// `sum` + k·P for public k; its time depends on k.
    pub fn add_multiple_vartime(&self, mut sum: ProjectivePoint, k: &Scalar) -> ProjectivePoint {
        for (window, digit) in self.windows.iter().zip(digits(k)) {
            if digit != 0 {
                sum += &window[usize::from(digit)];
            }
        }
        sum
    }
}

/// The 4-bit digits of k, least significant first.
fn digits(k: &Scalar) -> [u8; WINDOWS] {
    let bytes = Zeroizing::new(<[u8; 32]>::from(k.to_repr()));
    let mut digits = [0; WINDOWS];
    for (pair, byte) in digits
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(bytes.iter().rev())
    {
        *pair = [byte & 15, byte >> 4];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge_scalars() -> Vec<Scalar> {
        let small = (0..40u64).map(Scalar::from);
        let powers = (0..64).map(|i| Scalar::from(1u64 << i).square());
        small
            .clone()
            .chain(small.map(|scalar| -scalar))
            .chain(powers)
            .collect()
    }

    #[test]
    fn both_multiplications_agree_with_the_generic_one() {
        let points = [
            AffinePoint::GENERATOR,
            (ProjectivePoint::GENERATOR * Scalar::from(77u64)).to_affine(),
        ];
        for point in points {
            let comb = Comb::new(&point);
            for k in edge_scalars() {
                let expected = ProjectivePoint::from(point) * k;
                assert_eq!(comb.multiply(&k), expected);
                assert_eq!(
                    comb.add_multiple_vartime(ProjectivePoint::GENERATOR, &k),
                    expected + ProjectivePoint::GENERATOR
                );
            }
        }
    }
}
