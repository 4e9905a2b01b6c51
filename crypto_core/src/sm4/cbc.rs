//! SM4 in CBC mode with PKCS#7 padding (GB/T 17964-2021).

use super::cipher::Cipher;
use super::{BLOCK_LENGTH, Block, check_key, xor};
use crate::errors::{CryptoError, Result};
use crate::texts::{Opened, Texts};
use subtle::{ConstantTimeEq, ConstantTimeGreater};

/// Messages encrypted side by side: inside one message each block waits for the one before.
const LANES: usize = 128;

/// Encrypt `plaintext` (any length) in CBC mode; the result is 1 to 16 bytes longer.
/// `iv` must be unpredictable and new for each message.
pub fn cbc_encrypt(key: &[u8], iv: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    let iv = check_iv(iv, || "initial vector".into())?;
    Ok(encrypt(key, &[iv], &[plaintext])?.into_bytes())
}

/// Encrypt many messages under one key, side by side; `ivs[i]` belongs to `plaintexts[i]`.
pub fn cbc_encrypt_many<T: AsRef<[u8]>, U: AsRef<[u8]>>(
    key: &[u8],
    ivs: &[T],
    plaintexts: &[U],
) -> Result<Texts> {
    encrypt(key, &check_ivs(ivs, plaintexts.len())?, plaintexts)
}

