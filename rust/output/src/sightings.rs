//! Fast search for many short phrases at once: one automaton over a folded alphabet, several lanes of it at a time.
//!
//! A phrase is a sequence of byte *sets*, so letter case, leet digits, spaced letters and "any blank" cost nothing when
//! searching. Each step of an automaton waits for the step before it; lanes over several parts of a block keep the
//! processor busy meanwhile. What is found is a reason to look closer, never a finding.

use std::collections::HashMap;
use std::ops::Range;

/// Classes of bytes the phrases tell apart, at most.
const CLASSES: usize = 64;
/// Longest phrase in bytes; lanes start this far before their part.
pub(crate) const LONGEST: usize = 40;
/// Parts of a block searched at a time.
const LANES: usize = 4;
/// Bytes of one lane in one round.
const LANE: usize = 4096;
/// States of an automaton, at most. A table of exactly so many rows needs no check of the place in it.
const STATES: usize = 8192;
/// Set in a state that completes a phrase.
const COMPLETE: u16 = 0x8000;

/// How the letters of a phrase may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// Any case.
    Plain,
    /// Any case, leet digits allowed (`1gn0re`).
    Leet,
    /// Any four letters, set apart by one to three other characters (`i g n o`), whatever the text of the phrase.
    Spaced,
}

/// A phrase to look for and what it stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phrase<K> {
    pub text: &'static str,
    pub spelling: Spelling,
    pub kind: K,
}

/// One byte of a phrase.
#[derive(Clone)]
struct Element {
    set: [bool; 256],
    is_optional: bool,
}

/// A place where a phrase ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sighting<K> {
    /// Offset behind the last byte.
    pub end: usize,
    pub kind: K,
}

/// The compiled phrases.
pub(crate) struct Automaton<K> {
    classes: [u8; 256],
    table: Vec<[u16; CLASSES]>,
    /// Kinds of the phrases each state completes.
    kinds: Vec<Vec<K>>,
}

impl<K: Copy + Ord> Automaton<K> {
    /// Compile phrases. `^` is a byte that is no letter, digit or `_`; a blank is one to four blanks; `?` none to two
    /// blanks; `9` a digit; `"` any quote; everything else is itself.
    pub(crate) fn new(phrases: &[Phrase<K>]) -> Self {
        let spelled: Vec<Element> = phrases.iter().flat_map(elements).chain(escape()).collect();
        let (classes, samples) = classes_of(&spelled);
        build(&Places::new(phrases, &samples), classes)
    }

    /// Ends of all phrases in `text[range]`, by offset in the text.
    pub(crate) fn find(&self, text: &[u8], range: Range<usize>) -> Vec<Sighting<K>> {
        let text = text.get(..range.end).unwrap_or(text);
        let mut found = Vec::new();
        let mut lanes: [Vec<Sighting<K>>; LANES] = std::array::from_fn(|_| Vec::new());
        let mut at = range.start;
        while let Some(block) = text.get(at..at + LANES * LANE) {
            self.find_in_block(text, block, at, &mut lanes);
            // Each lane is in order, and so are the lanes.
            lanes.iter_mut().for_each(|lane| found.append(lane));
            at += LANES * LANE;
        }
        self.find_in_tail(text, at, &mut found);
        found
    }

    /// All lanes over one full block.
    fn find_in_block(&self, text: &[u8], block: &[u8], at: usize, found: &mut [Vec<Sighting<K>>; LANES]) {
        let mut parts = [&[0; LANE]; LANES];
        for (part, bytes) in parts.iter_mut().zip(block.chunks_exact(LANE)) {
            *part = bytes.try_into().unwrap_or(&[0; LANE]);
        }
        let Some(table) = self.table.first_chunk() else {
            return;
        };
        let mut states: [u16; LANES] = std::array::from_fn(|lane| self.state_before(text, at + lane * LANE));
        for place in 0..LANE {
            let mut any = 0;
            for (state, part) in states.iter_mut().zip(&parts) {
                *state = step(
                    table,
                    &self.classes,
                    *state,
                    part.get(place).copied().unwrap_or(0),
                );
                any |= *state;
            }
            if any & COMPLETE != 0 {
                for ((state, lane), found) in states.iter().zip(0..).zip(found.iter_mut()) {
                    self.report(*state, at + lane * LANE + place + 1, found);
                }
            }
        }
    }

