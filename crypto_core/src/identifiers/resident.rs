//! Resident identity number (公民身份号码): GB 11643-1999, 18 characters, the last by ISO 7064 MOD 11-2.
//!
//! Six digits of the administrative division, the date of birth, three digits of sequence, the check character 0 to 9 or X.
//! Residence permits of Hong Kong, Macao and Taiwan residents and of foreigners (2023) have the same form. The 15-digit
//! form ended in 2013.

use super::{Reason, check_digit, length};

/// Check a number such as `11010519491231002X`. Divisions change too often to be checked here beyond their first digit.
pub fn check_resident_id(number: &str) -> Reason {
    if length(number) != 18 {
        return Reason::Length;
    }
    let bytes = number.as_bytes();
    let (body, last) = bytes.split_at(17);
    if !body.iter().all(u8::is_ascii_digit)
        || body[0] == b'0'
        || !matches!(last, [b'0'..=b'9' | b'X'])
    {
        return Reason::Character;
    }
    let part = |from: usize, to: usize| {
        body[from..to]
            .iter()
            .fold(0u32, |number, digit| number * 10 + u32::from(digit - b'0'))
    };
    if !is_date(part(6, 10), part(10, 12), part(12, 14)) {
        return Reason::Date;
    }
    let sum = body
        .iter()
        .fold(0, |sum, digit| (sum + u32::from(digit - b'0')) * 2 % 11);
    let check = match last[0] {
        b'X' => 10,
        digit => u32::from(digit - b'0'),
    };
    check_digit((sum + check) % 11 == 1)
}

/// Whether this is a date of the Gregorian calendar from 1850 on. Today is not asked: this crate knows no clock.
fn is_date(year: u32, month: u32, day: u32) -> bool {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        1..=12 => 31,
        _ => 0,
    };
    year >= 1850 && (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_of_the_standard_pass_and_each_fault_has_its_reason() {
        for number in ["11010519491231002X", "440524188001010014"] {
            assert_eq!(check_resident_id(number), Reason::Valid, "{number}");
        }
        assert_eq!(check_resident_id("110105491231002"), Reason::Length);
        assert_eq!(check_resident_id("11010519491231002x"), Reason::Character);
        assert_eq!(check_resident_id("1101051949123100X2"), Reason::Character);
        assert_eq!(check_resident_id("01010519491231002X"), Reason::Character);
        assert_eq!(check_resident_id("11010519490231002X"), Reason::Date);
        assert_eq!(check_resident_id("110105190002290021"), Reason::Date);
        assert_eq!(check_resident_id("110105194912310021"), Reason::CheckDigit);
        assert_eq!(check_resident_id("11010519491231020X"), Reason::CheckDigit);
    }

    #[test]
    fn leap_years_follow_the_calendar() {
        assert!(is_date(2000, 2, 29) && is_date(2024, 2, 29));
        assert!(!is_date(1900, 2, 29) && !is_date(2023, 2, 29));
        assert!(!is_date(1849, 12, 31) && !is_date(2000, 0, 1) && !is_date(2000, 13, 1));
        assert!(!is_date(2000, 1, 0) && !is_date(2000, 4, 31));
    }
}
