//! Signatures as DER: SEQUENCE { r INTEGER, s INTEGER } (GM/T 0009, clause 7.3).

use super::SIGNATURE_LENGTH;
use crate::errors::{CryptoError, Result};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

/// Longest such SEQUENCE: two INTEGERs of 33 bytes.
pub const DER_LENGTH_MAX: usize = 72;

/// Write raw r‖s as DER, 8 to 72 bytes.
pub fn to_der(signature: &[u8]) -> Result<Vec<u8>> {
    if signature.len() != SIGNATURE_LENGTH {
        return Err(CryptoError::length(
            "signature",
            "64 bytes r‖s",
            signature.len(),
        ));
    }
    let mut der = Vec::with_capacity(DER_LENGTH_MAX);
    der.extend([SEQUENCE, 0]);
    for number in signature.chunks(32) {
        let zeros = number
            .iter()
            .take_while(|byte| **byte == 0)
            .count()
            .min(number.len() - 1);
        let digits = &number[zeros..];
        let sign = digits[0] >> 7;
        der.extend([INTEGER, digits.len() as u8 + sign]);
        der.extend(std::iter::repeat_n(0, usize::from(sign)));
        der.extend(digits);
    }
    der[1] = der.len() as u8 - 2;
    Ok(der)
}

/// Read DER as raw r‖s. `InvalidSignature` for anything but the one shortest encoding of two numbers that fit 32 bytes:
/// trailing bytes, long lengths, needless zeros and negative numbers included.
pub fn from_der(der: &[u8]) -> Result<[u8; SIGNATURE_LENGTH]> {
    parse(der).ok_or(CryptoError::InvalidSignature)
}

fn parse(der: &[u8]) -> Option<[u8; SIGNATURE_LENGTH]> {
    let [SEQUENCE, length, body @ ..] = der else {
        return None;
    };
    if body.len() != usize::from(*length) {
        return None;
    }
    let mut signature = [0; SIGNATURE_LENGTH];
    let (r, s) = signature.split_at_mut(32);
    let rest = integer(integer(body, r)?, s)?;
    rest.is_empty().then_some(signature)
}

/// Read one INTEGER into 32 bytes; the bytes after it.
fn integer<'a>(der: &'a [u8], number: &mut [u8]) -> Option<&'a [u8]> {
    let [INTEGER, length, rest @ ..] = der else {
        return None;
    };
    let (digits, rest) = rest.split_at_checked(usize::from(*length))?;
    let digits = match digits {
        [0, next, ..] if next >> 7 == 1 => &digits[1..],
        [0] => digits,
        [first, ..] if first >> 7 == 0 && *first != 0 => digits,
        _ => return None,
    };
    let start = number.len().checked_sub(digits.len())?;
    number[start..].copy_from_slice(digits);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(r: u8, s: u8) -> [u8; 64] {
        let mut signature = [0; 64];
        signature[31] = r;
        signature[63] = s;
        signature
    }

    #[test]
    fn what_was_written_is_read_and_is_shortest() {
        assert_eq!(
            to_der(&numbered(1, 0x80)).unwrap(),
            [0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]
        );
        assert_eq!(to_der(&[0xff; 64]).unwrap().len(), DER_LENGTH_MAX);
        for signature in [numbered(1, 0x80), numbered(0, 0), [0xff; 64], [0x7f; 64]] {
            let der = to_der(&signature).unwrap();
            assert_eq!(from_der(&der), Ok(signature));
            for length in 0..der.len() {
                assert!(from_der(&der[..length]).is_err());
            }
            assert!(from_der(&[der.as_slice(), &[0]].concat()).is_err());
        }
        assert!(to_der(&[1; 63]).is_err());
    }

    #[test]
    fn other_encodings_of_the_same_numbers_are_refused() {
        let refused: [&[u8]; 8] = [
            &[0x30, 7, 2, 2, 0, 1, 2, 1, 1],       // a needless zero
            &[0x30, 6, 2, 1, 1, 2, 1, 0x80],       // negative
            &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 1],    // a long length
            &[0x30, 0x80, 2, 1, 1, 2, 1, 1, 0, 0], // an indefinite length
            &[0x30, 5, 2, 0, 2, 1, 1],             // an empty number
            &[0x31, 6, 2, 1, 1, 2, 1, 1],          // a SET
            &[0x30, 6, 2, 1, 1, 4, 1, 1],          // an OCTET STRING
            &[0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1], // three numbers
        ];
        for der in refused {
            assert!(from_der(der).is_err(), "{der:02x?}");
        }
        let long = [&[0x30, 38, 2, 33, 1][..], &[0; 32], &[2, 1, 1]].concat();
        assert!(from_der(&long).is_err(), "33 digits");
    }
}
