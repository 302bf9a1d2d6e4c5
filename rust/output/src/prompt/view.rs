//! The normalised view of a text (output policy spec §16.5) and the words in it, with the way back to the bytes.

use std::ops::Range;

use super::cut::{words_of, Word};
use super::fold::Folded;
use super::stems::head_of;
use crate::around::without_escapes;

/// So many letters set apart may be a word.
const LETTERS: usize = 4;

/// Offset in the content of the character each byte of a view's text came from.
enum Origin {
    /// Byte for byte from this offset on.
    Plain(usize),
    Each(Vec<usize>),
}

/// A normalised piece of the content.
pub(super) struct View<'c> {
    content: &'c [u8],
    text: String,
    origin: Origin,
    pub words: Vec<Word>,
    /// Bytes of the content behind each word where the origin does not tell: words joined from letters.
    sources: Vec<Range<usize>>,
    /// What all words are reported as, when the content is none that anybody sees.
    shown_as: Option<Range<usize>>,
}

impl<'c> View<'c> {
    /// Normalise `content[range]`. The range is widened to whole characters.
    pub(super) fn new(content: &'c [u8], range: Range<usize>) -> Self {
        let range = whole_characters(content, range);
        let bytes = content.get(range.clone()).unwrap_or(&[]);
        let plain = without_escapes(bytes);
        let bytes = plain.as_deref().unwrap_or(bytes);
        let mut view = match plain_text(bytes) {
            Some(text) => Self::of(content, text, Origin::Plain(range.start)),
            None => Self::folded(content, bytes, range.start),
        };
        view.cut_words();
        view
    }

    fn of(content: &'c [u8], text: String, origin: Origin) -> Self {
        Self {
            content,
            text,
            origin,
            words: Vec::new(),
            sources: Vec::new(),
            shown_as: None,
        }
    }

    /// A view of text that has more than ASCII, or broken characters.
    fn folded(content: &'c [u8], bytes: &[u8], start: usize) -> Self {
        let mut text = Folded::with_capacity(bytes.len());
        let mut at = start;
        for chunk in bytes.utf8_chunks() {
            at = text.push_all(chunk.valid(), at);
            if !chunk.invalid().is_empty() {
                text.push('\u{fffd}', at);
                at += chunk.invalid().len();
            }
        }
        text.origin.push(at);
        text.map_lookalikes();
        Self::of(content, text.text, Origin::Each(text.origin))
    }

    /// A view of text that is not in the content: every word points to `source`.
    pub(super) fn of_decoded(text: &'c str, source: &Range<usize>) -> Self {
        let mut view = Self::new(text.as_bytes(), 0..text.len());
        view.shown_as = Some(source.clone());
        view
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Text of a word.
    #[inline]
    pub(super) fn word(&self, word: &Word) -> &str {
        self.text.get(word.place()).unwrap_or("")
    }

    /// The first bytes of a word, eight at most; zeros behind a shorter one.
    #[inline]
    pub(super) fn head(&self, word: &Word) -> u64 {
        let text = self.text.as_bytes().get(word.start as usize..).unwrap_or(&[]);
        match text.first_chunk() {
            Some(eight) => {
                let spare = 8usize.saturating_sub((word.end - word.start) as usize);
                u64::from_le_bytes(*eight) & u64::MAX >> (8 * spare).min(63)
            }
            None => head_of(self.word(word).as_bytes()),
        }
    }

    /// What stands in the view between two neighbouring words.
    pub(super) fn between(&self, left: &Word, right: &Word) -> &str {
        self.text
            .get(left.end as usize..right.start as usize)
            .unwrap_or("")
    }

    /// What follows a word, up to `length` bytes of the view.
    pub(super) fn after(&self, word: &Word, length: usize) -> &str {
        let from = word.end as usize;
        let mut end = (from + length).min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        self.text.get(from..end).unwrap_or("")
    }

    /// Bytes of the content behind a span of the view.
    pub(super) fn source(&self, span: Range<usize>) -> Range<usize> {
        match &self.origin {
            Origin::Plain(start) => start + span.start..start + span.end,
            Origin::Each(origin) => {
                let start = origin.get(span.start).copied().unwrap_or(0);
                let last = span
                    .end
                    .checked_sub(1)
                    .and_then(|at| origin.get(at))
                    .copied()
                    .unwrap_or(start);
                // Behind the last character of the content stand words joined from letters, which came from before.
                let end = origin.get(span.end).copied().filter(|end| *end > last);
                start..end.unwrap_or_else(|| self.character_end(last)).max(start)
            }
        }
    }

    /// Where the character of the content that begins at `at` ends.
    fn character_end(&self, at: usize) -> usize {
        let rest = self.content.get(at + 1..).unwrap_or(&[]);
        (at + 1
            + rest
                .iter()
                .take(3)
                .take_while(|byte| *byte & 0xc0 == 0x80)
                .count())
        .min(self.content.len())
    }

    /// Bytes that the word at `place` is reported as.
    pub(super) fn source_of(&self, place: usize) -> Option<Range<usize>> {
        let word = self.words.get(place)?;
        Some(match &self.shown_as {
            Some(source) => source.clone(),
            None => self.own_source(place, word),
        })
    }

    /// Bytes of the content that the word was made of.
    fn own_source(&self, place: usize, word: &Word) -> Range<usize> {
        let known = self.sources.get(place).cloned();
        known.unwrap_or_else(|| self.source(word.place()))
    }

    /// Whether the word at `place` starts with a capital, and is no acronym.
    pub(super) fn is_capital(&self, place: usize) -> bool {
        let word = self.words.get(place).filter(|word| !word.is_spaced);
        word.is_some_and(|word| is_capital(self.content, &self.own_source(place, word)))
    }

    fn cut_words(&mut self) {
        self.words = words_of(&self.text);
        // Few texts have so many letters that stand alone, in a row or not.
        let most = if self.is_plain() {
            most_in_a_row(&self.words, |word| word.end - word.start == 1)
        } else {
            most_in_a_row(&self.words, |word| self.is_letter(word))
        };
        if most >= LETTERS {
            self.join_spaced_letters();
        }
    }

    /// Whether a word is one character.
    #[inline]
    fn is_letter(&self, word: &Word) -> bool {
        match word.end - word.start {
            1 => true,
            2..=4 => word.is_mixed && !self.is_plain() && self.word(word).chars().count() == 1,
            _ => false,
        }
    }

    /// Whether the text is ASCII, byte for byte.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.origin, Origin::Plain(_))
    }

