//! The normalised view of a text (output policy spec §16.5) and the words in it, with the way back to the bytes.

use std::ops::Range;

use super::cut::for_each_word;
use super::fold::Folded;
use crate::around::without_escapes;

/// A word of the view.
#[derive(Clone, Debug)]
pub(super) struct Word {
    /// Place in the view's text.
    view: Range<usize>,
    /// Bytes of the original it was made of.
    pub source: Range<usize>,
    /// A sentence ends between the word before and this one.
    pub starts_sentence: bool,
    /// A line, clause or quotation starts here, though perhaps no sentence.
    pub starts_clause: bool,
    /// Put together from single letters.
    pub is_spaced: bool,
    /// Starts with a capital, and is no acronym.
    pub is_capital: bool,
}

/// So many letters set apart may be a word.
const LETTERS: usize = 4;

/// Offset in the content of the character each byte of a view's text came from.
enum Origin {
    /// Byte for byte from this offset on.
    Plain(usize),
    Each(Vec<usize>),
}

/// A normalised piece of the content.
pub(super) struct View {
    text: String,
    origin: Origin,
    pub words: Vec<Word>,
}

impl View {
    /// Normalise `content[range]`. The range is widened to whole characters.
    pub(super) fn new(content: &[u8], range: Range<usize>) -> Self {
        let range = whole_characters(content, range);
        let bytes = content.get(range.clone()).unwrap_or(&[]);
        let plain = without_escapes(bytes);
        let bytes = plain.as_deref().unwrap_or(bytes);
        let mut view = match plain_text(bytes) {
            Some(text) => Self {
                text,
                origin: Origin::Plain(range.start),
                words: Vec::new(),
            },
            None => Self::folded(bytes, range.start),
        };
        view.cut_words(content);
        view
    }

    /// A view of text that has more than ASCII, or broken characters.
    fn folded(bytes: &[u8], start: usize) -> Self {
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
        Self {
            text: text.text,
            origin: Origin::Each(text.origin),
            words: Vec::new(),
        }
    }

    /// A view of text that is not in the content: every word points to `source`.
    pub(super) fn of_decoded(text: &str, source: &Range<usize>) -> Self {
        let mut view = Self::new(text.as_bytes(), 0..text.len());
        for word in &mut view.words {
            word.source = source.clone();
        }
        view
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Text of a word.
    pub(super) fn word(&self, word: &Word) -> &str {
        self.text.get(word.view.clone()).unwrap_or("")
    }

    /// What stands in the view between two neighbouring words.
    pub(super) fn between(&self, left: &Word, right: &Word) -> &str {
        self.text.get(left.view.end..right.view.start).unwrap_or("")
    }

    /// What follows a word, up to `length` bytes of the view.
    pub(super) fn after(&self, word: &Word, length: usize) -> &str {
        let mut end = (word.view.end + length).min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        self.text.get(word.view.end..end).unwrap_or("")
    }

    /// Bytes of the content behind a span of the view.
    pub(super) fn source(&self, span: Range<usize>) -> Range<usize> {
        match &self.origin {
            Origin::Plain(start) => start + span.start..start + span.end,
            Origin::Each(origin) => {
                let start = origin.get(span.start).copied().unwrap_or(0);
                let end = origin.get(span.end).copied().unwrap_or(start);
                start..end.max(start)
            }
        }
    }

    fn cut_words(&mut self, content: &[u8]) {
        let mut words = Vec::with_capacity(self.text.len() / 4 + 1);
        let (mut in_a_row, mut most) = (0, 0);
        for_each_word(&self.text, |piece| {
            let source = self.source(piece.place.clone());
            let word = Word {
                is_capital: is_capital(content, &source),
                source,
                view: piece.place,
                starts_sentence: piece.starts_sentence,
                starts_clause: piece.starts_clause,
                is_spaced: false,
            };
            in_a_row = if self.is_letter(&word) { in_a_row + 1 } else { 0 };
            most = most.max(in_a_row);
            words.push(word);
        });
        self.words = words;
        if most >= LETTERS {
            self.join_spaced_letters();
        }
    }

    /// Whether a word is one character.
    fn is_letter(&self, word: &Word) -> bool {
        match word.view.len() {
            1 => true,
            2..=4 => !self.is_plain() && self.word(word).chars().count() == 1,
            _ => false,
        }
    }

    /// Whether the text is ASCII, byte for byte.
    fn is_plain(&self) -> bool {
        matches!(self.origin, Origin::Plain(_))
    }

    /// `i g n o r e  a l l` becomes `ignore`, `all`; letters all at one distance become one long word.
    fn join_spaced_letters(&mut self) {
        let is_letter = |word: &Word| self.is_letter(word);
        let gap = |left: &Word, right: &Word| right.view.start - left.view.end;
        let mut joined: Vec<Word> = Vec::new();
        let mut text = String::new();
        let mut origin = Vec::new();
        // Words before this place are in `joined`, when there are any.
        let (mut taken, mut at) = (0, 0);
        while let Some(rest) = self.words.get(at..).filter(|rest| !rest.is_empty()) {
            let mut before: Option<&Word> = None;
            let letters = rest.iter().take_while(|word| {
                let is_next = is_letter(word) && before.is_none_or(|before| gap(before, word) <= 6);
                before = Some(word);
                is_next
            });
            let count = letters.count();
            let run = rest.get(..count).unwrap_or(&[]);
            if count < LETTERS {
                at += 1;
                continue;
            }
            joined.extend_from_slice(self.words.get(taken..at).unwrap_or(&[]));
            let pairs = run.windows(2).map(|pair| match pair {
                [left, right] => gap(left, right),
                _ => usize::MAX,
            });
            let narrow = pairs.min().unwrap_or(1);
            for group in run.chunk_by(|left, right| gap(left, right) <= narrow) {
                let from = self.text.len() + text.len();
                for letter in group {
                    text.push_str(self.word(letter));
                    origin.resize(text.len(), letter.source.start);
                }
                let (Some(first), Some(last)) = (group.first(), group.last()) else {
                    continue;
                };
                joined.push(Word {
                    view: from..self.text.len() + text.len(),
                    source: first.source.start..last.source.end,
                    is_spaced: true,
                    ..first.clone()
                });
            }
            at += count;
            taken = at;
        }
        if text.is_empty() {
            return;
        }
        joined.extend_from_slice(self.words.get(taken..).unwrap_or(&[]));
        self.words = joined;
        self.append(&text, origin);
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
            .map(|word| (view.word(word).to_owned(), &text[word.source.clone()]));
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
        assert!(view.words.iter().all(|word| word.source.end <= bytes.len()));
    }

    fn shown(view: &View) -> Vec<String> {
        let words = view.words.iter();
        let shown = words.map(|word| format!("{} {word:?}", view.word(word)));
        shown.collect()
    }

    proptest! {
        #[test]
        fn plain_text_reads_as_folded_text(text in "([ -\\[\\]-~]|\n|\t|( [a-z]){1,6}|ignore){0,60}", start in 0..9usize) {
            let bytes = text.as_bytes();
            let start = start.min(bytes.len());
            let mut folded = View::folded(bytes.get(start..).unwrap(), start);
            folded.cut_words(bytes);
            let plain = View::new(bytes, start..bytes.len());
            prop_assert_eq!(shown(&plain), shown(&folded));
            prop_assert!(matches!(plain.origin, Origin::Plain(_)) || plain.words.iter().any(|word| word.is_spaced));
        }
    }
}
