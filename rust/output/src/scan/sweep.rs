//! Byte-class sweeps: long runs of token characters, and groups of digits (output policy spec §16.7.2).
//!
//! Both look at one byte in about fifteen, or eight, of ordinary text: a place that cannot lie inside a long run lets the
//! sweep jump over everything before it.

use std::ops::Range;

use crate::bytes::{is, is_before, DIGIT, RUN};

/// Shortest run any token has.
pub(crate) const MIN_RUN: usize = 15;
/// Fewest digits of a group that any number has.
pub(crate) const MIN_DIGITS: usize = 4;
/// Groups of one cluster of digits; longer ones are cut.
pub(crate) const MAX_GROUPS: usize = 12;

/// Calls `found` with every maximal run of `MIN_RUN` or more token characters that begins in `range`.
///
/// A run that long covers eight bytes in a row at some multiple of eight, so only those are looked at, sixty-four at once.
pub(crate) fn for_each_run(content: &[u8], range: Range<usize>, mut found: impl FnMut(usize, usize)) {
    let mut at = range.start;
    if is_before(content, at, RUN) {
        // The run that reaches into the range belongs to the range before.
        at = end_of_run(content, at, range.end);
    }
    // Bytes before this one are known not to begin a run.
    let mut floor = at;
    while at < range.end {
        let tail = content.get(at..).unwrap_or_default();
        let Some(chunk) = tail.first_chunk::<64>() else {
            let head = content.get(floor..at).unwrap_or_default();
            let before = head.iter().rev().take_while(|byte| is(**byte, RUN)).count();
            scalar_runs(content, at.saturating_sub(before), range.end, &mut found);
            return;
        };
        let Some(eight) = first_full(chunk) else {
            at = at.saturating_add(64);
            continue;
        };
        let inside = at.saturating_add(eight.saturating_mul(8));
        let head = content.get(floor..inside).unwrap_or_default();
        let before = head.iter().rev().take_while(|byte| is(**byte, RUN)).count();
        let start = inside.saturating_sub(before);
        let end = end_of_run(content, inside.saturating_add(8), content.len());
        if start >= range.end {
            return;
        }
        if end.saturating_sub(start) >= MIN_RUN {
            found(start, end);
        }
        floor = end;
        at = end;
    }
}

/// Place of the first eight bytes, of eight times eight, that are all token characters. Compiled to vector code.
#[inline]
fn first_full(chunk: &[u8; 64]) -> Option<usize> {
    let strange: [u8; 64] = std::array::from_fn(|place| chunk.get(place).map_or(1, |byte| is_strange(*byte)));
    strange.chunks_exact(8).position(|eight| {
        eight
            .first_chunk::<8>()
            .is_some_and(|eight| u64::from_ne_bytes(*eight) == 0)
    })
}

/// 0 for `A-Za-z0-9_+/-`, without a branch.
#[inline]
fn is_strange(byte: u8) -> u8 {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    // `+` to `9` without `,` and `.`.
    let digit = byte.wrapping_sub(b'+') < 15 && byte != b',' && byte != b'.';
    u8::from(!(letter | digit | (byte == b'_')))
}

/// The same, byte by byte, for the end of a content.
fn scalar_runs(content: &[u8], from: usize, to: usize, found: &mut impl FnMut(usize, usize)) {
    let mut at = from;
    while at < to {
        let end = end_of_run(content, at, content.len());
        if end.saturating_sub(at) >= MIN_RUN {
            found(at, end);
        }
        at = end.saturating_add(1);
    }
}

fn end_of_run(content: &[u8], at: usize, limit: usize) -> usize {
    let tail = content.get(at..limit).unwrap_or_default();
    let length = tail.iter().position(|byte| !is(*byte, RUN));
    at.saturating_add(length.unwrap_or(tail.len()))
}

/// One group of digits of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DigitGroup {
    pub start: usize,
    pub length: usize,
    /// Byte between this group and the next, 0 at the end; `(` or `)` stand for blank and parenthesis together.
    pub separator: u8,
}

impl DigitGroup {
    pub fn end(&self) -> usize {
        self.start.saturating_add(self.length)
    }
}

