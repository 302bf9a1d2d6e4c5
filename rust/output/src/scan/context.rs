//! Words around a candidate (output policy spec §16.6, context).

use std::ops::Range;

use smallvec::SmallVec;
use wide::i8x16;

use crate::bits::{bits_where, equal, ones, padded};
use crate::bytes::slice;

const BEFORE: usize = 64;
const AFTER: usize = 32;
/// What a context word adds to the confidence.
pub(crate) const CONTEXT_BONUS: f32 = 0.35;

/// Whether one of the lower-case words stands within 64 bytes before or 32 after, on the same line or the one before.
pub(crate) fn has_context(content: &[u8], start: usize, end: usize, words: &[impl AsRef<str>]) -> bool {
    if words.is_empty() {
        return false;
    }
    let (before, after) = surroundings(content, start, end);
    has_word(before, words) || has_word(after, words)
}

/// How far the nearest context word is from a candidate. One behind it counts as farther than any before it.
pub(crate) fn distance(content: &[u8], start: usize, end: usize, words: &[impl AsRef<str>]) -> Option<usize> {
    let (before, after) = surroundings(content, start, end);
    let last = words_in(before, words).map(|word| word.end).max();
    let first = || words_in(after, words).map(|word| word.start).min();
    last.map(|end| before.len().saturating_sub(end))
        .or_else(|| Some(first()?.saturating_add(BEFORE)))
}

/// What stands before and behind a candidate, as far as context reaches.
fn surroundings(content: &[u8], start: usize, end: usize) -> (&[u8], &[u8]) {
    let before = slice(content, start.saturating_sub(BEFORE), start);
    let after = slice(content, end, end.saturating_add(AFTER));
    let second_break = memchr::memrchr_iter(b'\n', before).nth(1);
    let before = before
        .get(second_break.map_or(0, |at| at.saturating_add(1))..)
        .unwrap_or_default();
    let after = after
        .get(..memchr::memchr(b'\n', after).unwrap_or(after.len()))
        .unwrap_or_default();
    (before, after)
}

/// Whether one of the lower-case words stands in the text, as a whole word: `_`, digits and humps end words too.
pub(crate) fn has_word(text: &[u8], words: &[impl AsRef<str>]) -> bool {
    words_in(text, words).next().is_some()
}

/// Where the words stand in the text.
fn words_in<'a>(text: &'a [u8], words: &'a [impl AsRef<str>]) -> impl Iterator<Item = Range<usize>> + 'a {
    starts_in(text, words).filter_map(move |at| {
        let ends = words
            .iter()
            .filter_map(|word| end_of_word(text, at, word.as_ref()));
        let mut whole = ends.filter(|end| is_whole(text, at, *end));
        Some(at..whole.next()?)
    })
}

/// Where one of the words may begin: places of their first letters.
fn starts_in<'a>(text: &'a [u8], words: &[impl AsRef<str>]) -> impl Iterator<Item = usize> + 'a {
    /// Makes a capital a small letter; that it makes two of some other bytes one does no harm.
    const SMALL: u8 = 0x20;
    let mut firsts: SmallVec<[u8; 16]> = SmallVec::new();
    for byte in words.iter().filter_map(|word| word.as_ref().as_bytes().first()) {
        if !firsts.contains(&(byte | SMALL)) {
            firsts.push(byte | SMALL);
        }
    }
    (0..)
        .step_by(64)
        .zip(text.chunks(64))
        .flat_map(move |(base, chunk)| {
            let bits = bits_where(&padded(chunk), |bytes| {
                let small = bytes | i8x16::splat(SMALL as i8);
                let known = firsts.iter().map(|first| equal(small, *first));
                known.fold(i8x16::ZERO, |all, one| all | one)
            });
            ones(bits).map(move |place| base + place as usize)
        })
}

/// Where the word that begins at `at` ends. Its blanks and underscores may be written as either, as a dash or as a hump:
/// `social insurance` is `social_insurance`, `social-insurance` and `socialInsurance`.
fn end_of_word(text: &[u8], at: usize, word: &str) -> Option<usize> {
    let mut end = at;
    for letter in word.bytes() {
        let byte = text.get(end).copied();
        if matches!(letter, b' ' | b'_') {
            let is_hump = byte.is_some_and(|byte| byte.is_ascii_uppercase())
                && end
                    .checked_sub(1)
                    .and_then(|at| text.get(at))
                    .is_some_and(u8::is_ascii_lowercase);
            let is_set_apart = matches!(byte, Some(b' ' | b'_' | b'-'));
            if !is_hump && !is_set_apart {
                return None;
            }
            end = end.saturating_add(usize::from(is_set_apart));
        } else if byte.is_some_and(|byte| byte.eq_ignore_ascii_case(&letter)) {
            end = end.saturating_add(1);
        } else {
            return None;
        }
    }
    Some(end)
}

fn is_whole(text: &[u8], start: usize, end: usize) -> bool {
    let at = |place: usize| text.get(place).copied().unwrap_or(b' ');
    let previous = start.checked_sub(1).map_or(b' ', at);
    let (first, last, next) = (at(start), at(end.saturating_sub(1)), at(end));
    let begins = !first.is_ascii_alphabetic()
        || !previous.is_ascii_alphabetic()
        || previous.is_ascii_lowercase() && first.is_ascii_uppercase();
    let is_plural = matches!(next, b's' | b'S') && !at(end.saturating_add(1)).is_ascii_alphabetic();
    let ends = !last.is_ascii_alphabetic()
        || !next.is_ascii_alphabetic()
        || is_plural
        || last.is_ascii_lowercase() && next.is_ascii_uppercase();
    begins && ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_whole_and_near() {
        let has = |text: &str, words: &[&str]| {
            let start = text.find('#').unwrap();
            has_context(text.as_bytes(), start, start + 1, words)
        };
        assert!(has("DD_API_KEY=#", &["api_key"]) && has("datadogApiKey: #", &["datadog"]));
        for name in [
            "socialInsuranceNumber",
            "social_insurance",
            "Social Insurance",
            "SOCIAL-INSURANCE-NO",
        ] {
            assert!(has(&format!("{name}: #"), &["social insurance"]), "{name}");
        }
        assert!(!has("antisocialinsurance #", &["social insurance"]) && !has("he said #", &["sa id"]));
        assert!(has("# (my passports)", &["passport"]) && has("ת.ז #", &["ת.ז"]));
        assert!(has("the bsn\n is #", &["bsn"]));
        assert!(!has("the bsn\n\n is #", &["bsn"]) && !has("#\n bsn", &["bsn"]));
        assert!(!has("spandex #", &["pan"]));
        let far = |text: &str, words: &[&str]| {
            let start = text.find('#').unwrap();
            distance(text.as_bytes(), start, start + 1, words)
        };
        assert_eq!(far("nhs no of the patient: #", &["nhs", "patient"]), Some(2));
        assert_eq!(far("bsn # nhs", &["bsn", "nhs"]), Some(1));
        assert_eq!(
            (far("# nhs", &["nhs"]), far("#", &["nhs"])),
            (Some(BEFORE + 1), None)
        );
        assert!(!has(&format!("bsn {} #", "x".repeat(70)), &["bsn"]));
    }
}
