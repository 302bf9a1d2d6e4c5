//! Topics as languages: a topic that some patterns match and others do not, or the proof that there is none.
//!
//! The patterns run side by side as one automaton over classes of characters that no pattern tells apart; a breadth-first search
//! visits every reachable state, so an exhausted search is a proof.

use std::collections::VecDeque;

use ahash::AHashSet;
use smallvec::SmallVec;

use crate::analysis::limits::MAX_TOPIC_STATES;
use crate::glob::{Glob, Shape, Token};

/// What is known about the topics of a class of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    Found(String),
    Empty,
    /// The bound was reached.
    Undecided,
}

/// Prefix of every topic that rules are asked about, besides the gate's own (policy spec §6.1).
const JOB: &str = "job.";
const GATE: &str = "sys.approval.gate";

type Places = SmallVec<[(u16, u16); 8]>;

/// A topic that of each list in `wanted` some pattern matches and that no pattern of `unwanted` matches.
pub(crate) fn find(wanted: &[&[Glob]], unwanted: &[&Glob]) -> Search {
    let lists: Vec<Vec<&Glob>> = wanted.iter().map(|list| list.iter().collect()).collect();
    let lists = narrowed(lists);
    if lists.iter().any(Vec::is_empty) {
        return Search::Empty;
    }
    let unwanted: Vec<&Glob> = unwanted
        .iter()
        .copied()
        .filter(|glob| {
            lists
                .iter()
                .all(|list| list.iter().any(|other| may_meet(glob, other)))
        })
        .collect();
    if let Some(topic) = guess(&lists, &unwanted) {
        return Search::Found(topic);
    }
    Product::new(lists, unwanted).search()
}

/// Whether the topic is one that rules are asked about.
pub(crate) fn is_supported(topic: &str) -> bool {
    topic.starts_with(JOB) || topic == GATE
}

/// Without the patterns that share no topic with some other list, by their literal prefixes.
fn narrowed(lists: Vec<Vec<&Glob>>) -> Vec<Vec<&Glob>> {
    let fits = |glob: &Glob, own: usize| {
        glob.prefix().is_some_and(has_supported_prefix)
            && lists
                .iter()
                .enumerate()
                .all(|(at, list)| at == own || list.iter().any(|other| may_meet(glob, other)))
    };
    lists
        .iter()
        .enumerate()
        .map(|(own, list)| list.iter().copied().filter(|glob| fits(glob, own)).collect())
        .collect()
}

fn has_supported_prefix(prefix: &str) -> bool {
    prefix.starts_with(JOB) || JOB.starts_with(prefix) || GATE.starts_with(prefix)
}

/// Whether two patterns may share a topic, as far as their literal prefixes tell.
pub(crate) fn may_meet(one: &Glob, other: &Glob) -> bool {
    match (one.shape(), other.shape()) {
        (Shape::Blank, _) | (_, Shape::Blank) => false,
        (Shape::Literal(topic), _) => other.matches(topic),
        (_, Shape::Literal(topic)) => one.matches(topic),
        _ => match (one.prefix(), other.prefix()) {
            (Some(a), Some(b)) => a.starts_with(b) || b.starts_with(a),
            _ => false,
        },
    }
}

/// A natural topic, tried before the search: stars filled with a word nobody uses.
fn guess(lists: &[Vec<&Glob>], unwanted: &[&Glob]) -> Option<String> {
    let mut candidates: Vec<String> = Vec::new();
    for glob in lists.iter().flatten().take(8) {
        for word in ["other", "", "other.case"] {
            candidates.extend(filled(glob, word));
        }
    }
    if lists.is_empty() {
        candidates.extend(["job.other", "job.other.case", "job.zz", GATE].map(str::to_owned));
    }
    candidates.into_iter().find(|topic| {
        is_supported(topic)
            && topic.trim() == topic
            && lists
                .iter()
                .all(|list| list.iter().any(|glob| glob.matches(topic)))
            && !unwanted.iter().any(|glob| glob.matches(topic))
    })
}

