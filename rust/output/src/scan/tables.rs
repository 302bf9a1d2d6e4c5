//! The catalogue, indexed by what triggers each form.

use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use ahash::AHashMap;
use regex::bytes::{Regex, RegexBuilder};

use crate::catalogue::CATALOGUE;
use crate::definition::{self, Definition, Form, Group};
use crate::mask::DetectorId;
use crate::phrases::{self, Sighting};
use crate::scan::literals::{Lead, Literals, Words};
use crate::scan::rows::{Bytes, Rows};
use crate::scan::sweep::MIN_RUN;
use crate::sightings::{self, Automaton};

/// Longest run whose exact length selects forms.
const MAX_RUN_FORM: usize = 256;

/// One form of one detector, ready to be tried.
#[derive(Debug)]
pub(crate) struct Entry {
    pub id: DetectorId,
    pub definition: &'static Definition,
    pub form: &'static Form,
    pub shapes: Vec<Shape>,
    /// Whether the pattern has a group named `value`.
    pub has_value: bool,
    /// The pattern taken apart, where it can be.
    rows: OnceLock<Option<Rows>>,
    regex: OnceLock<Option<Regex>>,
}

impl Entry {
    /// Length of the match of the form's pattern that the text begins with.
    pub fn match_length(&self, text: &[u8]) -> Option<usize> {
        match self.rows.get_or_init(|| Rows::of(self.form.pattern)) {
            Some(rows) => rows.match_length(text),
            None => Some(self.regex()?.find(text)?.end()),
        }
    }

    /// The form's pattern, built when it is first needed: anchored, or for searching near a word.
    pub fn regex(&self) -> Option<&Regex> {
        let build = || {
            let is_near = matches!(self.form.trigger, definition::Trigger::Near(_));
            let pattern = self.form.pattern;
            let pattern = if is_near {
                pattern.to_owned()
            } else {
                format!("^(?:{pattern})")
            };
            RegexBuilder::new(&pattern).unicode(false).build().ok()
        };
        self.regex.get_or_init(build).as_ref()
    }
}

/// Lengths and separators of groups of digits.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Separator after each group but the last; `_` is one kind of blank or dash throughout.
    pub separators: Vec<u8>,
    key: u64,
    /// Lengths of the first two groups, as keys have them; 0 when there is one.
    head: [u64; 2],
}

impl Shape {
    fn parse(text: &str) -> Shape {
        let mut lengths = Vec::new();
        let mut separators = Vec::new();
        let mut length = 0usize;
        for byte in text.bytes() {
            if byte.is_ascii_digit() {
                length = length.saturating_mul(10).saturating_add(usize::from(byte - b'0'));
            } else {
                separators.push(byte);
                lengths.push(std::mem::take(&mut length));
            }
        }
        lengths.push(length);
        Shape {
            separators,
            head: [0, 1].map(|place| extend_key(0, lengths.get(place).copied().unwrap_or(0))),
            key: shape_key(lengths.into_iter()),
        }
    }
}

/// One number for the lengths of groups of digits.
pub(crate) fn shape_key(lengths: impl Iterator<Item = usize>) -> u64 {
    lengths.fold(0, extend_key)
}

pub(crate) fn extend_key(key: u64, length: usize) -> u64 {
    key << 5 | length.min(31) as u64
}

/// Forms of runs of one length.
#[derive(Clone, Debug, Default)]
struct Lengthy {
    /// Bytes that one of them may begin with.
    first: Bytes,
    /// And those that each may begin with.
    forms: Vec<(Bytes, usize)>,
}

/// Forms by their triggers. Places are those of `entries`.
#[derive(Debug)]
pub(crate) struct Tables {
    pub entries: Vec<Entry>,
    /// By the first three bytes of a token.
    prefixes: AHashMap<[u8; 3], Vec<(&'static str, usize)>>,
    prefix_filter: Vec<u64>,
    /// By the length of a run.
    by_length: Vec<Lengthy>,
    shapes: AHashMap<u64, Vec<(usize, usize)>>,
    shape_filter: Vec<u64>,
    /// By the length of the first group, lengths that the second group of some shape has, a bit each.
    shape_pairs: [u32; 32],
    /// Lengths that some shape of one group has.
    shape_singles: u32,
    /// Word and form of forms that are searched near words.
    pub near: Vec<(&'static str, usize)>,
}

pub(crate) static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables::new(&CATALOGUE));

/// The words of the catalogue's forms of one group, or of all.
fn near_words(group: Option<Group>) -> impl Iterator<Item = &'static str> {
    let is_wanted = move |place: usize| {
        let entry = TABLES.entries.get(place);
        entry.is_some_and(|entry| group.is_none_or(|group| entry.definition.group == group))
    };
    let near = TABLES.near.iter();
    near.filter(move |(_, place)| is_wanted(*place))
        .map(|(word, _)| *word)
}

