//! Prompt and tool-output injection (output policy spec §16.5).
//!
//! Phrases found in one pass (`phrases`) and characters beyond ASCII decide which windows of the content are worth a
//! normalised view; the detectors read the words of that view. Clean text is never normalised.

mod ansi;
mod catalogue;
mod cjk;
mod cut;
mod delimiters;
mod doubts;
mod encoded;
mod exfiltration;
mod fold;
mod hidden;
mod languages;
mod links;
mod overrides;
mod persona;
mod read;
mod score;
mod stems;
#[cfg(test)]
mod tests;
mod view;
mod vocabulary;
mod windows;

use std::ops::Range;

use crate::around::slice;
use crate::catalogue::FIRST_PROMPT;
use crate::definition::Severity;
use crate::engine::ScanOptions;
use crate::hit::Hit;
use crate::mask::{DetectorId, Mask};
use crate::phrases::{Kind, Sighting};

pub(crate) use catalogue::CATALOGUE;
use read::Read;
use view::View;

/// Text outside of a range that is read with it.
const MARGIN: usize = 4096;

/// A finding in the making.
#[derive(Clone, Debug)]
struct Draft {
    detector: &'static str,
    span: Range<usize>,
    confidence: f64,
    severity: Severity,
}

impl Draft {
    fn new(detector: &'static str, span: Range<usize>, confidence: f64) -> Self {
        let severity = if detector == "ansi_escape" {
            Severity::Medium
        } else {
            Severity::High
        };
        Self {
            detector,
            span,
            confidence,
            severity,
        }
    }

    fn of(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }
}

/// Appends hits of the mask's detectors of prompt injection that begin in `range` of the content. Text outside of the range may be looked
/// at within a bounded window; contents are split into ranges, so one place is reported by one call only. `sightings` are what
/// `phrases` finds in the range and `MARGIN` around it.
pub(crate) fn scan_prompt(
    content: &[u8],
    range: Range<usize>,
    sightings: &[Sighting],
    mask: &Mask,
    options: &ScanOptions,
    hits: &mut Vec<Hit>,
) {
    let ids = (FIRST_PROMPT..).map(DetectorId);
    let wanted: Vec<(&str, DetectorId)> = CATALOGUE
        .iter()
        .map(|one| one.id)
        .zip(ids)
        .filter(|(_, id)| mask.contains(*id))
        .collect();
    if wanted.is_empty() {
        return;
    }
    for draft in drafts(content, &range, sightings, options) {
        let wanted = wanted.iter().find(|(name, _)| *name == draft.detector);
        if let (Some((_, detector)), true) = (wanted, range.contains(&draft.span.start)) {
            hits.push(Hit {
                detector: *detector,
                severity: draft.severity,
                confidence: draft.confidence as f32,
                offset: draft.span.start,
                length: draft.span.len(),
            });
        }
    }
}

fn drafts(content: &[u8], range: &Range<usize>, sightings: &[Sighting], options: &ScanOptions) -> Vec<Draft> {
    let mut found = Vec::new();
    let wide = range.start.saturating_sub(MARGIN)..(range.end + MARGIN).min(content.len());
    let mut seen = windows::Seen::new(sightings);
    seen.orders(content, sightings);
    let invisible = seen.beyond_ascii(content, wide.clone());
    for window in seen.into_windows(content.len()) {
        read_view(content, &View::new(content, window), &mut found);
    }
    encoded::find(content, sightings, &mut found);
    at_sightings(content, sightings, options, &mut found);
    if memchr::memchr(ansi::ESC, slice(content, wide.clone())).is_some() {
        ansi::find(content, wide, &mut found);
    }
    unseen(content, sightings, invisible, &mut found);
    score::finish(content, found, options)
}

/// The instruction detectors over the words of a view.
fn read_view(content: &[u8], view: &View<'_>, found: &mut Vec<Draft>) {
    let read = Read::new(view);
    overrides::find(&read, found);
    persona::find(&read, found);
    delimiters::find_orders(&read, found);
    exfiltration::find_orders(content, &read, found);
}

