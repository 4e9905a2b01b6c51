//! Check digits and shapes of the identifiers on a payment, in batches, with the reason per item.

mod bic;
mod card;
mod cnaps;
mod country;
mod iban;
mod lei;
mod mod97;
mod reference;
mod resident;
mod uscc;

pub use bic::check_bic;
pub use card::check_bank_card_luhn;
pub use cnaps::check_cnaps;
pub use iban::check_iban;
pub use lei::check_lei;
pub use reference::check_creditor_reference;
pub use resident::check_resident_id;
pub use uscc::check_uscc;

use crate::errors::{CryptoError, Result};

/// Why an identifier is refused. Checked in this order; the first that applies is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is wrong.
    Valid,
    /// Too short or too long (in characters), or a length other than the country prescribes.
    Length,
    /// A character that has no place there (full-width digits, lower case and spaces included).
    Character,
    /// No such country, or one without this kind of identifier.
    Country,
    /// No day of the calendar where a date belongs.
    Date,
    /// The check digit does not fit the rest: most likely a typing error.
    CheckDigit,
}

impl Reason {
    /// All reasons, in the order in which they are checked.
    pub const ALL: [Self; 6] = [
        Self::Valid,
        Self::Length,
        Self::Character,
        Self::Country,
        Self::Date,
        Self::CheckDigit,
    ];

    /// The stable code that leaves this crate; empty when valid.
    pub fn code(self) -> &'static str {
        match self {
            Self::Valid => "",
            Self::Length => "LENGTH",
            Self::Character => "CHARACTER",
            Self::Country => "COUNTRY",
            Self::Date => "DATE",
            Self::CheckDigit => "CHECK_DIGIT",
        }
    }
}

/// Length in characters, as people count them.
fn length(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.chars().count()
    }
}

fn check_digit(fits: bool) -> Reason {
    if fits {
        Reason::Valid
    } else {
        Reason::CheckDigit
    }
}

/// Sum of amounts in minor units; the running sum must fit 64 signed bits, as it does in every message that carries it.
pub fn control_sum(amounts: &[i64]) -> Result<i64> {
    let mut sum = 0i64;
    for (index, amount) in amounts.iter().enumerate() {
        sum = sum.checked_add(*amount).ok_or_else(|| {
            CryptoError::Overflow(format!(
                "amounts[{index}]: the sum leaves the range of 64 bits"
            ))
        })?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_names_the_item_that_overflows() {
        assert_eq!(control_sum(&[]), Ok(0));
        assert_eq!(control_sum(&[1, -2, 3]), Ok(2));
        assert_eq!(control_sum(&[i64::MAX, -1, 1]), Ok(i64::MAX));
        let refused = control_sum(&[i64::MAX, 0, 1]).unwrap_err().to_string();
        assert!(refused.starts_with("amounts[2]"), "{refused}");
    }
}
