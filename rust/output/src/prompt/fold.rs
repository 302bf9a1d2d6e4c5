//! Folding of characters: NFKC, case, marks, invisible characters, letters that look Latin.

use smallvec::SmallVec;
use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// Text in the making, with the origin of each byte.
pub(super) struct Folded {
    pub text: String,
    pub origin: Vec<usize>,
    /// Whether a letter or digit beyond ASCII is among it.
    has_foreign: bool,
}

impl Folded {
    pub(super) fn with_capacity(length: usize) -> Self {
        Self {
            text: String::with_capacity(length),
            origin: Vec::with_capacity(length + 1),
            has_foreign: false,
        }
    }

    pub(super) fn push(&mut self, character: char, at: usize) {
        self.has_foreign |= !character.is_ascii() && character.is_alphanumeric();
        self.text.push(character);
        self.origin.resize(self.text.len(), at);
    }

    /// A text that starts at `at` of the content, folded; answers where it ends.
    pub(super) fn push_all(&mut self, text: &str, at: usize) -> usize {
        let (mut rest, mut at) = (text, at);
        while !rest.is_empty() {
            let plain = rest
                .bytes()
                .position(|byte| !byte.is_ascii())
                .unwrap_or(rest.len());
            let (head, tail) = rest.split_at(plain);
            self.text.push_str(head);
            if let Some(pushed) = self.text.get_mut(self.origin.len()..) {
                pushed.make_ascii_lowercase();
            }
            self.origin.extend(at..at + plain);
            at += plain;
            let mut characters = tail.chars();
            if let Some(character) = characters.next() {
                self.push_folded(character, at);
                at += character.len_utf8();
            }
            rest = characters.as_str();
        }
        at
    }

    /// NFKC, case folding, no marks, no invisible characters.
    pub(super) fn push_folded(&mut self, character: char, at: usize) {
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
    pub(super) fn map_lookalikes(&mut self) {
        if !self.has_foreign {
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
