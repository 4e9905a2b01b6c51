//! International bank account number: ISO 13616-1, country structures of the SWIFT IBAN registry, MOD 97-10 of ISO 7064.

use super::mod97::{check_mod_97, is_capital_or_digit};
use super::{Reason, length};

/// Country, then the rest after the check digits: counts of `n` digits, `a` capitals, `c` capitals or digits.
/// Sorted. Mainland China has no IBAN.
const STRUCTURES: &[(&[u8; 2], &str)] = &[
    (b"AD", "8n12c"),
    (b"AE", "19n"),
    (b"AL", "8n16c"),
    (b"AT", "16n"),
    (b"AZ", "4a20c"),
    (b"BA", "16n"),
    (b"BE", "12n"),
    (b"BG", "4a6n8c"),
    (b"BH", "4a14c"),
    (b"BI", "23n"),
    (b"BR", "23n1a1c"),
    (b"BY", "4c4n16c"),
    (b"CH", "5n12c"),
    (b"CR", "18n"),
    (b"CY", "8n16c"),
    (b"CZ", "20n"),
    (b"DE", "18n"),
    (b"DJ", "23n"),
    (b"DK", "14n"),
    (b"DO", "4c20n"),
    (b"EE", "16n"),
    (b"EG", "25n"),
    (b"ES", "20n"),
    (b"FI", "14n"),
    (b"FK", "2a12n"),
    (b"FO", "14n"),
    (b"FR", "10n11c2n"),
    (b"GB", "4a14n"),
    (b"GE", "2a16n"),
    (b"GI", "4a15c"),
    (b"GL", "14n"),
    (b"GR", "7n16c"),
    (b"GT", "24c"),
    (b"HN", "4a20n"),
    (b"HR", "17n"),
    (b"HU", "24n"),
    (b"IE", "4a14n"),
    (b"IL", "19n"),
    (b"IQ", "4a15n"),
    (b"IS", "22n"),
    (b"IT", "1a10n12c"),
    (b"JO", "4a4n18c"),
    (b"KW", "4a22c"),
    (b"KZ", "3n13c"),
    (b"LB", "4n20c"),
    (b"LC", "4a24c"),
    (b"LI", "5n12c"),
    (b"LT", "16n"),
    (b"LU", "3n13c"),
    (b"LV", "4a13c"),
    (b"LY", "21n"),
    (b"MC", "10n11c2n"),
    (b"MD", "20c"),
    (b"ME", "18n"),
    (b"MK", "3n10c2n"),
    (b"MN", "16n"),
    (b"MR", "23n"),
    (b"MT", "4a5n18c"),
    (b"MU", "4a19n3a"),
    (b"NI", "4a20n"),
    (b"NL", "4a10n"),
    (b"NO", "11n"),
    (b"OM", "3n16c"),
    (b"PK", "4a16c"),
    (b"PL", "24n"),
    (b"PS", "4a21c"),
    (b"PT", "21n"),
    (b"QA", "4a21c"),
    (b"RO", "4a16c"),
    (b"RS", "18n"),
    (b"RU", "14n15c"),
    (b"SA", "2n18c"),
    (b"SC", "4a20n3a"),
    (b"SD", "14n"),
    (b"SE", "20n"),
    (b"SI", "15n"),
    (b"SK", "20n"),
    (b"SM", "1a10n12c"),
    (b"SO", "19n"),
    (b"ST", "21n"),
    (b"SV", "4a20n"),
    (b"TL", "19n"),
    (b"TN", "20n"),
    (b"TR", "5n1n16c"),
    (b"UA", "6n19c"),
    (b"VA", "18n"),
    (b"VG", "4a16n"),
    (b"XK", "16n"),
    (b"YE", "4a4n18c"),
];

/// Check an IBAN in its electronic form: capitals and digits, no spaces.
pub fn check_iban(iban: &str) -> Reason {
    if !(15..=34).contains(&length(iban)) {
        return Reason::Length;
    }
    let bytes = iban.as_bytes();
    if !is_capital_or_digit(bytes) {
        return Reason::Character;
    }
    let Some(structure) = structure_of(bytes[0], bytes[1]) else {
        return Reason::Country;
    };
    if !bytes[2..4].iter().all(u8::is_ascii_digit) {
        return Reason::Character;
    }
    match structure.check(&bytes[4..]) {
        Reason::Valid => check_mod_97([&bytes[4..], &bytes[..4]], &bytes[2..4]),
        refused => refused,
    }
}

