//! SM4 in the modes CBC, CTR and GCM; the block cipher itself (ECB) does not leave this module.
//!
//! Source: GB/T 32907-2016 (cipher), GB/T 17964-2021 (modes). Vectors: tests/vectors/sm4. Constant-time in every tier.

#[cfg(target_arch = "x86_64")]
mod aes_ni;
mod bitslice;
mod cbc;
mod cipher;
#[cfg(target_arch = "x86_64")]
mod clmul;
mod constants;
mod ctr;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod field;
mod gcm;
#[cfg(target_arch = "x86_64")]
mod gfni;
mod ghash;
#[cfg(target_arch = "x86_64")]
mod planes;

pub use cbc::{cbc_decrypt, cbc_decrypt_many, cbc_encrypt, cbc_encrypt_many};
pub use ctr::ctr;
pub use gcm::{GcmKey, Message, NONCE_LENGTH, TAG_LENGTH};

use crate::errors::{CryptoError, Result};

/// Length of a key in bytes.
pub const KEY_LENGTH: usize = 16;
/// Length of a block and of an initial vector in bytes.
pub const BLOCK_LENGTH: usize = 16;

type Block = [u8; BLOCK_LENGTH];

fn check_key(key: &[u8]) -> Result<&[u8; KEY_LENGTH]> {
    key.try_into()
        .map_err(|_| CryptoError::length("SM4 key", "16 bytes", key.len()))
}

fn xor(block: &mut Block, other: &Block) {
    *block = (u128::from_ne_bytes(*block) ^ u128::from_ne_bytes(*other)).to_ne_bytes();
}

/// Add the key stream to a text not longer than it.
fn add(text: &mut [u8], keys: &[Block]) {
    let (blocks, rest) = text.as_chunks_mut::<BLOCK_LENGTH>();
    let (whole, last) = keys.split_at(blocks.len());
    for (block, key) in blocks.iter_mut().zip(whole) {
        xor(block, key);
    }
    for (byte, key) in rest.iter_mut().zip(last.as_flattened()) {
        *byte ^= key;
    }
}
