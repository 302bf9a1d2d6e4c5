//! The masked copy of a result (output policy spec §7).

use std::collections::HashSet;

use aho_corasick::{AhoCorasick, MatchKind};
use serde::de::IgnoredAny;

/// What stands where something was.
pub const MARKER: &str = "[REDACTED]";
/// Shorter values are masked where they were reported only: as text they may mean anything.
const MIN_REPEATED: usize = 4;

/// The copy of `content` with the spans (offset, length) masked; the whole is masked without a usable span. JSON stays JSON,
/// UTF-16 with a byte order mark stays UTF-16.
///
/// `None`: no such copy can be made.
pub fn redact(content: &[u8], spans: &[(usize, usize)]) -> Option<Vec<u8>> {
    let is_json = serde_json::from_slice::<IgnoredAny>(content).is_ok();
    let merged = merged(spans, content.len());
    if merged.is_empty() {
        return Some(if is_json { quoted() } else { MARKER.into() });
    }
    if let Some(marker) = wide_marker(content) {
        return Some(masked(
            content,
            merged.into_iter().map(|(from, to)| (from, to, marker.as_slice())),
        ));
    }
    if !is_json {
        return Some(masked(
            content,
            merged.into_iter().map(|(from, to)| (from, to, MARKER.as_bytes())),
        ));
    }
    let whole = quoted();
    let pieces = leaves(content)
        .into_iter()
        .flat_map(|leaf| leaf.masks(content, &merged, &whole));
    let copy = masked(content, pieces.collect::<Vec<_>>().into_iter());
    serde_json::from_slice::<IgnoredAny>(&copy)
        .is_ok()
        .then_some(copy)
}

/// The copy with the values of these spans masked wherever they occur, not only where they were reported.
///
/// `None`: no such copy can be made.
pub fn redact_values(content: &[u8], spans: &[(usize, usize)]) -> Option<Vec<u8>> {
    let values: HashSet<&[u8]> = spans
        .iter()
        .filter_map(|(offset, length)| content.get(*offset..offset.checked_add(*length)?))
        .filter(|value| value.len() >= MIN_REPEATED)
        .collect();
    let mut all = spans.to_vec();
    if !values.is_empty() {
        let found = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(values)
            .ok()?;
        all.extend(found.find_iter(content).map(|hit| (hit.start(), hit.len())));
    }
    redact(content, &all)
}

/// The marker in the byte order of a content that is UTF-16.
fn wide_marker(content: &[u8]) -> Option<Vec<u8>> {
    let write: fn(u16) -> [u8; 2] = match content {
        [0xff, 0xfe, ..] => u16::to_le_bytes,
        [0xfe, 0xff, ..] => u16::to_be_bytes,
        _ => return None,
    };
    Some(MARKER.encode_utf16().flat_map(write).collect())
}

fn quoted() -> Vec<u8> {
    format!("\"{MARKER}\"").into_bytes()
}

/// Spans inside the content as (from, to), in order, overlapping and touching ones as one.
fn merged(spans: &[(usize, usize)], length: usize) -> Vec<(usize, usize)> {
    let mut clamped: Vec<(usize, usize)> = spans
        .iter()
        .map(|(offset, size)| ((*offset).min(length), offset.saturating_add(*size).min(length)))
        .filter(|(from, to)| from < to)
        .collect();
    clamped.sort_unstable();
    let mut merged: Vec<(usize, usize)> = Vec::with_capacity(clamped.len());
    for (from, to) in clamped {
        match merged.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => merged.push((from, to)),
        }
    }
    merged
}

fn masked<'m>(content: &[u8], pieces: impl Iterator<Item = (usize, usize, &'m [u8])>) -> Vec<u8> {
    let mut copy = Vec::with_capacity(content.len());
    let mut done = 0;
    for (from, to, marker) in pieces {
        copy.extend_from_slice(content.get(done..from).unwrap_or_default());
        copy.extend_from_slice(marker);
        done = to;
    }
    copy.extend_from_slice(content.get(done..).unwrap_or_default());
    copy
}