    fn find_in_tail(&self, text: &[u8], at: usize, found: &mut Vec<Sighting<K>>) {
        let Some(table) = self.table.first_chunk() else {
            return;
        };
        let mut state = self.state_before(text, at);
        for (place, byte) in text.get(at..).unwrap_or(&[]).iter().enumerate() {
            state = step(table, &self.classes, state, *byte);
            self.report(state, at + place + 1, found);
        }
        // So is its end.
        self.report(step(table, &self.classes, state, b'\n'), text.len() + 1, found);
    }

    /// State of the automaton just before offset `at`.
    fn state_before(&self, text: &[u8], at: usize) -> u16 {
        let Some(table) = self.table.first_chunk() else {
            return 0;
        };
        let from = at.saturating_sub(LONGEST);
        // The start of a text is a border like any other.
        let border = step(table, &self.classes, 0, b'\n');
        let before = text.get(from..at).unwrap_or(&[]);
        before
            .iter()
            .fold(border, |state, byte| step(table, &self.classes, state, *byte))
    }

    /// States and classes in use.
    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, usize) {
        let last = self.classes.iter().copied().max().unwrap_or(0);
        (self.kinds.len(), usize::from(last) + 1)
    }

    #[inline]
    fn report(&self, state: u16, end: usize, found: &mut Vec<Sighting<K>>) {
        if state & COMPLETE == 0 {
            return;
        }
        for kind in self
            .kinds
            .get(usize::from(state & !COMPLETE))
            .into_iter()
            .flatten()
        {
            found.push(Sighting { end, kind: *kind });
        }
    }
}

/// Elements of all phrases in one row; a place is an index into it.
struct Places<K> {
    elements: Vec<Element>,
    /// The kind a place completes: it lies behind the last element of a phrase.
    completes: Vec<Option<K>>,
    /// Classes the element at a place takes.
    takes: Vec<Vec<u8>>,
    /// First places of the phrases.
    entry: Vec<u16>,
    /// Places behind the borders that phrases begin with.
    inside: Vec<u16>,
    /// Place of the letter of `\n`, which is a border though a letter.
    escape: u16,
}

/// Places reached in the phrases, sorted; one state of the automaton.
type Set = Vec<u16>;

impl<K: Copy + Ord> Places<K> {
    fn new(phrases: &[Phrase<K>], samples: &[u8]) -> Self {
        let mut places = Self {
            elements: Vec::new(),
            completes: Vec::new(),
            takes: Vec::new(),
            entry: Vec::new(),
            inside: Vec::new(),
            escape: 0,
        };
        let mut firsts = Vec::new();
        for phrase in phrases {
            firsts.push(u16::try_from(places.elements.len()).unwrap_or(u16::MAX));
            let spelled = elements(phrase);
            if spelled.first().is_some_and(is_border) {
                places
                    .inside
                    .push(u16::try_from(places.elements.len() + 1).unwrap_or(u16::MAX));
            }
            places
                .completes
                .extend(spelled.iter().map(|_| None).chain([Some(phrase.kind)]));
            places.elements.extend(spelled);
            // The end of a phrase takes nothing.
            places.elements.push(Element {
                set: [false; 256],
                is_optional: false,
            });
        }
        // Strings write line ends and tabs as escapes.
        firsts.push(u16::try_from(places.elements.len()).unwrap_or(u16::MAX));
        places.elements.extend(escape());
        places.escape = u16::try_from(places.elements.len() - 1).unwrap_or(u16::MAX);
        places.completes.extend([None, None]);
        for element in &places.elements {
            let classes = samples
                .iter()
                .zip(0..)
                .filter(|(byte, _)| has(&element.set, **byte));
            places.takes.push(classes.map(|(_, class)| class).collect());
        }
        let mut entry = Vec::new();
        firsts
            .into_iter()
            .for_each(|first| places.open(first, &mut entry));
        places.entry = entry;
        places
    }

    /// Add a place and those behind optional elements.
    fn open(&self, mut place: u16, set: &mut Set) {
        set.push(place);
        while self
            .elements
            .get(usize::from(place))
            .is_some_and(|element| element.is_optional)
        {
            place += 1;
            set.push(place);
        }
    }

