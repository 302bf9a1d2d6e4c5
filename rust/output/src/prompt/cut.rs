//! Where the words of a folded text begin and end, and which of them begin sentences and clauses.

use std::ops::Range;

use crate::bits::{end_of_ones, letters_of};
use crate::bytes::{is, ALNUM};

/// A word of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub place: Range<usize>,
    /// A sentence ends between the word before and this one.
    pub starts_sentence: bool,
    /// A line, clause or quotation starts here, though perhaps no sentence.
    pub starts_clause: bool,
}

/// Calls `found` with the words of a text.
pub(super) fn for_each_word(text: &str, found: impl FnMut(Piece)) {
    if text.is_ascii() {
        ascii_words(text.as_bytes(), found);
    } else {
        words(text, found);
    }
}

/// The words of a text of ASCII. Its letters and digits are bits, so that the end of a word needs no search.
fn ascii_words(text: &[u8], mut found: impl FnMut(Piece)) {
    let letters = letters_of(text);
    let byte = |at: usize| text.get(at).copied().unwrap_or(0);
    let is_letter = |at: usize| is(byte(at), ALNUM);
    let (mut ended, mut paused) = (true, true);
    let mut at = 0;
    while at < text.len() {
        let first = byte(at);
        // A leet character may begin a word.
        if is(first, ALNUM) || matches!(first, b'@' | b'$') && is_letter(at + 1) {
            let mut end = end_of_ones(&letters, at + 1);
            while matches!(byte(end), b'@' | b'$' | b'!' | b'\'') && is_letter(end + 1) {
                end = end_of_ones(&letters, end + 1);
            }
            found(Piece {
                place: at..end,
                starts_sentence: ended,
                starts_clause: ended || paused,
            });
            (ended, paused) = (false, false);
            at = end;
            continue;
        }
        at += 1;
        match first {
            b' ' | b'\t' | b'-' | b'_' | b'/' => {}
            b'.' => ended |= !is_letter(at),
            b'?' | b'!' if !is_letter(at) => ended = true,
            b'\n' if byte(at) == b'\n' => ended = true,
            _ => paused = true,
        }
    }
}

/// The words of any text.
fn words(text: &str, mut found: impl FnMut(Piece)) {
    let bytes = text.as_bytes();
    let (mut ended, mut paused) = (true, true);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        // A leet character may begin a word.
        let begins = matches!(byte, b'@' | b'$') && letter_at(text, at + 1) > 0;
        let width = if begins { 1 } else { letter_at(text, at) };
        if width > 0 {
            let end = end_of_word(text, at + width);
            found(Piece {
                place: at..end,
                starts_sentence: ended,
                starts_clause: ended || paused,
            });
            (ended, paused) = (false, false);
            at = end;
            continue;
        }
        let character = text.get(at..).and_then(|rest| rest.chars().next());
        let next = at + character.map_or(1, char::len_utf8);
        match character.unwrap_or(' ') {
            ' ' | '\t' | '-' | '_' | '/' => {}
            '.' | '?' | '!' if letter_at(text, next) == 0 => ended = true,
            '.' => {}
            '\n' if bytes.get(next) == Some(&b'\n') => ended = true,
            '。' | '！' | '？' | '\u{fffd}' => ended = true,
            _ => paused = true,
        }
        at = next;
    }
}

/// Width of the letter or digit at `at`; 0 when there is none.
#[inline]
fn letter_at(text: &str, at: usize) -> usize {
    match text.as_bytes().get(at) {
        None => 0,
        Some(byte) if byte.is_ascii() => usize::from(is(*byte, ALNUM)),
        Some(_) => {
            let character = text.get(at..).and_then(|rest| rest.chars().next());
            character
                .filter(|one| one.is_alphanumeric())
                .map_or(0, char::len_utf8)
        }
    }
}

/// End of a word that goes on at `at`. Leet characters and apostrophes before a letter are part of it (`don't`); a quotation
/// mark is not.
fn end_of_word(text: &str, at: usize) -> usize {
    let mut end = at;
    loop {
        let letter = letter_at(text, end);
        if letter > 0 {
            end += letter;
            continue;
        }
        let joint = match text.as_bytes().get(end..) {
            Some([b'@' | b'$' | b'!' | b'\'', ..]) => 1,
            Some(rest) if rest.starts_with("’".as_bytes()) => "’".len(),
            _ => return end,
        };
        let letter = letter_at(text, end + joint);
        if letter == 0 {
            return end;
        }
        end += joint + letter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same, one character after the other.
    fn cut_plainly(text: &str) -> Vec<Piece> {
        let mut start = None;
        let (mut ended, mut paused) = (true, true);
        let mut pieces = Vec::new();
        let mut finish = |place: Range<usize>, ended: &mut bool, paused: &mut bool| {
            pieces.push(Piece {
                place,
                starts_sentence: *ended,
                starts_clause: *ended || *paused,
            });
            (*ended, *paused) = (false, false);
        };
        let mut characters = text.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            let next = characters.peek().map(|(_, next)| *next);
            let is_before_letter = next.is_some_and(char::is_alphanumeric);
            let is_leet = matches!(character, '@' | '$' | '!') && (start.is_some() || character != '!');
            let is_joint = matches!(character, '\'' | '’') && start.is_some();
            if character.is_alphanumeric() || (is_leet || is_joint) && is_before_letter {
                start.get_or_insert(at);
                continue;
            }
            if let Some(from) = start.take() {
                finish(from..at, &mut ended, &mut paused);
            }
            match character {
                '.' | '?' | '!' if !is_before_letter => ended = true,
                '。' | '！' | '？' | '\u{fffd}' => ended = true,
                '\n' if next == Some('\n') => ended = true,
                ' ' | '\t' | '-' | '_' | '/' | '.' => {}
                _ => paused = true,
            }
        }
        if let Some(from) = start {
            finish(from..text.len(), &mut ended, &mut paused);
        }
        pieces
    }

    fn cut(text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for_each_word(text, |piece| pieces.push(piece));
        pieces
    }

    proptest! {
        #[test]
        fn words_are_those_of_a_walk_over_the_characters(
            text in "([a-c]|[0-9]|[@$!'’.?\\n /_-]|[，。！éжכ漢\u{fffd}\u{200b}]|  ){0,60}"
        ) {
            prop_assert_eq!(cut(&text), cut_plainly(&text));
        }

        #[test]
        fn words_of_ascii_are_those_of_any_text(text in "([a-z]{1,70}|[A-Z0-9]|[@$!'.?\\n\\t /_-]|[ -~]|  ){0,90}") {
            let mut pieces = Vec::new();
            words(&text, |piece| pieces.push(piece));
            prop_assert_eq!(&cut(&text), &pieces);
            prop_assert_eq!(cut_plainly(&text), pieces);
        }
    }
}
