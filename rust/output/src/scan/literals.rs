//! Words and fragments that lead to parsers, in one search (output policy spec §16.7.1).
//!
//! Fragments are chosen to be rare: `cret` stands for every word with "secret" in it. A fragment costs nothing until it
//! occurs; then its parser looks at what it is part of.

use std::ops::Range;

use crate::sightings::{Automaton, Phrase, Sighting, Spelling, LONGEST};

/// What to do where a fragment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    /// `-----BEGIN`.
    Pem,
    Putty,
    /// Part of a name that something may be assigned to.
    Name,
    Authorization,
    /// `"auth":`.
    DockerAuth,
    ServiceAccount,
    /// `$2b$`, `$6$`, …
    Crypt,
    /// `sig=`.
    Signature,
    /// A word of the catalogue's `Near` forms; its place in the list of words.
    Near,
}

/// Fragments of secrets, in the cases they are written in.
const SECRET_FRAGMENTS: &[(&str, Lead)] = &[
    ("-BEGIN ", Lead::Pem),
    ("- BEGIN ", Lead::Pem),
    ("PuTTY-User-Key", Lead::Putty),
    ("sswor", Lead::Name),
    ("SSWOR", Lead::Name),
    ("sswd", Lead::Name),
    ("SSWD", Lead::Name),
    ("ssphrase", Lead::Name),
    ("SSPHRASE", Lead::Name),
    ("pwd", Lead::Name),
    ("PWD", Lead::Name),
    ("Pwd", Lead::Name),
    ("cret", Lead::Name),
    ("CRET", Lead::Name),
    ("oken", Lead::Name),
    ("OKEN", Lead::Name),
    ("redential", Lead::Name),
    ("REDENTIAL", Lead::Name),
    ("key", Lead::Name),
    ("KEY", Lead::Name),
    ("Key", Lead::Name),
    ("horization", Lead::Authorization),
    ("HORIZATION", Lead::Authorization),
    ("auth\"", Lead::DockerAuth),
    ("auth\\\"", Lead::DockerAuth),
    ("auth\\\\\\\"", Lead::DockerAuth),
    ("service_account\"", Lead::ServiceAccount),
    ("service_account\\\"", Lead::ServiceAccount),
    ("service_account\\\\\\\"", Lead::ServiceAccount),
    ("$2a$", Lead::Crypt),
    ("$2b$", Lead::Crypt),
    ("$2y$", Lead::Crypt),
    ("$6$", Lead::Crypt),
    ("$5$", Lead::Crypt),
    ("$argon2", Lead::Crypt),
    ("$apr1$", Lead::Crypt),
    ("$scrypt$", Lead::Crypt),
    ("sig=", Lead::Signature),
];

/// One way a fragment is written.
#[derive(Debug)]
struct Written {
    text: String,
    lead: Lead,
    /// Of two fragments that begin at one place the first in order counts.
    order: usize,
}

/// A set of fragments.
#[derive(Debug)]
pub(crate) struct Literals {
    /// Fragments that differ in the case of letters only, by what a search calls them.
    written: Vec<Vec<Written>>,
}

impl Literals {
    /// The fragments of secrets when asked for, and the catalogue's words: as written, in capitals, with one capital,
    /// with the first word in capitals, with a capital each.
    pub fn new(with_secrets: bool, words: impl Iterator<Item = &'static str>) -> Literals {
        let mut all: Vec<Written> = Vec::new();
        let mut add = |text: String, lead: Lead| {
            if !all.iter().any(|known| known.text == text) {
                let order = all.len();
                all.push(Written { text, lead, order });
            }
        };
        if with_secrets {
            SECRET_FRAGMENTS
                .iter()
                .for_each(|(text, lead)| add((*text).to_owned(), *lead));
        }
        for word in words {
            let capital = word.get(..1).map(str::to_ascii_uppercase).unwrap_or_default();
            add(word.to_owned(), Lead::Near);
            add(word.to_ascii_uppercase(), Lead::Near);
            add(capital + word.get(1..).unwrap_or_default(), Lead::Near);
            if let Some((first, rest)) = word.split_once(' ') {
                add(first.to_ascii_uppercase() + " " + rest, Lead::Near);
                add(title(word), Lead::Near);
                add(first.to_ascii_uppercase() + " " + &title(rest), Lead::Near);
            }
        }
        let mut written: Vec<Vec<Written>> = Vec::new();
        for one in all {
            let is_alike = |known: &Written| known.text.eq_ignore_ascii_case(&one.text);
            match written.iter_mut().find(|ways| ways.iter().any(is_alike)) {
                Some(ways) => ways.push(one),
                None => written.push(vec![one]),
            }
        }
        Literals { written }
    }

