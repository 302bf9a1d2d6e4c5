//! What rules report (output policy spec §5.3): caps for the report, none for the spans.

use std::borrow::Cow;
use std::cmp::Reverse;

use ahash::{AHashMap, AHashSet};

use crate::document::Severity;

/// Reported findings of one detector.
const MAX_PER_DETECTOR: usize = 10;
/// Reported findings of one rule.
const MAX_PER_RULE: usize = 32;
/// Bytes of a pattern told in a finding.
const MAX_PATTERN_BYTES: usize = 160;

/// One finding as reported; never holds matched content.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputFinding<'p> {
    pub kind: &'p str,
    pub severity: &'static str,
    pub detail: Cow<'p, str>,
    pub scanner: &'p str,
    pub confidence: f32,
    /// Detector id, pattern source or keyword.
    pub pattern: &'p str,
    /// Byte span in the content as stored; 0 and 0 outside of it.
    pub offset: usize,
    pub length: usize,
}

/// Something to be masked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span<'p> {
    pub offset: usize,
    pub length: usize,
    /// Detector, or what found it.
    pub detector: &'p str,
}

/// A finding before the caps, with the value it stands for.
#[derive(Clone, Debug)]
pub(crate) struct Found<'p, 'c> {
    pub finding: OutputFinding<'p>,
    pub severity: Severity,
    pub value: &'c [u8],
    /// Its span lies in the content, so that it can be masked.
    pub is_in_content: bool,
    pub is_in_artifact: bool,
}

pub(crate) fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

/// A pattern's source, cut at a character.
pub(crate) fn told(pattern: &str) -> &str {
    let mut end = pattern.len().min(MAX_PATTERN_BYTES);
    while !pattern.is_char_boundary(end) {
        end -= 1;
    }
    pattern.get(..end).unwrap_or_default()
}

/// Each value once per detector, the worst first, as many as the caps allow.
pub(crate) fn report<'p>(mut found: Vec<Found<'p, '_>>) -> Vec<OutputFinding<'p>> {
    found.sort_by_key(|one| (Reverse(one.severity), one.finding.offset, one.finding.pattern));
    let (mut seen, mut counts) = (AHashSet::new(), AHashMap::new());
    let mut reported = Vec::new();
    for one in found {
        if reported.len() == MAX_PER_RULE {
            break;
        }
        let count: &mut usize = counts.entry(one.finding.pattern).or_default();
        if *count < MAX_PER_DETECTOR && seen.insert((one.finding.pattern, one.value)) {
            *count += 1;
            reported.push(one.finding);
        }
    }
    reported
}

/// Everything that can be masked.
pub(crate) fn spans<'p>(found: &[Found<'p, '_>]) -> Vec<Span<'p>> {
    let inside = found
        .iter()
        .filter(|one| one.is_in_content && one.finding.length > 0);
    inside
        .map(|one| Span {
            offset: one.finding.offset,
            length: one.finding.length,
            detector: one.finding.pattern,
        })
        .collect()
}
