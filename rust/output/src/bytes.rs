//! Classes of bytes, as one table look-up each.

/// Letters, digits, `_`, `-`: what a token is made of, and what delimits it when absent.
pub(crate) const WORD: u8 = 1;
/// `WORD` and `+`, `/`.
pub(crate) const RUN: u8 = 2;
pub(crate) const DIGIT: u8 = 4;
pub(crate) const HEX: u8 = 8;
pub(crate) const ALNUM: u8 = 16;
/// Blank or control character below 0x21.
pub(crate) const SPACE: u8 = 32;
/// Local part and domain of an e-mail address.
pub(crate) const MAIL: u8 = 64;
/// Lower-case letter.
pub(crate) const LOWER: u8 = 128;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0usize;
    while byte < 256 {
        let b = byte as u8;
        let mut class = 0;
        if b.is_ascii_alphanumeric() {
            class |= WORD | RUN | ALNUM | MAIL;
        }
        if b == b'_' || b == b'-' {
            class |= WORD | RUN | MAIL;
        }
        if b == b'+' || b == b'/' {
            class |= RUN;
        }
        if b.is_ascii_digit() {
            class |= DIGIT;
        }
        if b.is_ascii_hexdigit() {
            class |= HEX;
        }
        if b <= b' ' {
            class |= SPACE;
        }
        if matches!(b, b'+' | b'.' | b'%' | b'\'' | 0x80..=0xff) {
            class |= MAIL;
        }
        if b.is_ascii_lowercase() {
            class |= LOWER;
        }
        #[expect(clippy::indexing_slicing, reason = "below 256, at compile time")]
        {
            table[byte] = class;
        }
        byte += 1;
    }
    table
}

#[inline]
pub(crate) fn is(byte: u8, class: u8) -> bool {
    CLASSES
        .get(usize::from(byte))
        .is_some_and(|classes| classes & class != 0)
}

/// Whether the byte at `at` exists and is of the class.
#[inline]
pub(crate) fn is_at(content: &[u8], at: usize, class: u8) -> bool {
    content.get(at).is_some_and(|byte| is(*byte, class))
}

/// Whether the byte before `at` exists and is of the class.
#[inline]
pub(crate) fn is_before(content: &[u8], at: usize, class: u8) -> bool {
    at.checked_sub(1).is_some_and(|at| is_at(content, at, class))
}

/// Whether an escape of a string ends before `at`: the letter of `\n` is no letter of what follows.
pub(crate) fn follows_escape(content: &[u8], at: usize) -> bool {
    matches!(
        slice(content, at.saturating_sub(2), at),
        [b'\\', b'n' | b't' | b'r']
    )
}

/// Whether the sign of a line that a diff adds or takes away stands before `at`: it is no part of what follows.
pub(crate) fn follows_sign(content: &[u8], at: usize) -> bool {
    match slice(content, at.saturating_sub(3), at) {
        [.., b'\n', b'-' | b'+'] | [b'\\', b'n', b'-' | b'+'] => true,
        [b'-' | b'+'] => at == 1,
        _ => false,
    }
}

/// End of the bytes of the class that begin at `at`, at most `limit` of them.
pub(crate) fn end_of(content: &[u8], at: usize, class: u8, limit: usize) -> usize {
    let tail = content.get(at..).unwrap_or_default();
    let count = tail
        .iter()
        .take(limit)
        .take_while(|byte| is(**byte, class))
        .count();
    at.saturating_add(count)
}

/// The bytes of a range, cut to the content.
pub(crate) fn slice(content: &[u8], start: usize, end: usize) -> &[u8] {
    let end = end.min(content.len());
    content.get(start.min(end)..end).unwrap_or_default()
}
