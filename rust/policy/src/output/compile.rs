//! Output rules of the merged documents, ready to be asked.

use aho_corasick::AhoCorasick;
use cordum_output::{Mask, Pattern, DEFAULT_MIN_CONFIDENCE};

use crate::document::{Scope, Severity};
use crate::glob::Glob;

use super::document::{FailMode, OutputDecision, OutputRule};
use super::engine::Detectors;
use super::request::OutputRequest;

/// What the merged documents say about outputs.
#[derive(Debug)]
pub struct OutputPolicy {
    pub(crate) is_enabled: bool,
    pub(crate) fail_mode: Option<FailMode>,
    pub(crate) rules: Vec<CompiledOutputRule>,
    pub(crate) detectors: Detectors,
    min_confidence: Option<f64>,
    default_confidence: f64,
}

/// The merged output part of all sources.
#[derive(Debug, Default)]
pub(crate) struct MergedOutput {
    pub is_enabled: bool,
    pub fail_mode: Option<FailMode>,
    pub min_confidence: Option<f64>,
    pub rules: Vec<OutputRule>,
    pub detectors: Detectors,
}

/// A rule and everything it compares with in the form that is compared.
#[derive(Debug)]
pub(crate) struct CompiledOutputRule {
    pub id: String,
    pub severity: Severity,
    pub reason: String,
    pub decision: OutputDecision,
    scope: Scope,
    tenants: Vec<String>,
    topics: Vec<Glob>,
    capabilities: Vec<String>,
    risk_tags: Vec<String>,
    content_types: Vec<String>,
    has_error: Option<bool>,
    size_limit: i64,
    pub reads_content: bool,
    /// Its content criteria look at artifacts too.
    pub reads_artifacts: bool,
    pub patterns: Vec<(String, Option<Pattern>)>,
    pub keywords: Vec<String>,
    pub automaton: Option<AhoCorasick>,
    pub mask: Mask,
    min_confidence: Option<f64>,
    pub min_severity: Severity,
}

impl OutputPolicy {
    pub(crate) fn build(merged: MergedOutput) -> OutputPolicy {
        let detectors = merged.detectors;
        let enabled = merged.rules.into_iter().filter(|rule| rule.enabled);
        OutputPolicy {
            is_enabled: merged.is_enabled,
            fail_mode: merged.fail_mode,
            rules: enabled
                .map(|rule| CompiledOutputRule::new(rule, &detectors))
                .collect(),
            detectors,
            min_confidence: merged.min_confidence,
            default_confidence: f64::from(DEFAULT_MIN_CONFIDENCE),
        }
    }

    /// Whether results are checked at all (output policy spec §2.1).
    pub fn is_active(&self) -> bool {
        self.is_enabled && !self.rules.is_empty()
    }

    /// What happens without an answer, as the documents wish it.
    pub fn fail_mode(&self) -> Option<FailMode> {
        self.fail_mode
    }

    /// Findings below are ignored where neither the documents nor the rule say otherwise.
    pub(crate) fn with_default_confidence(self, default_confidence: f64) -> OutputPolicy {
        OutputPolicy {
            default_confidence,
            ..self
        }
    }

    /// The confidence below which a rule ignores what is found (output policy spec §16.6).
    pub(crate) fn threshold(&self, rule: &CompiledOutputRule) -> f64 {
        let stated = rule.min_confidence.or(self.min_confidence);
        stated.unwrap_or(self.default_confidence)
    }

    /// Enabled rules.
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }
}

fn folded(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| text.trim().to_lowercase()).collect()
}

/// A media type without its parameters.
pub(crate) fn media_type(text: &str) -> String {
    text.split(';').next().unwrap_or("").trim().to_lowercase()
}

fn has_any(wanted: &[String], given: impl IntoIterator<Item = impl AsRef<str>>) -> bool {
    let mut given = given.into_iter();
    wanted.is_empty() || given.any(|text| wanted.contains(&text.as_ref().trim().to_lowercase()))
}

impl CompiledOutputRule {
    fn new(rule: OutputRule, detectors: &Detectors) -> CompiledOutputRule {
        let matching = rule.matching;
        let pattern = |text: String| {
            let built = Pattern::new(&text);
            (text, built.ok())
        };
        CompiledOutputRule {
            reads_content: matching.reads_content(),
            reads_artifacts: matching.artifacts && matching.reads_content(),
            id: rule.id,
            severity: rule.severity,
            reason: rule.reason,
            decision: rule.decision,
            scope: rule.scope,
            tenants: folded(&matching.tenants),
            topics: matching
                .topics
                .iter()
                .filter_map(|pattern| Glob::new(pattern))
                .collect(),
            capabilities: folded(&matching.capabilities),
            risk_tags: folded(&matching.risk_tags),
            content_types: matching
                .content_types
                .iter()
                .map(|text| media_type(text))
                .collect(),
            has_error: matching.has_error,
            size_limit: matching.size_limit,
            automaton: automaton(&matching.keywords),
            mask: detectors.mask(&matching.scanners),
            keywords: matching.keywords,
            min_confidence: matching.min_confidence,
            min_severity: matching.min_severity.unwrap_or(Severity::Low),
            patterns: matching.patterns.into_iter().map(pattern).collect(),
        }
    }

    /// Whether it is meant for results with an error.
    pub fn asks_for_errors(&self) -> bool {
        self.has_error == Some(true)
    }

    /// Whether everything but the content fits; the name of the first criterion that does not.
    pub fn metadata(&self, request: &OutputRequest<'_>, size: i64) -> Result<(), &'static str> {
        let is_of_scope = match &self.scope {
            Scope::Global => true,
            Scope::Workflow(id) => request.workflow_id == id,
            Scope::Job(id) => request.job_id == id,
        };
        let topic = request.topic.trim();
        let is_topic = self.topics.is_empty()
            || (!topic.is_empty() && self.topics.iter().any(|pattern| pattern.matches(topic)));
        let content_type = media_type(request.content_type);
        let has_error = !request.error_message.is_empty() || !request.error_code.is_empty();
        let criteria = [
            (is_of_scope, "selector"),
            (has_any(&self.tenants, [request.tenant]), "tenants"),
            (is_topic, "topics"),
            (has_any(&self.capabilities, &request.capabilities), "capabilities"),
            (has_any(&self.risk_tags, &request.risk_tags), "risk_tags"),
            (has_any(&self.content_types, [content_type]), "content_types"),
            (
                self.has_error.is_none_or(|wanted| wanted == has_error),
                "has_error",
            ),
            (self.size_limit == 0 || size > self.size_limit, "output_size_gt"),
        ];
        match criteria.iter().find(|(holds, _)| !holds) {
            Some((_, name)) => Err(name),
            None => Ok(()),
        }
    }
}

fn automaton(keywords: &[String]) -> Option<AhoCorasick> {
    if keywords.is_empty() {
        return None;
    }
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(keywords)
        .ok()
}
