//! Output policy messages: `cordum.v1.OutputCheckRequest` and its answer (output policy spec §10).

use std::collections::BTreeMap;

use prost::{Enumeration, Message};

/// Decision about a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum OutputDecision {
    Allow = 0,
    Quarantine = 1,
    Redact = 2,
}

#[derive(Clone, PartialEq, Message)]
pub struct OutputCheckRequest {
    #[prost(string, tag = "1")]
    pub job_id: String,
    #[prost(string, tag = "2")]
    pub topic: String,
    #[prost(string, tag = "3")]
    pub tenant: String,
    #[prost(btree_map = "string, string", tag = "4")]
    pub labels: BTreeMap<String, String>,
    #[prost(string, tag = "5")]
    pub result_ptr: String,
    #[prost(string, repeated, tag = "6")]
    pub artifact_ptrs: Vec<String>,
    #[prost(string, tag = "7")]
    pub error_message: String,
    #[prost(string, tag = "8")]
    pub error_code: String,
    #[prost(string, tag = "9")]
    pub worker_id: String,
    #[prost(int64, tag = "10")]
    pub execution_ms: i64,
    #[prost(int64, tag = "11")]
    pub output_size_bytes: i64,
    #[prost(string, tag = "12")]
    pub content_hash: String,
    #[prost(string, tag = "13")]
    pub workflow_id: String,
    #[prost(string, tag = "14")]
    pub step_id: String,
    #[prost(bytes = "vec", tag = "15")]
    pub output_content: Vec<u8>,
    #[prost(string, repeated, tag = "16")]
    pub capabilities: Vec<String>,
    #[prost(string, repeated, tag = "17")]
    pub risk_tags: Vec<String>,
    #[prost(string, tag = "18")]
    pub principal_id: String,
    #[prost(string, tag = "19")]
    pub pack_id: String,
    #[prost(string, tag = "20")]
    pub content_type: String,
    #[prost(btree_map = "string, string", tag = "21")]
    pub original_labels: BTreeMap<String, String>,
    /// The job failed: only its error text is looked at.
    #[prost(bool, tag = "100")]
    pub failed: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct OutputFinding {
    #[prost(string, tag = "1")]
    pub r#type: String,
    #[prost(string, tag = "2")]
    pub severity: String,
    #[prost(string, tag = "3")]
    pub detail: String,
    #[prost(int64, tag = "4")]
    pub offset: i64,
    #[prost(int64, tag = "5")]
    pub length: i64,
    #[prost(string, tag = "6")]
    pub scanner: String,
    #[prost(float, tag = "7")]
    pub confidence: f32,
    #[prost(string, tag = "8")]
    pub matched_pattern: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RedactionSpan {
    #[prost(int64, tag = "1")]
    pub offset: i64,
    #[prost(int64, tag = "2")]
    pub length: i64,
    #[prost(string, tag = "3")]
    pub detector: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct OutputCheckResponse {
    #[prost(int32, tag = "1")]
    pub decision: i32,
    #[prost(string, tag = "2")]
    pub reason: String,
    #[prost(string, tag = "3")]
    pub rule_id: String,
    #[prost(string, tag = "4")]
    pub policy_snapshot: String,
    #[prost(message, repeated, tag = "5")]
    pub findings: Vec<OutputFinding>,
    #[prost(string, tag = "6")]
    pub redacted_ptr: String,
    #[prost(message, repeated, tag = "100")]
    pub redaction_spans: Vec<RedactionSpan>,
}