/// A string, number or word of a JSON text, quotes included.
struct Leaf {
    from: usize,
    to: usize,
    is_string: bool,
}

/// Leaves of a text that is known to be JSON.
fn leaves(content: &[u8]) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    let mut at = 0;
    while let Some(byte) = content.get(at) {
        let from = at;
        at += 1;
        match byte {
            b'"' => {
                while let Some(inner) = content.get(at) {
                    at += if *inner == b'\\' { 2 } else { 1 };
                    if *inner == b'"' {
                        break;
                    }
                }
                leaves.push(Leaf {
                    from,
                    to: at,
                    is_string: true,
                });
            }
            b'{' | b'}' | b'[' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => {
                while content.get(at).is_some_and(|byte| {
                    !matches!(
                        byte,
                        b'{' | b'}' | b'[' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n'
                    )
                }) {
                    at += 1;
                }
                leaves.push(Leaf {
                    from,
                    to: at,
                    is_string: false,
                });
            }
        }
    }
    leaves
}

impl Leaf {
    /// What is masked of this leaf: parts of a string where the spans lie inside of it, else all of it.
    fn masks<'m>(
        &self,
        content: &[u8],
        spans: &[(usize, usize)],
        whole: &'m [u8],
    ) -> Vec<(usize, usize, &'m [u8])> {
        let first = spans.partition_point(|(_, to)| *to <= self.from);
        let hit: Vec<(usize, usize)> = spans
            .iter()
            .skip(first)
            .take_while(|(from, _)| *from < self.to)
            .copied()
            .collect();
        if hit.is_empty() {
            return Vec::new();
        }
        let (inner_from, inner_to) = (self.from + 1, self.to.saturating_sub(1));
        let is_inside = |(from, to): &(usize, usize)| inner_from <= *from && *to <= inner_to;
        if !self.is_string || !hit.iter().all(is_inside) {
            return vec![(self.from, self.to, whole)];
        }
        let inner = content.get(inner_from..inner_to).unwrap_or_default();
        let widened = hit.into_iter().map(|(from, to)| {
            let (from, to) = whole_characters(inner, from - inner_from, to - inner_from);
            (from + inner_from, to - from)
        });
        let widened = merged(&widened.collect::<Vec<_>>(), inner_to);
        widened
            .into_iter()
            .map(|(from, to)| (from, to, MARKER.as_bytes()))
            .collect()
    }
}

/// The span widened so that it cuts no escape and no character.
fn whole_characters(inner: &[u8], from: usize, to: usize) -> (usize, usize) {
    let (mut at, mut start, mut end) = (0, from, to);
    while at < inner.len() && at < to {
        let next = at + unit(inner.get(at..).unwrap_or_default());
        if at < from && from < next {
            start = at;
        }
        if at < to && to < next {
            end = next;
        }
        at = next;
    }
    (start, end.min(inner.len()))
}

/// Bytes of the character or escape at the start; a pair of surrogate escapes is one.
fn unit(rest: &[u8]) -> usize {
    let is_escape = |at: usize| rest.get(at) == Some(&b'\\') && rest.get(at + 1) == Some(&b'u');
    match rest.first() {
        Some(b'\\') if !is_escape(0) => 2,
        Some(b'\\') => {
            let is_high = matches!(
                rest.get(2..4),
                Some([b'd' | b'D', b'8'..=b'9' | b'a'..=b'b' | b'A'..=b'B'])
            );
            if is_high && is_escape(6) {
                12
            } else {
                6
            }
        }
        Some(byte) if *byte >= 0xf0 => 4,
        Some(byte) if *byte >= 0xe0 => 3,
        Some(byte) if *byte >= 0xc0 => 2,
        _ => 1,
    }
}
