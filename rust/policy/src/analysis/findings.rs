//! What an analysis says, as JSON.

use serde_json::{json, Value as Json};

use crate::analysis::limits::MAX_LISTED;
use crate::analysis::model::Verdict;
use crate::analysis::witness::Witness;
use crate::rule::CompiledRule;

/// Findings and open questions.
#[derive(Debug, Default)]
pub struct Report {
    pub(crate) findings: Vec<Json>,
    pub(crate) undecided: Vec<Json>,
    /// Findings and questions beyond the number listed.
    pub(crate) omitted: usize,
}

/// How much a finding matters: `error` cannot be meant, `warning` is probably not, `info` may well be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Error,
    Warning,
    Info,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// One finding before it is written down.
pub(crate) struct Finding<'a> {
    pub kind: &'static str,
    pub severity: Severity,
    pub rule: Json,
    pub by: Vec<Json>,
    /// How it was proved.
    pub proof: &'static str,
    pub message: String,
    pub witness: Option<(&'a Witness, &'a Verdict)>,
}

/// A rule as findings name it.
pub(crate) fn rule_json(rule: &CompiledRule) -> Json {
    json!({"id": rule.id, "path": rule.path, "decision": rule.decision.name()})
}

/// A rule in a sentence.
pub(crate) fn named(rule: &CompiledRule) -> String {
    if rule.id.is_empty() {
        format!("`{}`", rule.path)
    } else {
        format!("`{}` ({})", rule.id, rule.path)
    }
}

impl Report {
    pub(crate) fn add(&mut self, finding: Finding<'_>) {
        if self.findings.len() == MAX_LISTED {
            self.omitted += 1;
            return;
        }
        let witness = finding
            .witness
            .map(|(witness, verdict)| json!({"request": witness.to_json(), "verdict": verdict.to_json()}));
        self.findings.push(json!({
            "kind": finding.kind,
            "severity": finding.severity.name(),
            "rule": finding.rule,
            "by": finding.by,
            "proof": finding.proof,
            "message": finding.message,
            "witness": witness,
        }));
    }

    pub(crate) fn leave_open(&mut self, question: &'static str, rule: Json, reason: &str) {
        if self.undecided.len() == MAX_LISTED {
            self.omitted += 1;
            return;
        }
        self.undecided
            .push(json!({"question": question, "rule": rule, "reason": reason}));
    }

    /// The findings, the worst first, otherwise in the order of the rules.
    pub fn to_json(&self, snapshot: &str, rules: usize, input_rules: usize) -> Json {
        let rank = |finding: &Json| match finding.get("severity").and_then(Json::as_str) {
            Some("error") => 0,
            Some("warning") => 1,
            _ => 2,
        };
        let mut findings = self.findings.clone();
        findings.sort_by_key(rank);
        json!({
            "snapshot": snapshot,
            "rules": rules,
            "input_rules": input_rules,
            "findings": findings,
            "undecided": self.undecided,
            "omitted": self.omitted,
        })
    }
}
