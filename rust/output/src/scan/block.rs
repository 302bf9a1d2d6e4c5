//! One block of content under scan: what is looked for, what was found, how much work is left.

use std::ops::Range;

use crate::catalogue::definition;
use crate::definition::{Definition, Group, Severity, Verdict};
use crate::engine::ScanOptions;
use crate::hit::Hit;
use crate::mask::{DetectorId, Mask};
use crate::operator::Customs;
use crate::scan::columns::{name_of, Table};
use crate::scan::context::{has_context, has_word, CONTEXT_BONUS};

/// Confirmation work allowed per byte of content, in bytes looked at, and on top of it. About 50 ms per MiB and 20 ms.
const WORK_PER_BYTE: u64 = 160;
const WORK_BASE: u64 = 16 << 20;

/// Budget of one scan. Counted, not timed, so that a scan ends at the same place on every machine.
#[derive(Debug)]
pub(crate) struct Work(u64);

impl Work {
    pub fn for_content(length: usize) -> Work {
        Work(
            (length as u64)
                .saturating_mul(WORK_PER_BYTE)
                .saturating_add(WORK_BASE),
        )
    }

    /// Takes so much from the budget.
    #[inline]
    pub fn spend(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(bytes as u64);
    }

    pub fn is_over(&self) -> bool {
        self.0 == 0
    }
}

/// What a form says of its hits before context.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    pub base: f32,
    pub needs_context: bool,
    /// `None`: that of the detector.
    pub severity: Option<Severity>,
}

impl Weight {
    pub fn of(base: f32) -> Weight {
        Weight {
            base,
            needs_context: false,
            severity: None,
        }
    }
}

/// A scan of one range of a content.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    pub content: &'a [u8],
    /// Where triggers may begin; confirmation may look at the rest.
    pub range: Range<usize>,
    pub mask: &'a Mask,
    pub options: &'a ScanOptions,
    pub customs: &'a Customs,
    pub hits: Vec<Hit>,
    /// Regions whose escapes hide structure, to be opened when the block is done.
    pub escaped: Vec<Range<usize>>,
    /// Runs that begin like encoded text.
    pub encoded: Vec<Range<usize>>,
    pub work: Work,
    /// No `://` that an `@` could belong to stands before this place.
    pub no_scheme_before: usize,
    /// Behind the last `@` of the authority read last.
    pub authority_end: usize,
    /// The table whose columns were read last.
    table: Option<Table>,
    /// Where the value stands whose column was read last, and what heads that.
    column: Option<(usize, Option<&'a [u8]>)>,
    /// End of the value assigned last: names inside of it are part of it.
    pub value_end: usize,
}

impl<'a> Block<'a> {
    pub fn new(
        content: &'a [u8],
        range: Range<usize>,
        mask: &'a Mask,
        options: &'a ScanOptions,
        customs: &'a Customs,
    ) -> Block<'a> {
        let work = Work::for_content(range.len());
        Block {
            content,
            range,
            mask,
            options,
            customs,
            hits: Vec::new(),
            escaped: Vec::new(),
            encoded: Vec::new(),
            work,
            no_scheme_before: 0,
            authority_end: 0,
            table: None,
            column: None,
            value_end: 0,
        }
    }

    pub fn wants(&self, group: Group) -> bool {
        self.mask
            .iter()
            .any(|id| definition(id).is_some_and(|definition| definition.group == group))
    }

    /// The built-in detector, if it is looked for.
    #[inline]
    pub fn wanted(&self, id: DetectorId) -> Option<(DetectorId, &'static Definition)> {
        if self.mask.contains(id) {
            Some((id, definition(id)?))
        } else {
            None
        }
    }

    /// Reports a span of a detector that a parser found, with the confidence of the detector or another.
    pub fn report(&mut self, id: DetectorId, span: Range<usize>, verdict: Verdict) {
        if let Some((id, definition)) = self.wanted(id) {
            let base = definition.confidence;
            self.push(id, definition, span, verdict, Weight::of(base));
        }
    }

    /// Whether what is found is called by its name nearby, or at the head of its column.
    fn is_named(&mut self, definition: &Definition, span: &Range<usize>) -> bool {
        let words = definition.context;
        has_context(self.content, span.start, span.end, words)
            || definition.group == Group::Pii
                && !words.is_empty()
                && self.column(span.start).is_some_and(|name| has_word(name, words))
    }

    /// Whether a value that is accepted would not be reported, for want of context.
    pub fn lacks_context(&mut self, definition: &Definition, span: &Range<usize>, weight: Weight) -> bool {
        weight.needs_context && weight.base < self.options.min_confidence && !self.is_named(definition, span)
    }

    /// What heads the column that a value stands in. Many detectors ask for the same value.
    fn column(&mut self, start: usize) -> Option<&'a [u8]> {
        if let Some((_, name)) = self.column.filter(|(known, _)| *known == start) {
            return name;
        }
        let name = name_of(self.content, start, &mut self.table);
        self.column = Some((start, name));
        name
    }

    /// Adds what context says and keeps the hit if it is likely enough.
    pub fn push(
        &mut self,
        id: DetectorId,
        definition: &Definition,
        span: Range<usize>,
        verdict: Verdict,
        weight: Weight,
    ) {
        let Weight {
            base,
            needs_context,
            severity,
        } = weight;
        let (mut confidence, span) = match verdict {
            Verdict::Reject => return,
            Verdict::Accept => (base, span),
            Verdict::Score(confidence) => (confidence, span),
            Verdict::At(start, end) => (base, start..end),
        };
        // Beyond the threshold context changes nothing that anybody reads, so it is looked at only where it decides.
        let is_open = needs_context || confidence < self.options.min_confidence;
        if is_open && self.is_named(definition, &span) {
            confidence = (confidence + CONTEXT_BONUS).min(1.0);
        }
        if confidence >= self.options.min_confidence
            && span.start < span.end
            && span.end <= self.content.len()
        {
            self.hits.push(Hit {
                detector: id,
                severity: severity.unwrap_or(definition.severity),
                confidence,
                offset: span.start,
                length: span.len(),
            });
        }
    }
}
