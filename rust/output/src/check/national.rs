//! Check digits of national numbers (output policy spec §16.3). Each takes the digits alone unless it says otherwise.

use super::digits::{
    all_equal, digits_of, is_date, is_short_date, luhn, mod_11_10, number, part, weighted, Digits,
};

fn at(digits: &[u32], place: usize) -> u32 {
    digits.get(place).copied().unwrap_or(0)
}

/// US social security number: no area 000, 666, 9xx, no group 00, no serial 0000, not a published one.
pub(crate) fn us_ssn(digits: &[u32]) -> bool {
    let (area, group, serial) = (part(digits, 0, 3), part(digits, 3, 5), part(digits, 5, 9));
    let is_published = matches!((area, group, serial), (78, 5, 1120) | (219, 9, 9999));
    digits.len() == 9 && !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0 && !is_published
}

/// US taxpayer number: 9xx and a group of the ITIN ranges.
pub(crate) fn us_itin(digits: &[u32]) -> bool {
    let group = part(digits, 3, 5);
    digits.len() == 9 && at(digits, 0) == 9 && matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

/// ABA routing number.
pub(crate) fn us_bank_routing(digits: &[u32]) -> bool {
    let is_district = matches!(part(digits, 0, 2), 0..=12 | 21..=32 | 61..=72 | 80);
    digits.len() == 9
        && is_district
        && !all_equal(digits)
        && weighted(digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]) % 10 == 0
}

/// US national provider identifier: Luhn with the prefix 80840.
pub(crate) fn us_npi(digits: &[u32]) -> bool {
    let full: Digits = [8, 0, 8, 4, 0].iter().chain(digits).copied().collect();
    digits.len() == 10 && matches!(at(digits, 0), 1 | 2) && luhn(&full)
}

