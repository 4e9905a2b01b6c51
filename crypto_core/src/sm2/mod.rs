//! SM2 signatures on the recommended 256-bit curve.
//!
//! Source: GB/T 32918.1/.2/.5; identity and raw r‖s form as in GM/T 0009. All arithmetic is here: `field`, `scalar`, `point`, `comb`
//! and `tree` are the portable tier; `ifma` computes eight lanes at a time with the same formulas, and `engine` chooses.

mod cache;
mod ciphertext;
mod comb;
mod der;
#[cfg(test)]
mod differential;
mod encryption;
mod engine;
mod field;
mod identity;
#[cfg(target_arch = "x86_64")]
mod ifma;
#[doc(hidden)]
pub mod measured;
mod nonce;
mod point;
mod scalar;
mod signing;
mod tree;
mod verifying;
mod words;

pub use ciphertext::{ciphertext_from_der, ciphertext_to_der};
pub use der::{from_der, to_der};
pub use encryption::Order;
pub use engine::warm_up;
pub use identity::{DEFAULT_IDENTITY, IDENTITY_LENGTH_MAX};
pub use signing::SigningKey;
pub use verifying::VerifyKey;

/// Length of a raw signature r‖s.
pub const SIGNATURE_LENGTH: usize = 64;

/// Signatures that share one inversion.
const CHUNK: usize = 128;
/// Fewer items than this are not worth a thread of their own.
const GRAIN: usize = 64;

#[cfg(test)]
mod tests {
    use super::field::P;
    use super::scalar::{N, Scalar};
    use super::words::{self, Words};
    use crate::tier::{self, Tier};

    /// Tiers that this machine has.
    pub fn tiers() -> Vec<Tier> {
        tier::available().collect()
    }

    /// What `work` gives with each tier forced.
    pub fn in_each_tier<T>(work: impl Fn() -> T) -> Vec<T> {
        let _guard = tier::tests::one_at_a_time();
        let results = tiers()
            .into_iter()
            .map(|tier| {
                assert!(tier::force(Some(tier)));
                work()
            })
            .collect();
        tier::force(None);
        results
    }

    /// Numbers at which carries and borrows run: around 0, p, n, 2^256 and the words' edges.
    pub fn edge_words() -> Vec<Words> {
        let mut edges = Vec::new();
        for centre in [[0; 4], P, N, [0, 0, 0, 1 << 63], [0, 1, 0, 0], [0, 0, 1, 0]] {
            for distance in 0..4 {
                edges.push(words::add(&centre, &[distance, 0, 0, 0]).0);
                edges.push(words::sub(&centre, &[distance, 0, 0, 0]).0);
            }
        }
        for pattern in 0..16u64 {
            edges.push([0, 1, 2, 3].map(|i| ((pattern >> i) & 1).wrapping_neg()));
        }
        edges
    }

    /// Numbers without order, the same in each run.
    pub fn random_words(count: usize) -> Vec<Words> {
        let digest = |i: usize| crate::sm3::digest(&i.to_be_bytes());
        (0..count).map(|i| words::from_bytes(&digest(i))).collect()
    }

    /// Edge numbers from 1 to n - 1, and a few random ones.
    pub fn edge_scalars() -> Vec<Scalar> {
        let powers = (0..256).step_by(13).map(|bit| {
            let mut power = [0; 4];
            power[bit / 64] = 1 << (bit % 64);
            power
        });
        edge_words()
            .into_iter()
            .chain(powers)
            .chain(random_words(20))
            .map(|value| Scalar::reduce(&value))
            .filter(|scalar| !scalar.is_zero())
            .collect()
    }
}
