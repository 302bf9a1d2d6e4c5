//! From phrases to an automaton: byte sets, classes, subset construction.

use std::collections::HashMap;

use super::{is_blank, is_word, number_of, Automaton, Phrase, Spelling, CELLS, CLASSES, COMPLETE, UNIT};

/// One byte of a phrase.
#[derive(Clone)]
pub(super) struct Element {
    set: [bool; 256],
    is_optional: bool,
}

/// Elements of all phrases in one row; a place is an index into it.
pub(super) struct Places<K> {
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
    pub fn new(phrases: &[Phrase<'_, K>], samples: &[u8]) -> Self {
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

    /// Where the places lead, by class, in order.
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
        for reached in &mut next {
            reached.sort_unstable();
            reached.dedup();
        }
        next
    }

    fn kinds<'s>(&self, sets: impl IntoIterator<Item = &'s Set>) -> Vec<K> {
        let completed = sets
            .into_iter()
            .flatten()
            .filter_map(|place| self.completes.get(usize::from(*place)).copied().flatten());
        let mut kinds: Vec<K> = completed.collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

/// What a class of bytes starts, whatever was read before it.
struct Start {
    set: Set,
    /// Where its places lead, by class.
    moved: Vec<Set>,
}

/// The places that phrases start at, by class, and for each class the number of its own. Classes that start the same share one:
/// a state is what its class started and what went on before it, and no two of them are alike.
fn starts<K: Copy + Ord>(places: &Places<K>) -> (Vec<Start>, Vec<usize>) {
    let mut starts: Vec<Start> = Vec::new();
    let numbers = places.moved(&places.entry).into_iter().map(|set| {
        let known = starts.iter().position(|start| start.set == set);
        known.unwrap_or_else(|| {
            let moved = places.moved(&set);
            starts.push(Start { set, moved });
            starts.len() - 1
        })
    });
    let numbers = numbers.collect();
    (starts, numbers)
}

/// Subset construction. Phrases start anew at every byte: what one byte starts, and where that leads, is worked out once, and a
/// state holds besides only what began before.
pub(super) fn build<K: Copy + Ord>(places: &Places<K>, classes: [u8; 256]) -> Automaton<K> {
    let (starts, start_of) = starts(places);
    let mut table = Table::new();
    // The state before everything has started nothing; it is none of the others.
    let mut sets: Vec<(Option<usize>, Set, u16)> = vec![(None, Set::new(), table.place(false))];
    let mut states: HashMap<(usize, Set), u16> = HashMap::new();
    let mut built = 0;
    let mut kinds: Vec<K> = Vec::new();
    let mut ends = Vec::new();
    while let Some((start, set, state)) = sets.get(built).cloned() {
        let start = start.and_then(|start| starts.get(start));
        // Numbers without a state complete nothing.
        ends.resize(number_of(usize::from(state)), end_of(&kinds));
        kinds.extend(places.kinds(start.map(|start| &start.set).into_iter().chain([&set])));
        ends.push(end_of(&kinds));
        let mut row = [0; CLASSES];
        for ((class, cell), mut next) in row.iter_mut().enumerate().zip(places.moved(&set)) {
            let number = start_of.get(class).copied().unwrap_or(0);
            let Some(entered) = starts.get(number) else {
                continue;
            };
            next.extend(
                start
                    .and_then(|start| start.moved.get(class))
                    .into_iter()
                    .flatten(),
            );
            next.retain(|place| entered.set.binary_search(place).is_err());
            next.sort_unstable();
            next.dedup();
            *cell = *states.entry((number, next)).or_insert_with_key(|(number, next)| {
                let fresh = table.place(!places.kinds([&entered.set, next]).is_empty());
                sets.push((Some(*number), next.clone(), fresh));
                fresh
            });
        }
        table.write(state, &row);
        built += 1;
    }
    Automaton {
        classes,
        cells: table.cells,
        skipped: table.skipped,
        kinds,
        ends,
    }
}

fn end_of<K>(kinds: &[K]) -> u32 {
    u32::try_from(kinds.len()).unwrap_or(u32::MAX)
}

/// Rows of cells in the making.
struct Table {
    cells: Vec<u16>,
    skipped: usize,
    /// Number of the next state.
    next: usize,
}

impl Table {
    fn new() -> Self {
        // Rows begin with lines of the cache: what is looked up mostly is in the first line of a row.
        const LINE: usize = 64;
        let cells = vec![0; CELLS + LINE];
        let skipped = cells.as_ptr().align_offset(LINE);
        Self {
            skipped: if skipped < LINE { skipped } else { 0 },
            cells,
            next: 0,
        }
    }

    /// A state of its own. The row of a complete state reaches into the next one, which has no state.
    fn place(&mut self, is_complete: bool) -> u16 {
        let mark = if is_complete { COMPLETE } else { 0 };
        let state = (self.next * CLASSES / UNIT) | mark;
        self.next += 1 + usize::from(is_complete);
        u16::try_from(state).unwrap_or(0)
    }

    fn write(&mut self, state: u16, row: &[u16; CLASSES]) {
        let start = self.skipped + usize::from(state) * UNIT;
        if let Some(cells) = self.cells.get_mut(start..start + CLASSES) {
            cells.copy_from_slice(row);
        }
    }
}

fn has(set: &[bool; 256], byte: u8) -> bool {
    set.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Bytes in the order in which classes are numbered: those of nearly all text first.
fn by_frequency() -> impl Iterator<Item = u8> {
    const FREQUENT: &[u8] = b" etaoinsrhldcumfpgwybvkxjqz._,-/\"";
    let others = (0..=u8::MAX).filter(|byte| !FREQUENT.contains(byte));
    FREQUENT.iter().copied().chain(others)
}

/// Number bytes by the sets they are in; also one sample byte of each class.
pub(super) fn classes_of(elements: &[Element]) -> ([u8; 256], Vec<u8>) {
    let mut distinct: Vec<[bool; 256]> = Vec::new();
    for element in elements {
        if !distinct.contains(&element.set) {
            distinct.push(element.set);
        }
    }
    let mut numbers: HashMap<Vec<bool>, u8> = HashMap::new();
    let mut classes = [0; 256];
    let mut samples = Vec::new();
    for byte in by_frequency() {
        let signature: Vec<bool> = distinct.iter().map(|set| has(set, byte)).collect();
        let number = *numbers.entry(signature).or_insert_with(|| {
            samples.push(byte);
            u8::try_from(samples.len() - 1).unwrap_or(u8::MAX)
        });
        if let Some(class) = classes.get_mut(usize::from(byte)) {
            *class = number;
        }
    }
    (classes, samples)
}

pub(super) fn elements<K>(phrase: &Phrase<'_, K>) -> Vec<Element> {
    let mut out = Vec::new();
    match phrase.spelling {
        Spelling::Plain => phrase.text.bytes().for_each(|byte| push_plain(&mut out, byte)),
        Spelling::Leet => phrase.text.bytes().for_each(|byte| match byte {
            b'a'..=b'z' => push(&mut out, false, |other| is_leet_of(other, byte)),
            other => push_plain(&mut out, other),
        }),
        // As few classes as may be: what was found is compared byte for byte.
        Spelling::Literal => phrase.text.bytes().for_each(|byte| match byte {
            b' ' => push(&mut out, false, is_blank),
            b'"' => push_plain(&mut out, byte),
            _ => push(&mut out, false, |other| other.eq_ignore_ascii_case(&byte)),
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
pub(super) fn escape() -> Vec<Element> {
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
