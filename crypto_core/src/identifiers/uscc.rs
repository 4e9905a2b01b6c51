//! Unified social credit code (统一社会信用代码): GB 32100-2015, 18 characters, the last by ISO 7064-like MOD 31-3.

use super::{Reason, check_digit, length};

/// Digits and capital letters without I, O, S, V, Z, in the order of their values (GB 32100-2015, table 1).
const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

/// The value of each byte; 255 for those outside the alphabet.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < 31 {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// Check a code such as `91350100M000100Y43`.
pub fn check_uscc(code: &str) -> Reason {
    if length(code) != 18 {
        return Reason::Length;
    }
    let mut sum = 0u32;
    let mut weight = 1;
    let mut check = 0;
    for (place, byte) in code.bytes().enumerate() {
        // Places 3 to 8 are the administrative division, digits only.
        let limit = if (2..8).contains(&place) { 10 } else { 31 };
        let value = u32::from(VALUES[usize::from(byte)]);
        if value >= limit {
            return Reason::Character;
        }
        if place == 17 {
            check = value;
        } else {
            sum += value * weight;
            weight = weight * 3 % 31;
        }
    }
    check_digit((sum + check).is_multiple_of(31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_of_the_standard_passes_and_changes_are_found() {
        assert_eq!(check_uscc("91350100M000100Y43"), Reason::Valid);
        assert_eq!(check_uscc("91350100M000100Y44"), Reason::CheckDigit);
        assert_eq!(check_uscc("19350100M000100Y43"), Reason::CheckDigit);
        assert_eq!(check_uscc("91350100M000100Y4"), Reason::Length);
        assert_eq!(check_uscc("91350100M000100I43"), Reason::Character);
        assert_eq!(check_uscc("9135010AM000100Y43"), Reason::Character);
    }
}
