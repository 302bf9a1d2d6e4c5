//! Entries of a job's event and decision lists (scheduler spec §3.3, §3.4).

use serde::Serialize;
use serde_json::Value;

/// Context of one transition; empty members are left out.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Context<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub rule: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'a str,
    /// Of the policy, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_ms: Option<f64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub worker_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub pool: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub strategy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub error_code: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub error_msg: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub result_ptr: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// Of the output check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<usize>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub scanner: &'a str,
}

#[derive(Serialize)]
struct Event<'a> {
    ts: i64,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<Context<'a>>,
}

/// One event entry.
pub fn event(ts: i64, state: &str, ctx: Option<Context<'_>>) -> String {
    serde_json::to_string(&Event { ts, state, ctx }).unwrap_or_default()
}

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
    /// JSON text of the entry.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
