//! Result → decision: the walk over the rules (output policy spec §4.3, §4.4).

use std::borrow::Cow;

use cordum_output::{Mask, ScanOptions};

use super::compile::{CompiledOutputRule, OutputPolicy};
use super::document::OutputDecision;
use super::engine::{OverBudget, Spotted};
use super::findings::{report, severity_name, spans, told, Found, OutputFinding, Span};
use super::parts::{parts, Part};
use super::request::OutputRequest;

/// The stored content, or as much of it as is scanned.
#[derive(Clone, Copy, Debug)]
pub struct OutputContent<'a> {
    /// From the start.
    pub head: &'a [u8],
    /// To the end, when something between is left out; else empty.
    pub tail: &'a [u8],
    /// Bytes stored.
    pub size: usize,
}

impl<'a> OutputContent<'a> {
    pub fn whole(bytes: &'a [u8]) -> Self {
        OutputContent {
            head: bytes,
            tail: &[],
            size: bytes.len(),
        }
    }

    pub fn is_truncated(&self) -> bool {
        self.head.len() < self.size
    }
}

/// What was decided about one result.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputOutcome<'p> {
    pub decision: OutputDecision,
    pub reason: Cow<'p, str>,
    /// Empty when no rule matched.
    pub rule_id: &'p str,
    pub findings: Vec<OutputFinding<'p>>,
    /// Of a redaction: everything to be masked.
    pub spans: Vec<Span<'p>>,
}

/// How one rule took part in a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTrace<'p> {
    pub rule_id: &'p str,
    pub is_matched: bool,
    /// The first criterion that did not hold, or `not_reached`.
    pub why: &'static str,
}

impl OutputPolicy {
    /// Decide about one result; `None`: there is no content or it is not to be read.
    pub fn check<'p, 'c>(
        &'p self,
        request: &OutputRequest<'c>,
        content: Option<OutputContent<'c>>,
    ) -> Result<OutputOutcome<'p>, OverBudget> {
        if request.is_failed {
            return self.check_failed(request);
        }
        self.walk(request, content, &mut |_, _| {})
    }

    /// The same, and how each rule took part in it.
    pub fn check_traced<'p, 'c>(
        &'p self,
        request: &OutputRequest<'c>,
        content: Option<OutputContent<'c>>,
    ) -> Result<(OutputOutcome<'p>, Vec<RuleTrace<'p>>), OverBudget> {
        let mut trace: Vec<RuleTrace<'p>> = Vec::new();
        let outcome = self.walk(request, content, &mut |rule, why| {
            trace.push(RuleTrace {
                rule_id: &rule.id,
                is_matched: why.is_none(),
                why: why.unwrap_or(""),
            });
        })?;
        let rest = self.rules.get(trace.len()..).unwrap_or_default();
        trace.extend(rest.iter().map(|rule| RuleTrace {
            rule_id: &rule.id,
            is_matched: false,
            why: "not_reached",
        }));
        Ok((outcome, trace))
    }

    /// Whether a rule that may decide about this result reads its content.
    pub fn reads_content(&self, request: &OutputRequest<'_>, size: i64) -> bool {
        let candidates = self
            .rules
            .iter()
            .filter(|rule| rule.metadata(request, size).is_ok());
        self.is_active() && until_final(candidates).any(|rule| rule.reads_content)
    }

    fn walk<'p, 'c>(
        &'p self,
        request: &OutputRequest<'c>,
        content: Option<OutputContent<'c>>,
        told: &mut dyn FnMut(&'p CompiledOutputRule, Option<&'static str>),
    ) -> Result<OutputOutcome<'p>, OverBudget> {
        if !self.is_active() {
            return Ok(OutputOutcome::allowed(Cow::Borrowed(""), ""));
        }
        let size = match content {
            Some(content) if request.size == 0 => i64::try_from(content.size).unwrap_or(i64::MAX),
            _ => request.size,
        };
        let parts = parts(request, content);
        let hits = self.scan(request, size, &parts)?;
        let mut redaction: Option<Redaction<'p>> = None;
        let mut outcome = None;
        for rule in &self.rules {
            let found = match rule.missed(request, size) {
                Some(missed) => Ok(missed),
                None => self.found(rule, request, size, &parts, &hits)?,
            };
            let found = match found {
                Err(criterion) => {
                    told(rule, Some(criterion));
                    continue;
                }
                Ok(found) => found,
            };
            told(rule, None);
            match rule.decision {
                OutputDecision::Allow => {
                    outcome = Some(OutputOutcome::allowed(Cow::Borrowed(&rule.reason), &rule.id));
                    break;
                }
                OutputDecision::Redact => match rule.unmaskable(&found) {
                    None => redaction.get_or_insert_with(|| Redaction::of(rule)).add(found),
                    withheld => {
                        (outcome, redaction) = (withheld, None);
                        break;
                    }
                },
                OutputDecision::Quarantine | OutputDecision::Deny => {
                    outcome = Some(OutputOutcome::withheld(rule, report(found)));
                    // A redaction remembered before gives way.
                    redaction = None;
                    break;
                }
            }
        }
        let mut outcome = match (redaction, outcome) {
            (Some(redaction), _) => redaction.outcome(),
            (None, Some(outcome)) => outcome,
            (None, None) => OutputOutcome::allowed(Cow::Borrowed(""), ""),
        };
        let cut = content.filter(OutputContent::is_truncated);
        if let Some(content) = cut.or_else(|| request.cut_artifacts().next()) {
            outcome.cut(content);
        }
        Ok(outcome)
    }

    /// One pass with every detector that a rule may ask about.
    fn scan<'p, 'c>(
        &'p self,
        request: &OutputRequest<'_>,
        size: i64,
        parts: &[Part<'c>],
    ) -> Result<Vec<(Spotted<'p>, Part<'c>)>, OverBudget> {
        let candidates = self
            .rules
            .iter()
            .filter(|rule| rule.metadata(request, size).is_ok());
        let (mut mask, mut of_artifacts, mut lowest) = (Mask::new(), Mask::new(), 1.0);
        for rule in until_final(candidates) {
            mask.union_with(&rule.mask);
            if rule.reads_artifacts {
                of_artifacts.union_with(&rule.mask);
            }
            lowest = self.threshold(rule).min(lowest);
        }
        let mut spotted = Vec::new();
        if mask.is_empty() {
            return Ok(spotted);
        }
        let options = ScanOptions {
            // Rounding to 32 bits must not lose what stands exactly on the threshold.
            min_confidence: (lowest - 1e-6) as f32,
            ..ScanOptions::default().for_content(request.topic, request.content_type)
        };
        for part in parts {
            let wanted = if part.is_artifact { &of_artifacts } else { &mask };
            let found = self.detectors.scan(part.bytes, wanted, &options)?;
            spotted.extend(found.into_iter().map(|one| (one, *part)));
        }
        Ok(spotted)
    }

    /// Everything a rule finds when all its criteria hold, else the first that does not; an error: it could not be told.
    pub(super) fn found<'p, 'c>(
        &'p self,
        rule: &'p CompiledOutputRule,
        request: &OutputRequest<'_>,
        size: i64,
        parts: &[Part<'c>],
        spotted: &[(Spotted<'p>, Part<'c>)],
    ) -> Result<Result<Vec<Found<'p, 'c>>, &'static str>, OverBudget> {
        if let Err(criterion) = rule.metadata(request, size) {
            return Ok(Err(criterion));
        }
        let threshold = self.threshold(rule);
        let mut found = Vec::new();
        let parts = rule.seen(parts);
        if !rule.mask.is_empty() {
            rule.scanned(spotted, threshold, &mut found);
            if found.is_empty() {
                return Ok(Err("scanners"));
            }
        }
        let before = found.len();
        if !rule.patterns.is_empty() {
            rule.patterned(parts, threshold, &mut found)?;
            if found.len() == before {
                return Ok(Err("content_patterns"));
            }
        }
        let before = found.len();
        if !rule.keywords.is_empty() {
            rule.keyed(parts, &mut found);
            if found.len() == before {
                return Ok(Err("keywords"));
            }
        }
        Ok(Ok(found))
    }
}

