//! Where the words of a folded text begin and end, and which of them begin sentences and clauses.

use std::ops::Range;

use super::windows::first_beyond_ascii;
use crate::bits::{bits_where, equal, ones, padded, within};
use crate::bytes::{is, ALNUM};

/// A word of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Place in the text.
    pub start: u32,
    pub end: u32,
    /// A sentence ends between the word before and this one.
    pub starts_sentence: bool,
    /// A line, clause or quotation starts here, though perhaps no sentence.
    pub starts_clause: bool,
    /// Put together from single letters.
    pub is_spaced: bool,
    /// Has more in it than small letters of ASCII.
    pub is_mixed: bool,
    /// All of that may stand for letters, and there is a letter besides.
    pub may_be_leet: bool,
}

impl Word {
    #[inline]
    pub(super) fn place(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The words of a folded text.
pub(super) fn words_of(text: &str) -> Vec<Word> {
    let mut words = Vec::with_capacity(text.len() / 4 + 1);
    if text.is_ascii() {
        ascii_words(text.as_bytes(), &mut words);
    } else {
        ascii_words(&in_ascii(text), &mut words);
    }
    words
}

/// The text with bytes of ASCII for all others, of the same meaning to words: a digit for letters, a comma for marks.
fn in_ascii(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while let Some(skipped) = first_beyond_ascii(text.as_bytes().get(at..).unwrap_or(&[])) {
        at += skipped;
        let Some(character) = text.get(at..).and_then(|rest| rest.chars().next()) else {
            break;
        };
        let end = at + character.len_utf8();
        let is_joint = || letter_before(text, at) && letter_at(text, end);
        let byte = match character {
            // Two ends of lines end a sentence whatever follows.
            '。' | '！' | '？' | '\u{fffd}' => b'\n',
            '’' if is_joint() => b'0',
            one if one.is_alphanumeric() => b'0',
            _ => b',',
        };
        if let Some(place) = bytes.get_mut(at..end) {
            place.fill(byte);
        }
        at = end;
    }
    bytes
}

/// Whether a letter or digit stands at `at`.
fn letter_at(text: &str, at: usize) -> bool {
    let character = text.get(at..).and_then(|rest| rest.chars().next());
    character.is_some_and(char::is_alphanumeric)
}

/// Whether a letter or digit stands before `at`.
fn letter_before(text: &str, at: usize) -> bool {
    let character = text.get(..at).and_then(|head| head.chars().next_back());
    character.is_some_and(char::is_alphanumeric)
}

/// The words of a text of ASCII, sixty-four bytes at a time. Everything about words and gaps is told by bits: what has no branch
/// cannot be guessed wrongly.
fn ascii_words(text: &[u8], words: &mut Vec<Word>) {
    // What the chunk before left open. Text begins with a sentence.
    let (mut before, mut is_word, mut ends, mut pauses) = (false, false, true, false);
    let (mut mixes, mut spoils, mut spells) = (false, false, false);
    // Words whose end is known.
    let mut closed = 0;
    for (base, chunk) in (0u32..).step_by(64).zip(text.chunks(64)) {
        let behind = text.get(base as usize + 64).copied().unwrap_or(0);
        let marks = Marks::of(&padded(chunk), before, behind);
        let inner = marks.words << 1 | u64::from(is_word);
        let (starts, stops) = (marks.words & !inner, !marks.words & inner);
        let (sentences, clauses, mixed, spoilt, spelt);
        (sentences, ends) = carry(!marks.words, marks.ends, ends);
        (clauses, pauses) = carry(!marks.words, marks.pauses, pauses);
        (mixed, mixes) = carry(marks.words, marks.mixed, mixes);
        (spoilt, spoils) = carry(marks.words, marks.spoilt, spoils);
        (spelt, spells) = carry(marks.words, marks.spelt, spells);
        for place in ones(starts) {
            let starts_sentence = sentences >> place & 1 == 1;
            words.push(Word {
                start: base.wrapping_add(place),
                end: text.len() as u32,
                starts_sentence,
                starts_clause: starts_sentence | (clauses >> place & 1 == 1),
                is_spaced: false,
                is_mixed: false,
                may_be_leet: false,
            });
        }
        for place in ones(stops) {
            if let Some(word) = words.get_mut(closed) {
                word.end = base.wrapping_add(place);
                word.is_mixed = mixed >> place & 1 == 1;
                word.may_be_leet = (mixed & spelt & !spoilt) >> place & 1 == 1;
            }
            closed = closed.wrapping_add(1);
        }
        (before, is_word) = (marks.letters >> 63 == 1, marks.words >> 63 == 1);
    }
    if let Some(word) = words.get_mut(closed) {
        word.is_mixed = mixes;
        word.may_be_leet = mixes && spells && !spoils;
    }
}

/// For every run of ones, whether a bit of `marks` is in it: the bit behind the run says so. A run goes on from the word of bits
/// before, with what was in it there; so does the last one into the next word, whose part is answered besides.
#[inline]
fn carry(runs: u64, marks: u64, before: bool) -> (u64, bool) {
    // A mark makes a carry that goes up to the end of its run.
    let (sum, first) = runs.overflowing_add(marks & runs);
    let (sum, second) = sum.overflowing_add(u64::from(before));
    (sum & !runs, first | second)
}

/// Bits of sixty-four bytes of ASCII.
struct Marks {
    letters: u64,
    /// Parts of words: letters, digits, and what joins them.
    words: u64,
    /// Where a sentence ends.
    ends: u64,
    /// Where a clause may end.
    pauses: u64,
    /// Parts of words that are no small letters.
    mixed: u64,
    /// Those that stand for no letter either.
    spoilt: u64,
    /// Small letters, and what may be an i or an l.
    spelt: u64,
}

impl Marks {
    /// `before` says that a letter stands before the chunk; `behind` is what stands behind it.
    #[inline]
    fn of(chunk: &[u8; 64], before: bool, behind: u8) -> Self {
        let small = bits_where(chunk, |bytes| within(bytes, b'a', 26));
        let digits = bits_where(chunk, |bytes| within(bytes, b'0', 10));
        let quiet = bits_where(chunk, |bytes| {
            let blank = equal(bytes, b' ') | equal(bytes, b'\t');
            blank | equal(bytes, b'-') | equal(bytes, b'_') | equal(bytes, b'/')
        });
        let letters = small | digits;
        let one = |byte: u8| bits_where(chunk, |bytes| equal(bytes, byte));
        let two =
            |first: u8, second: u8| bits_where(chunk, |bytes| equal(bytes, first) | equal(bytes, second));
        let followed = letters >> 1 | u64::from(is(behind, ALNUM)) << 63;
        // Leet characters may begin a word, and go on in one as apostrophes do; a letter has to follow.
        let joins = two(b'!', b'\'') & (letters << 1 | u64::from(before));
        let words = letters | followed & (two(b'@', b'$') | joins);
        let (dots, lines) = (one(b'.'), one(b'\n'));
        let next_lines = lines >> 1 | u64::from(behind == b'\n') << 63;
        let ends = (dots | two(b'?', b'!')) & !followed | lines & next_lines;
        let mixed = words & !small;
        let (spoilt, spelt) = match mixed {
            0 => (0, small),
            mixed => (mixed & (two(b'2', b'6') | one(b'\'')), small | two(b'1', b'!')),
        };
        Self {
            letters,
            words,
            ends,
            pauses: !(words | quiet | dots | ends),
            mixed,
            spoilt,
            spelt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same, one character after the other.
    fn cut_plainly(text: &str) -> Vec<Word> {
        let mut start = None;
        let (mut ended, mut paused) = (true, true);
        let mut words = Vec::new();
        let mut finish = |place: Range<usize>, ended: &mut bool, paused: &mut bool| {
            let is_mixed = !text[place.clone()].bytes().all(|byte| byte.is_ascii_lowercase());
            let word = &text[place.clone()];
            let is_spelt = word.contains(|c: char| c.is_ascii_lowercase() || matches!(c, '1' | '!'));
            let is_spoilt = word.contains(['2', '6', '\'']);
            words.push(Word {
                start: place.start as u32,
                end: place.end as u32,
                starts_sentence: *ended,
                starts_clause: *ended || *paused,
                is_spaced: false,
                is_mixed,
                may_be_leet: is_mixed && is_spelt && !is_spoilt,
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
        words
    }

    proptest! {
        #[test]
        fn words_are_those_of_a_walk_over_the_characters(
            text in "([a-c]|[0-9]|[@$!'’.?\\n /_-]|[，。！éжכ漢\u{fffd}\u{200b}]|  ){0,60}"
        ) {
            prop_assert_eq!(words_of(&text), cut_plainly(&text));
        }

        #[test]
        fn words_of_ascii_are_those_too(text in "([a-z]{1,70}|[0-9]|[@$!'.?\\n\\t /_-]|[ -@\\[-~]|  ){0,90}") {
            prop_assert_eq!(words_of(&text), cut_plainly(&text));
        }
    }
}
