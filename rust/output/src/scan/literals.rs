//! Words and fragments that lead to parsers, in one packed search (output policy spec §16.7.1).
//!
//! Fragments are chosen to be rare: `cret` stands for every word with "secret" in it. A fragment costs nothing until it
//! occurs; then its parser looks at what it is part of.

use std::ops::Range;

use aho_corasick::packed::{Config, MatchKind, Searcher};
use aho_corasick::AhoCorasick;

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
    ("service_account\"", Lead::ServiceAccount),
    ("service_account\\\"", Lead::ServiceAccount),
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

/// A set of fragments.
#[derive(Debug, Default)]
pub(crate) struct Literals {
    leads: Vec<Lead>,
    packed: Option<Searcher>,
    /// Where the machine has no vector instructions.
    plain: Option<AhoCorasick>,
}

impl Literals {
    /// The fragments of secrets when asked for, and the catalogue's words: as written, in capitals, with one capital.
    pub fn new(with_secrets: bool, words: impl Iterator<Item = &'static str>) -> Literals {
        let mut texts: Vec<String> = Vec::new();
        let mut leads = Vec::new();
        let mut add = |text: String, lead: Lead| {
            if !texts.contains(&text) {
                texts.push(text);
                leads.push(lead);
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
        }
        let packed = Config::new()
            .match_kind(MatchKind::LeftmostFirst)
            .builder()
            .extend(&texts)
            .build();
        let plain = match packed {
            Some(_) => None,
            None => AhoCorasick::new(&texts).ok(),
        };
        Literals { leads, packed, plain }
    }

    /// Next fragment that begins in `range`: what it leads to, and where it stands.
    #[inline]
    pub fn find(&self, content: &[u8], range: Range<usize>) -> Option<(Lead, Range<usize>)> {
        let (pattern, found) = match (&self.packed, &self.plain) {
            (Some(searcher), _) => {
                let hit = searcher.find_in(content, range.into())?;
                (hit.pattern().as_usize(), hit.start()..hit.end())
            }
            (None, Some(automaton)) => {
                let hit = automaton.find(aho_corasick::Input::new(content).range(range))?;
                (hit.pattern().as_usize(), hit.start()..hit.end())
            }
            (None, None) => return None,
        };
        Some((*self.leads.get(pattern)?, found))
    }
}
