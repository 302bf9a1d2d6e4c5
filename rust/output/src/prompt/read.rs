//! A window read word by word: what each word stands for, and where sentences begin.

use std::ops::Range;

use super::view::{View, Word};
use super::vocabulary::{self, *};

/// A window's words beside what they stand for.
pub(super) struct Read<'a> {
    pub view: &'a View,
    meanings: Vec<(Roles, Wakes)>,
    /// What all words together wake.
    awake: Wakes,
    /// Words with leet characters as they are meant, by their places.
    meant: Vec<(usize, String)>,
}

impl<'a> Read<'a> {
    pub(super) fn new(view: &'a View) -> Self {
        let mut read = Self {
            view,
            meanings: Vec::with_capacity(view.words.len()),
            awake: 0,
            meant: Vec::new(),
        };
        for (place, word) in view.words.iter().enumerate() {
            let (mut roles, mut wakes) = vocabulary::read(view.word(word));
            if let Some(meant) = vocabulary::meant(view.word(word)) {
                let (more, others) = vocabulary::read(&meant);
                roles |= more;
                wakes |= others;
                read.meant.push((place, meant));
            }
            if word.is_spaced {
                wakes |= WAKES_OVERRIDE;
            }
            read.meanings.push((roles, wakes));
            read.awake |= wakes;
        }
        read
    }

    /// Places of the words that wake a detector.
    pub(super) fn waking(&self, wakes: Wakes) -> impl Iterator<Item = usize> + '_ {
        let all = if self.awake & wakes == 0 {
            &[]
        } else {
            self.meanings.as_slice()
        };
        let places = all.iter().enumerate();
        places
            .filter(move |(_, (_, one))| one & wakes != 0)
            .map(|(place, _)| place)
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
        match self.meant.binary_search_by_key(&place, |(at, _)| *at) {
            Ok(at) => self.meant.get(at).map_or("", |(_, meant)| meant),
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
        let start = self.word(first.min(last)).map_or(0, |word| word.source.start);
        let end = self.word(first.max(last)).map_or(start, |word| word.source.end);
        start..end.max(start)
    }

    /// Whether the word at `place` may be an order: first of its clause or after a word that urges.
    pub(super) fn is_order(&self, place: usize) -> bool {
        self.starts_clause(place)
            // A capital in the middle of a sentence starts what somebody quotes or lists.
            || self.word(place).is_some_and(|word| word.is_capital)
            || place
                .checked_sub(1)
                .is_some_and(|before| self.has(before, URGE | YOU | NOT | STOP))
            || place
                .checked_sub(1)
                .is_some_and(|before| self.text(before) == "and")
    }
}
