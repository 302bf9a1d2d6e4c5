//! Where the words of a folded text begin and end, and which of them begin sentences and clauses.

use std::ops::Range;

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

/// The words of a text.
pub(super) fn cut(text: &str) -> Vec<Piece> {
    let bytes = text.as_bytes();
    let mut pieces = Vec::with_capacity(bytes.len() / 4 + 1);
    let (mut ended, mut paused) = (true, true);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        // A leet character may begin a word.
        let begins = matches!(byte, b'@' | b'$') && letter_at(text, at + 1) > 0;
        let width = if begins { 1 } else { letter_at(text, at) };
        if width > 0 {
            let end = end_of_word(text, at + width);
            pieces.push(Piece {
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
    pieces
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

    proptest! {
        #[test]
        fn words_are_those_of_a_walk_over_the_characters(
            text in "([a-c]|[0-9]|[@$!'’.?\\n /_-]|[，。！éжכ漢\u{fffd}\u{200b}]|  ){0,60}"
        ) {
            prop_assert_eq!(cut(&text), cut_plainly(&text));
        }
    }
}
