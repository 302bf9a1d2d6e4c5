//! Small questions about bytes that several detectors ask.

use std::ops::Range;

/// `content[range]`, cut to what exists.
pub(crate) fn slice(content: &[u8], range: Range<usize>) -> &[u8] {
    let end = range.end.min(content.len());
    content.get(range.start.min(end)..end).unwrap_or(&[])
}

/// Start and end of the line around `at`, at most 1 KiB to each side.
pub(crate) fn line_at(content: &[u8], at: usize) -> (usize, usize) {
    let from = at.saturating_sub(1024);
    let start = memchr::memrchr(b'\n', slice(content, from..at)).map_or(from, |place| from + place + 1);
    let rest = slice(content, at..at + 1024);
    (start, at + memchr::memchr(b'\n', rest).unwrap_or(rest.len()))
}

/// Whether `word` stands in `text` with no letter or digit beside it. Both are lower case.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|head| head.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|rest| rest.chars().next());
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

/// Whether `needle` (lower case) starts at `at`, in any case.
pub(crate) fn starts_at(content: &[u8], at: usize, needle: &[u8]) -> bool {
    slice(content, at..at + needle.len()).eq_ignore_ascii_case(needle)
}

/// `content[range]` in lower case, cut to what exists.
pub(crate) fn lower(content: &[u8], range: Range<usize>) -> Vec<u8> {
    slice(content, range).to_ascii_lowercase()
}

/// `text` from `at` on; nothing behind its end.
pub(crate) fn rest_of(text: &[u8], at: usize) -> &[u8] {
    text.get(at..).unwrap_or(&[])
}

/// First place from `at` on that is no blank.
pub(crate) fn skip_blanks(text: &[u8], at: usize) -> usize {
    at + rest_of(text, at)
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count()
}

/// Runs of letters, digits and `_`.
pub(crate) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_gap = |byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b'_';
    text.split(is_gap).filter(|word| !word.is_empty())
}

/// Whether `needle` occurs in `text`.
pub(crate) fn contains(text: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(text, needle).is_some()
}

/// Whether one of the words stands alone in `text`.
pub(crate) fn has_any_word(text: &[u8], known: &[&[u8]]) -> bool {
    words(text).any(|word| known.contains(&word))
}

/// The text with the escapes of line ends and tabs as blanks, byte for byte: `\n` becomes a blank and a line end.
/// `None` when there are none.
pub(crate) fn without_escapes(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain: Option<Vec<u8>> = None;
    for slash in memchr::memchr_iter(b'\\', text) {
        let blank = match text.get(slash + 1) {
            Some(b'n' | b'r') => b'\n',
            Some(b't') => b'\t',
            // The first of two: the string is in a string.
            Some(b'\\') if matches!(text.get(slash + 2), Some(b'n' | b'r' | b't')) => b' ',
            _ => continue,
        };
        let plain = plain.get_or_insert_with(|| text.to_vec());
        if let Some([first, second]) = plain.get_mut(slash..slash + 2) {
            *first = b' ';
            if blank != b' ' {
                *second = blank;
            }
        }
    }
    plain
}
