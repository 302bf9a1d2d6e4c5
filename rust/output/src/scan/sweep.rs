//! Byte-class sweeps: long runs of token characters, and groups of digits (output policy spec §16.7.2).
//!
//! Both look at many bytes at once; what stands in no long run and beside no digit is passed by.

use std::ops::Range;

use wide::i8x16;

use crate::bits::{bits_where, equal, within};
use crate::bytes::{is, is_before, DIGIT, RUN};

/// Shortest run any token has.
pub(crate) const MIN_RUN: usize = 15;
/// Fewest digits of a group that any number has.
pub(crate) const MIN_DIGITS: usize = 4;
/// Groups of one cluster of digits; longer ones are cut.
pub(crate) const MAX_GROUPS: usize = 12;

/// Calls `found` with every maximal run of `MIN_RUN` or more token characters that begins in `range`.
///
/// Sixty-four bytes are one word of bits, in which runs are found by shifting it against itself.
pub(crate) fn for_each_run(content: &[u8], range: Range<usize>, mut found: impl FnMut(usize, usize)) {
    let mut at = range.start;
    if is_before(content, at, RUN) {
        // The run that reaches into the range belongs to the range before.
        at = end_of_run(content, at, range.end);
    }
    // Where the run that reaches up to `at` began.
    let mut open = at;
    while at < range.end || open < at {
        let tail = content.get(at..).unwrap_or_default();
        let Some(chunk) = tail.first_chunk::<64>() else {
            scalar_runs(content, open, range.end, &mut found);
            return;
        };
        let end = at.saturating_add(64);
        let mut bits = run_bits(chunk);
        if open < at {
            let length = bits.trailing_ones();
            if length == 64 {
                at = end;
                continue;
            }
            let behind = at.saturating_add(length as usize);
            if behind.saturating_sub(open) >= MIN_RUN {
                found(open, behind);
            }
            bits &= bits.wrapping_add(1);
            if behind >= range.end {
                return;
            }
        }
        let last = bits.leading_ones();
        open = end.saturating_sub(last as usize);
        if last > 0 {
            bits &= u64::MAX.checked_shr(last).unwrap_or(0);
        }
        let mut starts = long_runs(bits);
        while starts != 0 {
            let first = starts.trailing_zeros();
            let length = (bits >> first).trailing_ones();
            let start = at.saturating_add(first as usize);
            if start >= range.end {
                return;
            }
            found(start, start.saturating_add(length as usize));
            // `first` and `length` are 63 at most: the last run of the word is not among these.
            starts &= u64::MAX << (first + length).min(63);
        }
        if open >= range.end {
            return;
        }
        at = end;
    }
}

/// Bits where `MIN_RUN` ones begin.
#[inline]
fn long_runs(bits: u64) -> u64 {
    let two = bits & bits >> 1;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    // 15 ones are eight ones and eight more, seven places behind.
    eight & eight >> (MIN_RUN - 8)
}

