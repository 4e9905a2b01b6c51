//! MOD 97-10 of ISO/IEC 7064, as IBAN, LEI and creditor reference use it.

use super::{Reason, check_digit};

/// Check capitals and digits whose number, `check` being the two check digits in it, must leave 1 when divided by 97.
///
/// 00, 01 and 99 leave the same remainders as 97, 98 and 02, but the standard only makes 02 to 98.
pub fn check_mod_97(parts: [&[u8]; 2], check: &[u8]) -> Reason {
    let check = (check[0] - b'0') * 10 + (check[1] - b'0');
    check_digit((2..=98).contains(&check) && remainder(parts) == 1)
}

/// Letters count as 10 to 35. The running number stays below 2^64, so that it is divided once in nine digits only.
pub fn remainder(parts: [&[u8]; 2]) -> u64 {
    const LIMIT: u64 = u64::MAX / 100 - 1;
    let mut number = 0;
    for byte in parts.into_iter().flatten() {
        if number > LIMIT {
            number %= 97;
        }
        number = match byte {
            b'0'..=b'9' => number * 10 + u64::from(byte - b'0'),
            _ => number * 100 + u64::from(byte - b'A') + 10,
        };
    }
    number % 97
}

/// Whether all bytes are digits or capitals. Looks at all of them, which lets the compiler look at many at once.
pub fn is_capital_or_digit(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |fits, byte| {
        fits & (byte.is_ascii_uppercase() | byte.is_ascii_digit())
    })
}
