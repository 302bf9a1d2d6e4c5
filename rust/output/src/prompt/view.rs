//! The normalised view of a text (output policy spec §16.5) and the words in it, with the way back to the bytes.

use std::ops::Range;

use smallvec::SmallVec;
use unicode_normalization::char::{decompose_compatible, is_combining_mark};

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

/// A normalised piece of the content.
pub(super) struct View {
    text: String,
    /// Offset in the content of the character each byte of `text` came from.
    origin: Vec<usize>,
    pub words: Vec<Word>,
}

impl View {
    /// Normalise `content[range]`. The range is widened to whole characters.
    pub(super) fn new(content: &[u8], range: Range<usize>) -> Self {
        let range = whole_characters(content, range);
        let bytes = content.get(range.clone()).unwrap_or(&[]);
        let plain = without_escapes(bytes);
        let bytes = plain.as_deref().unwrap_or(bytes);
        let mut view = Self {
            text: String::with_capacity(bytes.len()),
            origin: Vec::with_capacity(bytes.len()),
            words: Vec::new(),
        };
        let mut at = range.start;
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                view.push_folded(character, at);
                at += character.len_utf8();
            }
            if !chunk.invalid().is_empty() {
                view.push('\u{fffd}', at);
                at += chunk.invalid().len();
            }
        }
        view.origin.push(at);
        view.map_lookalikes();
        view.cut_words(content);
        view.join_spaced_letters();
        view
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
        let start = self.origin.get(span.start).copied().unwrap_or(0);
        let end = self.origin.get(span.end).copied().unwrap_or(start);
        start..end.max(start)
    }

    fn push(&mut self, character: char, at: usize) {
        self.text.push(character);
        self.origin.resize(self.text.len(), at);
    }

    /// NFKC, case folding, no marks, no invisible characters.
    fn push_folded(&mut self, character: char, at: usize) {
        if character.is_ascii() {
            self.push(character.to_ascii_lowercase(), at);
        } else if let Some(hidden) = tag_letter(character) {
            self.push(hidden.to_ascii_lowercase(), at);
        } else if is_invisible(character) {
        } else if matches!(character, 'ß' | 'ẞ') {
            self.push('s', at);
            self.push('s', at);
        } else if matches!(character, 'ł' | 'Ł') {
            self.push('l', at);
        } else if is_kept_whole(character) {
            self.push(character, at);
        } else {
            let mut parts: SmallVec<[char; 8]> = SmallVec::new();
            decompose_compatible(character, |part| parts.push(part));
            for part in parts.into_iter().filter(|part| !is_combining_mark(*part)) {
                part.to_lowercase().for_each(|lower| self.push(lower, at));
            }
        }
    }

    /// Cyrillic and Greek letters that look Latin become Latin inside words that have Latin letters.
    fn map_lookalikes(&mut self) {
        if self.text.is_ascii() {
            return;
        }
        let (old, origin) = (std::mem::take(&mut self.text), std::mem::take(&mut self.origin));
        let mut at = 0;
        while let Some(rest) = old.get(at..).filter(|rest| !rest.is_empty()) {
            let length = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            let run = rest.get(..length).unwrap_or("");
            let is_mixed = run.bytes().any(|byte| byte.is_ascii_lowercase()) && !run.is_ascii();
            for (place, character) in run.char_indices() {
                let mapped = if is_mixed {
                    latin_twin(character)
                } else {
                    character
                };
                self.push(mapped, origin.get(at + place).copied().unwrap_or(0));
            }
            at += length;
            if let Some(gap) = old.get(at..).and_then(|rest| rest.chars().next()) {
                self.push(gap, origin.get(at).copied().unwrap_or(0));
                at += gap.len_utf8();
            }
        }
        self.origin.extend(origin.last());
    }

    fn cut_words(&mut self, content: &[u8]) {
        let mut start = None;
        let (mut ended, mut paused) = (true, true);
        let mut words = Vec::with_capacity(self.text.len() / 5);
        let mut finish = |from: usize, to: usize, ended: &mut bool, paused: &mut bool| {
            words.push((from..to, *ended, *paused));
            (*ended, *paused) = (false, false);
        };
        let mut characters = self.text.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            let is_leet = matches!(character, '@' | '$' | '!')
                && (start.is_some() || character != '!')
                && characters.peek().is_some_and(|(_, next)| next.is_alphanumeric());
            // An apostrophe joins (`don't`); a quotation does not.
            let is_joined = matches!(character, '\'' | '’')
                && start.is_some()
                && characters.peek().is_some_and(|(_, next)| next.is_alphanumeric());
            if character.is_alphanumeric() || is_leet || is_joined {
                start.get_or_insert(at);
                continue;
            }
            if let Some(from) = start.take() {
                finish(from, at, &mut ended, &mut paused);
            }
            let is_followed_by_blank = characters.peek().is_none_or(|(_, next)| !next.is_alphanumeric());
            match character {
                '.' | '?' | '!' if is_followed_by_blank => ended = true,
                '。' | '！' | '？' | '\u{fffd}' => ended = true,
                '\n' if characters.peek().is_some_and(|(_, next)| *next == '\n') => ended = true,
                ' ' | '\t' | '-' | '_' | '/' | '.' => {}
                _ => paused = true,
            }
        }
        if let Some(from) = start {
            finish(from, self.text.len(), &mut ended, &mut paused);
        }
        let is_capital = |source: &Range<usize>| {
            let mut letters = content.get(source.clone()).unwrap_or(&[]).iter();
            letters.next().is_some_and(u8::is_ascii_uppercase)
                && letters.next().is_some_and(u8::is_ascii_lowercase)
        };
        self.words = words
            .into_iter()
            .map(|(view, starts_sentence, starts_clause)| {
                let source = self.source(view.clone());
                Word {
                    is_capital: is_capital(&source),
                    source,
                    view,
                    starts_sentence,
                    starts_clause: starts_clause || starts_sentence,
                    is_spaced: false,
                }
            })
            .collect();
    }

    /// `i g n o r e  a l l` becomes `ignore`, `all`; letters all at one distance become one long word.
    fn join_spaced_letters(&mut self) {
        let is_letter = |word: &Word| self.word(word).chars().count() == 1;
        let gap = |pair: &[Word]| match pair {
            [left, right] => right.view.start - left.view.end,
            _ => usize::MAX,
        };
        let mut joined: Vec<Word> = Vec::new();
        let mut text = String::new();
        let mut origin = Vec::new();
        let mut at = 0;
        while let Some(rest) = self.words.get(at..).filter(|rest| !rest.is_empty()) {
            let letters = rest.iter().take_while(|word| is_letter(word)).count();
            let run = rest.get(..letters).unwrap_or(&[]);
            let close = run.windows(2).take_while(|pair| gap(pair) <= 6).count() + 1;
            let run = rest.get(..close.min(letters)).unwrap_or(&[]);
            if run.len() < 4 {
                joined.extend(rest.first().cloned());
                at += 1;
                continue;
            }
            let narrow = run.windows(2).map(gap).min().unwrap_or(1);
            for group in run.chunk_by(|left, right| right.view.start - left.view.end <= narrow) {
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
            at += run.len();
        }
        if text.is_empty() {
            return;
        }
        // Joined words live behind the text, so that every word is a slice of it.
        let end = self.origin.pop().unwrap_or(0);
        self.text.push_str(&text);
        self.origin.extend(origin);
        self.origin.push(end);
        self.words = joined;
    }
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

/// The ASCII character a Unicode tag character stands for.
pub(super) fn tag_letter(character: char) -> Option<char> {
    let offset = u32::from(character).checked_sub(0xe_0000)?;
    char::from_u32(offset).filter(|letter| matches!(letter, ' '..='~'))
}

/// Zero-width and direction-changing characters, soft hyphens, variation selectors.
pub(super) fn is_invisible(character: char) -> bool {
    is_zero_width(character)
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        )
        || matches!(character, '\u{2061}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}')
        || matches!(character, '\u{e0000}'..='\u{e01ef}' | '\u{180b}'..='\u{180f}' | '\u{115f}' | '\u{1160}')
        || matches!(character, '\u{3164}' | '\u{ffa0}' | '\u{34f}')
}