    /// What to search for, in any case of letters.
    pub fn phrases(&self) -> impl Iterator<Item = Phrase<'_, u16>> {
        self.written.iter().zip(0u16..).filter_map(|(ways, kind)| {
            Some(Phrase {
                text: ways.first()?.text.as_str(),
                spelling: Spelling::Literal,
                kind,
            })
        })
    }

    /// Of the places where fragments end in any case of letters, those that begin in `range` and are written as they
    /// should be, none inside of another: what each leads to, and where it stands.
    pub fn settle(
        &self,
        content: &[u8],
        range: Range<usize>,
        sightings: impl Iterator<Item = Sighting<u16>>,
    ) -> Vec<(Lead, Range<usize>)> {
        let mut found: Vec<_> = sightings
            .filter_map(|sighting| {
                let ways = self.written.get(usize::from(sighting.kind))?;
                let start = sighting.end.checked_sub(ways.first()?.text.len())?;
                let text = content.get(start..sighting.end)?;
                let way = ways.iter().find(|way| way.text.as_bytes() == text)?;
                range
                    .contains(&start)
                    .then_some((start, way.order, way.lead, sighting.end))
            })
            .collect();
        found.sort_by_key(|(start, order, ..)| (*start, *order));
        let mut free = range.start;
        found.retain(|(start, _, _, end)| {
            let is_free = *start >= free;
            free = if is_free { *end } else { free };
            is_free
        });
        found
            .into_iter()
            .map(|(start, _, lead, end)| (lead, start..end))
            .collect()
    }
}

/// Every word with a capital: `Medical Rec`.
fn title(words: &str) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_ascii_uppercase() + rest
    };
    words.split(' ').map(capital).collect::<Vec<_>>().join(" ")
}

/// Fragments and the search for them alone.
#[derive(Debug)]
pub(crate) struct Words {
    literals: Literals,
    automaton: Automaton<u16>,
}

impl Words {
    pub fn new(literals: Literals) -> Words {
        let automaton = Automaton::new(&literals.phrases().collect::<Vec<_>>());
        Words { literals, automaton }
    }

    /// Fragments that begin in `range`.
    pub fn find(&self, content: &[u8], range: Range<usize>) -> Vec<(Lead, Range<usize>)> {
        // A fragment that begins in the range may end behind it.
        let limit = range.end.saturating_add(LONGEST).min(content.len());
        let sightings = self.automaton.find(content, range.start..limit);
        self.literals.settle(content, range, sightings.into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_found_as_they_are_written() {
        let literals = Words::new(Literals::new(
            true,
            ["born", "born in", "medical rec"].into_iter(),
        ));
        let text =
            "-BEGIN  KEY kEy Token born in Medical rec MEDICAL REC medical Rec Medical Rec $2b$ auth\" auth'";
        let found = literals.find(text.as_bytes(), 0..text.len());
        let texts: Vec<&str> = found.iter().map(|(_, at)| &text[at.clone()]).collect();
        assert_eq!(
            texts,
            [
                "-BEGIN ",
                "KEY",
                "oken",
                "born",
                "Medical rec",
                "MEDICAL REC",
                "Medical Rec",
                "$2b$",
                "auth\""
            ]
        );
        for cut in 0..=text.len() {
            let parts = [0..cut, cut..text.len()];
            let count: usize = parts
                .into_iter()
                .map(|part| literals.find(text.as_bytes(), part).len())
                .sum();
            assert_eq!(count, found.len(), "cut at {cut}");
        }
    }
}
