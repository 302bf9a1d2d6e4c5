//! Checks of personal numbers as forms use them: the digits of a candidate, or what stands around it.

use crate::bytes::{follows_escape, is, is_at, slice, ALNUM, DIGIT};
use crate::check::digits::{all_equal, digits_of, is_date, luhn, part};
use crate::check::{base58, bech32, iban, national};
use crate::definition::{Candidate, Verdict};

macro_rules! digit_checks {
    ($($name:ident => $check:path),* $(,)?) => {
        $(pub(crate) fn $name(candidate: &Candidate<'_>) -> Verdict {
            Verdict::accept_if($check(&digits_of(candidate.text())))
        })*
    };
}

macro_rules! text_checks {
    ($($name:ident => $check:path),* $(,)?) => {
        $(pub(crate) fn $name(candidate: &Candidate<'_>) -> Verdict {
            Verdict::accept_if($check(candidate.text()))
        })*
    };
}

digit_checks! {
    us_ssn => national::us_ssn,
    us_itin => national::us_itin,
    us_bank_routing => national::us_bank_routing,
    us_npi => national::us_npi,
    uk_nhs => national::uk_nhs,
    ca_sin => national::ca_sin,
    au_tfn => national::au_tfn,
    au_medicare => national::au_medicare,
    de_tax_id => national::de_tax_id,
    nl_bsn => national::nl_bsn,
    be_nrn => national::be_nrn,
    ch_ahv => national::ch_ahv,
    pl_pesel => national::pl_pesel,
    se_personnummer => national::se_personnummer,
    no_fnr => national::no_fnr,
    br_cpf => national::br_cpf,
    kr_rrn => national::kr_rrn,
    jp_my_number => national::jp_my_number,
    za_id => national::za_id,
    tr_tckn => national::tr_tckn,
    il_national_id => luhn,
}

text_checks! {
    it_codice_fiscale => national::it_codice_fiscale,
    mx_curp => national::mx_curp,
}

/// The candidate with letters before and behind it: the digits of a lettered number, `before` and `after` bytes around.
fn around<'a>(candidate: &Candidate<'a>, before: usize, after: usize) -> Option<(usize, usize, &'a [u8])> {
    let start = candidate.whole.start.checked_sub(before)?;
    let end = candidate.whole.end.saturating_add(after);
    let text = candidate.content.get(start..end)?;
    let joins_before = start
        .checked_sub(1)
        .is_some_and(|at| is_at(candidate.content, at, ALNUM));
    // An escape before the number is no letter of it.
    let is_escaped = follows_escape(candidate.content, start);
    let joins_after = is_at(candidate.content, end, ALNUM);
    ((!joins_before || is_escaped) && !joins_after).then_some((start, end, text))
}

fn at_if(found: Option<(usize, usize)>) -> Verdict {
    found.map_or(Verdict::Reject, |(start, end)| Verdict::At(start, end))
}

/// French number, whose department may be 2A or 2B.
pub(crate) fn fr_nir(candidate: &Candidate<'_>) -> Verdict {
    Verdict::accept_if(national::fr_nir(candidate.text()))
}

/// The last groups of a French number whose department is 2A or 2B: `2 98 02 2A 122 444 19`.
pub(crate) fn corsican_nir(candidate: &Candidate<'_>) -> Verdict {
    const HEAD: usize = b"2 98 02 2A ".len();
    let found = around(candidate, HEAD, 0).filter(|(_, _, text)| {
        let blanks = [1, 4, 7, 10];
        blanks.iter().all(|at| text.get(*at) == Some(&b' ')) && national::fr_nir(text)
    });
    at_if(found.map(|(start, end, _)| (start, end)))
}

