//! Sealed envelopes for data at rest: the key's id, the algorithm, the nonce and the ciphertext in one byte string.
//!
//! Form, version 1: `01 ‖ algorithm (1) ‖ length of key id (1) ‖ key id ‖ nonce (12) ‖ ciphertext ‖ tag (16)`, where
//! algorithm is 1 for SM4-GCM and 2 for AES-256-GCM. Everything before the nonce is authenticated, and so is the caller's
//! associated data: the cipher's associated data is that header followed by the caller's. The header says its own length,
//! so no two pairs give the same bytes.
//!
//! Nonces are 96 random bits from the kernel. A key is good for 2^32 envelopes (SP 800-38D, clause 8.3); change it long
//! before, the key id is there for that.

use crate::errors::{CryptoError, Result};
use crate::general::Aes256Gcm;
use crate::random;
use crate::sm4::{self, GcmKey, Message, NONCE_LENGTH, TAG_LENGTH};

const VERSION: u8 = 1;
/// Bytes before the key id.
const FIXED: usize = 3;
/// Longest key id in bytes.
pub const KEY_ID_LONGEST: usize = 64;

/// The cipher of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SM4-GCM, key of 16 bytes.
    Sm4Gcm,
    /// AES-256-GCM, key of 32 bytes.
    Aes256Gcm,
}

impl Algorithm {
    /// `sm4-gcm` or `aes-256-gcm`.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "sm4-gcm" => Ok(Self::Sm4Gcm),
            "aes-256-gcm" => Ok(Self::Aes256Gcm),
            _ => Err(CryptoError::UnknownAlgorithm(format!(
                "envelope algorithm {name:?}: sm4-gcm or aes-256-gcm expected"
            ))),
        }
    }

    /// Length of a key in bytes.
    pub fn key_length(self) -> usize {
        match self {
            Self::Sm4Gcm => sm4::KEY_LENGTH,
            Self::Aes256Gcm => Aes256Gcm::KEY_LENGTH,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Sm4Gcm => 1,
            Self::Aes256Gcm => 2,
        }
    }
}

enum Cipher {
    Sm4(Box<GcmKey>),
    Aes(Box<Aes256Gcm>),
}

/// A key with its id; what it seals names that id. Wiped on drop.
pub struct EnvelopeKey {
    header: Vec<u8>,
    cipher: Cipher,
}

impl EnvelopeKey {
    /// Prepare a key. `id` is 1 to 64 bytes and travels in clear.
    pub fn new(algorithm: Algorithm, id: &[u8], key: &[u8]) -> Result<Self> {
        if !(1..=KEY_ID_LONGEST).contains(&id.len()) {
            return Err(CryptoError::length("key id", "1 to 64 bytes", id.len()));
        }
        let mut header = vec![VERSION, algorithm.code(), id.len() as u8];
        header.extend_from_slice(id);
        let cipher = match algorithm {
            Algorithm::Sm4Gcm => Cipher::Sm4(Box::new(GcmKey::new(key)?)),
            Algorithm::Aes256Gcm => Cipher::Aes(Box::new(Aes256Gcm::new(key)?)),
        };
        Ok(Self { header, cipher })
    }

    /// The key's id.
    pub fn id(&self) -> &[u8] {
        &self.header[FIXED..]
    }

    /// Seal each text with its associated data (or with none, where `aads` is empty), in order.
    pub fn seal_many<T: AsRef<[u8]>, U: AsRef<[u8]>>(
        &self,
        texts: &[T],
        aads: &[U],
    ) -> Result<Vec<Vec<u8>>> {
        check_count(texts.len(), aads.len())?;
        let mut nonces = vec![[0; NONCE_LENGTH]; texts.len()];
        random::fill(nonces.as_flattened_mut())?;
        let full_aads = self.full_aads(texts.len(), aads);
        let messages: Vec<Message<'_>> = texts
            .iter()
            .zip(&nonces)
            .zip(&full_aads)
            .map(|((text, nonce), aad)| Message {
                nonce,
                data: text.as_ref(),
                aad,
            })
            .collect();
        let sealed = match &self.cipher {
            Cipher::Sm4(key) => key.seal_many(&messages),
            Cipher::Aes(key) => key.seal_many(&messages),
        }?;
        let parts = sealed.iter().zip(&nonces);
        Ok(parts
            .map(|(sealed, nonce)| [&self.header, &nonce[..], sealed].concat())
            .collect())
    }

    /// Open each envelope, in order; `None` for one that is not of this key, not with this associated data, damaged, or
    /// no envelope at all. Nothing says which.
    pub fn open_many<T: AsRef<[u8]>, U: AsRef<[u8]>>(
        &self,
        envelopes: &[T],
        aads: &[U],
    ) -> Result<Vec<Option<Vec<u8>>>> {
        check_count(envelopes.len(), aads.len())?;
        let full_aads = self.full_aads(envelopes.len(), aads);
        let mut messages = Vec::with_capacity(envelopes.len());
        let mut places = Vec::with_capacity(envelopes.len());
        for (place, (envelope, aad)) in envelopes.iter().zip(&full_aads).enumerate() {
            let body = envelope.as_ref().strip_prefix(&self.header[..]);
            let Some((nonce, data)) = body.and_then(|body| body.split_at_checked(NONCE_LENGTH))
            else {
                continue;
            };
            if data.len() < TAG_LENGTH {
                continue;
            }
            messages.push(Message { nonce, data, aad });
            places.push(place);
        }
        let opened = match &self.cipher {
            Cipher::Sm4(key) => key.open_many(&messages),
            Cipher::Aes(key) => key.open_many(&messages),
        }?;
        let mut results = vec![None; envelopes.len()];
        for (place, text) in places.into_iter().zip(opened) {
            results[place] = text;
        }
        Ok(results)
    }

