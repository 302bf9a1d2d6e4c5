//! Entries of a job's decision list (scheduler spec §3.4).

use serde::Serialize;
use serde_json::Value;

/// Where a held job's question stands; empty members are left out.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Approval<'a> {
    pub approval_status: &'a str,
    pub actionability: &'a str,
    pub approval_revision: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub approval_decision: &'a str,
}

/// One decision entry.
#[derive(Debug, Serialize)]
pub struct Decision<'a> {
    pub decision: &'a str,
    pub reason: &'a str,
    pub rule_id: &'a str,
    pub policy_snapshot: &'a str,
    pub constraints: &'a Value,
    pub remediations: &'a Value,
    pub approval_required: bool,
    pub approval_ref: &'a str,
    pub job_hash: &'a str,
    pub checked_at: i64,
    /// State of the question a human has to answer, or has answered.
    #[serde(flatten)]
    pub approval: Option<Approval<'a>>,
    /// `missing` when the payload was gone, else empty.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub content: &'a str,
}

impl Decision<'_> {
    /// Whether the fields of the record say all of it: most jobs are allowed, once, and need no list.
    pub fn is_plain(&self) -> bool {
        self.decision == "ALLOW"
            && self.constraints.is_null()
            && self.remediations.is_null()
            && !self.approval_required
            && self.approval_ref.is_empty()
            && self.approval.is_none()
            && self.content.is_empty()
    }

    /// Whether another decision says the same.
    pub fn repeats(&self, other: &Decision<'_>) -> bool {
        (self.decision, self.rule_id, self.policy_snapshot, self.reason)
            == (other.decision, other.rule_id, other.policy_snapshot, other.reason)
    }

    /// JSON text of the entry.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
