//! Business identifier code (BIC): ISO 9362:2014 in the form of ISO 20022 `BICFIDec2014Identifier`. It has no check digit.

use super::country::is_country;
use super::{Reason, length};

/// Check a code of 8 or 11 capitals and digits: party prefix (4), ISO 3166 country (2), suffix (2), branch (3).
pub fn check_bic(code: &str) -> Reason {
    if !matches!(length(code), 8 | 11) {
        return Reason::Length;
    }
    let allowed = |(place, byte): (usize, u8)| {
        byte.is_ascii_uppercase() || (byte.is_ascii_digit() && !(4..6).contains(&place))
    };
    if !code.bytes().enumerate().all(allowed) {
        return Reason::Character;
    }
    if is_country(&code.as_bytes()[4..6]) {
        Reason::Valid
    } else {
        Reason::Country
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_and_country_are_checked() {
        for code in ["ICBKCNBJ", "ICBKCNBJXXX", "PCBCCNBJSZX", "DEUTDEFF500"] {
            assert_eq!(check_bic(code), Reason::Valid, "{code}");
        }
        assert_eq!(check_bic("ICBKCNBJX"), Reason::Length);
        assert_eq!(check_bic("icbkcnbj"), Reason::Character);
        assert_eq!(check_bic("ICBK1NBJ"), Reason::Character);
        assert_eq!(check_bic("ICBKZZBJ"), Reason::Country);
    }
}