/// Fields of one structure at most.
const FIELDS: usize = 3;

/// A text such as `4a6n8c`, read when the crate is compiled.
#[derive(Clone, Copy)]
struct Structure {
    length: usize,
    /// Kind and count; unused ones are empty.
    fields: [(u8, usize); FIELDS],
}

impl Structure {
    const fn read(text: &str) -> Self {
        let text = text.as_bytes();
        let mut structure = Self {
            length: 0,
            fields: [(b'c', 0); FIELDS],
        };
        let (mut place, mut field, mut count) = (0, 0, 0);
        while place < text.len() {
            if text[place].is_ascii_digit() {
                count = count * 10 + (text[place] - b'0') as usize;
            } else {
                structure.fields[field] = (text[place], count);
                structure.length += count;
                field += 1;
                count = 0;
            }
            place += 1;
        }
        structure
    }

    /// Compare length and characters of what follows the check digits.
    fn check(&self, mut rest: &[u8]) -> Reason {
        if rest.len() != self.length {
            return Reason::Length;
        }
        for (kind, count) in self.fields {
            let (field, after) = rest.split_at(count);
            let fits = match kind {
                b'n' => field.iter().all(u8::is_ascii_digit),
                b'a' => field.iter().all(u8::is_ascii_uppercase),
                _ => true,
            };
            if !fits {
                return Reason::Character;
            }
            rest = after;
        }
        Reason::Valid
    }
}

/// The structures by the two letters of their country.
static BY_COUNTRY: [Option<Structure>; 26 * 26] = {
    let mut table = [None; 26 * 26];
    let mut i = 0;
    while i < STRUCTURES.len() {
        let (country, text) = STRUCTURES[i];
        table[index_of(country[0], country[1])] = Some(Structure::read(text));
        i += 1;
    }
    table
};

const fn index_of(first: u8, second: u8) -> usize {
    (first - b'A') as usize * 26 + (second - b'A') as usize
}

fn structure_of(first: u8, second: u8) -> Option<&'static Structure> {
    let letters = first.is_ascii_uppercase() && second.is_ascii_uppercase();
    letters
        .then(|| BY_COUNTRY[index_of(first, second)].as_ref())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::super::mod97::remainder;
    use super::*;

    #[test]
    fn the_table_is_sorted_and_well_formed() {
        assert!(STRUCTURES.is_sorted_by(|a, b| a.0 < b.0));
        for (country, structure) in STRUCTURES {
            assert!(structure.ends_with(['n', 'a', 'c']), "{country:?}");
            assert!(super::super::country::is_country(*country));
        }
    }

    #[test]
    fn registry_samples_pass() {
        for iban in [
            "GB29NWBK60161331926819",
            "DE89370400440532013000",
            "FR1420041010050500013M02606",
            "NO9386011117947",
        ] {
            assert_eq!(check_iban(iban), Reason::Valid, "{iban}");
        }
    }

    #[test]
    fn each_fault_has_its_reason() {
        assert_eq!(check_iban("GB29"), Reason::Length);
        assert_eq!(check_iban("GB29NWBK6016133192681"), Reason::Length);
        assert_eq!(check_iban("GB29 NWBK 6016 1331 9268 19"), Reason::Character);
        assert_eq!(check_iban("GB29NWBK6016133192681A"), Reason::Character);
        assert_eq!(check_iban("GBX9NWBK60161331926819"), Reason::Character);
        assert_eq!(check_iban("CN29NWBK60161331926819"), Reason::Country);
        assert_eq!(check_iban("GB28NWBK60161331926819"), Reason::CheckDigit);
        assert_eq!(check_iban("GB92NWBK60161331926819"), Reason::CheckDigit);
    }

    #[test]
    fn check_digits_outside_02_to_98_are_refused_even_when_the_remainder_fits() {
        let fitting = (0..1000)
            .map(|i| format!("BE00{i:012}"))
            .find(|iban| remainder([&iban.as_bytes()[4..], &iban.as_bytes()[..4]]) == 1);
        assert_eq!(
            check_iban(&fitting.expect("one in 97 fits")),
            Reason::CheckDigit
        );
    }
}
