//! Checksums that operator patterns may ask for (output policy spec §5.4, `validator`).

use crate::check::digits::{digits_of, luhn, verhoeff};
use crate::check::encoded::is_jwt;
use crate::check::{base58, bech32, iban, token};
use crate::operator::scanner_file::Validator;

/// Nothing that carries a checksum is longer, signed tokens aside.
const MAX_CHECKED_BYTES: usize = 512;

/// Whether the value passes. Blanks and dashes between digits do not count.
pub(crate) fn is_valid(validator: Validator, value: &[u8]) -> bool {
    let is_bounded = matches!(validator, Validator::None | Validator::Jwt);
    if !is_bounded && value.len() > MAX_CHECKED_BYTES {
        return false;
    }
    match validator {
        Validator::None => true,
        Validator::Luhn => has_digits(value) && luhn(&digits_of(value)),
        Validator::Verhoeff => has_digits(value) && verhoeff(&digits_of(value)),
        Validator::Mod11 => mod_11(value),
        Validator::Iban => {
            let letters = value.iter().filter(|byte| byte.is_ascii_alphanumeric());
            iban::is_iban(&letters.copied().collect::<Vec<_>>())
        }
        Validator::Crc32Base62 => token::ends_with_crc(value),
        Validator::Base58Check => base58::decode_check(value).is_some(),
        Validator::Bech32 => bech32::is_bech32(value),
        Validator::Jwt => {
            let mut parts = value.split(|byte| *byte == b'.');
            matches!((parts.next(), parts.next()), (Some(header), Some(payload)) if is_jwt(header, payload))
        }
    }
}

/// A single digit has no check digit.
fn has_digits(value: &[u8]) -> bool {
    value.iter().filter(|byte| byte.is_ascii_digit()).nth(1).is_some()
}

/// Weights count down to one at the check digit, which may be an X for ten, as in ISBN-10.
fn mod_11(value: &[u8]) -> bool {
    let mut digits: Vec<u32> = digits_of(value).to_vec();
    if matches!(value.last(), Some(b'X' | b'x')) {
        digits.push(10);
    }
    let weighted = digits.iter().rev().zip(1u32..);
    let sum = weighted.fold(0u32, |sum, (digit, weight)| {
        sum.wrapping_add(digit.wrapping_mul(weight))
    });
    digits.len() > 1 && sum % 11 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_checksum_tells_good_from_bad() {
        for (validator, good, bad) in [
            (Validator::Luhn, "4111 1111 1111 1111", "4111 1111 1111 1112"),
            (Validator::Luhn, "18", "0"),
            (
                Validator::Iban,
                "DE89 3704 0044 0532 0130 00",
                "DE88 3704 0044 0532 0130 00",
            ),
            (Validator::Mod11, "0-306-40615-2", "0-306-40615-3"),
            (Validator::Mod11, "0-8044-2957-X", "0-8044-2958-X"),
            (Validator::Verhoeff, "2363", "2364"),
            (
                Validator::Base58Check,
                "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
                "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3",
            ),
            (
                Validator::Bech32,
                "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
                "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
            ),
            (Validator::None, "x", ""),
        ] {
            assert!(is_valid(validator, good.as_bytes()), "{validator:?} {good}");
            let is_bad_refused = validator == Validator::None || !is_valid(validator, bad.as_bytes());
            assert!(is_bad_refused, "{validator:?} {bad}");
        }
        let token = crate::sample::expand("osp_<b62:30><crc>", 7);
        assert!(is_valid(Validator::Crc32Base62, token.as_bytes()), "{token}");
        let wrong = format!("{}0", token.get(..token.len() - 1).unwrap_or_default());
        assert!(!is_valid(Validator::Crc32Base62, wrong.as_bytes()) || wrong == token);
        let part = |text: &str| {
            use base64::Engine as _;
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
        };
        let jwt = format!("{}.{}.c2ln", part(r#"{"alg":"HS256"}"#), part(r#"{"sub":"a"}"#));
        assert!(is_valid(Validator::Jwt, jwt.as_bytes()));
        assert!(!is_valid(Validator::Jwt, b"eyJ.eyJ.x"));
    }
}