/// Rules up to the first that certainly ends the walk.
pub(super) fn until_final<'p>(
    candidates: impl Iterator<Item = &'p CompiledOutputRule>,
) -> impl Iterator<Item = &'p CompiledOutputRule> {
    let mut is_over = false;
    candidates.take_while(move |rule| {
        let before = is_over;
        is_over = !rule.reads_content && rule.decision != OutputDecision::Redact;
        !before
    })
}

impl CompiledOutputRule {
    /// The texts it looks at: artifacts are the last ones.
    fn seen<'s, 'c>(&self, parts: &'s [Part<'c>]) -> &'s [Part<'c>] {
        let others = parts.iter().take_while(|part| !part.is_artifact).count();
        let end = if self.reads_artifacts { parts.len() } else { others };
        parts.get(..end).unwrap_or_default()
    }

    fn scanned<'p, 'c>(
        &self,
        spotted: &[(Spotted<'p>, Part<'c>)],
        threshold: f64,
        found: &mut Vec<Found<'p, 'c>>,
    ) {
        for (one, part) in spotted {
            let is_sure = f64::from(one.hit.confidence) >= threshold - 1e-6;
            let is_seen = self.reads_artifacts || !part.is_artifact;
            if is_seen && is_sure && one.severity >= self.min_severity && self.mask.contains(one.hit.detector)
            {
                let finding = OutputFinding {
                    kind: &one.detector.kind,
                    severity: severity_name(one.severity),
                    detail: Cow::Borrowed(&one.detector.detail),
                    scanner: &one.detector.scanner,
                    confidence: one.hit.confidence,
                    pattern: &one.detector.id,
                    offset: 0,
                    length: 0,
                };
                found.push(part.found(finding, one.severity, one.hit.offset, one.hit.length));
            }
        }
    }

    fn patterned<'p, 'c>(
        &'p self,
        parts: &[Part<'c>],
        threshold: f64,
        found: &mut Vec<Found<'p, 'c>>,
    ) -> Result<(), OverBudget> {
        if 0.9 < threshold || self.severity < self.min_severity {
            return Ok(());
        }
        for (source, pattern) in &self.patterns {
            let finding = OutputFinding {
                kind: "pattern_match",
                severity: severity_name(self.severity),
                detail: Cow::Borrowed("content matches a pattern of the rule"),
                scanner: "content_pattern",
                confidence: 0.9,
                pattern: told(source),
                offset: 0,
                length: 0,
            };
            for part in parts {
                match pattern {
                    Some(pattern) => {
                        let matches = pattern.matches(part.bytes).ok_or(OverBudget)?;
                        found.extend(
                            matches
                                .into_iter()
                                .map(|hit| part.found(finding.clone(), self.severity, hit.start, hit.len())),
                        );
                    }
                    // It was built when the document was read; should that ever fail, the rule must not be lost.
                    None => found.push(part.found(finding.clone(), self.severity, 0, part.bytes.len())),
                }
            }
        }
        Ok(())
    }

    fn keyed<'p, 'c>(&'p self, parts: &[Part<'c>], found: &mut Vec<Found<'p, 'c>>) {
        if self.severity < self.min_severity {
            return;
        }
        let finding = |keyword: &'p str| OutputFinding {
            kind: "keyword_match",
            severity: severity_name(self.severity),
            detail: Cow::Borrowed("content has a keyword of the rule"),
            scanner: "keyword",
            confidence: 1.0,
            pattern: keyword,
            offset: 0,
            length: 0,
        };
        for part in parts {
            match &self.automaton {
                Some(automaton) => {
                    found.extend(automaton.find_overlapping_iter(part.bytes).filter_map(|hit| {
                        let keyword = self.keywords.get(hit.pattern().as_usize())?;
                        Some(part.found(
                            finding(keyword),
                            self.severity,
                            hit.start(),
                            hit.end() - hit.start(),
                        ))
                    }))
                }
                None => found.push(part.found(finding(""), self.severity, 0, part.bytes.len())),
            }
        }
    }
}

