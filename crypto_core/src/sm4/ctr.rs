//! SM4 in CTR mode (GB/T 17964-2021).

use super::cipher::Cipher;
use super::{BLOCK_LENGTH, Block, check_key};
use crate::errors::{CryptoError, Result};
use zeroize::Zeroize;

/// Counter blocks encrypted in one go.
const BATCH: usize = 64;

/// Encrypt or decrypt `text`: the key stream is the encryption of `counter`, `counter` + 1, … (128 bits, big-endian,
/// beginning again after the last). A counter block must never be used twice under one key, and CTR detects no changes.
pub fn ctr(key: &[u8], counter: &[u8], text: &[u8]) -> Result<Vec<u8>> {
    let cipher = Cipher::to_encrypt(check_key(key)?);
    let first: Block = counter
        .try_into()
        .map_err(|_| CryptoError::length("counter block", "16 bytes", counter.len()))?;
    let mut counter = u128::from_be_bytes(first);
    let mut output = text.to_vec();
    let mut stream = [[0; BLOCK_LENGTH]; BATCH];
    for part in output.chunks_mut(BATCH * BLOCK_LENGTH) {
        let stream = &mut stream[..part.len().div_ceil(BLOCK_LENGTH)];
        for block in stream.iter_mut() {
            *block = counter.to_be_bytes();
            counter = counter.wrapping_add(1);
        }
        cipher.apply(stream);
        super::add(part, stream);
    }
    stream.zeroize();
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_encrypted_counter_even_across_its_end() {
        let key = [3; 16];
        let start = (u128::MAX - 1).to_be_bytes();
        let mut stream: Vec<Block> = vec![
            start,
            u128::MAX.to_be_bytes(),
            0u128.to_be_bytes(),
            1u128.to_be_bytes(),
        ];
        Cipher::to_encrypt(&key).apply(&mut stream);
        for length in [0, 1, 15, 16, 17, 32, 33, 64] {
            let text = vec![0; length];
            assert_eq!(
                ctr(&key, &start, &text).unwrap(),
                stream.as_flattened()[..length]
            );
        }
        let text: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
        let sealed = ctr(&key, &start, &text).unwrap();
        assert_eq!(ctr(&key, &start, &sealed).unwrap(), text);
    }
}
