//! Fast search for many short phrases at once: one automaton over a folded alphabet, several lanes of it at a time.
//!
//! A phrase is a sequence of byte *sets*, so letter case, leet digits, spaced letters and "any blank" cost nothing when
//! searching. Each step of an automaton waits for the step before it; lanes over several parts of a text keep the
//! processor busy meanwhile. What is found is a reason to look closer, never a finding.

mod compile;
mod search;

use compile::{build, classes_of, elements, escape, Element, Places};

/// Classes of bytes the phrases tell apart, at most.
const CLASSES: usize = 64;
/// Longest phrase in bytes; lanes start this far before their part.
pub(crate) const LONGEST: usize = 40;
/// A state is the place of its row in the table, in so many cells: with the class added it is the place of a cell. A table of
/// all the places there can be needs no check of them; what no state has of it is never touched.
const UNIT: usize = 16;
const CELLS: usize = u16::MAX as usize * UNIT + u8::MAX as usize + 1;
/// Set in a state that completes a phrase, whose row stands one unit further.
const COMPLETE: usize = 1;

/// Number of a state in the order of their rows.
fn number_of(state: usize) -> usize {
    state * UNIT / CLASSES
}

/// How the letters of a phrase may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// Any case.
    Plain,
    /// Any case, leet digits allowed (`1gn0re`).
    Leet,
    /// Any four letters, set apart by one to three other characters (`i g n o`), whatever the text of the phrase.
    Spaced,
    /// Any case; every byte stands for itself, though any blank and any quote may be found for one.
    Literal,
}

/// A phrase to look for and what it stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phrase<'t, K> {
    pub text: &'t str,
    pub spelling: Spelling,
    pub kind: K,
}

impl<'t, K> Phrase<'t, K> {
    /// The phrase under another name.
    pub(crate) fn named<N>(self, name: impl FnOnce(K) -> N) -> Phrase<'t, N> {
        Phrase {
            text: self.text,
            spelling: self.spelling,
            kind: name(self.kind),
        }
    }
}

/// A place where a phrase ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sighting<K> {
    /// Offset behind the last byte.
    pub end: usize,
    pub kind: K,
}

/// The compiled phrases.
#[derive(Debug)]
pub(crate) struct Automaton<K> {
    classes: [u8; 256],
    /// Rows of the states: in each the states that the classes lead to.
    cells: Vec<u16>,
    /// Cells before the first row.
    skipped: usize,
    /// Kinds of the phrases the states complete, state after state.
    kinds: Vec<K>,
    /// Where the kinds of each state end, by number.
    ends: Vec<u32>,
}

impl<K: Copy + Ord> Automaton<K> {
    /// Compile phrases. `^` is a byte that is no letter, digit or `_`; a blank is one to four blanks; `?` none to two
    /// blanks; `9` a digit; `"` any quote; everything else is itself.
    pub(crate) fn new(phrases: &[Phrase<'_, K>]) -> Self {
        let spelled: Vec<Element> = phrases.iter().flat_map(elements).chain(escape()).collect();
        let (classes, samples) = classes_of(&spelled);
        build(&Places::new(phrases, &samples), classes)
    }

    /// States and classes in use.
    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, usize) {
        let last = self.classes.iter().copied().max().unwrap_or(0);
        (self.ends.len(), usize::from(last) + 1)
    }
}

/// Letter, digit, underscore or part of a character beyond ASCII.
pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn phrase(text: &'static str, spelling: Spelling, kind: u8) -> Phrase<'static, u8> {
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

    /// What the phrases of `automaton` say, as expressions.
    const SPELLED: [(u8, &str); 5] = [
        (1, "(?i:[i1!]gn[o0]r)"),
        (2, "BORDER[0-9A-Za-z](?:GAP{1,3}[0-9A-Za-z]){3}GAP"),
        (3, "BORDER(?i:rm)BLANK{1,4}-"),
        (4, r"\{\{BLANK{0,2}[0-9]"),
        (5, "(?i:drop)BLANK{1,4}(?i:table)"),
    ];

    /// Ends of phrases, as a regular expression for each says of every place.
    fn found_by_expressions(text: &[u8]) -> Vec<(usize, u8)> {
        let content = [text, b"\n"].concat();
        let mut found = Vec::new();
        for (kind, spelled) in SPELLED {
            let gap = r"[^0-9A-Za-z_\x80-\xff]";
            let border = format!(r"(?:\A|{gap}|\\[nrtNRT])");
            let spelled = spelled.replace("BORDER", &border).replace("GAP", gap);
            let spelled = spelled.replace("BLANK", r"[ \t\n\r]");
            let ends_here = regex::bytes::Regex::new(&format!(r"(?s-u)(?:{spelled})\z")).unwrap();
            let ends = (1..=content.len()).filter(|end| ends_here.is_match(&content[..*end]));
            found.extend(ends.map(|end| (end, kind)));
        }
        found.sort_unstable();
        found
    }

    proptest! {
        #[test]
        fn phrases_end_where_expressions_say(
            text in "(ignor|1GN0r|i g n o|rm|drop|table|\\{\\{|[0-9]|[a-z]|[ \t\n\r]{1,5}|-|\\\\[nrtxN]|_|é){0,30}"
        ) {
            prop_assert_eq!(found(&text), found_by_expressions(text.as_bytes()));
        }
    }

    fn mixture(length: usize) -> String {
        let words = [
            "ignore ",
            "i-g-n-o ",
            "x",
            "rm  -rf",
            "drop    table ",
            "{{ 1",
            "ab c",
        ];
        let mut state = 7_u32;
        let mut text = String::new();
        while text.len() < length {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push_str(words[(state >> 16) as usize % words.len()]);
        }
        text
    }

    #[test]
    fn lanes_find_what_one_pass_finds() {
        let (text, automaton) = (mixture(80_000), automaton());
        for cut in (0..LONGEST * 2).chain([70_000, 79_000, 79_900, 79_990, 79_999]) {
            let text = &text.as_bytes()[cut..];
            assert_eq!(automaton.find(text, 0..text.len()), automaton.find_plainly(text));
        }
    }

    #[test]
    fn ranges_share_out_the_sightings() {
        let (text, automaton) = (mixture(3_000), automaton());
        let (text, all) = (text.as_bytes(), automaton.find_plainly(text.as_bytes()));
        for step in [1, 63, 64, 65, 440, 999] {
            let ranges: Vec<_> = (0..text.len())
                .step_by(step)
                .map(|start| start..(start + step).min(text.len()))
                .collect();
            assert_eq!(automaton.find_in(text, &ranges), all, "{step}");
            let ranges: Vec<_> = ranges.into_iter().step_by(2).collect();
            let within = |sighting: &&Sighting<u8>| {
                let place = (sighting.end - 1).min(text.len() - 1);
                ranges.iter().any(|range| range.contains(&place))
            };
            let some: Vec<_> = all.iter().filter(within).copied().collect();
            assert_eq!(automaton.find_in(text, &ranges), some, "{step}");
        }
    }
}