/// Calls `found` with the groups of every cluster that begins in `range`: digits with single separators between them.
pub(crate) fn for_each_cluster(content: &[u8], range: Range<usize>, mut found: impl FnMut(&[DigitGroup])) {
    const STEP: usize = 32;
    let mut groups: Vec<DigitGroup> = Vec::with_capacity(MAX_GROUPS);
    let mut at = range.start;
    // Digits that reach into the range belong to the range before.
    while at < range.end && is_before(content, at, DIGIT) {
        at = at.saturating_add(1);
    }
    while at < range.end {
        let window = content.get(at..).unwrap_or_default();
        let start = match window.first_chunk::<STEP>() {
            Some(chunk) if !has_digit(chunk) => {
                at = at.saturating_add(STEP);
                continue;
            }
            _ => match window.iter().take(STEP).position(|byte| is(*byte, DIGIT)) {
                Some(offset) => at.saturating_add(offset),
                None => {
                    at = at.saturating_add(STEP);
                    continue;
                }
            },
        };
        if start >= range.end {
            break;
        }
        let digits = read_groups(content, start, &mut groups);
        at = groups.last().map_or(start, DigitGroup::end).saturating_add(1);
        if digits >= MIN_DIGITS {
            found(&groups);
        }
    }
}

/// Compiled to vector code: no branch, no table.
#[inline]
fn has_digit(chunk: &[u8; 32]) -> bool {
    chunk
        .iter()
        .fold(0u8, |seen, byte| seen | u8::from(byte.wrapping_sub(b'0') < 10))
        != 0
}

/// Reads the cluster at `start` and answers its number of digits.
fn read_groups(content: &[u8], start: usize, groups: &mut Vec<DigitGroup>) -> usize {
    groups.clear();
    let mut digits = 0usize;
    let mut at = start;
    while groups.len() < MAX_GROUPS {
        let tail = content.get(at..).unwrap_or_default();
        let length = tail.iter().take_while(|byte| is(**byte, DIGIT)).count();
        digits = digits.saturating_add(length);
        let end = at.saturating_add(length);
        let (separator, width) = match content.get(end..).unwrap_or_default() {
            [b')', b' ' | b'-', next, ..] if is(*next, DIGIT) => (b')', 2),
            [b' ' | b'-', b'(', next, ..] if is(*next, DIGIT) => (b'(', 2),
            [b')', next, ..] if is(*next, DIGIT) => (b')', 1),
            [separator @ (b' ' | b'-' | b'.' | b'/' | b'('), next, ..] if is(*next, DIGIT) => (*separator, 1),
            _ => (0, 0),
        };
        groups.push(DigitGroup {
            start: at,
            length,
            separator,
        });
        if separator == 0 {
            break;
        }
        at = end.saturating_add(width);
    }
    if let Some(last) = groups.last_mut() {
        last.separator = 0;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(text: &str) -> Vec<&str> {
        let mut found = Vec::new();
        for_each_run(text.as_bytes(), 0..text.len(), |start, end| {
            found.push(&text[start..end]);
        });
        found
    }

    #[test]
    fn runs_are_maximal_and_long_enough() {
        let text = "short abcdefghijklmno, x=0123456789abcdef0 12345678901234 tail_of-fifteen/";
        assert_eq!(
            runs(text),
            ["abcdefghijklmno", "0123456789abcdef0", "tail_of-fifteen/"]
        );
    }

    #[test]
    fn ranges_share_out_the_runs() {
        let text = "aaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbb cc dddddddddddddddd";
        for cut in 0..=text.len() {
            let mut found = Vec::new();
            for range in [0..cut, cut..text.len()] {
                for_each_run(text.as_bytes(), range, |start, end| found.push((start, end)));
            }
            assert_eq!(found, [(0, 20), (21, 41), (45, 61)], "cut at {cut}");
        }
    }

    #[test]
    fn clusters_hold_their_groups() {
        let text = b"at 415-555-1212, (415) 555 1212 or 12 and 2024:10 x1";
        let mut found = Vec::new();
        for_each_cluster(text, 0..text.len(), |groups| {
            found.push(groups.iter().map(|group| group.length).collect::<Vec<_>>());
        });
        assert_eq!(found, [vec![3, 3, 4], vec![3, 3, 4], vec![4]]);
    }
}