    fn full_aads<U: AsRef<[u8]>>(&self, count: usize, aads: &[U]) -> Vec<Vec<u8>> {
        (0..count)
            .map(|i| {
                let aad = aads.get(i).map_or(&[][..], AsRef::as_ref);
                [&self.header, aad].concat()
            })
            .collect()
    }
}

fn check_count(texts: usize, aads: usize) -> Result<()> {
    if aads == 0 || aads == texts {
        return Ok(());
    }
    let expected = format!("none, or as many as texts ({texts})");
    Err(CryptoError::length("associated data", &expected, aads))
}

/// The id of the key that an envelope names, to find that key. It proves nothing until the envelope has been opened.
pub fn key_id(envelope: &[u8]) -> Result<&[u8]> {
    let parts = match envelope {
        [VERSION, 1 | 2, length, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        _ => None,
    };
    match parts {
        Some((id, body))
            if (1..=KEY_ID_LONGEST).contains(&id.len())
                && body.len() >= NONCE_LENGTH + TAG_LENGTH =>
        {
            Ok(id)
        }
        _ => Err(CryptoError::DecryptionFailed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Algorithm; 2] = [Algorithm::Sm4Gcm, Algorithm::Aes256Gcm];
    const NO_AADS: &[&[u8]] = &[];

    fn key(algorithm: Algorithm, id: &[u8]) -> EnvelopeKey {
        EnvelopeKey::new(algorithm, id, &vec![9; algorithm.key_length()]).unwrap()
    }

    #[test]
    fn what_was_sealed_comes_back_with_its_key_and_associated_data_only() {
        for algorithm in BOTH {
            let ours = key(algorithm, b"2026-11");
            let texts: Vec<Vec<u8>> = (0..70).map(|i| vec![i; usize::from(i) * 9]).collect();
            let aads: Vec<[u8; 1]> = (0..70).map(|i| [i]).collect();
            let sealed = ours.seal_many(&texts, &aads).unwrap();
            let expected: Vec<_> = texts.iter().cloned().map(Some).collect();
            assert_eq!(ours.open_many(&sealed, &aads).unwrap(), expected);
            assert_eq!(ours.open_many(&sealed, NO_AADS).unwrap(), vec![None; 70]);
            assert_eq!(key_id(&sealed[0]), Ok(&b"2026-11"[..]));
            let renamed = key(algorithm, b"2026-12");
            assert_eq!(renamed.open_many(&sealed, &aads).unwrap(), vec![None; 70]);
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_refused() {
        for algorithm in BOTH {
            let key = key(algorithm, b"k");
            let sealed = key.seal_many(&[b"text"], NO_AADS).unwrap().remove(0);
            let changed = (0..sealed.len()).map(|i| {
                let mut changed = sealed.clone();
                changed[i] ^= 1;
                changed
            });
            let cut = (0..sealed.len()).map(|i| sealed[..i].to_vec());
            let wrong: Vec<Vec<u8>> = changed.chain(cut).collect();
            let opened = key.open_many(&wrong, NO_AADS).unwrap();
            assert!(opened.iter().all(Option::is_none));
        }
    }

    #[test]
    fn moving_bytes_between_header_and_associated_data_changes_the_envelope() {
        let short = key(Algorithm::Sm4Gcm, b"k");
        let long = key(Algorithm::Sm4Gcm, b"kk");
        let sealed = short.seal_many(&[b"text"], &[b"k"]).unwrap().remove(0);
        let mut forged = sealed.clone();
        forged[2] = 2;
        forged.insert(3, b'k');
        assert_eq!(long.open_many(&[forged], NO_AADS), Ok(vec![None]));
    }

    #[test]
    fn random_bytes_are_never_a_panic() {
        let key = key(Algorithm::Sm4Gcm, b"k");
        let mut seed = [0; 32];
        for i in 0..20_000usize {
            seed = crate::sm3::digest(&seed);
            let mut bytes = seed.repeat(3);
            bytes.truncate(i % 97);
            if let Some(first) = bytes.first_mut() {
                *first = 1;
            }
            let _ = key_id(&bytes);
            assert_eq!(key.open_many(&[bytes], NO_AADS), Ok(vec![None]));
        }
    }

    #[test]
    fn wrong_lengths_are_the_caller_s_mistake() {
        for algorithm in BOTH {
            assert!(EnvelopeKey::new(algorithm, b"k", &[0; 24]).is_err());
            let right = vec![0; algorithm.key_length()];
            assert!(EnvelopeKey::new(algorithm, b"", &right).is_err());
            assert!(EnvelopeKey::new(algorithm, &[b'k'; 65], &right).is_err());
        }
        let key = key(Algorithm::Sm4Gcm, b"k");
        assert!(key.seal_many(&[b"a", b"b"], &[b"x"]).is_err());
        assert!(Algorithm::from_name("aes").is_err());
    }
}
