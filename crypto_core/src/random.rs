//! Random bytes from the kernel, drawn at each call; nothing is kept that a fork could duplicate.

use crate::errors::{CryptoError, Result};

/// Fill `target` from the kernel's generator (getrandom(2) on Linux).
pub fn fill(target: &mut [u8]) -> Result<()> {
    getrandom::fill(target).map_err(|_| CryptoError::NoEntropy)
}