/// Decrypt what [`cbc_encrypt`] made. A wrong length and bad padding give one and the same error, and the padding is
/// looked at without a branch on its bytes. CBC alone does not detect changes: authenticate the ciphertext first.
pub fn cbc_decrypt(key: &[u8], iv: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>> {
    let iv = check_iv(iv, || "initial vector".into())?;
    decrypt(key, &[iv], &[ciphertext])?.into_only()
}

/// Decrypt many messages under one key, each as [`cbc_decrypt`] does.
pub fn cbc_decrypt_many<T: AsRef<[u8]>, U: AsRef<[u8]>>(
    key: &[u8],
    ivs: &[T],
    ciphertexts: &[U],
) -> Result<Opened> {
    decrypt(key, &check_ivs(ivs, ciphertexts.len())?, ciphertexts)
}

fn check_iv(iv: &[u8], what: impl Fn() -> String) -> Result<Block> {
    iv.try_into()
        .map_err(|_| CryptoError::length(&what(), "16 bytes", iv.len()))
}

fn check_ivs<T: AsRef<[u8]>>(ivs: &[T], expected: usize) -> Result<Vec<Block>> {
    if ivs.len() != expected {
        let texts = format!("as many as texts ({expected})");
        return Err(CryptoError::length("initial vectors", &texts, ivs.len()));
    }
    let mut blocks = Vec::with_capacity(ivs.len());
    for (index, iv) in ivs.iter().enumerate() {
        blocks.push(check_iv(iv.as_ref(), || {
            format!("initial vector of item {index}")
        })?);
    }
    Ok(blocks)
}

fn encrypt<T: AsRef<[u8]>>(key: &[u8], ivs: &[Block], plaintexts: &[T]) -> Result<Texts> {
    let cipher = Cipher::to_encrypt(check_key(key)?);
    let padding = |text: &[u8]| BLOCK_LENGTH - text.len() % BLOCK_LENGTH;
    let length = |text: &T| text.as_ref().len() + padding(text.as_ref());
    let total = plaintexts.iter().map(length).sum();
    let mut outputs = Texts::with_capacity(plaintexts.len(), total);
    for plaintext in plaintexts.iter().map(AsRef::as_ref) {
        outputs.push_with(|output| {
            output.extend_from_slice(plaintext);
            let padding = padding(plaintext);
            output.extend_from_slice(&[padding as u8; BLOCK_LENGTH][..padding]);
        });
    }
    encrypt_lanes(&cipher, ivs, &mut outputs);
    Ok(outputs)
}

/// Encrypt padded texts in place, up to [`LANES`] at a time.
fn encrypt_lanes(cipher: &Cipher, ivs: &[Block], texts: &mut Texts) {
    let mut order: Vec<_> = ivs.iter().zip(texts.iter_mut()).collect();
    // Long ones first, so that the lanes end at about the same time.
    if !order.is_sorted_by_key(|(_, text)| std::cmp::Reverse(text.len())) {
        order.sort_by_key(|(_, text)| std::cmp::Reverse(text.len()));
    }
    let mut queue = order.into_iter();
    let mut states: Vec<Block> = Vec::with_capacity(LANES);
    let mut lanes: Vec<&mut [Block]> = Vec::with_capacity(LANES);
    loop {
        for (iv, text) in queue.by_ref().take(LANES - lanes.len()) {
            states.push(*iv);
            lanes.push(text.as_chunks_mut().0);
        }
        let Some(steps) = lanes.iter().map(|lane| lane.len()).min() else {
            return;
        };
        cipher.chain(&mut states, &mut lanes);
        for i in (0..lanes.len()).rev() {
            let rest = &mut std::mem::take(&mut lanes[i])[steps..];
            if rest.is_empty() {
                lanes.swap_remove(i);
                states.swap_remove(i);
            } else {
                lanes[i] = rest;
            }
        }
    }
}

fn decrypt<T: AsRef<[u8]>>(key: &[u8], ivs: &[Block], ciphertexts: &[T]) -> Result<Opened> {
    let cipher = Cipher::to_decrypt(check_key(key)?);
    // A text of a wrong length gives no blocks.
    let texts: Vec<&[Block]> = ciphertexts
        .iter()
        .map(|text| match text.as_ref().as_chunks() {
            (blocks, []) => blocks,
            _ => &[],
        })
        .collect();
    let length = texts.iter().map(|text| text.as_flattened().len()).sum();
    let mut outputs = Texts::with_capacity(texts.len(), length);
    for text in &texts {
        outputs.push_with(|output| output.extend_from_slice(text.as_flattened()));
    }
    cipher.apply(outputs.bytes_mut().as_chunks_mut().0);
    let mut kept = Vec::with_capacity(texts.len());
    for ((output, text), iv) in outputs.iter_mut().zip(&texts).zip(ivs) {
        let before = std::iter::once(iv).chain(*text);
        for (block, before) in output.as_chunks_mut().0.iter_mut().zip(before) {
            xor(block, before);
        }
        kept.push(unpadded_length(output));
    }
    outputs.cut(kept.iter().map(|kept| kept.unwrap_or(0)));
    Ok(Opened {
        texts: outputs,
        accepted: kept.iter().map(Option::is_some).collect(),
    })
}

/// Length without PKCS#7 padding, or `None`. Reads the last block without branching on it.
fn unpadded_length(padded: &[u8]) -> Option<usize> {
    let last: &Block = padded.last_chunk()?;
    let padding = last[BLOCK_LENGTH - 1];
    let in_range = !padding.ct_eq(&0) & !padding.ct_gt(&(BLOCK_LENGTH as u8));
    // The padding's bits, counted from the end, that are not as they should be.
    let wrong = u128::from_be_bytes(*last) ^ u128::from_be_bytes([padding; BLOCK_LENGTH]);
    let unused = 128u32.wrapping_sub(8 * u32::from(padding)) % 128;
    let good = in_range & (wrong << unused).ct_eq(&0);
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
    fn a_batch_is_the_same_as_its_items_one_by_one() {
        let data: Vec<u8> = (0..9000u32).map(|i| ((i * 29) >> 3) as u8).collect();
        for count in [0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200] {
            for mixed in [false, true] {
                let length = |i: usize| if mixed { i * 131 % 800 } else { 256 };
                let texts: Vec<&[u8]> = (0..count).map(|i| &data[i..i + length(i)]).collect();
                let ivs: Vec<Block> = (0..count).map(|i| [i as u8; 16]).collect();
                let mut sealed = cbc_encrypt_many(&KEY, &ivs, &texts).unwrap().to_vecs();
                for ((iv, text), sealed) in ivs.iter().zip(&texts).zip(&sealed) {
                    assert_eq!(&cbc_encrypt(&KEY, iv, text).unwrap(), sealed);
                }
                if count > 5 {
                    sealed[5].pop();
                }
                let opened = cbc_decrypt_many(&KEY, &ivs, &sealed).unwrap().to_vecs();
                for (i, (opened, text)) in opened.iter().zip(&texts).enumerate() {
                    let expected = (count <= 5 || i != 5).then_some(*text);
                    assert_eq!(opened.as_deref(), expected, "item {i}");
                }
            }
        }
        assert!(cbc_encrypt_many(&KEY, &[[0; 16]], &[b""; 2]).is_err());
        assert!(cbc_encrypt_many(&KEY, &[[0; 15]], &[b""]).is_err());
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