/// The detectors of structure: each looks at the bytes around its phrase.
fn at_sightings(content: &[u8], sightings: &[Sighting], options: &ScanOptions, found: &mut Vec<Draft>) {
    for sighting in sightings {
        let end = sighting.end;
        found.extend(match sighting.kind {
            Kind::ChatToken => delimiters::token_at(content, end),
            Kind::Heading => delimiters::heading_at(content, end),
            Kind::CallTag | Kind::CallKey => delimiters::forged_call_at(content, end, options),
            Kind::MarkdownLink => markdown_link(content, end),
            Kind::HtmlImage => html_image(content, end),
            _ => None,
        });
    }
}

/// `](…` or `]: …`, the address starting around `end`.
fn markdown_link(content: &[u8], end: usize) -> Option<Draft> {
    let before = slice(content, end.saturating_sub(8)..end);
    let open = before.iter().rposition(|byte| *byte == b']')? + end.saturating_sub(8);
    let gap = slice(content, open + 1..open + 8);
    let start = open + 1 + gap.iter().position(|byte| matches!(byte, b'h' | b'H' | b'/'))?;
    let label = slice(content, open.saturating_sub(300)..open);
    let bracket = memchr::memrchr(b'[', label).map(|at| open.saturating_sub(300) + at)?;
    let is_image = bracket > 0 && content.get(bracket - 1) == Some(&b'!');
    links::link_at(content, start, is_image)
}

fn html_image(content: &[u8], end: usize) -> Option<Draft> {
    let tag = slice(content, end..end + 400);
    let tag = tag.get(..memchr::memchr(b'>', tag).unwrap_or(tag.len()))?;
    let source = memchr::memmem::find(&tag.to_ascii_lowercase(), b"src")?;
    let rest = tag.get(source + 3..)?;
    let skipped = rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'=' | b'"' | b'\'' | b'\\'))
        .count();
    links::link_at(content, end + source + 3 + skipped, true)
}

/// Text that only a model reads: its own finding, graver when there is something in it.
fn unseen(content: &[u8], sightings: &[Sighting], invisible: hidden::Invisible, found: &mut Vec<Draft>) {
    let mut marked = Vec::new();
    let tags = invisible.finish(content, &mut marked);
    for (span, text) in tags {
        let mut inner = Vec::new();
        read_view(content, &View::of_decoded(&text, &span), &mut inner);
        if inner.iter().any(|draft| draft.confidence >= 0.5) {
            marked.push(Draft::new("hidden_text", span, 0.95));
        }
    }
    for draft in &mut marked {
        let is_within = |other: &Draft| other.confidence >= 0.5 && overlap(&other.span, &draft.span);
        if draft.severity < Severity::High && found.iter().any(is_within) {
            draft.severity = Severity::High;
            draft.confidence = draft.confidence.max(0.85);
        }
    }
    for sighting in sightings {
        let hidden = match sighting.kind {
            Kind::Comment => hidden::comment_at(content, sighting.end - 4),
            Kind::Style => hidden::unseen_element_at(content, sighting.end - 2),
            _ => continue,
        };
        let Some((span, text)) = hidden else { continue };
        let is_finding = found
            .iter()
            .any(|other| other.confidence >= 0.5 && within(&other.span, &span));
        if is_finding {
            marked.push(Draft::new("hidden_text", span, 0.85));
        } else if hidden::gives_order(&text, sighting.kind == Kind::Comment) {
            marked.push(Draft::new("hidden_text", span, 0.65).of(Severity::Medium));
        }
    }
    found.extend(marked);
}

fn overlap(left: &Range<usize>, right: &Range<usize>) -> bool {
    left.start < right.end && right.start < left.end
}

fn within(inner: &Range<usize>, outer: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}
