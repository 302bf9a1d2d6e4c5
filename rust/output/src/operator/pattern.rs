//! One pattern of an operator and its search, whose cost is counted so that no content makes it quadratic.

use std::ops::Range;

use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;
use regex_automata::{Anchored, Input};

use crate::operator::dialect::{compile, PatternError};
use crate::scan::block::Work;

/// A longer match may be cut or missed: text behind a place is looked at so far and no further.
pub const MAX_MATCH_BYTES: usize = 4 * 1024;
/// Text that one search goes through where nothing was found before.
const STRIDE_BYTES: usize = 64 * 1024;
/// And behind a match, where the next one may be near.
const FIRST_STRIDE_BYTES: usize = 64;

/// A compiled pattern in the dialect of §5.5.
#[derive(Debug)]
pub struct Pattern {
    regex: Regex,
    /// How far behind its beginning a match can reach.
    reach: usize,
    /// Whether a match may be longer than that.
    is_unbounded: bool,
    literals: Option<Vec<Vec<u8>>>,
}

impl Pattern {
    /// Errors: too long, too large, matches nothing, or needs what a linear-time engine has not.
    pub fn new(source: &str) -> Result<Pattern, PatternError> {
        let compiled = compile(source)?;
        let longest = compiled.longest.filter(|longest| *longest < MAX_MATCH_BYTES);
        Ok(Pattern {
            regex: compiled.regex,
            // One byte more, so that what must follow a match is seen.
            reach: longest.map_or(MAX_MATCH_BYTES, |longest| longest.saturating_add(1)),
            is_unbounded: longest.is_none(),
            literals: compiled.literals,
        })
    }

    /// Texts of which one begins every match; without them the pattern reads every content ("slow", §16.7).
    pub fn literals(&self) -> Option<&[Vec<u8>]> {
        self.literals.as_deref()
    }

    /// Groups, the whole match being the first.
    pub(crate) fn group_count(&self) -> usize {
        self.regex.group_info().group_len(regex_automata::PatternID::ZERO)
    }

    /// Calls `found` with each match that begins in the range, until the work is over.
    pub(crate) fn search(
        &self,
        content: &[u8],
        range: Range<usize>,
        work: &mut Work,
        mut found: impl FnMut(Range<usize>),
    ) {
        let mut at = range.start;
        let mut stride = STRIDE_BYTES;
        while at < range.end && !work.is_over() {
            // Look-around sees the whole content; a match lies within `at..end`.
            let end = at
                .saturating_add(stride)
                .saturating_add(self.reach)
                .min(content.len());
            let Some(span) = self.regex.search(&Input::new(content).range(at..end)) else {
                work.spend(end.saturating_sub(at));
                at = at.saturating_add(stride);
                stride = stride.saturating_mul(2).min(STRIDE_BYTES);
                continue;
            };
            let span = self.whole(content, span.range(), end);
            // A match may have been sought up to the end of what it could reach.
            let seen = span
                .start
                .saturating_sub(at)
                .saturating_add(self.reach.max(span.len()));
            work.spend(seen);
            if span.start >= range.end {
                return;
            }
            at = span.end.max(span.start.saturating_add(1));
            stride = FIRST_STRIDE_BYTES;
            found(span);
        }
    }

    /// The match without the cut at `end`, if it was cut there.
    fn whole(&self, content: &[u8], span: Range<usize>, end: usize) -> Range<usize> {
        let full = span.start.saturating_add(self.reach).min(content.len());
        if full <= end {
            return span;
        }
        let again = Input::new(content)
            .range(span.start..full)
            .anchored(Anchored::Yes);
        self.regex.search(&again).map_or(span, |longer| longer.range())
    }

    /// The group of the match that is this span.
    pub(crate) fn group(&self, content: &[u8], span: &Range<usize>, group: usize) -> Option<Range<usize>> {
        let mut captures: Captures = self.regex.create_captures();
        let whole = Input::new(content).range(span.clone()).anchored(Anchored::Yes);
        self.regex.search_captures(&whole, &mut captures);
        captures.get_group(group).map(|found| found.range())
    }

