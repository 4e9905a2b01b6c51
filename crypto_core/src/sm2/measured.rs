//! k·G by itself, for the proofs that its time does not depend on k. Not part of the interface.

use super::engine;
use super::scalar::Scalar;
use zeroize::{Zeroize, Zeroizing};

/// Numbers k, 1 <= k < n, in one place: moving them moves every byte that is read.
pub struct Secrets<const COUNT: usize>(Zeroizing<[Scalar; COUNT]>);

impl<const COUNT: usize> Secrets<COUNT> {
    /// Read numbers of 32 bytes each, big-endian, modulo n; 0 becomes 1.
    pub fn read(numbers: &[[u8; 32]; COUNT]) -> Self {
        let read = |number: &[u8; 32]| Scalar::from_bytes_nonzero(number).unwrap_or(Scalar::ONE);
        Self(Zeroizing::new(numbers.each_ref().map(read)))
    }

    /// The x coordinates of k·G in the active tier, wiped at once; whether all were finite.
    pub fn multiply(&self) -> bool {
        let mut coordinates = engine::nonce_points(&self.0[..]);
        let finite = coordinates.iter().all(Option::is_some);
        coordinates.zeroize();
        finite
    }
}
