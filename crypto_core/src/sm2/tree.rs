//! Sums of many affine points, many sums at a time.
//!
//! An affine addition needs 5 multiplications and a square, and one inversion; a Jacobian one needs 11. Here the points of each
//! sum are added in pairs, then the results in pairs, and so on, and all additions of one round, of all sums, share one
//! inversion. Every step takes the same time for every point.

use super::field::Fe;
use super::point::Affine;
use super::words;
use zeroize::{Zeroize, Zeroizing};

/// Sums made at a time: more share an inversion, fewer stay in the cache.
pub const SUMS: usize = 64;
/// With fewer sums than this, Jacobian additions are faster than the inversions.
pub const WORTH: usize = 12;

/// The sums of `points`, which are wiped: row after row, one point of each of `sums` sums in a row, `sums` not 0.
/// `None` where two points that were to be added had one x coordinate.
pub fn sum(points: Vec<Affine>, sums: usize) -> Vec<Option<Affine>> {
    let mut points = Zeroizing::new(points);
    let mut rows = points.len() / sums;
    let mut met = vec![0u64; sums];
    while rows > 1 {
        add_pairs(&mut points[..rows / 2 * 2 * sums], &mut met);
        if rows % 2 == 1 {
            // The last row waits for the next round.
            points.copy_within((rows - 1) * sums..rows * sums, rows / 2 * sums);
        }
        rows = rows.div_ceil(2);
    }
    let sums = points[..sums].iter().zip(&met);
    sums.map(|(sum, met)| (*met == 0).then_some(*sum)).collect()
}

/// Add rows 0 and 1 into row 0, rows 2 and 3 into row 1, and so on; note the sums whose points cannot be added.
fn add_pairs(points: &mut [Affine], met: &mut [u64]) {
    let sums = met.len();
    let pairs = points.len() / (2 * sums);
    // What is divided by, and the product of all that comes after it.
    let mut divisors = Zeroizing::new(vec![(Fe::ZERO, Fe::ZERO); pairs * sums]);
    let mut product = Fe::ONE;
    for (pair, divisors) in divisors.chunks_exact_mut(sums).enumerate().rev() {
        let (left, right) = points[2 * pair * sums..][..2 * sums].split_at(sums);
        for (i, divisor) in divisors.iter_mut().enumerate().rev() {
            let difference = right[i].x.sub(&left[i].x);
            let zero = words::hidden_mask(difference.is_zero());
            met[i] |= zero;
            // A zero would make every product zero: one stands in for it.
            *divisor = (Fe::select(&difference, &Fe::ONE, zero), product);
            product = product.mul(&divisor.0);
        }
    }
    let mut inverse = product.invert();
    for (pair, divisors) in divisors.chunks_exact(sums).enumerate() {
        for (i, (divisor, after)) in divisors.iter().enumerate() {
            let left = points[2 * pair * sums + i];
            let right = points[(2 * pair + 1) * sums + i];
            let slope = right.y.sub(&left.y).mul(&inverse.mul(after));
            inverse = inverse.mul(divisor);
            let x = slope.square().sub(&left.x).sub(&right.x);
            let y = slope.mul(&left.x.sub(&x)).sub(&left.y);
            points[pair * sums + i] = Affine { x, y };
        }
    }
    product.zeroize();
    inverse.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sm2::point::Jacobian;

    fn multiples(count: usize) -> Vec<Affine> {
        let g = Affine::generator();
        let add = |sum: &Jacobian| sum.add(&Jacobian::from(&g));
        std::iter::successors(Some(Jacobian::from(&g)), |sum| Some(add(sum)))
            .take(count)
            .map(|sum| sum.to_affine().unwrap())
            .collect()
    }

    #[test]
    fn every_number_of_rows_and_sums_gives_what_complete_additions_give() {
        let points = multiples(200);
        for rows in [1, 2, 3, 5, 8, 13] {
            for sums in [1, 7, 8, 9] {
                let row = |row: usize| (0..sums).map(move |sum| 1 + (1 << row.min(6)) + row + sum);
                let chosen: Vec<usize> = (0..rows).flat_map(row).collect();
                let taken = chosen.iter().map(|place| points[*place % 200]).collect();
                for (i, ours) in sum(taken, sums).into_iter().enumerate() {
                    let total = (0..rows).fold(Jacobian::INFINITY, |total, row| {
                        total.add(&Jacobian::from(&points[chosen[row * sums + i] % 200]))
                    });
                    assert!(
                        ours.is_none() || ours == total.to_affine(),
                        "{rows} x {sums}, {i}"
                    );
                }
            }
        }
    }

    #[test]
    fn points_that_cannot_be_added_are_told_and_do_not_poison_their_neighbours() {
        let points = multiples(8);
        let opposite = points[2].negate();
        let taken = vec![
            points[0], points[1], points[2], points[3], // the first row
            points[4], points[1], opposite, points[5],
        ];
        let sums = sum(taken, 4);
        assert!(sums[0] == Some(points[5]));
        assert!(sums[1].is_none() && sums[2].is_none());
        let nine = Jacobian::from(&points[3]).add(&Jacobian::from(&points[5]));
        assert!(sums[3] == nine.to_affine());
    }
}