    /// `i g n o r e  a l l` becomes `ignore`, `all`; letters all at one distance become one long word.
    fn join_spaced_letters(&mut self) {
        let mut joined = Joined::default();
        // Words before this place are in `joined`, when there are any.
        let (mut taken, mut at) = (0, 0);
        while let Some(rest) = self.words.get(at..).filter(|rest| !rest.is_empty()) {
            let count = self.letters_ahead(rest);
            if count < LETTERS {
                at += 1;
                continue;
            }
            self.keep(taken..at, &mut joined);
            self.join(at..at + count, &mut joined);
            at += count;
            taken = at;
        }
        if joined.text.is_empty() {
            return;
        }
        self.keep(taken..self.words.len(), &mut joined);
        self.words = joined.words;
        self.sources = joined.sources;
        self.append(&joined.text, joined.origin);
    }

    /// How many of the words are letters set apart by little.
    fn letters_ahead(&self, words: &[Word]) -> usize {
        let mut before: Option<&Word> = None;
        let letters = words.iter().take_while(|word| {
            let is_next = self.is_letter(word) && before.is_none_or(|before| gap(before, word) <= 6);
            before = Some(word);
            is_next
        });
        letters.count()
    }

    /// Words as they are.
    fn keep(&self, places: Range<usize>, joined: &mut Joined) {
        for place in places {
            if let Some(word) = self.words.get(place) {
                joined.words.push(*word);
                joined.sources.push(self.own_source(place, word));
            }
        }
    }

    /// Letters as the words they make: the widest gaps set words apart.
    fn join(&self, places: Range<usize>, joined: &mut Joined) {
        let letters = self.words.get(places.clone()).unwrap_or(&[]);
        let pairs = letters.windows(2).map(|pair| match pair {
            [left, right] => gap(left, right),
            _ => u32::MAX,
        });
        let narrow = pairs.min().unwrap_or(1);
        let mut place = places.start;
        for group in letters.chunk_by(|left, right| gap(left, right) <= narrow) {
            let from = self.text.len() + joined.text.len();
            let first = self.source(group.first().map_or(0..0, Word::place));
            let last = self.source(group.last().map_or(0..0, Word::place));
            for letter in group {
                joined.text.push_str(self.word(letter));
                let at = self.source(letter.place()).start;
                joined.origin.resize(joined.text.len(), at);
            }
            if let Some(letter) = self.words.get(place) {
                joined.words.push(Word {
                    start: u32::try_from(from).unwrap_or(u32::MAX),
                    end: u32::try_from(self.text.len() + joined.text.len()).unwrap_or(u32::MAX),
                    is_spaced: true,
                    is_mixed: group.iter().any(|letter| letter.is_mixed),
                    may_be_leet: group.iter().any(|letter| letter.is_mixed),
                    ..*letter
                });
                joined.sources.push(first.start..last.end);
            }
            place += group.len();
        }
    }

    /// Joined words live behind the text, so that every word is a slice of it.
    fn append(&mut self, text: &str, origin: Vec<usize>) {
        let mut all = match std::mem::replace(&mut self.origin, Origin::Plain(0)) {
            Origin::Plain(start) => (start..=start + self.text.len()).collect(),
            Origin::Each(all) => all,
        };
        let end = all.pop().unwrap_or(0);
        all.extend(origin);
        all.push(end);
        self.origin = Origin::Each(all);
        self.text.push_str(text);
    }
}

/// How many words in a row the test holds for, at most; without a branch to guess.
#[inline]
fn most_in_a_row(words: &[Word], is_one: impl Fn(&Word) -> bool) -> usize {
    let (mut in_a_row, mut most) = (0, 0);
    for word in words {
        in_a_row = (in_a_row + 1) * usize::from(is_one(word));
        most = most.max(in_a_row);
    }
    most
}

