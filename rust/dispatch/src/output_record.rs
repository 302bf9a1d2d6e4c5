//! The stored record of an output check (scheduler spec §3.4, output policy spec §12).

use cordum_wire::output_messages::{OutputCheckResponse, OutputFinding};
use serde::Serialize;

/// What was decided about a result, as kept with its job. Empty members are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OutputRecord {
    /// Upper case.
    pub decision: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy_snapshot: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingRecord>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub redacted_ptr: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub original_ptr: String,
    /// µs since the epoch.
    #[serde(skip_serializing_if = "is_zero")]
    pub checked_at: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub check_duration_ms: i64,
    /// `sync` or `async`.
    pub phase: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FindingRecord {
    #[serde(rename = "type")]
    pub kind: String,
    pub severity: String,
    pub detail: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scanner: String,
    #[serde(skip_serializing_if = "no_confidence")]
    pub confidence: f64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub matched_pattern: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub offset: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub length: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn no_confidence(number: &f64) -> bool {
    *number <= 0.0
}

impl FindingRecord {
    pub fn of(finding: &OutputFinding) -> FindingRecord {
        FindingRecord {
            kind: finding.r#type.trim().to_owned(),
            severity: finding.severity.trim().to_owned(),
            detail: finding.detail.trim().to_owned(),
            scanner: finding.scanner.trim().to_owned(),
            // Four digits: a 32-bit number in 64 bits shows digits nobody wrote.
            confidence: (f64::from(finding.confidence) * 1e4).round() / 1e4,
            matched_pattern: finding.matched_pattern.trim().to_owned(),
            offset: finding.offset,
            length: finding.length,
        }
    }
}

impl OutputRecord {
    /// The kernel's word as a record; decision, pointers, times and phase are the caller's.
    pub fn of(response: &OutputCheckResponse) -> OutputRecord {
        OutputRecord {
            reason: response.reason.trim().to_owned(),
            rule_id: response.rule_id.trim().to_owned(),
            policy_snapshot: response.policy_snapshot.trim().to_owned(),
            findings: response.findings.iter().map(FindingRecord::of).collect(),
            ..OutputRecord::default()
        }
    }

    /// JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
