//! A window read word by word: what each word stands for, and where sentences begin.

use std::ops::Range;

use super::cut::Word;
use super::stems::head_of;
use super::view::View;
use super::vocabulary::{self, *};

/// A window's words beside what they stand for.
pub(super) struct Read<'a> {
    pub view: &'a View<'a>,
    meanings: Vec<(Roles, Wakes)>,
    /// The words that wake something, by their places.
    wakers: Vec<(u32, Wakes)>,
    /// What all words together wake.
    awake: Wakes,
    /// The roles of all words together.
    all: Roles,
    /// Words with leet characters as they are meant, by their places.
    meant: Vec<(u32, Range<usize>)>,
    /// The text of those.
    letters: String,
}

impl<'a> Read<'a> {
    pub(super) fn new(view: &'a View<'a>) -> Self {
        let mut read = Self {
            view,
            meanings: vec![(0, 0); view.words.len()],
            wakers: Vec::with_capacity(view.words.len() / 4 + 1),
            awake: 0,
            all: 0,
            meant: Vec::new(),
            letters: String::new(),
        };
        let reader = Reader::new();
        for (word, place) in view.words.iter().zip(0..) {
            let head = view.head(word);
            // Most words stand for nothing.
            if !word.is_spaced && !reader.may_know(head, word.place().len()) {
                let is_itself = view.is_plain() && !word.may_be_leet && !reader.may_be_disguised(head);
                if !word.is_mixed || is_itself {
                    continue;
                }
            }
            let text = view.word(word);
            let (mut roles, mut wakes) = reader.read(text, head, word.is_mixed);
            // Nearly all words are small letters, and most others have something in them that is none.
            if let Some(meant) = word.may_be_leet.then(|| vocabulary::meant(text)).flatten() {
                let from = read.letters.len();
                read.letters.extend(meant);
                let meant = read.letters.get(from..).unwrap_or("");
                let (more, others) = reader.read(meant, head_of(meant.as_bytes()), false);
                roles |= more;
                wakes |= others;
                read.meant.push((place, from..read.letters.len()));
            }
            if word.is_spaced {
                wakes |= WAKES_OVERRIDE;
            }
            if let Some(meaning) = read.meanings.get_mut(place as usize) {
                *meaning = (roles, wakes);
            }
            read.all |= roles;
            read.awake |= wakes;
            if wakes != 0 {
                read.wakers.push((place, wakes));
            }
        }
        read
    }

    /// Whether some word has one of the roles, or one of the wakes.
    pub(super) fn holds(&self, roles: Roles, wakes: Wakes) -> bool {
        self.all & roles != 0 || self.awake & wakes != 0
    }

    /// Places of the words that wake a detector.
    pub(super) fn waking(&self, wakes: Wakes) -> impl Iterator<Item = usize> + '_ {
        let all = if self.awake & wakes == 0 {
            &[]
        } else {
            self.wakers.as_slice()
        };
        all.iter()
            .filter(move |(_, one)| one & wakes != 0)
            .map(|(place, _)| *place as usize)
    }

    pub(super) fn at(&self, place: usize) -> Roles {
        self.meanings.get(place).map_or(0, |(roles, _)| *roles)
    }

    pub(super) fn has(&self, place: usize, roles: Roles) -> bool {
        self.at(place) & roles != 0
    }

    pub(super) fn word(&self, place: usize) -> Option<&Word> {
        self.view.words.get(place)
    }

    pub(super) fn text(&self, place: usize) -> &str {
        if self.meant.is_empty() {
            return self.word(place).map_or("", |word| self.view.word(word));
        }
        match self.meant.binary_search_by_key(&place, |(at, _)| *at as usize) {
            Ok(at) => {
                let letters = self.meant.get(at).map_or(0..0, |(_, letters)| letters.clone());
                self.letters.get(letters).unwrap_or("")
            }
            Err(_) => self.word(place).map_or("", |word| self.view.word(word)),
        }
    }

    pub(super) fn starts_sentence(&self, place: usize) -> bool {
        self.word(place).is_none_or(|word| word.starts_sentence)
    }

    pub(super) fn starts_clause(&self, place: usize) -> bool {
        self.word(place).is_none_or(|word| word.starts_clause)
    }

    /// Places after `place` in its sentence, at most `count`.
    pub(super) fn following(&self, place: usize, count: usize) -> impl Iterator<Item = usize> + '_ {
        (place + 1..=place + count).take_while(|next| !self.starts_sentence(*next))
    }

    /// Places before `place` in its sentence, the nearest first, at most `count`.
    pub(super) fn preceding(&self, place: usize, count: usize) -> impl Iterator<Item = usize> + '_ {
        let from = place.saturating_sub(count);
        (from..place)
            .rev()
            .take_while(|before| !self.starts_sentence(before + 1))
    }

    pub(super) fn source(&self, first: usize, last: usize) -> Range<usize> {
        let start = self
            .view
            .source_of(first.min(last))
            .map_or(0, |source| source.start);
        let end = self
            .view
            .source_of(first.max(last))
            .map_or(start, |source| source.end);
        start..end.max(start)
    }

    /// Whether the word at `place` may be an order: first of its clause or after a word that urges.
    pub(super) fn is_order(&self, place: usize) -> bool {
        self.starts_clause(place)
            // A capital in the middle of a sentence starts what somebody quotes or lists.
            || self.view.is_capital(place)
            || place
                .checked_sub(1)
                .is_some_and(|before| self.has(before, URGE | YOU | NOT | STOP))
            || place
                .checked_sub(1)
                .is_some_and(|before| self.text(before) == "and")
            || self.is_asked_of_you(place)
    }

    /// "I want you to …", "I order you to …".
    fn is_asked_of_you(&self, place: usize) -> bool {
        let before = |count: usize| place.checked_sub(count).map_or("", |at| self.text(at));
        before(1) == "to"
            && before(2) == "you"
            && matches!(
                before(3),
                "want" | "need" | "order" | "command" | "instruct" | "ask" | "urge" | "require"
            )
    }
}
