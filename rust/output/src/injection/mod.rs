//! Code injection (output policy spec §16.4): each detector reads the bytes around the phrase that woke it.

mod catalogue;
mod exec;
mod markup;
mod path;
mod shell;
mod sql;
mod template;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::around::{slice, without_escapes};
use crate::catalogue::FIRST_CODE;
use crate::hit::Hit;
use crate::mask::{DetectorId, Mask};
use crate::phrases::{Kind, Sighting};

pub(crate) use catalogue::CATALOGUE;

/// A finding in the making.
#[derive(Clone, Debug)]
struct Draft {
    detector: &'static str,
    span: Range<usize>,
    confidence: f32,
}

impl Draft {
    fn new(detector: &'static str, span: Range<usize>, confidence: f32) -> Self {
        Self {
            detector,
            span,
            confidence,
        }
    }
}

/// Appends hits of the mask's detectors of code injection that begin in `range` of the content. Text outside of the range may be
/// looked at within a bounded window; contents are split into ranges, so one place is reported by one call only. `sightings` are
/// what `phrases` finds in the range and a margin around it.
pub(crate) fn scan_code(
    content: &[u8],
    range: Range<usize>,
    sightings: &[Sighting],
    mask: &Mask,
    hits: &mut Vec<Hit>,
) {
    let ids = (FIRST_CODE..).map(DetectorId);
    let wanted = CATALOGUE.iter().zip(ids).filter(|(_, id)| mask.contains(*id));
    let wanted: Vec<_> = wanted.collect();
    if wanted.is_empty() {
        return;
    }
    for draft in drafts(content, sightings) {
        let known = wanted.iter().find(|(one, _)| one.id == draft.detector);
        if let (Some((definition, detector)), true) = (known, range.contains(&draft.span.start)) {
            hits.push(Hit {
                detector: *detector,
                severity: definition.severity,
                confidence: draft.confidence,
                offset: draft.span.start,
                length: draft.span.len(),
            });
        }
    }
}

fn drafts(content: &[u8], sightings: &[Sighting]) -> Vec<Draft> {
    let mut plain = Plain::default();
    let found = sightings
        .iter()
        .filter(|sighting| sighting.kind.is_of_code())
        .filter_map(|sighting| draft_at(content, sighting, &mut plain));
    settle(found.collect())
}

/// Text around a sighting that a detector may look at.
const WINDOW: usize = 1024;
/// Text whose escapes are read at once.
const CHUNK: usize = 32 * 1024;

/// A part of the content with the escapes of strings read as the blanks they stand for.
#[derive(Default)]
struct Plain {
    part: Range<usize>,
    /// `None` when the part has no escapes.
    text: Option<Vec<u8>>,
}

impl Plain {
    /// The part that covers what a detector looks at around `end`, if it has escapes, and where it starts.
    fn around(&mut self, content: &[u8], end: usize) -> Option<(&[u8], usize)> {
        let wanted = end.saturating_sub(WINDOW)..(end + WINDOW).min(content.len());
        if wanted.start < self.part.start || wanted.end > self.part.end {
            self.part = wanted.start..(wanted.start + CHUNK).min(content.len());
            self.text = without_escapes(slice(content, self.part.clone()));
        }
        let start = self.part.start;
        self.text.as_deref().map(|text| (text, start))
    }
}

fn draft_at(content: &[u8], sighting: &Sighting, plain: &mut Plain) -> Option<Draft> {
    let end = sighting.end.min(content.len());
    // Paths of Windows have backslashes of their own.
    let read = match sighting.kind {
        Kind::Traversal => None,
        _ => plain.around(content, end),
    };
    let Some((text, from)) = read else {
        return judged(content, sighting.kind, end);
    };
    judged(text, sighting.kind, end - from).map(|draft| Draft {
        span: from + draft.span.start..from + draft.span.end,
        ..draft
    })
}

fn judged(content: &[u8], kind: Kind, end: usize) -> Option<Draft> {
    match kind {
        Kind::Union => sql::union(content, end),
        Kind::Tautology => sql::tautology(content, end),
        Kind::Cut => sql::cut(content, end),
        Kind::Stacked => sql::stacked(content, end),
        Kind::Statement => sql::statement(content, end),
        Kind::SqlCall => sql::call(content, end),
        Kind::Piped => shell::piped(content, end),
        Kind::Substituted => shell::substituted(content, end),
        Kind::Socket => shell::socket(content, end),
        Kind::Remove => shell::destroyed(content, end),
        Kind::Device => shell::device(content, end),
        Kind::Arithmetic => template::arithmetic(content, end),
        Kind::Lookup => template::lookup(content, end),
        Kind::Walk => template::walk(content, end),
        Kind::Markup => markup::element(content, end),
        Kind::Handler => markup::handler(content, end),
        Kind::ScriptUrl => markup::script_url(content, end),
        Kind::DynamicCode => exec::found(content, end),
        Kind::Traversal => path::found(content, end),
        _ => None,
    }
}

/// Overlapping drafts of one detector are one, the surest; what stands in a template belongs to the template.
fn settle(mut drafts: Vec<Draft>) -> Vec<Draft> {
    let overlap =
        |left: &Range<usize>, right: &Range<usize>| left.start < right.end && right.start < left.end;
    let mut templates: Vec<Range<usize>> = drafts
        .iter()
        .filter(|draft| draft.detector == template::ID && draft.confidence >= 0.5)
        .map(|draft| draft.span.clone())
        .collect();
    templates.sort_unstable_by_key(|span| span.start);
    drafts.retain(|draft| {
        // Spans of templates are short, so the few that start before the draft ends suffice.
        let behind = templates.partition_point(|span| span.start < draft.span.end);
        let near = templates.get(behind.saturating_sub(4)..behind).unwrap_or(&[]);
        draft.detector == template::ID || !near.iter().any(|span| overlap(span, &draft.span))
    });
    drafts.sort_by(|left, right| (left.detector, left.span.start).cmp(&(right.detector, right.span.start)));
    let mut kept: Vec<Draft> = Vec::with_capacity(drafts.len());
    for draft in drafts {
        match kept.last_mut() {
            Some(last) if last.detector == draft.detector && overlap(&last.span, &draft.span) => {
                let span = last.span.start..last.span.end.max(draft.span.end);
                last.span = span;
                last.confidence = last.confidence.max(draft.confidence);
            }
            _ => kept.push(draft),
        }
    }
    kept
}
