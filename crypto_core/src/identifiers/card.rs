//! Bank card number (银行卡号): ISO/IEC 7812-1, last digit by the Luhn formula.

use super::{Reason, check_digit, length};

/// Check a card number of 12 to 19 digits. Corporate account numbers are not card numbers and carry no Luhn digit.
pub fn check_bank_card_luhn(number: &str) -> Reason {
    if !(12..=19).contains(&length(number)) {
        return Reason::Length;
    }
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Reason::Character;
    }
    let sum: u32 = number
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0');
            if place % 2 == 0 {
                digit
            } else {
                digit / 5 + digit * 2 % 10
            }
        })
        .sum();
    check_digit(sum.is_multiple_of(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luhn_numbers_pass_and_changed_digits_do_not() {
        for number in [
            "4111111111111111",
            "6222021234567890128",
            "5500005555555559",
        ] {
            let fits = check_bank_card_luhn(number) == Reason::Valid;
            let last = number.as_bytes()[number.len() - 1];
            let changed = format!("{}{}", &number[..number.len() - 1], (last - b'0' + 1) % 10);
            assert!(!(fits && check_bank_card_luhn(&changed) == Reason::Valid));
        }
        assert_eq!(check_bank_card_luhn("4111111111111111"), Reason::Valid);
        assert_eq!(check_bank_card_luhn("4111111111111112"), Reason::CheckDigit);
        assert_eq!(check_bank_card_luhn("41111111111"), Reason::Length);
        assert_eq!(
            check_bank_card_luhn("4111 1111 1111 1111"),
            Reason::Character
        );
    }
}