pub(crate) static SECRET_WORDS: LazyLock<Words> =
    LazyLock::new(|| Words::new(Literals::new(true, near_words(Some(Group::SecretLeak)))));
pub(crate) static PII_WORDS: LazyLock<Words> =
    LazyLock::new(|| Words::new(Literals::new(false, near_words(Some(Group::Pii)))));
pub(crate) static ALL_WORDS: LazyLock<Words> =
    LazyLock::new(|| Words::new(Literals::new(true, near_words(None))));

/// Words of values and phrases of injections in one search, for scans that look for both.
#[derive(Debug)]
pub(crate) struct Triggers {
    literals: Literals,
    automaton: Automaton<Trigger>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trigger {
    Word(u16),
    Phrase(phrases::Kind),
}

pub(crate) static TRIGGERS: LazyLock<Triggers> = LazyLock::new(|| {
    let literals = Literals::new(true, near_words(None));
    let words = literals.phrases().map(|phrase| phrase.named(Trigger::Word));
    let all = words.chain(phrases::rare().map(|phrase| phrase.named(Trigger::Phrase)));
    Triggers {
        automaton: Automaton::new(&all.collect::<Vec<_>>()),
        literals,
    }
});

impl Triggers {
    /// What words that begin in `range` of the window lead to, and the phrases in all of it.
    pub fn find(&self, window: &[u8], range: Range<usize>) -> (Vec<(Lead, Range<usize>)>, Vec<Sighting>) {
        let found = self.automaton.find(window, 0..window.len());
        let words = found.iter().filter_map(|one| match one.kind {
            Trigger::Word(kind) => Some(sightings::Sighting { end: one.end, kind }),
            Trigger::Phrase(_) => None,
        });
        let leads = self.literals.settle(window, range, words);
        let phrases = found.iter().filter_map(|one| match one.kind {
            Trigger::Phrase(kind) => Some(Sighting { end: one.end, kind }),
            Trigger::Word(_) => None,
        });
        (leads, phrases.collect())
    }
}

impl Tables {
    fn new(catalogue: &[&'static Definition]) -> Tables {
        let mut tables = Tables {
            entries: Vec::new(),
            prefixes: AHashMap::new(),
            prefix_filter: vec![0; 64],
            by_length: vec![Lengthy::default(); MAX_RUN_FORM + 1],
            shapes: AHashMap::new(),
            shape_filter: vec![0; 64],
            shape_pairs: [0; 32],
            shape_singles: 0,
            near: Vec::new(),
        };
        for (definition, id) in catalogue.iter().zip((0u16..).map(DetectorId)) {
            for form in definition.forms {
                tables.add(definition, id, form);
            }
        }
        tables
    }

    fn add(&mut self, definition: &'static Definition, id: DetectorId, form: &'static Form) {
        let place = self.entries.len();
        let mut shapes = Vec::new();
        match form.trigger {
            definition::Trigger::Prefix(prefixes) => {
                for prefix in prefixes {
                    if let Some(key) = prefix.as_bytes().first_chunk::<3>() {
                        self.prefixes.entry(*key).or_default().push((prefix, place));
                        let (word, bit) = filter_place(*key);
                        if let Some(bits) = self.prefix_filter.get_mut(word) {
                            *bits |= 1 << bit;
                        }
                    }
                }
            }
            definition::Trigger::Run(min, max) => {
                let first = match form.pattern {
                    "" => Bytes::ALL,
                    pattern => Rows::of(pattern).map_or(Bytes::ALL, |rows| rows.first()),
                };
                for length in min.max(MIN_RUN)..=max.min(MAX_RUN_FORM) {
                    if let Some(of_length) = self.by_length.get_mut(length) {
                        of_length.first.add(&first);
                        of_length.forms.push((first, place));
                    }
                }
            }
            definition::Trigger::Groups(texts) => {
                for text in texts {
                    let shape = Shape::parse(text);
                    match shape.head {
                        [single, 0] => self.shape_singles |= 1 << single,
                        [first, second] => {
                            if let Some(seconds) = self.shape_pairs.get_mut(first as usize) {
                                *seconds |= 1 << second;
                            }
                        }
                    }
                    let (word, bit) = shape_place(shape.key);
                    if let Some(bits) = self.shape_filter.get_mut(word) {
                        *bits |= 1 << bit;
                    }
                    self.shapes
                        .entry(shape.key)
                        .or_default()
                        .push((place, shapes.len()));
                    shapes.push(shape);
                }
            }
            definition::Trigger::Near(words) => self.near.extend(words.iter().map(|word| (*word, place))),
            definition::Trigger::Parser => return,
        }
        self.entries.push(Entry {
            id,
            definition,
            form,
            shapes,
            has_value: form.pattern.contains("(?P<value>"),
            rows: OnceLock::new(),
            regex: OnceLock::new(),
        });
    }

    /// Prefixes and forms of tokens that begin with these bytes.
    #[inline]
    pub fn prefixes_at(&self, token: &[u8]) -> &[(&'static str, usize)] {
        let Some(key) = token.first_chunk::<3>() else {
            return &[];
        };
        let (word, bit) = filter_place(*key);
        if self
            .prefix_filter
            .get(word)
            .is_none_or(|bits| bits & (1 << bit) == 0)
        {
            return &[];
        }
        self.prefixes.get(key).map_or(&[], Vec::as_slice)
    }

    /// Forms that a run of this length, which begins with this byte, may be.
    #[inline]
    pub fn of_run(&self, length: usize, first: u8) -> impl Iterator<Item = usize> + '_ {
        let of_length = self.by_length.get(length).filter(|all| all.first.has(first));
        let forms = of_length.map_or(&[][..], |all| all.forms.as_slice());
        forms
            .iter()
            .filter(move |(bytes, _)| bytes.has(first))
            .map(|(_, place)| *place)
    }

    /// Whether some shape begins with groups of these lengths.
    #[inline]
    pub fn begins_shape(&self, first: usize, second: Option<usize>) -> bool {
        let pairs = self
            .shape_pairs
            .get(extend_key(0, first) as usize)
            .copied()
            .unwrap_or(0);
        let is_single = self.shape_singles & 1 << extend_key(0, first) != 0;
        is_single || second.is_some_and(|second| pairs & 1 << extend_key(0, second) != 0)
    }

    /// Form and shape of groups of digits with these lengths.
    pub fn of_shape(&self, key: u64) -> &[(usize, usize)] {
        let (word, bit) = shape_place(key);
        if self
            .shape_filter
            .get(word)
            .is_none_or(|bits| bits & (1 << bit) == 0)
        {
            return &[];
        }
        self.shapes.get(&key).map_or(&[], Vec::as_slice)
    }
}

fn shape_place(key: u64) -> (usize, u32) {
    let hash = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52;
    ((hash >> 6) as usize & 63, (hash & 63) as u32)
}

fn filter_place([first, second, third]: [u8; 3]) -> (usize, u32) {
    let mixed = u32::from(first).wrapping_mul(0x9E37)
        ^ u32::from(second).wrapping_mul(0x85EB_CA6B)
        ^ u32::from(third).wrapping_mul(0xC2B2_AE35);
    let hash = mixed.wrapping_mul(0x27D4_EB2F) >> 20;
    ((hash >> 6) as usize & 63, hash & 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_automaton_of_all_triggers_is_small() {
        let (states, classes) = TRIGGERS.automaton.size();
        assert!(
            states <= 8192 && classes <= 64,
            "{states} states, {classes} classes"
        );
    }

    #[test]
    fn every_pattern_of_the_catalogue_is_built() {
        for entry in &TABLES.entries {
            let id = entry.definition.id;
            assert!(
                entry.form.pattern.is_empty() || entry.regex().is_some(),
                "{id}: {}",
                entry.form.pattern
            );
            if let definition::Trigger::Prefix(prefixes) = entry.form.trigger {
                assert!(prefixes.iter().all(|prefix| prefix.len() >= 3), "{id}");
            }
        }
    }
}
