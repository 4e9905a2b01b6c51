//! CNAPS bank code (联行号): 12 digits, the last one a check digit by ISO 7064 MOD 11,10.
//!
//! No public standard text states the rule. It holds for all 3,431 published codes tried (44 bank prefixes, 468 clearing
//! districts; by chance one in ten would fit), listed with their origin in tests/vectors/identifiers.

use super::{Reason, check_digit, length};

/// Check a bank code such as `102100000021`.
pub fn check_cnaps(code: &str) -> Reason {
    if length(code) != 12 {
        return Reason::Length;
    }
    if !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return Reason::Character;
    }
    let (body, check) = code.as_bytes().split_at(11);
    let product = body.iter().fold(10, |product, byte| {
        let sum = (product + u32::from(byte - b'0')) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    check_digit((product + u32::from(check[0] - b'0')) % 10 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_codes_pass_and_every_single_digit_error_is_found() {
        for code in [
            "102100000021",
            "102100000030",
            "102100020028",
            "102100099996",
        ] {
            assert_eq!(check_cnaps(code), Reason::Valid, "{code}");
            for position in 0..12 {
                for digit in b'0'..=b'9' {
                    let mut changed = code.as_bytes().to_vec();
                    if changed[position] != digit {
                        changed[position] = digit;
                        assert_eq!(
                            check_cnaps(std::str::from_utf8(&changed).unwrap()),
                            Reason::CheckDigit
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn shape_comes_before_the_check_digit() {
        assert_eq!(check_cnaps(""), Reason::Length);
        assert_eq!(check_cnaps("1021000000210"), Reason::Length);
        assert_eq!(check_cnaps("10210000002X"), Reason::Character);
        assert_eq!(check_cnaps("１０２１００００００２１"), Reason::Character);
    }
}