pub(super) fn is_zero_width(character: char) -> bool {
    matches!(
        character,
        '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{180e}'
    )
}

/// Scripts in which a decomposition would only take letters apart.
fn is_kept_whole(character: char) -> bool {
    matches!(character, '\u{3000}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}') && character != '\u{3000}'
        || matches!(character, 'а'..='я' | 'ё')
}

/// The Latin letter a Cyrillic or Greek one looks like.
fn latin_twin(character: char) -> char {
    match character {
        'а' | 'α' => 'a',
        'в' | 'β' => 'b',
        'с' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'ε' | 'є' => 'e',
        'ɡ' => 'g',
        'н' | 'һ' | 'η' => 'h',
        'і' | 'ι' | 'ı' | 'ɩ' => 'i',
        'ј' => 'j',
        'к' | 'κ' => 'k',
        'ӏ' | 'ⅼ' => 'l',
        'м' | 'μ' => 'm',
        'п' | 'ո' | 'ν' => 'n',
        'о' | 'ο' | 'օ' | 'σ' => 'o',
        'р' | 'ρ' => 'p',
        'ԛ' => 'q',
        'г' => 'r',
        'ѕ' => 's',
        'т' | 'τ' => 't',
        'υ' | 'ս' => 'u',
        'ѵ' => 'v',
        'ѡ' | 'ω' | 'ԝ' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' => 'y',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
