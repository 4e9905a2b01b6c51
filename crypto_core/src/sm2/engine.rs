//! The two workloads of signatures, each in the tier that is active: k·G for secret k, and the check of s·G + t·P.

use super::comb::{self, Comb, PUBLIC_WIDTH};
use super::field::{Fe, invert_all};
#[cfg(target_arch = "x86_64")]
use super::ifma;
use super::point::{self, Affine, Jacobian};
use super::scalar::{N, Scalar};
use super::tree;
use super::words::{self, Words};
use crate::tier::{self, Tier};
use zeroize::Zeroize;

/// The x coordinate of each k·G, 1 <= k < n, as a number below p; `None` where another k must be drawn (chance 2^-256).
/// Constant time in every k.
pub fn nonce_points(nonces: &[Scalar]) -> Vec<Option<Words>> {
    match tier::current() {
        #[cfg(target_arch = "x86_64")]
        // One alone would leave seven lanes idle.
        Tier::Avx512 => match nonces {
            [nonce] => vec![ifma::nonce_point(nonce)],
            _ => ifma::nonce_points(nonces),
        },
        _ => nonce_points_portable(nonces),
    }
}

pub(super) fn nonce_points_portable(nonces: &[Scalar]) -> Vec<Option<Words>> {
    let points = |nonces: &[Scalar]| {
        if nonces.len() < tree::WORTH {
            return nonce_points_one_by_one(nonces);
        }
        let sums = tree::sum(Comb::generator_secret().rows(nonces), nonces.len());
        let coordinate = |sum: Option<Affine>| sum.map(|sum| sum.x.to_words());
        sums.into_iter().map(coordinate).collect()
    };
    nonces.chunks(tree::SUMS).flat_map(points).collect()
}

pub(super) fn nonce_points_one_by_one(nonces: &[Scalar]) -> Vec<Option<Words>> {
    let table = Comb::generator_secret();
    let mut points: Vec<Jacobian> = nonces.iter().map(|k| table.multiply(k)).collect();
    let mut inverses: Vec<Fe> = points.iter().map(|point| point.z).collect();
    invert_all(&mut inverses);
    let coordinates = points
        .iter()
        .zip(&inverses)
        .map(|(point, inverse)| {
            (!point.is_infinity()).then(|| point.x.mul(&inverse.square()).to_words())
        })
        .collect();
    points.zeroize();
    inverses.zeroize();
    coordinates
}

/// Make the tables of G, about 3 ms, that the active tier would make at its first use.
pub fn warm_up() {
    let claim = Claim::DUMMY;
    nonce_points(&[Scalar::ONE]);
    comb::multiply_generator(&Scalar::ONE);
    check_unprepared(&Affine::generator(), &claim);
    #[cfg(target_arch = "x86_64")]
    if tier::current() == Tier::Avx512 {
        ifma::warm_up();
    }
}

/// What is asked of one signature: does s·G + t·P have an x coordinate that is `v` modulo n? s, t are not zero; v = r - e.
#[derive(Clone, Copy)]
pub struct Claim {
    pub s: Scalar,
    pub t: Scalar,
    pub v: Scalar,
}

impl Claim {
    /// Something to fill a lane with, when there is nothing to ask.
    pub const DUMMY: Self = Self {
        s: Scalar::ONE,
        t: Scalar::ONE,
        v: Scalar::ONE,
    };
}

/// A public key's table, for the tier that was active when it was made.
pub enum Table {
    Portable(Comb),
    #[cfg(target_arch = "x86_64")]
    Ifma(ifma::PublicTable),
}

impl Table {
    /// Prepare the multiples of `point`, about 256 KiB. `tier` must be available.
    pub fn new(point: &Affine, tier: Tier) -> Self {
        let comb = Comb::new(point, PUBLIC_WIDTH);
        match tier {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => Self::Ifma(ifma::PublicTable::new(&comb)),
            _ => Self::Portable(comb),
        }
    }

    /// Whether it serves `tier`; all but the widest share the portable form.
    pub fn serves(&self, tier: Tier) -> bool {
        match self {
            Self::Portable(_) => tier != Tier::Avx512,
            #[cfg(target_arch = "x86_64")]
            Self::Ifma(_) => tier == Tier::Avx512,
        }
    }
}

/// Whether each claim holds for the key `point` with its `table`.
pub fn check(point: &Affine, table: &Table, claims: &[Claim]) -> Vec<bool> {
    match table {
        Table::Portable(comb) => claims
            .chunks(tree::SUMS)
            .flat_map(|claims| check_portable(point, comb, claims))
            .collect(),
        #[cfg(target_arch = "x86_64")]
        Table::Ifma(table) => ifma::check(point, table, claims),
    }
}