fn filled(glob: &Glob, word: &str) -> Option<String> {
    let mut topic = String::new();
    for token in glob.tokens() {
        match token {
            Token::Star if topic.is_empty() => {
                topic.push_str(JOB);
                topic.push_str(word);
            }
            Token::Star => topic.push_str(word),
            Token::One => topic.push('z'),
            Token::Char(c) => topic.push(*c),
            Token::Class {
                ranges,
                negated: false,
            } => topic.push(ranges.first()?.0),
            Token::Class { negated: true, .. } => topic.push(('a'..='z').find(|c| token.takes(*c))?),
        }
    }
    Some(topic)
}

/// The patterns side by side.
struct Product<'g> {
    wanted: Vec<Vec<&'g Glob>>,
    unwanted: Vec<&'g Glob>,
    alphabet: Vec<char>,
}

/// Where each pattern is: the base language, each wanted list, each unwanted pattern.
#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    /// Characters of `job.` seen, or 4 for "anything"; `None` when the topic is not of that form.
    job: Option<u8>,
    gate: Option<u8>,
    wanted: Vec<Places>,
    unwanted: Vec<Places>,
}

impl<'g> Product<'g> {
    fn new(wanted: Vec<Vec<&'g Glob>>, unwanted: Vec<&'g Glob>) -> Product<'g> {
        let alphabet = alphabet(wanted.iter().flatten().copied().chain(unwanted.iter().copied()));
        Product {
            wanted,
            unwanted,
            alphabet,
        }
    }

    fn search(&self) -> Search {
        let start = State {
            job: Some(0),
            gate: Some(0),
            wanted: self.wanted.iter().map(|list| starts(list)).collect(),
            unwanted: self.unwanted.iter().map(|glob| starts(&[glob])).collect(),
        };
        let mut seen: AHashSet<State> = AHashSet::new();
        let mut parents: Vec<(usize, char)> = vec![(0, ' ')];
        let mut queue = VecDeque::from([(0usize, start.clone())]);
        seen.insert(start);
        while let Some((at, state)) = queue.pop_front() {
            if self.accepts(&state) {
                return Search::Found(spelled(&parents, at));
            }
            for c in &self.alphabet {
                let Some(next) = self.step(&state, *c) else {
                    continue;
                };
                if !seen.insert(next.clone()) {
                    continue;
                }
                if seen.len() > MAX_TOPIC_STATES {
                    return Search::Undecided;
                }
                parents.push((at, *c));
                queue.push_back((parents.len() - 1, next));
            }
        }
        Search::Empty
    }

    fn accepts(&self, state: &State) -> bool {
        let is_base = state.job == Some(4) || state.gate.map(usize::from) == Some(GATE.len());
        let ends = |list: &[&Glob], places: &Places| {
            places.iter().any(|(glob, place)| {
                list.get(usize::from(*glob))
                    .is_some_and(|glob| glob.tokens().len() == usize::from(*place))
            })
        };
        is_base
            && self
                .wanted
                .iter()
                .zip(&state.wanted)
                .all(|(list, places)| ends(list, places))
            && !self
                .unwanted
                .iter()
                .zip(&state.unwanted)
                .any(|(glob, places)| ends(&[glob], places))
    }

    /// The state after `c`; `None` when nothing wanted can follow.
    fn step(&self, state: &State, c: char) -> Option<State> {
        let follow = |text: &str, at: Option<u8>| {
            at.and_then(|at| (text.chars().nth(usize::from(at)) == Some(c)).then_some(at + 1))
        };
        let job = match state.job {
            Some(4) => Some(4),
            at => follow(JOB, at),
        };
        let gate = follow(GATE, state.gate);
        if job.is_none() && gate.is_none() {
            return None;
        }
        let mut wanted = Vec::with_capacity(self.wanted.len());
        for (list, places) in self.wanted.iter().zip(&state.wanted) {
            let next = advanced(list, places, c);
            if next.is_empty() {
                return None;
            }
            wanted.push(next);
        }
        let unwanted = self
            .unwanted
            .iter()
            .zip(&state.unwanted)
            .map(|(glob, places)| advanced(&[glob], places, c))
            .collect();
        Some(State {
            job,
            gate,
            wanted,
            unwanted,
        })
    }
}

/// Add a place and all that follow it through stars, which may be empty.
fn reach(glob: &Glob, number: u16, mut place: u16, places: &mut Places) {
    loop {
        if !places.contains(&(number, place)) {
            places.push((number, place));
        }
        if !matches!(glob.tokens().get(usize::from(place)), Some(Token::Star)) {
            return;
        }
        place += 1;
    }
}