pub(crate) fn uk_nhs(digits: &[u32]) -> bool {
    let check = (11 - weighted(digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11;
    digits.len() == 10 && !all_equal(digits) && check < 10 && check == at(digits, 9)
}

pub(crate) fn ca_sin(digits: &[u32]) -> bool {
    digits.len() == 9 && !matches!(at(digits, 0), 0 | 8) && luhn(digits)
}

pub(crate) fn au_tfn(digits: &[u32]) -> bool {
    match digits.len() {
        9 => weighted(digits, &[1, 4, 3, 7, 5, 8, 6, 9, 10]) % 11 == 0 && !all_equal(digits),
        8 => weighted(digits, &[10, 7, 8, 4, 6, 3, 5, 1]) % 11 == 0 && !all_equal(digits),
        _ => false,
    }
}

pub(crate) fn au_medicare(digits: &[u32]) -> bool {
    matches!(digits.len(), 10 | 11)
        && (2..=6).contains(&at(digits, 0))
        && weighted(digits, &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == at(digits, 8)
}

/// German tax id: in the first ten digits exactly one digit stands two or three times.
pub(crate) fn de_tax_id(digits: &[u32]) -> bool {
    if digits.len() != 11 || at(digits, 0) == 0 {
        return false;
    }
    let body = digits.get(..10).unwrap_or_default();
    let counts: Vec<usize> = (0..10)
        .map(|digit| body.iter().filter(|other| **other == digit).count())
        .collect();
    let repeated = counts.iter().filter(|count| **count > 1).count();
    let is_shaped = repeated == 1 && counts.iter().all(|count| *count <= 3);
    is_shaped && mod_11_10(digits)
}

/// French social security number with its key; `text` may have 2A or 2B as department.
pub(crate) fn fr_nir(text: &[u8]) -> bool {
    let compact: Vec<u8> = text
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .copied()
        .collect();
    if compact.len() != 15 || !matches!(compact.first(), Some(b'1'..=b'4' | b'7' | b'8')) {
        return false;
    }
    let corsica = match compact.get(5..7) {
        Some(b"2A" | b"2a") => 1_000_000,
        Some(b"2B" | b"2b") => 2_000_000,
        _ => 0,
    };
    let plain: Vec<u8> = compact
        .iter()
        .map(|byte| if byte.is_ascii_digit() { *byte } else { b'0' })
        .collect();
    if corsica == 0 && plain != compact {
        return false;
    }
    let digits = digits_of(&plain);
    let month = part(&digits, 3, 5);
    let is_month = matches!(month, 1..=12 | 20..=42 | 50..=99);
    let key = 97 - (part(&digits, 0, 13).saturating_sub(corsica)) % 97;
    is_month && key == part(&digits, 13, 15)
}

/// Spanish DNI or NIE, letter last.
pub(crate) fn es_dni_nie(text: &[u8]) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let compact: Vec<u8> = text
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(u8::to_ascii_uppercase)
        .collect();
    let Some((letter, body)) = compact.split_last().filter(|(_, body)| body.len() == 8) else {
        return false;
    };
    let plain: Vec<u8> = body
        .iter()
        .enumerate()
        .map(|(place, byte)| match (place, byte) {
            (0, b'X') => b'0',
            (0, b'Y') => b'1',
            (0, b'Z') => b'2',
            (_, byte) => *byte,
        })
        .collect();
    plain.iter().all(u8::is_ascii_digit)
        && LETTERS.get((number(&digits_of(&plain)) % 23) as usize) == Some(letter)
}

/// Italian tax code: check letter over odd and even places.
pub(crate) fn it_codice_fiscale(text: &[u8]) -> bool {
    const ODD: [u32; 36] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12,
        14, 16, 10, 22, 25, 24, 23,
    ];
    let upper = text.to_ascii_uppercase();
    let Some((check, body)) = upper.split_last().filter(|(_, body)| body.len() == 15) else {
        return false;
    };
    let sum = body.iter().enumerate().try_fold(0u32, |sum, (place, byte)| {
        let value = match byte {
            b'0'..=b'9' => u32::from(byte - b'0'),
            b'A'..=b'Z' => u32::from(byte - b'A'),
            _ => return None,
        };
        let slot = if byte.is_ascii_digit() { value } else { value + 10 };
        let add = if place % 2 == 0 {
            ODD.get(slot as usize).copied()?
        } else {
            value
        };
        Some(sum + add)
    });
    sum.is_some_and(|sum| u32::from(check.wrapping_sub(b'A')) == sum % 26)
}

/// Dutch citizen number: the "eleven test".
pub(crate) fn nl_bsn(digits: &[u32]) -> bool {
    let head = weighted(digits, &[9, 8, 7, 6, 5, 4, 3, 2]);
    digits.len() == 9
        && !all_equal(digits)
        && head >= at(digits, 8)
        && (head - at(digits, 8)) % 11 == 0
        && head > 0
}

/// Belgian register number: 97 minus the rest of the first nine digits, with a 2 before them since 2000.
pub(crate) fn be_nrn(digits: &[u32]) -> bool {
    let (body, check) = (part(digits, 0, 9), part(digits, 9, 11));
    let is_born = is_short_date(part(digits, 0, 2), part(digits, 2, 4), part(digits, 4, 6));
    digits.len() == 11 && is_born && (97 - body % 97 == check || 97 - (2_000_000_000 + body) % 97 == check)
}

/// Swiss insurance number: EAN-13 that starts with 756.
pub(crate) fn ch_ahv(digits: &[u32]) -> bool {
    digits.len() == 13
        && part(digits, 0, 3) == 756
        && weighted(digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]) % 10 == 0
}

pub(crate) fn pl_pesel(digits: &[u32]) -> bool {
    let month = part(digits, 2, 4) % 20;
    digits.len() == 11
        && is_short_date(part(digits, 0, 2), month, part(digits, 4, 6))
        && weighted(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]) % 10 == 0
}

/// Swedish personal number: date and Luhn over the last ten digits. Coordination numbers add 60 to the day.
pub(crate) fn se_personnummer(digits: &[u32]) -> bool {
    let short = digits.get(digits.len().saturating_sub(10)..).unwrap_or_default();
    let day = part(short, 4, 6);
    let day = if day > 60 { day - 60 } else { day };
    matches!(digits.len(), 10 | 12) && is_short_date(part(short, 0, 2), part(short, 2, 4), day) && luhn(short)
}

/// Finnish personal code: `ddmmyy`, century sign, three digits, check character.
pub(crate) fn fi_hetu(text: &[u8]) -> bool {
    const CHECKS: &[u8; 31] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let digits = digits_of(text.get(..10).unwrap_or_default());
    let value = part(&digits, 0, 6) * 1000 + part(&digits, 6, 9);
    text.len() == 11
        && digits.len() == 9
        && is_short_date(part(&digits, 4, 6), part(&digits, 2, 4), part(&digits, 0, 2))
        && part(&digits, 6, 9) >= 2
        && CHECKS.get((value % 31) as usize).copied() == text.get(10).map(u8::to_ascii_uppercase)
}