fn check_portable(point: &Affine, comb: &Comb, claims: &[Claim]) -> Vec<bool> {
    let of_g = Comb::generator_public();
    if claims.len() < tree::WORTH {
        let check = |claim: &Claim| {
            let sum = of_g.add_multiple_vartime(None, &claim.s);
            let sum = comb.add_multiple_vartime(Some(sum), &claim.t);
            if sum.is_infinity() {
                check_slowly(point, claim)
            } else {
                has_x(&sum, &claim.v)
            }
        };
        return claims.iter().map(check).collect();
    }
    let mut points = Vec::with_capacity(2 * 256usize.div_ceil(PUBLIC_WIDTH) * claims.len());
    of_g.append_rows_vartime(&mut points, claims.iter().map(|claim| claim.s));
    comb.append_rows_vartime(&mut points, claims.iter().map(|claim| claim.t));
    let sums = tree::sum(points, claims.len());
    let check = |(sum, claim): (Option<Affine>, &Claim)| match sum {
        Some(sum) => has_x(&Jacobian::from(&sum), &claim.v),
        None => check_slowly(point, claim),
    };
    sums.into_iter().zip(claims).map(check).collect()
}

/// The same without a table of P, for keys that are met once or twice.
pub fn check_unprepared(point: &Affine, claim: &Claim) -> bool {
    let sum = Comb::generator_public().add_multiple_vartime(None, &claim.s);
    if sum.is_infinity() {
        return check_slowly(point, claim);
    }
    let sum = sum.add(&point::multiply_vartime(point, &claim.t));
    !sum.is_infinity() && has_x(&sum, &claim.v)
}

/// The same by complete additions only, for the sums at which the quick ways end in Z = 0.
pub(super) fn check_slowly(point: &Affine, claim: &Claim) -> bool {
    let sum = point::multiply_vartime(&Affine::generator(), &claim.s)
        .add(&point::multiply_vartime(point, &claim.t));
    !sum.is_infinity() && has_x(&sum, &claim.v)
}

/// Whether x = X/Z² is v or, as far as that is below p, v + n.
pub(super) fn has_x(sum: &Jacobian, v: &Scalar) -> bool {
    let zz = sum.z.square();
    let fits = |x: &Words| Fe::from_words(x).mul(&zz) == sum.x;
    fits(v.words()) || above_n(v).is_some_and(|x| fits(&x))
}

/// v + n where it is below p; for about one v in 2^128.
pub(super) fn above_n(v: &Scalar) -> Option<Words> {
    let (x, carry) = words::add(v.words(), &N);
    let (_, below) = words::sub(&x, &super::field::P);
    (!carry && below).then_some(x)
}

/// The public point d·G, d from 1 to n - 1, in constant time.
pub fn public_point(d: &Scalar) -> Affine {
    let mut point = comb::multiply_generator(d);
    let affine = point.to_affine();
    point.zeroize();
    affine.unwrap_or_else(Affine::generator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sm2::tests::{random_words, tiers};
    use std::time::Instant;

    /// Samples per class, and the share of the fastest that is looked at: interrupts are not the secret's doing.
    const SAMPLES: usize = 20_000;
    const KEPT: f64 = 0.8;

    fn nonces(sparse: bool, round: usize) -> Vec<Scalar> {
        let word = |i: usize| 1u64 << ((round * 7 + i * 11) % 64);
        (0..8)
            .map(|i| match sparse {
                // A single bit: nearly all digits alike.
                true => Scalar::reduce(&[0, 0, 0, word(i) >> 1 | 1]),
                false => Scalar::reduce(&random_words(8 + round % 64)[round % 64 + i]),
            })
            .collect()
    }

    /// Welch's t of the time of k·G for sparse against random k (dudect's method). Needs a machine with nothing else to do:
    /// `cargo test --release -- --ignored sparse`.
    #[test]
    #[ignore = "measures time"]
    fn sparse_nonces_take_the_time_of_random_ones() {
        for tier in tiers() {
            let work = |nonces: &[Scalar]| match tier {
                #[cfg(target_arch = "x86_64")]
                Tier::Avx512 => ifma::nonce_points(nonces),
                _ => nonce_points_portable(nonces),
            };
            let inputs: Vec<_> = (0..64)
                .map(|round| [nonces(false, round), nonces(true, round)])
                .collect();
            let mut times = [Vec::new(), Vec::new()];
            let order = random_words(2 * SAMPLES / 256 + 1);
            for sample in 0..2 * SAMPLES {
                let word = order[sample / 256][sample / 64 % 4];
                let class = (word >> (sample % 64) & 1) as usize;
                let input = &inputs[sample % 64][class];
                let started = Instant::now();
                std::hint::black_box(work(input));
                times[class].push(started.elapsed().as_nanos() as f64);
            }
            let [random, sparse] = times.map(|mut times| {
                times.sort_by(f64::total_cmp);
                times.truncate((times.len() as f64 * KEPT) as usize);
                let count = times.len() as f64;
                let mean = times.iter().sum::<f64>() / count;
                let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
                (mean, squares / (count - 1.0) / count)
            });
            let t = (random.0 - sparse.0) / (random.1 + sparse.1).sqrt();
            println!(
                "{}: {:.0} ns, {:.0} ns, t = {t:.2}",
                tier.name(),
                random.0,
                sparse.0
            );
            assert!(t.abs() < 4.5, "{}: t = {t:.2}", tier.name());
        }
    }
}
