//! From runs of token characters and groups of digits to hits.

use std::ops::Range;

use crate::bytes::{
    end_of, follows_escape, follows_sign, is, is_at, is_before, slice, ALNUM, DIGIT, HEX, WORD,
};
use crate::catalogue::detector;
use crate::definition::{Candidate, Rank, Trigger, Verdict};
use crate::rarity::{is_documented, is_worn_out};
use crate::scan::block::{Block, Weight};
use crate::scan::probe::is_encoded;
use crate::scan::secrecy::LONG_BASE64;
use crate::scan::sweep::{DigitGroup, MIN_RUN};
use crate::scan::tables::{extend_key, Entry, Tables, TABLES};

/// Bytes a token may have.
const TOKEN_WINDOW: usize = 16 * 1024;
/// Bytes before a run that its token may begin in.
const DOTTED_WINDOW: usize = 80;
/// Runs judged by their exact length have no more.
const MAX_SEGMENT: usize = 256;

impl Block<'_> {
    /// Tries every token that may begin in, or just before, a run of token characters.
    pub(crate) fn run(&mut self, start: usize, end: usize) {
        self.work.spend(end.saturating_sub(start));
        if start
            .checked_sub(1)
            .is_some_and(|at| self.content.get(at) == Some(&b'.'))
        {
            let from = self.dotted_start(start);
            if from < start {
                self.token(self.after_escape(from, start));
            }
        }
        let inner = self.after_escape(start, end);
        self.segments(inner, end);
        if is_encoded(slice(self.content, inner, end)) {
            self.encoded.push(inner..end);
        }
        if end.saturating_sub(start) >= LONG_BASE64 {
            self.long_value(start, end);
        }
    }

    /// Where the dotted text that ends before `at` begins: `SG.` before the run, `dp.pt.`.
    fn dotted_start(&self, at: usize) -> usize {
        let head = slice(self.content, at.saturating_sub(DOTTED_WINDOW), at);
        let count = head
            .iter()
            .rev()
            .take_while(|byte| is(**byte, WORD) || **byte == b'.')
            .count();
        let from = at.saturating_sub(count);
        // The sign of a line that a diff takes away.
        from.saturating_add(usize::from(self.content.get(from) == Some(&b'-')))
    }

    /// Tries the tokens and runs between the marks of a run.
    fn segments(&mut self, start: usize, end: usize) {
        self.token(start);
        self.exact(start, end);
        let bare = start.saturating_add(
            slice(self.content, start, end)
                .iter()
                .take_while(|byte| matches!(byte, b'-' | b'_'))
                .count(),
        );
        if bare > start {
            self.token(bare);
            self.exact(bare, end);
        }
        let mut at = start;
        let content = self.content;
        for split in memchr::memchr2_iter(b'/', b'+', slice(content, start, end)) {
            let split = start.saturating_add(split);
            if split > at && split.saturating_sub(at) >= MIN_RUN {
                self.exact(at, split);
            }
            at = split.saturating_add(1);
            if end.saturating_sub(at) < MIN_RUN {
                return;
            }
            self.token(at);
        }
        if at > start {
            self.exact(at, end);
        }
    }

    /// Where a token may begin that an escape stands before: `\n`, `\u0022`, `%22`, the end of a colour code.
    fn after_escape(&self, start: usize, end: usize) -> usize {
        let before = start.checked_sub(1).and_then(|at| self.content.get(at)).copied();
        let run = slice(self.content, start, end);
        let width = match (before, run) {
            (Some(b'\\'), [b'u', a, b, c, d, ..]) if [a, b, c, d].iter().all(|byte| is(**byte, HEX)) => 5,
            (Some(b'\\'), [b'x', a, b, ..]) if is(*a, HEX) && is(*b, HEX) => 3,
            (Some(b'\\'), [b'n' | b'r' | b't' | b'b' | b'f', ..]) => 1,
            (Some(b'%'), [a, b, ..]) if is(*a, DIGIT) && is(*b, HEX) => 2,
            (Some(b'[' | b';'), _) => {
                let digits = run.iter().take_while(|byte| is(**byte, DIGIT)).count();
                let head = slice(self.content, start.saturating_sub(16), start);
                let is_code = run.get(digits) == Some(&b'm') && head.contains(&0x1b);
                if is_code {
                    digits.saturating_add(1)
                } else {
                    0
                }
            }
            _ => 0,
        };
        start.saturating_add(width)
    }

    /// Tries the forms whose prefix stands at `at`.
    fn token(&mut self, at: usize) {
        let tail = self.content.get(at..).unwrap_or_default();
        for (prefix, place) in TABLES.prefixes_at(tail) {
            if tail.starts_with(prefix.as_bytes()) {
                if let Some(entry) = TABLES.entries.get(*place) {
                    self.confirm(entry, at, at.saturating_add(TOKEN_WINDOW));
                }
            }
        }
    }

    /// Tries the forms that a run of exactly this length may be.
    fn exact(&mut self, start: usize, end: usize) {
        let length = end.saturating_sub(start);
        let Some(first) = self.content.get(start).filter(|_| length <= MAX_SEGMENT) else {
            return;
        };
        let mut forms = TABLES.of_run(length, *first).peekable();
        if forms.peek().is_none() || is_before(self.content, start, WORD) && !self.is_escaped(start) {
            return;
        }
        for place in forms {
            if let Some(entry) = TABLES.entries.get(place) {
                let limit = if entry.form.pattern.is_empty() {
                    end
                } else {
                    start.saturating_add(TOKEN_WINDOW)
                };
                self.confirm(entry, start, limit);
            }
        }
    }

    fn is_escaped(&self, start: usize) -> bool {
        let head = slice(self.content, start.saturating_sub(16), start);
        head.iter().any(|byte| matches!(byte, b'\\' | b'%' | 0x1b))
            || matches!(head.last(), Some(b'-' | b'_'))
    }

    /// `Q~` of an Entra client secret: three characters and a digit before, 31 to 34 behind.
    pub(crate) fn tilde(&mut self, at: usize) {
        let is_part = |byte: &u8| is(*byte, WORD) || matches!(byte, b'.' | b'~');
        let Some(start) = at.checked_sub(5) else { return };
        let head = slice(self.content, start, at);
        let is_head = matches!(head, [a, b, c, digit, b'Q'] if [a, b, c].iter().all(|byte| is_part(byte)) && is(*digit, DIGIT));
        let body = at.saturating_add(1);
        let length = slice(self.content, body, body.saturating_add(40))
            .iter()
            .take_while(|byte| is_part(byte))
            .count();
        // The end of a sentence is none of it.
        let ends_sentence = body
            .checked_add(length)
            .and_then(|end| end.checked_sub(1))
            .is_some_and(|last| {
                self.content.get(last) == Some(&b'.') && !is_at(self.content, last.saturating_add(1), WORD)
            });
        let length = if length > 31 && ends_sentence {
            length.saturating_sub(1)
        } else {
            length
        };
        if !is_head
            || !(31..=34).contains(&length)
            || start
                .checked_sub(1)
                .and_then(|before| self.content.get(before))
                .is_some_and(is_part)
                && !follows_escape(self.content, start)
                && !follows_sign(self.content, start)
        {
            return;
        }
        self.report(
            detector!("azure_ad_client_secret"),
            start..body.saturating_add(length),
            Verdict::Accept,
        );
    }

    /// Matches a form at `start`, checks and reports it.
    fn confirm(&mut self, entry: &Entry, start: usize, limit: usize) {
        if !self.mask.contains(entry.id) {
            return;
        }
        if entry.form.pattern.is_empty() {
            self.work.spend(64);
            self.judge(entry, start..limit, start..limit);
            return;
        }
        let window = slice(self.content, start, limit);
        let Some(length) = entry.match_length(window) else {
            self.work.spend(64);
            return;
        };
        self.work.spend(length.saturating_add(64));
        let end = start.saturating_add(length);
        if !entry.form.is_open && is_at(self.content, end, WORD) {
            return;
        }
        let value = if entry.has_value {
            let captures = entry.regex().and_then(|regex| regex.captures(window));
            let group = captures.and_then(|captures| captures.name("value"));
            group.map_or(start..end, |group| {
                start.saturating_add(group.start())..start.saturating_add(group.end())
            })
        } else {
            start..end
        };
        self.judge(entry, start..end, value);
    }

    /// Check, placeholder, context.
    pub(crate) fn judge(&mut self, entry: &Entry, whole: Range<usize>, value: Range<usize>) {
        let candidate = Candidate {
            content: self.content,
            whole,
            value: value.clone(),
        };
        let text = candidate.text();
        if entry.definition.rank == Rank::Vendor && is_documented(text) {
            return;
        }
        if let Trigger::Prefix(prefixes) = entry.form.trigger {
            let longest = prefixes
                .iter()
                .filter(|prefix| text.starts_with(prefix.as_bytes()))
                .map(|prefix| prefix.len());
            let body = text.get(longest.max().unwrap_or(0)..).unwrap_or_default();
            if entry.definition.rank == Rank::Vendor && is_worn_out(body) {
                return;
            }
        }
        let weight = Weight {
            base: entry.form.confidence.unwrap_or(entry.definition.confidence),
            needs_context: entry.form.needs_context,
            severity: entry.form.severity,
        };
        if entry.form.is_checked_last && self.lacks_context(entry.definition, &value, weight) {
            return;
        }
        let verdict = (entry.form.check)(&candidate);
        if verdict == Verdict::Reject {
            return;
        }
        self.push(entry.id, entry.definition, value, verdict, weight);
    }

    /// Tries the shapes that groups of digits may have.
    pub(crate) fn cluster(&mut self, groups: &[DigitGroup]) {
        self.work.spend(groups.len().saturating_mul(16));
        let tables: &Tables = &TABLES;
        let mut tail = groups;
        let mut first = 0usize;
        while let [head, others @ ..] = tail {
            let (begun, place) = (tail, first);
            (tail, first) = (others, first.saturating_add(1));
            if tables.begins_shape(head.length, others.first().map(|group| group.length)) {
                self.shapes(tables, groups, begun, place);
            }
        }
    }

    /// Tries the shapes of the groups from `first` on, which are `tail`.
    fn shapes(&mut self, tables: &Tables, groups: &[DigitGroup], tail: &[DigitGroup], first: usize) {
        let mut key = 0u64;
        for (count, group) in tail.iter().enumerate().take(8) {
            key = extend_key(key, group.length);
            for (place, shape) in tables.of_shape(key) {
                let Some(entry) = tables.entries.get(*place) else {
                    continue;
                };
                if !self.mask.contains(entry.id) {
                    continue;
                }
                let last = first.saturating_add(count);
                let separators = entry.shapes.get(*shape).map(|shape| shape.separators.as_slice());
                if separators
                    .is_some_and(|separators| self.fits(groups, first, last, separators, entry.form.is_open))
                {
                    let start = tail.first().map_or(0, |group| group.start);
                    let span = start..group.end();
                    self.judge(entry, span.clone(), span);
                }
            }
        }
    }

    /// Whether the groups have these separators and stand alone.
    fn fits(
        &self,
        groups: &[DigitGroup],
        first: usize,
        last: usize,
        separators: &[u8],
        is_open: bool,
    ) -> bool {
        let inner = groups.get(first..last).unwrap_or_default();
        let kind = inner.first().map_or(0, |group| group.separator);
        let is_shaped = inner.iter().zip(separators).all(|(group, wanted)| match wanted {
            b'_' => group.separator == kind && matches!(kind, b' ' | b'-'),
            exact => group.separator == *exact,
        });
        if !is_shaped {
            return false;
        }
        // A comma stands between two fields of a row.
        let is_comma = |separator: u8| separator == b',' && last > first;
        let joins = |separator: u8| {
            !(matches!(separator, 0 | b' ' | b'(' | b')') || is_comma(separator))
                || separator == b' ' && kind == b' '
        };
        let before = first
            .checked_sub(1)
            .and_then(|at| groups.get(at))
            .map_or(0, |group| group.separator);
        let after = groups.get(last).map_or(0, |group| group.separator);
        let start = groups.get(first).map_or(0, |group| group.start);
        let end = groups.get(last).map_or(0, DigitGroup::end);
        !joins(before) && !joins(after) && (is_open || self.stands_alone(start, end))
    }

    /// Neither a letter, a digit nor a joining mark beside it.
    pub(crate) fn stands_alone(&self, start: usize, end: usize) -> bool {
        let content = self.content;
        let mark = start.saturating_sub(1);
        let joins_before = match start.checked_sub(1).and_then(|at| content.get(at)) {
            Some(b'-' | b'.' | b'/') => is_before(content, mark, ALNUM),
            // A comma before three digits groups thousands; any other stands between fields.
            Some(b',') => {
                is_before(content, mark, DIGIT)
                    && end_of(content, start, DIGIT, 4).saturating_sub(start) == 3
                    && !matches!(content.get(start.saturating_add(3)), Some(b'-' | b' '))
            }
            Some(b'_' | b'@') => true,
            Some(b'#') => is_before(content, mark, WORD),
            Some(byte) => is(*byte, ALNUM) && !follows_escape(content, start),
            None => false,
        };
        let joins_after = match content.get(end) {
            Some(b'-' | b'.' | b'/' | b',') => {
                is_at(content, end.saturating_add(1), ALNUM) && !self.is_sentence_end(end)
            }
            Some(b'_' | b'@' | b'%') => true,
            Some(byte) => is(*byte, ALNUM),
            None => false,
        };
        !joins_before && !joins_after
    }

    /// A comma between fields of a table is no decimal comma.
    fn is_sentence_end(&self, at: usize) -> bool {
        let next = at.saturating_add(1);
        self.content.get(at) == Some(&b',') && end_of(self.content, next, DIGIT, 4).saturating_sub(next) != 3
            || self.content.get(at) == Some(&b'.')
                && !is_at(self.content, next, DIGIT)
                && self.content.get(next).is_some_and(u8::is_ascii_uppercase)
    }
}
