//! Legal entity identifier (LEI, 法人机构识别编码): ISO 17442-1, 20 characters, MOD 97-10.

use super::mod97::{check_mod_97, is_capital_or_digit};
use super::{Reason, length};

/// Check a code: 18 capitals and digits, then two check digits.
pub fn check_lei(code: &str) -> Reason {
    if length(code) != 20 {
        return Reason::Length;
    }
    let bytes = code.as_bytes();
    if !is_capital_or_digit(bytes) || !bytes[18..].iter().all(u8::is_ascii_digit) {
        return Reason::Character;
    }
    check_mod_97([bytes, b""], &bytes[18..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_codes_pass_and_each_fault_has_its_reason() {
        for code in ["5493001KJTIIGC8Y1R12", "HWUPKR0MPOU8FGXBT394"] {
            assert_eq!(check_lei(code), Reason::Valid, "{code}");
        }
        assert_eq!(check_lei("5493001KJTIIGC8Y1R1"), Reason::Length);
        assert_eq!(check_lei("5493001kJTIIGC8Y1R12"), Reason::Character);
        assert_eq!(check_lei("5493001KJTIIGC8Y1R1X"), Reason::Character);
        assert_eq!(check_lei("5493001KJTIIGC8Y1R13"), Reason::CheckDigit);
        assert_eq!(check_lei("4593001KJTIIGC8Y1R12"), Reason::CheckDigit);
    }
}