/// A bit for each byte that is a token character: `A-Za-z0-9_+/-`.
#[inline]
fn run_bits(chunk: &[u8; 64]) -> u64 {
    bits_where(chunk, |bytes| {
        let letter = within(bytes | i8x16::splat(0x20), b'a', 26);
        // `+` to `9` without `,` and `.`.
        let digit = within(bytes, b'+', 15) & !(equal(bytes, b',') | equal(bytes, b'.'));
        letter | digit | equal(bytes, b'_')
    })
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
///
/// A cluster worth the trouble is four bytes long at least. Bits of digits, and of separators between them, tell where one may
/// be; what is shorter is never read.
pub(crate) fn for_each_cluster(content: &[u8], range: Range<usize>, mut found: impl FnMut(&[DigitGroup])) {
    let mut groups: Vec<DigitGroup> = Vec::with_capacity(MAX_GROUPS);
    let mut at = range.start;
    // Digits that reach into the range belong to the range before.
    while at < range.end && is_before(content, at, DIGIT) {
        at = at.saturating_add(1);
    }
    let mut chunk_start = at;
    while chunk_start < range.end {
        let tail = content.get(chunk_start..).unwrap_or_default();
        let Some(chunk) = tail.first_chunk::<64>() else {
            break;
        };
        let chunk_end = chunk_start.saturating_add(64);
        let mut starts = cluster_starts(chunk);
        while starts != 0 {
            let start = chunk_start.saturating_add(starts.trailing_zeros() as usize);
            if start >= range.end {
                return;
            }
            let digits = read_groups(content, start, &mut groups);
            at = groups.last().map_or(start, DigitGroup::end).saturating_add(1);
            if digits >= MIN_DIGITS {
                found(&groups);
            }
            if at >= chunk_end {
                break;
            }
            starts &= u64::MAX << at.saturating_sub(chunk_start);
        }
        chunk_start = at.max(chunk_end);
    }
    at = at.max(chunk_start);
    while at < range.end {
        let window = content.get(at..).unwrap_or_default();
        let Some(offset) = window.iter().position(|byte| is(*byte, DIGIT)) else {
            return;
        };
        at = at.saturating_add(offset);
        if at >= range.end {
            return;
        }
        let digits = read_groups(content, at, &mut groups);
        at = groups.last().map_or(at, DigitGroup::end).saturating_add(1);
        if digits >= MIN_DIGITS {
            found(&groups);
        }
    }
}

/// Bits of the digits with which a cluster of `MIN_DIGITS` bytes may begin, or go on.
#[inline]
fn cluster_starts(chunk: &[u8; 64]) -> u64 {
    let digits = bits_where(chunk, |bytes| within(bytes, b'0', 10));
    // Fewer digits make no cluster, unless more may follow behind the chunk.
    if digits.count_ones() < MIN_DIGITS as u32 && digits >> 61 == 0 {
        return 0;
    }
    let separators = bits_where(chunk, |bytes| {
        // `(` and `)`, `-`, `.` and `/`, blanks.
        within(bytes, b'(', 2) | within(bytes, b'-', 3) | equal(bytes, b' ')
    });
    // A separator, or two of them, between digits. What stands behind the chunk may be digits.
    let behind = digits << 1 | digits << 2;
    let before = digits >> 1 | digits >> 2 | 3 << 62;
    let joined = digits | separators & behind & before;
    // Behind the chunk everything may go on.
    let two = joined & (joined >> 1 | 1 << 63);
    let four = two & (two >> 2 | 3 << 62);
    four & digits
}

/// How many digits a text begins with, eight bytes at a time.
#[inline]
fn digits_at(text: &[u8]) -> usize {
    const EACH: u64 = u64::MAX / 255;
    let mut count = 0usize;
    while let Some(eight) = text.get(count..).and_then(|rest| rest.first_chunk()) {
        let values = u64::from_le_bytes(*eight) ^ (EACH * 0x30);
        // The high bit of a byte that is no digit is set; what is carried over only reaches bytes behind that.
        let others = (values.wrapping_add(EACH * 0x76) | values) & (EACH * 0x80);
        if others != 0 {
            return count.saturating_add(others.trailing_zeros() as usize / 8);
        }
        count = count.saturating_add(8);
    }
    let rest = text.get(count..).unwrap_or_default();
    count.saturating_add(rest.iter().take_while(|byte| is(**byte, DIGIT)).count())
}

/// Reads the cluster at `start` and answers its number of digits.
fn read_groups(content: &[u8], start: usize, groups: &mut Vec<DigitGroup>) -> usize {
    groups.clear();
    let mut digits = 0usize;
    let mut at = start;
    while groups.len() < MAX_GROUPS {
        let length = digits_at(content.get(at..).unwrap_or_default());
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
    use proptest::prelude::*;

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
    fn digits_are_counted() {
        for byte in 0..=u8::MAX {
            for count in 0..20 {
                for behind in [&b""[..], b"7", b"1234567890", b"\xff\x8a\x05"] {
                    let text = [&b"90817263540918273645"[..count], &[byte], behind].concat();
                    let expected = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
                    assert_eq!(digits_at(&text), expected, "{text:?}");
                }
            }
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

    /// Runs, one byte after the other.
    fn runs_plainly(content: &[u8], range: Range<usize>) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for start in range {
            if is(content[start], RUN) && !is_before(content, start, RUN) {
                let end = end_of_run(content, start, content.len());
                if end - start >= MIN_RUN {
                    found.push((start, end));
                }
            }
        }
        found
    }

    /// Clusters, one byte after the other.
    fn clusters_plainly(content: &[u8], range: Range<usize>) -> Vec<Vec<DigitGroup>> {
        let (mut found, mut groups) = (Vec::new(), Vec::new());
        let mut at = range.start;
        while at < range.end && is_before(content, at, DIGIT) {
            at += 1;
        }
        while at < range.end {
            if is(content[at], DIGIT) {
                let digits = read_groups(content, at, &mut groups);
                if digits >= MIN_DIGITS {
                    found.push(groups.clone());
                }
                at = groups.last().map_or(at, DigitGroup::end);
            }
            at += 1;
        }
        found
    }

    fn is_same_as_plain(content: &[u8], cut: usize) {
        for range in [0..cut, cut..content.len(), 0..content.len()] {
            let mut runs = Vec::new();
            for_each_run(content, range.clone(), |start, end| runs.push((start, end)));
            assert_eq!(
                runs,
                runs_plainly(content, range.clone()),
                "{range:?} of {content:?}"
            );
            let mut clusters = Vec::new();
            for_each_cluster(content, range.clone(), |groups| clusters.push(groups.to_vec()));
            assert_eq!(
                clusters,
                clusters_plainly(content, range.clone()),
                "{range:?} of {content:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn sweeps_find_what_a_walk_over_the_bytes_finds(
            text in "([a-z0-9_+/-]{1,20}|[0-9]{1,5}|[ ()./-]{1,3}|[,;:@\\n]|é){0,80}", cut in any::<usize>()
        ) {
            is_same_as_plain(text.as_bytes(), cut % (text.len() + 1));
        }

        #[test]
        fn sweeps_find_it_in_any_bytes(content in prop::collection::vec(any::<u8>(), 0..400), cut in any::<usize>()) {
            is_same_as_plain(&content, cut % (content.len() + 1));
        }
    }

    /// Runs and clusters at every place of a word of bits and across its edges.
    #[test]
    fn edges_of_words_hide_nothing() {
        for before in 0..140 {
            for length in [1, 4, 14, 15, 16, 63, 64, 65, 130] {
                for (filler, one) in [(" ", "7"), (".", "x"), ("é", "4")] {
                    let text = [filler.repeat(before), one.repeat(length), filler.repeat(70)].concat();
                    is_same_as_plain(text.as_bytes(), text.len() / 3);
                }
            }
        }
    }
}