/// Eight digits and a letter, or X, Y, Z before seven; a dash may stand between.
pub(crate) fn es_dni_nie(candidate: &Candidate<'_>) -> Verdict {
    let digits = candidate.text().len();
    let (before, after) = if digits == 8 { (0, 1) } else { (1, 1) };
    let found = [
        (before, after),
        (before, after + 1),
        (before * 2, after),
        (before * 2, after + 1),
    ]
    .into_iter()
    .find_map(|(before, after)| {
        let (start, end, text) = around(candidate, before, after)?;
        let is_dashed = text.iter().all(|byte| is(*byte, ALNUM) || *byte == b'-');
        (is_dashed && national::es_dni_nie(text)).then_some((start, end))
    });
    at_if(found)
}

/// Finnish code: six digits, century sign, three digits and a check character.
pub(crate) fn fi_hetu(candidate: &Candidate<'_>) -> Verdict {
    // The check character may be a digit like the counter before it.
    let after = 11usize.saturating_sub(candidate.text().len());
    let found = around(candidate, 0, after).filter(|(_, _, text)| {
        let sign = text.get(6).copied().unwrap_or(0);
        matches!(sign, b'+' | b'-' | b'A'..=b'F' | b'U'..=b'Y') && national::fi_hetu(text)
    });
    at_if(found.map(|(start, end, _)| (start, end)))
}

/// First and last character are capitals: `T8167000b` numbers a file.
fn is_in_capitals(text: &[u8]) -> bool {
    let ends = [text.first(), text.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_uppercase))
}

/// Letter, seven digits, letter.
pub(crate) fn sg_nric(candidate: &Candidate<'_>) -> Verdict {
    let found =
        around(candidate, 1, 1).filter(|(_, _, text)| is_in_capitals(text) && national::sg_nric(text));
    at_if(found.map(|(start, end, _)| (start, end)))
}

/// Seventeen digits and X, or eighteen.
pub(crate) fn cn_resident_id(candidate: &Candidate<'_>) -> Verdict {
    let after = 18usize.saturating_sub(candidate.text().len());
    let found = around(candidate, 0, after).filter(|(_, _, text)| national::cn_resident_id(text));
    at_if(found.map(|(start, end, _)| (start, end)))
}

/// Two letters before six digits, A to D behind; blanks or dashes between.
pub(crate) fn uk_nino(candidate: &Candidate<'_>) -> Verdict {
    let content = candidate.content;
    let (start, end) = (candidate.whole.start, candidate.whole.end);
    let letters_end = start
        .checked_sub(1)
        .filter(|at| matches!(content.get(*at), Some(b' ' | b'-')))
        .unwrap_or(start);
    let letters = slice(content, letters_end.saturating_sub(2), letters_end);
    let from = letters_end.saturating_sub(2);
    let blank = usize::from(matches!(content.get(end), Some(b' ' | b'-')));
    let suffix = end.saturating_add(blank);
    let is_suffix =
        matches!(content.get(suffix), Some(b'A'..=b'D')) && !is_at(content, suffix.saturating_add(1), ALNUM);
    let is_prefix = match letters {
        [first, second] => {
            first.is_ascii_uppercase()
                && second.is_ascii_uppercase()
                && !matches!(first, b'D' | b'F' | b'I' | b'Q' | b'U' | b'V')
                && !matches!(second, b'D' | b'F' | b'I' | b'Q' | b'U' | b'V' | b'O')
                && !matches!(letters, b"BG" | b"GB" | b"NK" | b"KN" | b"TN" | b"NT" | b"ZZ")
        }
        _ => false,
    };
    let is_alone =
        from.checked_sub(1).is_none_or(|at| !is_at(content, at, ALNUM)) || follows_escape(content, from);
    if is_prefix && is_suffix && is_alone {
        Verdict::At(from, suffix.saturating_add(1))
    } else {
        Verdict::Reject
    }
}

