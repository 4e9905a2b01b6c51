//! Ciphertexts as DER: SEQUENCE { x INTEGER, y INTEGER, hash OCTET STRING, ciphertext OCTET STRING } (GM/T 0009, clause 7.2).

use super::encryption::OVERHEAD;
use crate::errors::{CryptoError, Result};
use crate::sm3;
use der::asn1::{OctetStringRef, UintRef};
use der::{Decode, Encode, Sequence};

const COORDINATE: usize = 32;

#[derive(Sequence)]
struct Sm2Cipher<'a> {
    x: UintRef<'a>,
    y: UintRef<'a>,
    hash: OctetStringRef<'a>,
    ciphertext: OctetStringRef<'a>,
}

/// Write 04‖x‖y‖C3‖C2 as DER.
pub fn ciphertext_to_der(ciphertext: &[u8]) -> Result<Vec<u8>> {
    let [4, rest @ ..] = ciphertext else {
        return Err(CryptoError::InvalidLength(
            "ciphertext: 04‖x‖y‖C3‖C2 expected".into(),
        ));
    };
    if ciphertext.len() <= OVERHEAD {
        return Err(CryptoError::length(
            "ciphertext",
            "at least 98 bytes",
            ciphertext.len(),
        ));
    }
    let (x, rest) = rest.split_at(COORDINATE);
    let (y, rest) = rest.split_at(COORDINATE);
    let (hash, ciphertext) = rest.split_at(sm3::DIGEST_LENGTH);
    let encode = || {
        Sm2Cipher {
            x: UintRef::new(x)?,
            y: UintRef::new(y)?,
            hash: OctetStringRef::new(hash)?,
            ciphertext: OctetStringRef::new(ciphertext)?,
        }
        .to_der()
    };
    encode().map_err(|_| CryptoError::InvalidLength("ciphertext: too long for DER".into()))
}

/// Read DER as 04‖x‖y‖C3‖C2. `DecryptionFailed` for anything but the one shortest encoding.
pub fn ciphertext_from_der(der: &[u8]) -> Result<Vec<u8>> {
    parse(der).ok_or(CryptoError::DecryptionFailed)
}

fn parse(der: &[u8]) -> Option<Vec<u8>> {
    let parts = Sm2Cipher::from_der(der).ok()?;
    let (hash, ciphertext) = (parts.hash.as_bytes(), parts.ciphertext.as_bytes());
    if hash.len() != sm3::DIGEST_LENGTH || ciphertext.is_empty() {
        return None;
    }
    let mut raw = vec![0; 1 + 2 * COORDINATE];
    raw[0] = 4;
    for (number, end) in [(parts.x, 1 + COORDINATE), (parts.y, 1 + 2 * COORDINATE)] {
        let digits = number.as_bytes();
        let start = end
            .checked_sub(digits.len())
            .filter(|_| digits.len() <= COORDINATE)?;
        raw[start..end].copy_from_slice(digits);
    }
    raw.extend(hash);
    raw.extend(ciphertext);
    Some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sm2::{Order, SigningKey};

    #[test]
    fn what_was_written_is_read_and_opens() {
        let key = SigningKey::generate().unwrap();
        for length in [1, 31, 32, 33, 200] {
            let text = vec![7; length];
            let raw = key.public_key().encrypt(&text, Order::C1C3C2).unwrap();
            let der = ciphertext_to_der(&raw).unwrap();
            assert_eq!(ciphertext_from_der(&der), Ok(raw));
            for cut in 0..der.len() {
                assert!(ciphertext_from_der(&der[..cut]).is_err());
            }
            assert!(ciphertext_from_der(&[&der[..], &[0]].concat()).is_err());
        }
        for wrong in [&[][..], &[4; 97], &[5; 120]] {
            assert!(ciphertext_to_der(wrong).is_err());
        }
    }

    #[test]
    fn short_coordinates_get_their_zeros_back() {
        let mut raw = vec![0; 99];
        raw[0] = 4;
        (raw[32], raw[40]) = (0x80, 1);
        let der = ciphertext_to_der(&raw).unwrap();
        assert_eq!(der[2..6], [2, 2, 0, 0x80]);
        assert_eq!(ciphertext_from_der(&der), Ok(raw));
    }
}
