//! The error text of a job that failed: the job stays what it is, what rules find in the text is masked (output policy spec §2.6).

use std::cmp::Reverse;

use cordum_output::{Mask, ScanOptions};

use super::compile::{CompiledOutputRule, OutputPolicy};
use super::document::OutputDecision;
use super::engine::OverBudget;
use super::evaluate::{reason, OutputOutcome};
use super::findings::{report, spans, OutputFinding, Span};
use super::parts::Part;
use super::request::OutputRequest;

/// What a span of a rule that finds no place is called.
const WHOLE_TEXT: &str = "error_text";

impl OutputPolicy {
    /// Whether error texts of failed jobs are checked: a rule asks for errors.
    pub fn checks_errors(&self) -> bool {
        self.is_active() && self.rules.iter().any(CompiledOutputRule::asks_for_errors)
    }

    /// Decide about the error text. Every rule that matches masks what it finds, until one allows; spans are places in the text.
    pub(super) fn check_failed<'p>(
        &'p self,
        request: &OutputRequest<'_>,
    ) -> Result<OutputOutcome<'p>, OverBudget> {
        if !self.checks_errors() {
            return Ok(OutputOutcome::allowed("".into(), ""));
        }
        let text = request.error_message.as_bytes();
        let size = i64::try_from(text.len()).unwrap_or(i64::MAX);
        let parts = [Part {
            bytes: text,
            base: 0,
            is_content: true,
            is_artifact: false,
        }];
        let (mut mask, mut lowest) = (Mask::new(), 1.0);
        for rule in &self.rules {
            if rule.metadata(request, size).is_ok() {
                mask.union_with(&rule.mask);
                lowest = self.threshold(rule).min(lowest);
            }
        }
        let options = ScanOptions {
            min_confidence: (lowest - 1e-6) as f32,
            ..ScanOptions::default().for_content(request.topic, "")
        };
        let hits = self.detectors.scan(text, &mask, &options)?;
        let hits: Vec<_> = hits
            .into_iter()
            .flat_map(|hit| parts.map(|part| (hit, part)))
            .collect();
        let mut masked: Vec<(&CompiledOutputRule, Vec<OutputFinding<'p>>)> = Vec::new();
        let mut places: Vec<Span<'p>> = Vec::new();
        for rule in &self.rules {
            let Ok(found) = self.found(rule, request, size, &parts, &hits)? else {
                continue;
            };
            if rule.decision == OutputDecision::Allow {
                if masked.is_empty() {
                    return Ok(OutputOutcome::allowed(rule.reason.as_str().into(), &rule.id));
                }
                break;
            }
            let own = spans(&found);
            if own.is_empty() {
                places.push(Span {
                    offset: 0,
                    length: text.len(),
                    detector: WHOLE_TEXT,
                });
            }
            places.extend(own);
            masked.push((rule, report(found)));
        }
        // The strictest decides, the first of them.
        masked.sort_by_key(|(rule, _)| Reverse(rule.decision != OutputDecision::Redact));
        let Some((rule, findings)) = masked.first() else {
            return Ok(OutputOutcome::allowed("".into(), ""));
        };
        let (decision, rule_id) = (rule.decision, rule.id.as_str());
        let reason = reason(&rule.reason, findings, "error text masked by policy");
        places.sort();
        places.dedup();
        Ok(OutputOutcome {
            decision,
            reason,
            rule_id,
            findings: masked.into_iter().flat_map(|(_, findings)| findings).collect(),
            spans: places,
        })
    }
}