/// Five letters, the fourth of a closed set, four digits, a letter.
pub(crate) fn in_pan(candidate: &Candidate<'_>) -> Verdict {
    let found = around(candidate, 5, 1).filter(|(_, _, text)| match text {
        [head @ .., last] => {
            head.iter().take(5).all(u8::is_ascii_uppercase)
                && last.is_ascii_uppercase()
                && text.get(3).is_some_and(|kind| b"ABCFGHJLPT".contains(kind))
        }
        _ => false,
    });
    at_if(found.map(|(start, end, _)| (start, end)))
}

pub(crate) fn in_aadhaar(candidate: &Candidate<'_>) -> Verdict {
    let digits = digits_of(candidate.text());
    let is_real = digits.len() == 12
        && digits.first().is_some_and(|digit| *digit >= 2)
        && crate::check::digits::verhoeff(&digits);
    Verdict::accept_if(is_real)
}

/// Nine digits, or a letter and eight.
pub(crate) fn us_passport(candidate: &Candidate<'_>) -> Verdict {
    let digits = digits_of(candidate.text());
    if all_equal(&digits) {
        return Verdict::Reject;
    }
    if digits.len() == 9 {
        return Verdict::Accept;
    }
    let found =
        around(candidate, 1, 0).filter(|(_, _, text)| text.first().is_some_and(u8::is_ascii_uppercase));
    at_if(found.map(|(start, end, _)| (start, end)))
}

pub(crate) fn il_bank_account(candidate: &Candidate<'_>) -> Verdict {
    Verdict::accept_if(!all_equal(&digits_of(candidate.text())))
}

/// An id of a patient: any number that is not one digit over and over.
pub(crate) fn record_number(candidate: &Candidate<'_>) -> Verdict {
    let text = candidate.text();
    let digits = digits_of(text);
    Verdict::accept_if(digits.len() >= 4 && !all_equal(&digits))
}

/// A letter or two and digits, as licences of most states look.
pub(crate) fn license_number(candidate: &Candidate<'_>) -> Verdict {
    let digits = digits_of(candidate.text());
    Verdict::accept_if(digits.len() >= 5 && !all_equal(&digits))
}

/// Year, month and day in any of the usual orders, between 1900 and 2030.
pub(crate) fn birth_date(candidate: &Candidate<'_>) -> Verdict {
    let text = candidate.text();
    let start = candidate.whole.start;
    let before = slice(candidate.content, start.saturating_sub(48), start).to_ascii_lowercase();
    // "Happy Birthday Lina" (2009-02-28) is the name of an edition.
    if memchr::memmem::find(&before, b"happy birthday").is_some() {
        return Verdict::Reject;
    }
    let fields: Vec<u64> = text
        .split(|byte| !byte.is_ascii_digit())
        .filter(|field| !field.is_empty())
        .map(|field| crate::check::digits::number(&digits_of(field)))
        .collect();
    let is_real = match fields.as_slice() {
        [year @ 1900..=2030, month, day] => is_date(*year, *month, *day),
        [first, second, year @ 1900..=2030] => {
            is_date(*year, *second, *first) || is_date(*year, *first, *second)
        }
        [first, second, year @ 0..=99] => {
            is_date(1900 + *year, *second, *first) || is_date(1900 + *year, *first, *second)
        }
        // Written with the name of the month.
        [day @ 1..=31, 1900..=2030] => *day > 0,
        [1900..=2030, day @ 1..=31] => *day > 0,
        [packed @ 19_000_101..=20_301_231] => is_date(packed / 10_000, packed / 100 % 100, packed % 100),
        _ => false,
    };
    Verdict::accept_if(is_real)
}

/// Bitcoin address with its checksum.
pub(crate) fn bitcoin_address(candidate: &Candidate<'_>) -> Verdict {
    let payload = base58::decode_check(candidate.text());
    Verdict::accept_if(
        payload.is_some_and(|payload| payload.len() == 21 && matches!(payload.first(), Some(0 | 5))),
    )
}

pub(crate) fn bech32_address(candidate: &Candidate<'_>) -> Verdict {
    Verdict::accept_if(bech32::is_bech32(candidate.text()))
}

