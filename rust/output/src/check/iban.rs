//! IBAN: lengths per country (IBAN registry, SWIFT) and ISO 7064 mod 97-10.

const LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// Characters an IBAN of this country has.
pub(crate) fn length_for(country: &[u8]) -> Option<usize> {
    let entry = LENGTHS
        .iter()
        .find(|(code, _)| code.eq_ignore_ascii_case(country))?;
    Some(entry.1)
}

/// Whether letters and digits, blanks removed, pass mod 97.
pub(crate) fn is_iban(compact: &[u8]) -> bool {
    if compact.len() < 15 || length_for(compact.get(..2).unwrap_or_default()) != Some(compact.len()) {
        return false;
    }
    let (head, body) = compact.split_at(4);
    let remainder = body
        .iter()
        .chain(head)
        .try_fold(0u32, |remainder, byte| match byte {
            b'0'..=b'9' => Some((remainder * 10 + u32::from(byte - b'0')) % 97),
            b'A'..=b'Z' => Some((remainder * 100 + u32::from(byte - b'A') + 10) % 97),
            b'a'..=b'z' => Some((remainder * 100 + u32::from(byte - b'a') + 10) % 97),
            _ => None,
        });
    remainder == Some(1)
}

/// The same of a number as it is written: in capitals, or, which is also how random letters and digits look, in small letters where
/// no more than the bank's code of four has some.
pub(crate) fn is_iban_as_written(compact: &[u8]) -> bool {
    let has_small = compact.iter().any(u8::is_ascii_lowercase);
    let bank = compact.get(4..8).unwrap_or_default();
    let account = compact.get(8..).unwrap_or_default();
    let is_bank = bank.iter().all(u8::is_ascii_digit) || bank.iter().all(u8::is_ascii_lowercase);
    let is_plain = || {
        let country = compact.get(..2).unwrap_or_default();
        country.iter().all(u8::is_ascii_lowercase) && is_bank && account.iter().all(u8::is_ascii_digit)
    };
    (!has_small || is_plain()) && is_iban(compact)
}

#[cfg(test)]
mod tests {
    use super::{is_iban, is_iban_as_written};

    #[test]
    fn small_letters_are_those_of_country_and_bank() {
        assert!(is_iban_as_written(b"de89370400440532013000"));
        assert!(is_iban_as_written(b"gb29nwbk60161331926819"));
        assert!(!is_iban_as_written(b"De89370400440532013000"));
        assert!(!is_iban_as_written(b"mt84malt011000012345mtlcast001s"));
    }

    #[test]
    fn mod_97_and_length_hold() {
        for text in [
            "DE89370400440532013000",
            "GB29NWBK60161331926819",
            "MT84MALT011000012345MTLCAST001S",
        ] {
            assert!(is_iban(text.as_bytes()), "{text}");
        }
        assert!(!is_iban(b"DE89370400440532013001") && !is_iban(b"DE8937040044053201300"));
        assert!(!is_iban(b"ZZ89370400440532013000"));
    }
}
