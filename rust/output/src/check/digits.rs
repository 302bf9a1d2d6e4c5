//! Check digits over decimal numbers.

use smallvec::SmallVec;

/// Digits of a number; none that is checked has more than fit without an allocation.
pub(crate) type Digits = SmallVec<[u32; 24]>;

/// Values of the decimal digits of `text`; other bytes are skipped.
pub(crate) fn digits_of(text: &[u8]) -> Digits {
    text.iter()
        .filter(|byte| byte.is_ascii_digit())
        .map(|byte| u32::from(byte - b'0'))
        .collect()
}

pub(crate) fn number(digits: &[u32]) -> u64 {
    digits.iter().fold(0, |number: u64, digit| {
        number.wrapping_mul(10).wrapping_add(u64::from(*digit))
    })
}

/// The number that the digits `from..to` make.
pub(crate) fn part(digits: &[u32], from: usize, to: usize) -> u64 {
    number(digits.get(from..to).unwrap_or_default())
}

/// Luhn check (ISO/IEC 7812-1, annex B).
pub(crate) fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => *digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    sum % 10 == 0
}

/// Sum of digit times weight.
pub(crate) fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits
        .iter()
        .zip(weights)
        .map(|(digit, weight)| digit * weight)
        .sum()
}

pub(crate) fn all_equal(digits: &[u32]) -> bool {
    digits.iter().all(|digit| Some(digit) == digits.first())
}

/// Verhoeff check (dihedral group of ten elements).
pub(crate) fn verhoeff(digits: &[u32]) -> bool {
    let multiply = |a: u32, b: u32| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + (b - 5)) % 5 + 5,
        (false, true) => (a - 5 + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    };
    const ROUND: [u32; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let permuted = |place: usize, digit: u32| {
        let step = |digit: u32| ROUND.get(digit as usize).copied().unwrap_or(0);
        (0..place % 8).fold(digit, |digit, _| step(digit))
    };
    let ends = digits
        .iter()
        .rev()
        .enumerate()
        .fold(0, |sum, (place, digit)| multiply(sum, permuted(place, *digit)));
    ends == 0
}

/// ISO 7064 mod 11,10 over all digits, the check digit last.
pub(crate) fn mod_11_10(digits: &[u32]) -> bool {
    let Some((check, body)) = digits.split_last() else {
        return false;
    };
    let product = body.iter().fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        let sum = if sum == 0 { 10 } else { sum };
        sum * 2 % 11
    });
    (11 - product) % 10 == *check
}

/// Whether day, month and year make a date.
pub(crate) fn is_date(year: u64, month: u64, day: u64) -> bool {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    };
    (1..=last).contains(&day)
}

/// A date of a year written with two digits, in either century.
pub(crate) fn is_short_date(year: u64, month: u64, day: u64) -> bool {
    is_date(1900 + year, month, day) || is_date(2000 + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_hold() {
        assert!(luhn(&digits_of(b"4111 1111 1111 1111")) && !luhn(&digits_of(b"4111 1111 1111 1112")));
        assert!(verhoeff(&digits_of(b"2363")) && !verhoeff(&digits_of(b"2364")));
        assert!(verhoeff(&digits_of(b"123451")) && !verhoeff(&digits_of(b"123541")));
        assert!(mod_11_10(&digits_of(b"86095742719")) && !mod_11_10(&digits_of(b"86095742718")));
        assert!(is_date(2000, 2, 29) && !is_date(1900, 2, 29) && !is_date(2024, 4, 31));
    }
}