    /// Where the places lead, by class.
    fn moved(&self, set: &[u16]) -> Vec<Set> {
        let mut next = vec![Set::new(); CLASSES];
        for place in set {
            for class in self.takes.get(usize::from(*place)).into_iter().flatten() {
                let Some(reached) = next.get_mut(usize::from(*class)) else {
                    continue;
                };
                if *place == self.escape {
                    self.inside.iter().for_each(|inside| self.open(*inside, reached));
                } else {
                    self.open(place + 1, reached);
                }
            }
        }
        next
    }

    fn kinds(&self, set: &[u16]) -> Vec<K> {
        let completed = set
            .iter()
            .filter_map(|place| self.completes.get(usize::from(*place)).copied().flatten());
        let mut kinds: Vec<K> = completed.collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

/// One step; the sizes of the tables make the checks of the places in them vanish.
#[inline(always)]
fn step(table: &[[u16; CLASSES]; STATES], classes: &[u8; 256], state: u16, byte: u8) -> u16 {
    let class = classes.get(usize::from(byte)).copied().unwrap_or(0);
    let row = table.get(usize::from(state) % STATES);
    let next = row.and_then(|row| row.get(usize::from(class) % CLASSES));
    next.copied().unwrap_or(0)
}

/// Subset construction. Most steps of most states only start phrases anew: those are worked out once.
fn build<K: Copy + Ord>(places: &Places<K>, classes: [u8; 256]) -> Automaton<K> {
    let mut numbers: HashMap<Set, u16> = HashMap::from([(Set::new(), 0)]);
    let mut sets: Vec<Set> = vec![Set::new()];
    let entered = places.moved(&places.entry);
    let mut started: Vec<u16> = Vec::new();
    let mut table: Vec<[u16; CLASSES]> = Vec::new();
    let mut kinds: Vec<Vec<K>> = Vec::new();
    while let Some(set) = sets.get(table.len()).cloned() {
        kinds.push(places.kinds(&set));
        let mut row = [0; CLASSES];
        for ((class, cell), mut next) in row.iter_mut().enumerate().zip(places.moved(&set)) {
            if let (true, Some(known)) = (next.is_empty(), started.get(class)) {
                *cell = *known;
                continue;
            }
            next.extend(entered.get(class).into_iter().flatten());
            next.sort_unstable();
            next.dedup();
            let fresh = u16::try_from(sets.len()).unwrap_or(u16::MAX) & !COMPLETE;
            let is_complete = !places.kinds(&next).is_empty();
            let number = *numbers.entry(next).or_insert_with_key(|next| {
                sets.push(next.clone());
                fresh
            });
            *cell = if is_complete { number | COMPLETE } else { number };
        }
        if table.is_empty() {
            started.extend(row);
        }
        table.push(row);
    }
    table.resize(STATES, [0; CLASSES]);
    Automaton {
        classes,
        table,
        kinds,
    }
}

fn has(set: &[bool; 256], byte: u8) -> bool {
    set.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Number bytes by the sets they are in; also one sample byte of each class.
fn classes_of(elements: &[Element]) -> ([u8; 256], Vec<u8>) {
    let mut distinct: Vec<[bool; 256]> = Vec::new();
    for element in elements {
        if !distinct.contains(&element.set) {
            distinct.push(element.set);
        }
    }
    let mut numbers: HashMap<Vec<bool>, u8> = HashMap::new();
    let mut classes = [0; 256];
    let mut samples = Vec::new();
    for (class, byte) in classes.iter_mut().zip(0..=u8::MAX) {
        let signature: Vec<bool> = distinct.iter().map(|set| has(set, byte)).collect();
        *class = *numbers.entry(signature).or_insert_with(|| {
            samples.push(byte);
            u8::try_from(samples.len() - 1).unwrap_or(u8::MAX)
        });
    }
    (classes, samples)
}

fn elements<K>(phrase: &Phrase<K>) -> Vec<Element> {
    let mut out = Vec::new();
    match phrase.spelling {
        Spelling::Plain => phrase.text.bytes().for_each(|byte| push_plain(&mut out, byte)),
        Spelling::Leet => phrase.text.bytes().for_each(|byte| match byte {
            b'a'..=b'z' => push(&mut out, false, |other| is_leet_of(other, byte)),
            other => push_plain(&mut out, other),
        }),
        Spelling::Spaced => {
            push(&mut out, false, |other| !is_word(other));
            for place in 0..4 {
                for gap in 0..if place == 0 { 0 } else { 3 } {
                    push(&mut out, gap > 0, |other| !is_word(other));
                }
                push(&mut out, false, |other| other.is_ascii_alphanumeric());
            }
            push(&mut out, false, |other| !is_word(other));
        }
    }
    out
}

/// `\n`, `\r` and `\t` as strings write them; classes do not tell the case of letters.
fn escape() -> Vec<Element> {
    let mut out = Vec::new();
    push(&mut out, false, |byte| byte == b'\\');
    push(&mut out, false, |byte| {
        matches!(byte.to_ascii_lowercase(), b'n' | b'r' | b't')
    });
    out
}

/// An element that takes every byte that is no part of a word.
fn is_border(element: &Element) -> bool {
    !element.is_optional
        && element
            .set
            .iter()
            .zip(0..=u8::MAX)
            .all(|(takes, byte)| *takes != is_word(byte))
}

fn push_plain(out: &mut Vec<Element>, byte: u8) {
    match byte {
        b'^' => push(out, false, |other| !is_word(other)),
        b' ' => (0..4).for_each(|place| push(out, place > 0, is_blank)),
        b'?' => (0..2).for_each(|_| push(out, true, is_blank)),
        b'9' => push(out, false, |other| other.is_ascii_digit()),
        b'"' => push(out, false, |other| matches!(other, b'"' | b'\'' | b'`')),
        _ => push(out, false, |other| other.to_ascii_lowercase() == byte),
    }
}

fn push(out: &mut Vec<Element>, is_optional: bool, holds: impl Fn(u8) -> bool) {
    let mut set = [false; 256];
    for (slot, byte) in set.iter_mut().zip(0..=u8::MAX) {
        *slot = holds(byte);
    }
    out.push(Element { set, is_optional });
}

/// Letter, digit, underscore or part of a character beyond ASCII.
pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Whether `byte` may stand for the lower-case letter.
fn is_leet_of(byte: u8, letter: u8) -> bool {
    byte.to_ascii_lowercase() == letter
        || matches!(
            (byte, letter),
            (b'0', b'o')
                | (b'1' | b'!', b'i' | b'l')
                | (b'3', b'e')
                | (b'4' | b'@', b'a')
                | (b'5' | b'$', b's')
                | (b'7', b't')
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn phrase(text: &'static str, spelling: Spelling, kind: u8) -> Phrase<u8> {
        Phrase { text, spelling, kind }
    }

    fn automaton() -> Automaton<u8> {
        Automaton::new(&[
            phrase("ignor", Spelling::Leet, 1),
            phrase("ignor", Spelling::Spaced, 2),
            phrase("^rm -", Spelling::Plain, 3),
            phrase("{{?9", Spelling::Plain, 4),
            phrase("drop table", Spelling::Plain, 5),
        ])
    }

    fn found(text: &str) -> Vec<(usize, u8)> {
        let found = automaton().find(text.as_bytes(), 0..text.len());
        found
            .iter()
            .map(|sighting| (sighting.end, sighting.kind))
            .collect()
    }

    #[test]
    fn phrases_are_found_however_they_are_spelled() {
        assert_eq!(found("please 1GN0Re"), [(12, 1)]);
        assert_eq!(found("i g n o r e"), [(8, 2), (10, 2), (12, 2)]);
        assert_eq!(found("rm  -x; farm -x"), [(5, 3)]);
        assert_eq!(found("{{ 7*7 {{x"), [(4, 4)]);
        assert_eq!(found("DROP \n\tTABLE"), [(12, 5)]);
        assert_eq!(found("ignition drop  tab"), []);
        assert_eq!(found("{\"a\": \"b\\nrm -x\"}"), [(14, 3)]);
        assert_eq!(found("b\\xrm -x"), []);
    }

    #[test]
    fn lanes_find_what_one_pass_finds() {
        let mut text = String::new();
        let mut state = 7_u32;
        while text.len() < 10 * LANE {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let words = [
                "ignore ",
                "i-g-n-o ",
                "x",
                "rm  -rf",
                "drop    table ",
                "{{ 1",
                "ab c",
            ];
            text.push_str(words[(state >> 16) as usize % words.len()]);
        }
        let automaton = automaton();
        for cut in 0..LONGEST * 2 {
            let text = &text.as_bytes()[cut..];
            let mut plain = Vec::new();
            automaton.find_in_tail(text, 0, &mut plain);
            assert_eq!(automaton.find(text, 0..text.len()), plain);
        }
    }
}