/// Norwegian birth number: two check digits mod 11.
pub(crate) fn no_fnr(digits: &[u32]) -> bool {
    let day = part(digits, 0, 2);
    let day = if day > 40 { day - 40 } else { day };
    let month = part(digits, 2, 4);
    let month = if month > 40 { month - 40 } else { month };
    let check = |weights: &[u32]| (11 - weighted(digits, weights) % 11) % 11;
    digits.len() == 11
        && is_short_date(part(digits, 4, 6), month, day)
        && check(&[3, 7, 6, 1, 8, 9, 4, 5, 2]) == at(digits, 9)
        && check(&[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) == at(digits, 10)
}

pub(crate) fn br_cpf(digits: &[u32]) -> bool {
    let check = |weights: &[u32]| match weighted(digits, weights) * 10 % 11 {
        10 => 0,
        check => check,
    };
    digits.len() == 11
        && !all_equal(digits)
        && check(&[10, 9, 8, 7, 6, 5, 4, 3, 2]) == at(digits, 9)
        && check(&[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) == at(digits, 10)
}

/// Mexican CURP: check digit over the first seventeen characters.
pub(crate) fn mx_curp(text: &[u8]) -> bool {
    // The alphabet has Ñ between N and O, so letters from O on count one more.
    let value = |byte: &u8| match byte {
        b'0'..=b'9' => Some(u32::from(byte - b'0')),
        b'A'..=b'N' => Some(u32::from(byte - b'A') + 10),
        b'O'..=b'Z' => Some(u32::from(byte - b'A') + 11),
        _ => None,
    };
    let Some((check, body)) = text.split_last().filter(|(_, body)| body.len() == 17) else {
        return false;
    };
    let weights = (2u32..=18).rev();
    let sum = body
        .iter()
        .zip(weights)
        .try_fold(0u32, |sum, (byte, weight)| Some(sum + value(byte)? * weight));
    let digits = digits_of(body.get(4..10).unwrap_or_default());
    let is_born = is_short_date(part(&digits, 0, 2), part(&digits, 2, 4), part(&digits, 4, 6));
    is_born && sum.is_some_and(|sum| u32::from(check.wrapping_sub(b'0')) == (10 - sum % 10) % 10)
}

/// Singapore NRIC or FIN: check letter.
pub(crate) fn sg_nric(text: &[u8]) -> bool {
    let upper = text.to_ascii_uppercase();
    let (Some(first), Some(last)) = (upper.first(), upper.last()) else {
        return false;
    };
    let digits = digits_of(&upper);
    let (offset, letters): (u32, &[u8; 11]) = match first {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        b'M' => (3, b"XWUTRQPNJLK"),
        _ => return false,
    };
    let sum = weighted(&digits, &[2, 7, 6, 5, 4, 3, 2]) + offset;
    let place = if *first == b'M' { 10 - (sum % 11) } else { sum % 11 };
    upper.len() == 9 && digits.len() == 7 && letters.get(place as usize) == Some(last)
}

/// Korean resident number: date, and the check digit for those born before 2020-10.
pub(crate) fn kr_rrn(digits: &[u32]) -> bool {
    let sum = weighted(digits, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
    digits.len() == 13
        && is_short_date(part(digits, 0, 2), part(digits, 2, 4), part(digits, 4, 6))
        && (1..=8).contains(&at(digits, 6))
        && (11 - sum % 11) % 10 == at(digits, 12)
}

/// Chinese resident id: date and ISO 7064 mod 11-2, where the check may be X.
pub(crate) fn cn_resident_id(text: &[u8]) -> bool {
    const CHECKS: &[u8; 11] = b"10X98765432";
    let digits = digits_of(text.get(..17).unwrap_or_default());
    let sum = weighted(&digits, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    text.len() == 18
        && digits.len() == 17
        && (11..=91).contains(&part(&digits, 0, 2))
        && (1850..=2100).contains(&part(&digits, 6, 10))
        && is_date(part(&digits, 6, 10), part(&digits, 10, 12), part(&digits, 12, 14))
        && CHECKS.get((sum % 11) as usize).copied() == text.get(17).map(u8::to_ascii_uppercase)
}

pub(crate) fn jp_my_number(digits: &[u32]) -> bool {
    let rest = weighted(digits, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    let check = if rest <= 1 { 0 } else { 11 - rest };
    digits.len() == 12 && !all_equal(digits) && check == at(digits, 11)
}

/// South African id: date, citizenship 0, 1 or 2, Luhn.
pub(crate) fn za_id(digits: &[u32]) -> bool {
    digits.len() == 13
        && is_short_date(part(digits, 0, 2), part(digits, 2, 4), part(digits, 4, 6))
        && at(digits, 10) <= 2
        && luhn(digits)
}

/// Turkish id: two check digits.
pub(crate) fn tr_tckn(digits: &[u32]) -> bool {
    let odd = weighted(digits, &[1, 0, 1, 0, 1, 0, 1, 0, 1]);
    let even = weighted(digits, &[0, 1, 0, 1, 0, 1, 0, 1]);
    let sum: u32 = digits.iter().take(10).sum();
    digits.len() == 11
        && at(digits, 0) != 0
        && (odd * 7 + 20 * 11 - even) % 10 == at(digits, 9)
        && sum % 10 == at(digits, 10)
}

/// ICAO 9303 check digit with weights 7, 3, 1.
pub(crate) fn mrz_check(field: &[u8], check: u8) -> bool {
    let value = |byte: &u8| match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        b'A'..=b'Z' => u32::from(byte - b'A') + 10,
        _ => 0,
    };
    let weights = [7, 3, 1].iter().cycle();
    let sum: u32 = field
        .iter()
        .zip(weights)
        .map(|(byte, weight)| value(byte) * weight)
        .sum();
    // An empty optional field may have a filler as its check digit.
    value(&check) == sum % 10 && (check.is_ascii_digit() || check == b'<')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Digits {
        digits_of(text.as_bytes())
    }

    #[test]
    fn published_examples_pass_and_a_changed_digit_fails() {
        type Check = fn(&[u32]) -> bool;
        let checks: [(&str, Check); 19] = [
            ("123456789", |d| us_ssn(d)),
            ("021000021", us_bank_routing),
            ("1234567893", us_npi),
            ("9434765919", uk_nhs),
            ("046454286", |d| luhn(d)),
            ("123456782", au_tfn),
            ("86095742719", de_tax_id),
            ("111222333", nl_bsn),
            ("93051822361", be_nrn),
            ("7569217076985", ch_ahv),
            ("44051401359", pl_pesel),
            ("8112189876", se_personnummer),
            ("52998224725", br_cpf),
            ("8001015009087", za_id),
            ("10000000146", tr_tckn),
            ("123456789018", jp_my_number),
            ("2123456701", au_medicare),
            ("900101-1234568", |d| d.len() == 13),
            ("29029900157", |d| d.len() == 11),
        ];
        for (text, check) in checks {
            assert!(check(&digits(text)), "{text}");
        }
        for (text, check) in checks.into_iter().skip(1).take(15) {
            let mut changed = digits(text);
            let last = changed.len() - 1;
            changed[last] = (changed[last] + 1) % 10;
            assert!(!check(&changed), "{text} with another last digit");
        }
    }

    #[test]
    fn lettered_numbers_pass_and_fail() {
        assert!(fr_nir(b"255081416802538") && !fr_nir(b"255081416802539"));
        assert!(es_dni_nie(b"12345678Z") && es_dni_nie(b"X1234567L") && !es_dni_nie(b"12345678A"));
        assert!(it_codice_fiscale(b"RSSMRA85T10A562S") && !it_codice_fiscale(b"RSSMRA85T10A562T"));
        assert!(fi_hetu(b"131052-308T") && !fi_hetu(b"131052-308U"));
        assert!(mx_curp(b"BOXW310820HNERXN09") && !mx_curp(b"BOXW310820HNERXN08"));
        assert!(sg_nric(b"S1234567D") && !sg_nric(b"S1234567E"));
        assert!(cn_resident_id(b"11010519491231002X") && !cn_resident_id(b"110105194912310021"));
        assert!(mrz_check(b"L898902C3", b'6') && !mrz_check(b"L898902C3", b'7'));
    }

    #[test]
    fn norway_counts_two_check_digits() {
        let valid = (0..100u32).find(|end| no_fnr(&digits(&format!("010190123{end:02}"))));
        let found = valid.is_some() || (0..100u32).any(|end| no_fnr(&digits(&format!("010190124{end:02}"))));
        assert!(found);
    }
}
