//! The output part of a document as written (output policy spec §4).

use crate::document::{Scope, Severity};

/// What a matching rule does; the order is the strictness order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputDecision {
    Allow,
    Redact,
    Quarantine,
    Deny,
}

impl OutputDecision {
    /// Names a document may use.
    pub const NAMES: &'static [&'static str] = &["allow", "deny", "quarantine", "redact"];

    /// The decision of a name, trimmed and of any case.
    pub fn named(name: &str) -> Option<OutputDecision> {
        match name.trim().to_lowercase().as_str() {
            "allow" => Some(OutputDecision::Allow),
            "redact" => Some(OutputDecision::Redact),
            "quarantine" => Some(OutputDecision::Quarantine),
            "deny" => Some(OutputDecision::Deny),
            _ => None,
        }
    }

    /// Name in records and HTTP; denying has no word of its own (output policy spec §3).
    pub fn name(self) -> &'static str {
        match self {
            OutputDecision::Allow => "ALLOW",
            OutputDecision::Redact => "REDACT",
            OutputDecision::Quarantine | OutputDecision::Deny => "QUARANTINE",
        }
    }

    /// Number on the wire.
    pub fn wire(self) -> u8 {
        match self {
            OutputDecision::Allow => 0,
            OutputDecision::Quarantine | OutputDecision::Deny => 1,
            OutputDecision::Redact => 2,
        }
    }

    /// Whether the result is withheld.
    pub fn withholds(self) -> bool {
        matches!(self, OutputDecision::Quarantine | OutputDecision::Deny)
    }
}

/// What happens to results that could not be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailMode {
    Open,
    Closed,
}

impl FailMode {
    pub fn name(self) -> &'static str {
        match self {
            FailMode::Open => "open",
            FailMode::Closed => "closed",
        }
    }
}

/// `output_policy` of one document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputSettings {
    /// A present block without the key says false.
    pub enabled: bool,
    pub fail_mode: Option<FailMode>,
    pub min_confidence: Option<f64>,
}

/// One of `output_rules`.
#[derive(Clone, Debug)]
pub struct OutputRule {
    pub id: String,
    /// Where it stands in its document, as `output_rules[3]`.
    pub path: String,
    pub scope: Scope,
    pub enabled: bool,
    pub severity: Severity,
    pub reason: String,
    pub decision: OutputDecision,
    pub matching: OutputMatch,
}

/// `match` of an output rule (output policy spec §4.3).
#[derive(Clone, Debug, Default)]
pub struct OutputMatch {
    pub tenants: Vec<String>,
    pub topics: Vec<String>,
    pub capabilities: Vec<String>,
    pub risk_tags: Vec<String>,
    pub content_types: Vec<String>,
    pub has_error: Option<bool>,
    /// Bytes; the larger of the two size keys, 0 = no size rule.
    pub size_limit: i64,
    pub patterns: Vec<String>,
    /// Without blank entries.
    pub keywords: Vec<String>,
    /// Names of `scanners` and `detectors`, trimmed and lower-case, each once, without the names that do nothing.
    pub scanners: Vec<String>,
    pub min_confidence: Option<f64>,
    pub min_severity: Option<Severity>,
    /// Content criteria look at the artifacts of the result too.
    pub artifacts: bool,
}

impl OutputMatch {
    /// Whether every result matches.
    pub fn is_unconditional(&self) -> bool {
        let lists = [
            &self.tenants,
            &self.topics,
            &self.capabilities,
            &self.risk_tags,
            &self.content_types,
        ];
        lists.iter().all(|list| list.is_empty())
            && self.has_error.is_none()
            && self.size_limit == 0
            && !self.reads_content()
    }

    /// Whether some criterion is about the content.
    pub fn reads_content(&self) -> bool {
        !self.patterns.is_empty() || !self.keywords.is_empty() || !self.scanners.is_empty()
    }
}
