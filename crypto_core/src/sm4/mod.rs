//! SM4 in CBC mode with PKCS#7 padding.
//!
//! Source: GB/T 32907-2016 (cipher), GB/T 17964-2021 (mode). Vectors: tests/vectors/sm4.

#[cfg(target_arch = "x86_64")]
mod aes_ni;
mod cipher;
mod portable;

use crate::errors::{CryptoError, Result};
use cipher::{Cipher, LANES};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};
use zeroize::Zeroizing;

/// Length of a key in bytes.
pub const KEY_LENGTH: usize = 16;
/// Length of a block and of an initial vector in bytes.
pub const BLOCK_LENGTH: usize = 16;

type Block = [u8; BLOCK_LENGTH];
/// One 32-bit word of each of four blocks, or the four words of one.
type Words = [u32; 4];

/// Encrypt `plaintext` (any length) in CBC mode; the result is 1 to 16 bytes longer.
/// `iv` must be unpredictable and new for each message.
pub fn cbc_encrypt(key: &[u8], iv: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    let (key, mut previous) = check_lengths(key, iv)?;
    let cipher = Cipher::to_encrypt(key);
    let padding = BLOCK_LENGTH - plaintext.len() % BLOCK_LENGTH;
    let mut output = Vec::with_capacity(plaintext.len() + padding);
    output.extend_from_slice(plaintext);
    output.resize(plaintext.len() + padding, padding as u8);
    for block in output.as_chunks_mut::<BLOCK_LENGTH>().0 {
        xor(block, &previous);
        cipher.apply(std::slice::from_mut(block));
        previous = *block;
    }
    Ok(output)
}

/// Decrypt what [`cbc_encrypt`] made. A wrong length and bad padding give one and the same error, and the padding is
/// looked at without a branch on its bytes. CBC alone does not detect changes: authenticate the ciphertext first.
pub fn cbc_decrypt(key: &[u8], iv: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>> {
    let (key, mut previous) = check_lengths(key, iv)?;
    let (taken, rest) = ciphertext.as_chunks::<BLOCK_LENGTH>();
    if taken.is_empty() || !rest.is_empty() {
        return Err(CryptoError::DecryptionFailed);
    }
    let cipher = Cipher::to_decrypt(key);
    let mut output = Zeroizing::new(ciphertext.to_vec());
    let blocks = output.as_chunks_mut::<BLOCK_LENGTH>().0;
    for (blocks, taken) in blocks.chunks_mut(LANES).zip(taken.chunks(LANES)) {
        cipher.apply(blocks);
        for (block, taken) in blocks.iter_mut().zip(taken) {
            xor(block, &previous);
            previous = *taken;
        }
    }
    let kept = unpadded_length(&output).ok_or(CryptoError::DecryptionFailed)?;
    output.truncate(kept);
    Ok(std::mem::take(&mut *output))
}

fn check_lengths<'a>(key: &'a [u8], iv: &[u8]) -> Result<(&'a [u8; KEY_LENGTH], Block)> {
    let key = key
        .try_into()
        .map_err(|_| CryptoError::length("SM4 key", "16 bytes", key.len()))?;
    let iv = iv
        .try_into()
        .map_err(|_| CryptoError::length("initial vector", "16 bytes", iv.len()))?;
    Ok((key, iv))
}

fn xor(block: &mut Block, other: &Block) {
    block
        .iter_mut()
        .zip(other)
        .for_each(|(byte, other)| *byte ^= other);
}

/// Length without PKCS#7 padding, or `None`. Reads the last block without branching on it.
fn unpadded_length(padded: &[u8]) -> Option<usize> {
    let last: &Block = padded.last_chunk()?;
    let padding = last[BLOCK_LENGTH - 1];
    let mut good = !padding.ct_eq(&0) & !padding.ct_gt(&(BLOCK_LENGTH as u8));
    for (i, byte) in last.iter().rev().enumerate() {
        let is_padding = padding.ct_gt(&(i as u8));
        good &= Choice::conditional_select(&1.into(), &byte.ct_eq(&padding), is_padding);
    }
    bool::from(good).then(|| padded.len() - usize::from(padding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    const KEY: [u8; 16] = hex!("0123456789abcdeffedcba9876543210");

    #[test]
    fn the_sample_block_of_the_standard() {
        let sealed = cbc_encrypt(&KEY, &[0; 16], &KEY).unwrap();
        assert_eq!(sealed[..16], hex!("681edf34d206965e86b3e94f536e4246"));
    }

    #[test]
    fn every_length_comes_back() {
        for length in 0..100 {
            let plaintext = vec![length as u8; length];
            let sealed = cbc_encrypt(&KEY, &KEY, &plaintext).unwrap();
            assert_eq!(sealed.len() % 16, 0);
            assert_eq!(cbc_decrypt(&KEY, &KEY, &sealed).unwrap(), plaintext);
        }
    }

    #[test]
    fn padding_is_accepted_exactly_when_pkcs7_allows_it() {
        for padding in 0..=255u8 {
            let mut block = [0xee; 16];
            let filled = usize::from(padding).min(16);
            block[16 - filled..].fill(padding);
            block[15] = padding;
            let expected = (1..=16)
                .contains(&padding)
                .then(|| 16 - usize::from(padding));
            assert_eq!(unpadded_length(&block), expected, "padding {padding}");
            if (2..=16).contains(&padding) {
                block[16 - filled] ^= 1;
                assert_eq!(unpadded_length(&block), None, "damaged padding {padding}");
            }
        }
    }
}