/// The redact rules met so far.
struct Redaction<'p> {
    rule: &'p CompiledOutputRule,
    findings: Vec<OutputFinding<'p>>,
    spans: Vec<Span<'p>>,
}

impl<'p> Redaction<'p> {
    fn of(rule: &'p CompiledOutputRule) -> Self {
        Redaction {
            rule,
            findings: Vec::new(),
            spans: Vec::new(),
        }
    }

    fn add(&mut self, found: Vec<Found<'p, '_>>) {
        self.spans.extend(spans(&found));
        self.findings.extend(report(found));
    }

    fn outcome(mut self) -> OutputOutcome<'p> {
        self.spans.sort();
        self.spans.dedup();
        OutputOutcome {
            decision: OutputDecision::Redact,
            reason: reason(
                &self.rule.reason,
                &self.findings,
                "output requires redaction by policy",
            ),
            rule_id: &self.rule.id,
            findings: self.findings,
            spans: self.spans,
        }
    }
}

pub(super) fn reason<'p>(
    own: &'p str,
    findings: &[OutputFinding<'p>],
    otherwise: &'static str,
) -> Cow<'p, str> {
    match findings.first() {
        _ if !own.is_empty() => Cow::Borrowed(own),
        Some(finding) => finding.detail.clone(),
        None => Cow::Borrowed(otherwise),
    }
}

impl<'p> OutputOutcome<'p> {
    pub(crate) fn allowed(why: Cow<'p, str>, rule_id: &'p str) -> Self {
        OutputOutcome {
            decision: OutputDecision::Allow,
            reason: if why.is_empty() {
                Cow::Borrowed("output allowed by policy")
            } else {
                why
            },
            rule_id,
            findings: Vec::new(),
            spans: Vec::new(),
        }
    }

    pub(super) fn withheld(rule: &'p CompiledOutputRule, findings: Vec<OutputFinding<'p>>) -> Self {
        OutputOutcome {
            decision: rule.decision,
            reason: reason(&rule.reason, &findings, "output quarantined by policy"),
            rule_id: &rule.id,
            findings,
            spans: Vec::new(),
        }
    }

    /// Say that the scan stopped early; a copy that covers the whole cannot be made then (output policy spec §6, §7).
    fn cut(&mut self, content: OutputContent<'_>) {
        let scanned = content.head.len() + content.tail.len();
        self.findings.push(OutputFinding {
            kind: "content_truncated",
            severity: "info",
            detail: Cow::Owned(format!(
                "content exceeded scan limit ({scanned} bytes), truncated"
            )),
            scanner: "size_check",
            confidence: 1.0,
            pattern: "",
            offset: 0,
            length: 0,
        });
        if self.decision == OutputDecision::Redact {
            self.decision = OutputDecision::Quarantine;
            self.reason = Cow::Borrowed("output larger than scan limit");
            self.spans.clear();
        }
    }
}