fn starts(list: &[&Glob]) -> Places {
    let mut places = Places::new();
    for (number, glob) in (0u16..).zip(list) {
        reach(glob, number, 0, &mut places);
    }
    places
}

fn advanced(list: &[&Glob], places: &Places, c: char) -> Places {
    let mut next = Places::new();
    for (number, place) in places {
        let Some(glob) = list.get(usize::from(*number)) else {
            continue;
        };
        match glob.tokens().get(usize::from(*place)) {
            Some(Token::Star) if c != '/' => reach(glob, *number, *place, &mut next),
            Some(token) if token.takes(c) => reach(glob, *number, *place + 1, &mut next),
            _ => {}
        }
    }
    next.sort_unstable();
    next
}

fn spelled(parents: &[(usize, char)], mut at: usize) -> String {
    let mut letters = Vec::new();
    while at != 0 {
        let Some((before, c)) = parents.get(at) else {
            break;
        };
        letters.push(*c);
        at = *before;
    }
    letters.iter().rev().collect()
}

/// One character of every class that the patterns tell apart.
fn alphabet<'g>(globs: impl Iterator<Item = &'g Glob>) -> Vec<char> {
    let mut bounds: Vec<(char, char)> = JOB.chars().chain(GATE.chars()).map(|c| (c, c)).collect();
    bounds.push(('/', '/'));
    for token in globs.flat_map(Glob::tokens) {
        match token {
            Token::Char(c) => bounds.push((*c, *c)),
            Token::Class { ranges, .. } => bounds.extend(ranges),
            Token::Star | Token::One => {}
        }
    }
    bounds.sort_unstable();
    bounds.dedup();
    let is_named = |c: char| bounds.iter().any(|(low, high)| (*low..=*high).contains(&c));
    let mut letters: Vec<char> = ('a'..='z')
        .chain('0'..='9')
        .chain('!'..='~')
        .chain('\u{a1}'..=char::MAX)
        .chain('\0'..='\u{a0}')
        .find(|c| !is_named(*c))
        .into_iter()
        .collect();
    // Every stretch between two bounds begins at a lower bound or right after an upper one.
    for (low, high) in &bounds {
        letters.push(*low);
        letters.extend(after(*high).filter(|c| is_named(*c)));
    }
    let mut known = AHashSet::new();
    letters.retain(|c| known.insert(*c));
    letters
}

fn after(c: char) -> Option<char> {
    match c {
        '\u{d7ff}' => Some('\u{e000}'),
        _ => char::from_u32(u32::from(c) + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::{find, Search};
    use crate::glob::Glob;

    fn globs(patterns: &[&str]) -> Vec<Glob> {
        patterns.iter().filter_map(|text| Glob::new(text)).collect()
    }

    fn search(wanted: &[&str], unwanted: &[&str]) -> Search {
        let (wanted, unwanted) = (globs(wanted), globs(unwanted));
        find(&[&wanted], &unwanted.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_union_of_patterns_that_covers_another_is_proved() {
        assert_eq!(search(&["job.[ab].x"], &["job.a.*", "job.b.?"]), Search::Empty);
        assert_eq!(search(&["job.a?"], &["job.a[b-y]", "job.a[^b-y]"]), Search::Empty);
        assert_eq!(search(&["job.a.b"], &["job.*"]), Search::Empty);
        assert_eq!(search(&["other.*", " "], &[]), Search::Empty);
    }

    #[test]
    fn a_topic_outside_the_union_is_found() {
        for (wanted, unwanted) in [
            ("job.*", vec!["job.a*", "job.[b-z]*", "job.", "job.[0-9A-Z]*"]),
            ("job.a/*", vec!["job.*"]),
            ("job.[^a]", vec!["job.[b-z]"]),
            ("*", vec!["job.*"]),
        ] {
            let Search::Found(topic) = search(&[wanted], &unwanted) else {
                unreachable!("{wanted} without {unwanted:?}");
            };
            assert!(globs(&[wanted]).iter().any(|glob| glob.matches(&topic)));
            assert!(
                !globs(&unwanted).iter().any(|glob| glob.matches(&topic)),
                "{topic}"
            );
        }
    }
}