    /// Every match of the content, also longer ones where no shorter one stands; `None` when the search would take too long.
    pub fn matches(&self, content: &[u8]) -> Option<Vec<Range<usize>>> {
        let (mut all, mut work) = (Vec::new(), Work::for_content(content.len()));
        if self.is_unbounded && self.regex.search(&Input::new(content)).is_none() {
            return Some(all);
        }
        self.search(content, 0..content.len(), &mut work, |span| all.push(span));
        if self.is_unbounded {
            let starts = std::iter::once(0).chain(all.iter().map(|span| span.end));
            let ends = all.iter().map(|span| span.start).chain([content.len()]);
            let gaps: Vec<Range<usize>> = starts.zip(ends).map(|(start, end)| start..end).collect();
            for gap in gaps.into_iter().filter(|gap| gap.len() > MAX_MATCH_BYTES) {
                self.search_long(content, gap, &mut work, &mut all);
            }
            all.sort_unstable_by_key(|span| span.start);
        }
        (!work.is_over()).then_some(all)
    }

    /// Adds the matches of any length in a part of the content.
    fn search_long(&self, content: &[u8], gap: Range<usize>, work: &mut Work, all: &mut Vec<Range<usize>>) {
        let mut at = gap.start;
        while at < gap.end && !work.is_over() {
            work.spend(gap.end.saturating_sub(at));
            let Some(span) = self.regex.search(&Input::new(content).range(at..gap.end)) else {
                return;
            };
            at = span.end().max(at.saturating_add(1));
            all.push(span.range());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A match of no more than `MAX_MATCH_BYTES` is found whole, wherever it stands.
    #[test]
    fn windows_change_nothing() {
        let pattern = Pattern::new(r"\bOSP-[a-z]+\b").unwrap();
        for before in [
            0,
            7,
            STRIDE_BYTES - 6,
            STRIDE_BYTES - 1,
            STRIDE_BYTES + 4_090,
            3 * STRIDE_BYTES,
        ] {
            let value = format!("OSP-{}", "a".repeat(4_000));
            let text = format!("{} {value}, OSP-b OSP-1 {value}", "x".repeat(before));
            let found = pattern.matches(text.as_bytes()).unwrap();
            let told: Vec<&str> = found.into_iter().map(|span| &text[span]).collect();
            assert_eq!(told, [value.as_str(), "OSP-b", value.as_str()], "{before}");
        }
    }

    #[test]
    fn ends_of_the_content_are_its_own() {
        let text = format!("{}end", "-".repeat(2 * STRIDE_BYTES));
        let told = |pattern: &str| Pattern::new(pattern).unwrap().matches(text.as_bytes()).unwrap();
        assert!(told("end$")
            .into_iter()
            .eq(std::iter::once(text.len() - 3..text.len())));
        assert!(told("^end").is_empty());
        assert!(told("-$").is_empty());
    }

    /// Every match makes the engine look far ahead for a longer one that never comes.
    #[test]
    fn a_search_made_to_hurt_is_given_up() {
        let pattern = Pattern::new("(?s)BEGIN.*END|BEGIN").unwrap();
        assert_eq!(
            pattern.matches("BEGIN".repeat(1_000).as_bytes()).unwrap().len(),
            1_000
        );
        assert_eq!(pattern.matches("BEGIN".repeat(1 << 18).as_bytes()), None);
    }

    #[test]
    fn a_content_pattern_may_match_any_length() {
        let pattern = Pattern::new("(?s)BEGIN.*?END").unwrap();
        for long in [MAX_MATCH_BYTES, 3 * STRIDE_BYTES] {
            let text = format!(
                "{}BEGIN{}END, BEGIN{}END, BEGIN-END",
                "x".repeat(STRIDE_BYTES - 3),
                "-".repeat(long),
                "=".repeat(long)
            );
            let found = pattern.matches(text.as_bytes()).unwrap();
            let told: Vec<usize> = found.into_iter().map(|span| text[span].len()).collect();
            assert_eq!(told, [long + 8, long + 8, 9], "{long}");
        }
        let none = format!("BEGIN{}", "-".repeat(10 * STRIDE_BYTES));
        assert!(pattern.matches(none.as_bytes()).unwrap().is_empty());
    }

    #[test]
    fn groups_are_those_of_the_match() {
        let pattern = Pattern::new("badge ([0-9]{6})( x)?").unwrap();
        let text = b"a badge 123456 x";
        let found = pattern.matches(text).unwrap();
        assert!(found.iter().eq([&(2..16)]));
        assert_eq!(pattern.group_count(), 3);
        assert_eq!(pattern.group(text, &found[0], 1), Some(8..14));
        assert_eq!(pattern.group(b"badge 123456", &(0..12), 2), None);
    }
}
