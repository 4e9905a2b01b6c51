//! Creditor reference (收款人参考号): ISO 11649, `RF`, two check digits and up to 21 characters, MOD 97-10.

use super::mod97::{check_mod_97, is_capital_or_digit};
use super::{Reason, length};

/// Check a reference in its electronic form: capitals and digits, no spaces, 5 to 25 characters.
pub fn check_creditor_reference(reference: &str) -> Reason {
    if !(5..=25).contains(&length(reference)) {
        return Reason::Length;
    }
    let bytes = reference.as_bytes();
    if !is_capital_or_digit(bytes)
        || !bytes.starts_with(b"RF")
        || !bytes[2..4].iter().all(u8::is_ascii_digit)
    {
        return Reason::Character;
    }
    check_mod_97([&bytes[4..], &bytes[..4]], &bytes[2..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_passes_and_each_fault_has_its_reason() {
        assert_eq!(check_creditor_reference("RF18539007547034"), Reason::Valid);
        assert_eq!(check_creditor_reference("RF712348231"), Reason::Valid);
        assert_eq!(check_creditor_reference("RF18"), Reason::Length);
        assert_eq!(check_creditor_reference(&"R".repeat(26)), Reason::Length);
        for text in [
            "rf18539007547034",
            "RF18 5390 0754 7034",
            "FR18539007547034",
            "RFX8539007547034",
        ] {
            assert_eq!(check_creditor_reference(text), Reason::Character, "{text}");
        }
        assert_eq!(
            check_creditor_reference("RF19539007547034"),
            Reason::CheckDigit
        );
        assert_eq!(
            check_creditor_reference("RF18539007547043"),
            Reason::CheckDigit
        );
    }
}