/// Ethereum address whose letters have the case of EIP-55.
pub(crate) fn ethereum_address(candidate: &Candidate<'_>) -> Verdict {
    Verdict::accept_if(crate::check::keccak::is_checksummed(candidate.text()))
}

pub(crate) fn compact_iban(candidate: &Candidate<'_>) -> Verdict {
    Verdict::accept_if(iban::is_iban_as_written(candidate.text()))
}

/// Machine readable zone of a passport or a card: every check digit.
pub(crate) fn passport_mrz(candidate: &Candidate<'_>) -> Verdict {
    let lines: Vec<&[u8]> = candidate
        .text()
        .split(|byte| !(byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'<'))
        .filter(|line| line.len() >= 30)
        .collect();
    let is_real = match lines.as_slice() {
        [_, second] if second.len() == 44 => td3(second),
        [first, second, _] if first.len() == 30 && second.len() == 30 => td1(first, second),
        _ => false,
    };
    Verdict::accept_if(is_real)
}

fn field_holds(line: &[u8], from: usize, to: usize) -> bool {
    let check = line.get(to).copied().unwrap_or(0);
    national::mrz_check(line.get(from..to).unwrap_or_default(), check)
}

fn td3(line: &[u8]) -> bool {
    let pick = |ranges: &[(usize, usize)]| -> Vec<u8> {
        ranges
            .iter()
            .flat_map(|(from, to)| line.get(*from..*to).unwrap_or_default())
            .copied()
            .collect()
    };
    let composite = pick(&[(0, 10), (13, 20), (21, 43)]);
    let last = line.get(43).copied().unwrap_or(0);
    field_holds(line, 0, 9)
        && field_holds(line, 13, 19)
        && field_holds(line, 21, 27)
        && field_holds(line, 28, 42)
        && national::mrz_check(&composite, last)
}

fn td1(first: &[u8], second: &[u8]) -> bool {
    let composite: Vec<u8> = [
        first.get(5..30),
        second.get(0..7),
        second.get(8..15),
        second.get(18..29),
    ]
    .into_iter()
    .flatten()
    .flatten()
    .copied()
    .collect();
    let last = second.get(29).copied().unwrap_or(0);
    field_holds(first, 5, 14)
        && field_holds(second, 0, 6)
        && field_holds(second, 8, 14)
        && national::mrz_check(&composite, last)
}

/// Dotted quad of a public or private network, no version number.
pub(crate) fn ip_v4(candidate: &Candidate<'_>) -> Verdict {
    let parts: Vec<&[u8]> = candidate.text().split(|byte| *byte == b'.').collect();
    let is_octet =
        |part: &&[u8]| part.len() <= 3 && part.iter().all(|byte| is(*byte, DIGIT)) && part_value(part) <= 255;
    Verdict::accept_if(parts.len() == 4 && parts.iter().all(is_octet))
}

fn part_value(text: &[u8]) -> u64 {
    let digits = digits_of(text);
    part(&digits, 0, digits.len())
}

/// Medicare beneficiary number: letters exclude S, L, O, I, B, Z.
pub(crate) fn us_mbi(candidate: &Candidate<'_>) -> Verdict {
    let compact: Vec<u8> = candidate
        .text()
        .iter()
        .filter(|byte| **byte != b'-')
        .copied()
        .collect();
    let is_letter = |byte: u8| byte.is_ascii_uppercase() && !b"SLOIBZ".contains(&byte);
    let is_real = compact.len() == 11
        && compact.iter().enumerate().all(|(place, byte)| match place {
            0 => matches!(byte, b'1'..=b'9'),
            1 | 4 | 7 | 8 => is_letter(*byte),
            2 | 5 => is_letter(*byte) || byte.is_ascii_digit(),
            _ => byte.is_ascii_digit(),
        });
    Verdict::accept_if(is_real)
}
