//! From drafts to hits: what the situation and the text around add or take away (output policy spec §16.5).

use super::{overlap, Draft};
use crate::around::{has_word, slice};
use crate::engine::ScanOptions;

/// Words of discussion that take weight from a quoted hit.
const DISCUSSION: &[&str] = &[
    "example",
    "examples",
    "e.g.",
    "such as",
    "attack",
    "attacks",
    "attacker",
    "attackers",
    "detect",
    "detects",
    "detected",
    "detection",
    "detector",
    "injection",
    "like",
];
/// How far before a quotation or fence words of discussion count.
const LEAD: usize = 160;

/// Adjust, drop what is certainly nothing, keep the best of each detector per place.
pub(super) fn finish(content: &[u8], found: Vec<Draft>, options: &ScanOptions) -> Vec<Draft> {
    let bonus = if options.is_tool_output { 0.1 } else { 0.0 };
    let mut fences = None;
    let mut adjusted: Vec<Draft> = Vec::with_capacity(found.len());
    for mut draft in found {
        let fences = fences.get_or_insert_with(|| fences_of(content));
        draft.confidence += bonus;
        if is_discussed(content, &draft, fences) {
            draft.confidence -= 0.2;
        }
        draft.confidence = draft.confidence.clamp(0.0, 1.0);
        if draft.confidence >= 0.2 {
            adjusted.push(draft);
        }
    }
    best_of_each(adjusted)
}

/// Overlapping hits of one detector are one: the surest, then the longest.
fn best_of_each(mut drafts: Vec<Draft>) -> Vec<Draft> {
    drafts.sort_by(|left, right| {
        (left.detector, left.span.start)
            .cmp(&(right.detector, right.span.start))
            .then(right.span.end.cmp(&left.span.end))
    });
    let mut kept: Vec<Draft> = Vec::with_capacity(drafts.len());
    for draft in drafts {
        match kept
            .last_mut()
            .filter(|last| last.detector == draft.detector && overlap(&last.span, &draft.span))
        {
            Some(last) if draft.confidence > last.confidence => *last = draft,
            Some(_) => {}
            None => kept.push(draft),
        }
    }
    kept.sort_by_key(|draft| (draft.span.start, draft.detector));
    kept
}

/// Offsets of the lines that open and close code fences.
fn fences_of(content: &[u8]) -> Vec<usize> {
    memchr::memmem::find_iter(content, b"```").collect()
}

/// Inside a fence or quotation that words of discussion introduce.
fn is_discussed(content: &[u8], draft: &Draft, fences: &[usize]) -> bool {
    let before = fences.partition_point(|fence| *fence <= draft.span.start);
    let fence = (before % 2 == 1)
        .then(|| fences.get(before - 1).copied())
        .flatten();
    let mut opened = fence.into_iter().chain(quotations(content, draft));
    opened.any(|opened| {
        let lead =
            String::from_utf8_lossy(slice(content, opened.saturating_sub(LEAD)..opened)).to_lowercase();
        DISCUSSION.iter().any(|word| has_word(&lead, word))
    })
}

/// Where the quotations around a hit open, on its line or the one before: a text in JSON stands in one more.
fn quotations(content: &[u8], draft: &Draft) -> Vec<usize> {
    let from = draft.span.start.saturating_sub(200);
    let before = slice(content, from..draft.span.start);
    let after = slice(content, draft.span.end..draft.span.end + 300);
    let pairs: [(&[u8], &[u8]); 7] = [
        (b"\\\"", b"\\\""),
        (b"\"", b"\""),
        (b"`", b"`"),
        (b"'", b"'"),
        ("\u{201c}".as_bytes(), "\u{201d}".as_bytes()),
        ("\u{2018}".as_bytes(), "\u{2019}".as_bytes()),
        ("\u{ab}".as_bytes(), "\u{bb}".as_bytes()),
    ];
    let opened = pairs.into_iter().filter_map(|(open, close)| {
        let at = memchr::memmem::rfind(before, open)?;
        // An apostrophe is no quotation mark: one opens only behind something that is no letter.
        let left = at.checked_sub(1).and_then(|left| before.get(left));
        let opens = !left.is_some_and(u8::is_ascii_alphanumeric);
        let is_open = open != close || memchr::memmem::find_iter(before, open).count() % 2 == 1;
        (opens && is_open && memchr::memmem::find(after, close).is_some()).then_some(from + at)
    });
    opened.collect()
}