/// The words of a view in which letters were joined.
#[derive(Default)]
struct Joined {
    words: Vec<Word>,
    sources: Vec<Range<usize>>,
    /// The joined words, and where each byte of them came from.
    text: String,
    origin: Vec<usize>,
}

fn gap(left: &Word, right: &Word) -> u32 {
    right.start - left.end
}

/// ASCII in lower case; `None` when there is more.
fn plain_text(bytes: &[u8]) -> Option<String> {
    if !bytes.is_ascii() {
        return None;
    }
    String::from_utf8(bytes.to_ascii_lowercase()).ok()
}

/// Starts with a capital and goes on in small letters.
fn is_capital(content: &[u8], source: &Range<usize>) -> bool {
    let word = content.get(source.clone()).unwrap_or(&[]);
    matches!(word, [first, second, ..] if first.is_ascii_uppercase() && second.is_ascii_lowercase())
}

fn whole_characters(content: &[u8], range: Range<usize>) -> Range<usize> {
    let is_inside = |at: usize| content.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let mut start = range.start.min(content.len());
    let mut end = range.end.min(content.len());
    // A character has at most three continuation bytes; more of them are no text anyway.
    for _ in 0..3 {
        start -= usize::from(start > 0 && is_inside(start));
        end += usize::from(end < content.len() && is_inside(end));
    }
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<(String, &str)> {
        let view = View::new(text.as_bytes(), 0..text.len());
        let pairs = view
            .words
            .iter()
            .enumerate()
            .map(|(place, word)| (view.word(word).to_owned(), &text[view.source_of(place).unwrap()]));
        pairs.collect()
    }

    fn plain(text: &str) -> String {
        words(text)
            .into_iter()
            .map(|(word, _)| word)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn words_are_folded_and_know_their_bytes() {
        assert_eq!(
            words("Ｉｇｎｏｒｅ früheren, don't"),
            [
                ("ignore".into(), "Ｉｇｎｏｒｅ"),
                ("fruheren".into(), "früheren"),
                ("don't".into(), "don't")
            ]
        );
        assert_eq!(plain("ig\u{200b}no\u{2060}re \u{202e}all"), "ignore all");
        assert_eq!(plain("ign\u{43e}r\u{435} привет"), "ignore привет");
        assert_eq!(plain("\u{e0069}\u{e0067}\u{e006e}"), "ign");
        assert_eq!(plain("Instruções ß Łódź"), "instrucoes ss lodz");
    }

    #[test]
    fn spaced_letters_are_joined() {
        assert_eq!(plain("now i g n o r e  a l l  this"), "now ignore all this");
        assert_eq!(plain("i-g-n-o-r-e"), "ignore");
        assert_eq!(plain("a b c"), "a b c");
        assert_eq!(words("x: i.g.n.o.r.e!")[1], ("ignore".into(), "i.g.n.o.r.e"));
    }

    #[test]
    fn sentences_and_clauses_are_told_apart() {
        let text = "One two. Three, four\nfive v1.2 six";
        let view = View::new(text.as_bytes(), 0..text.len());
        let starts: Vec<_> = view
            .words
            .iter()
            .map(|word| (view.word(word), word.starts_sentence, word.starts_clause))
            .collect();
        assert_eq!(starts[0], ("one", true, true));
        assert_eq!(starts[1], ("two", false, false));
        assert_eq!(starts[2], ("three", true, true));
        assert_eq!(starts[3], ("four", false, true));
        assert_eq!(starts[4], ("five", false, true));
        assert_eq!(starts[5], ("v1", false, false));
    }

    #[test]
    fn broken_text_is_no_obstacle() {
        let bytes = b"\xff\xfeignore \xe2\x80all \xf0";
        let view = View::new(bytes, 1..bytes.len());
        let words: Vec<_> = view.words.iter().map(|word| view.word(word)).collect();
        assert_eq!(words, ["ignore", "all"]);
        assert!((0..view.words.len()).all(|place| view.source_of(place).unwrap().end <= bytes.len()));
    }

    fn shown(view: &View) -> Vec<String> {
        let words = view.words.iter().enumerate();
        let shown = words.map(|(place, word)| {
            let source = view.source_of(place);
            format!(
                "{} {word:?} {source:?} {}",
                view.word(word),
                view.is_capital(place)
            )
        });
        shown.collect()
    }

    proptest! {
        #[test]
        fn plain_text_reads_as_folded_text(text in "([ -\\[\\]-~]|\n|\t|( [a-z]){1,6}|ignore){0,60}", start in 0..9usize) {
            let bytes = text.as_bytes();
            let start = start.min(bytes.len());
            let mut folded = View::folded(bytes, bytes.get(start..).unwrap(), start);
            folded.cut_words();
            let plain = View::new(bytes, start..bytes.len());
            prop_assert_eq!(shown(&plain), shown(&folded));
            prop_assert!(matches!(plain.origin, Origin::Plain(_)) || plain.words.iter().any(|word| word.is_spaced));
        }
    }
}
