//! Safety service messages: `cordum.agent.v1` (protocol spec §4.10) and the batch form (§20.5).

use std::collections::BTreeMap;

use prost::{Enumeration, Message};

use crate::messages::{Budget, IdentityBinding, JobMetadata, ResourceRef};

/// Decision of the safety kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum DecisionType {
    Unspecified = 0,
    Allow = 1,
    Deny = 2,
    RequireHuman = 3,
    Throttle = 4,
    AllowWithConstraints = 5,
    Quarantine = 6,
    Redact = 7,
}

#[derive(Clone, PartialEq, Message)]
pub struct PolicyCheckRequest {
    #[prost(string, tag = "1")]
    pub job_id: String,
    #[prost(string, tag = "2")]
    pub topic: String,
    #[prost(string, tag = "3")]
    pub tenant: String,
    #[prost(int32, tag = "4")]
    pub priority: i32,
    #[prost(double, tag = "5")]
    pub estimated_cost: f64,
    #[prost(message, optional, tag = "6")]
    pub budget: Option<Budget>,
    #[prost(string, tag = "7")]
    pub principal_id: String,
    #[prost(btree_map = "string, string", tag = "8")]
    pub labels: BTreeMap<String, String>,
    #[prost(string, tag = "9")]
    pub memory_id: String,
    #[prost(bytes = "vec", tag = "10")]
    pub effective_config: Vec<u8>,
    #[prost(message, optional, tag = "11")]
    pub meta: Option<JobMetadata>,
    #[prost(message, optional, tag = "12")]
    pub identity: Option<IdentityBinding>,
    #[prost(message, optional, tag = "13")]
    pub input_ref: Option<ResourceRef>,
    #[prost(bytes = "vec", tag = "20")]
    pub input_content: Vec<u8>,
    #[prost(string, tag = "21")]
    pub input_content_type: String,
    #[prost(int64, tag = "22")]
    pub input_size_bytes: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct BudgetConstraints {
    #[prost(int64, tag = "1")]
    pub max_runtime_ms: i64,
    #[prost(int32, tag = "2")]
    pub max_retries: i32,
    #[prost(int64, tag = "3")]
    pub max_artifact_bytes: i64,
    #[prost(int32, tag = "4")]
    pub max_concurrent_jobs: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct SandboxProfile {
    #[prost(bool, tag = "1")]
    pub isolated: bool,
    #[prost(string, repeated, tag = "2")]
    pub network_allowlist: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub fs_read_only: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub fs_read_write: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ToolchainConstraints {
    #[prost(string, repeated, tag = "1")]
    pub allowed_tools: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub allowed_commands: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct DiffConstraints {
    #[prost(int32, tag = "1")]
    pub max_files: i32,
    #[prost(int32, tag = "2")]
    pub max_lines: i32,
    #[prost(string, repeated, tag = "3")]
    pub deny_path_globs: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PolicyConstraints {
    #[prost(message, optional, tag = "1")]
    pub budgets: Option<BudgetConstraints>,
    #[prost(message, optional, tag = "2")]
    pub sandbox: Option<SandboxProfile>,
    #[prost(message, optional, tag = "3")]
    pub toolchain: Option<ToolchainConstraints>,
    #[prost(message, optional, tag = "4")]
    pub diff: Option<DiffConstraints>,
    #[prost(string, tag = "5")]
    pub redaction_level: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PolicyRemediation {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub title: String,
    #[prost(string, tag = "3")]
    pub summary: String,
    #[prost(string, tag = "4")]
    pub replacement_topic: String,
    #[prost(string, tag = "5")]
    pub replacement_capability: String,
    #[prost(btree_map = "string, string", tag = "6")]
    pub add_labels: BTreeMap<String, String>,
    #[prost(string, repeated, tag = "7")]
    pub remove_labels: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PolicyCheckResponse {
    #[prost(int32, tag = "1")]
    pub decision: i32,
    #[prost(string, tag = "2")]
    pub reason: String,
    #[prost(string, tag = "3")]
    pub redacted_context_ptr: String,
    #[prost(string, tag = "4")]
    pub policy_snapshot: String,
    #[prost(string, tag = "5")]
    pub rule_id: String,
    #[prost(message, optional, tag = "6")]
    pub constraints: Option<PolicyConstraints>,
    #[prost(bool, tag = "7")]
    pub approval_required: bool,
    #[prost(string, tag = "8")]
    pub approval_ref: String,
    #[prost(message, repeated, tag = "9")]
    pub remediations: Vec<PolicyRemediation>,
    #[prost(message, optional, tag = "10")]
    pub redacted_context_ref: Option<ResourceRef>,
    #[prost(message, optional, tag = "11")]
    pub identity: Option<IdentityBinding>,
}

/// `cordum.v1.BatchRequest` (protocol spec §20.5).
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BatchRequest {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub requests: Vec<Vec<u8>>,
}

/// `cordum.v1.BatchItem`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BatchItem {
    #[prost(bytes = "vec", tag = "1")]
    pub response: Vec<u8>,
    #[prost(int32, tag = "2")]
    pub code: i32,
    #[prost(string, tag = "3")]
    pub error: String,
    #[prost(int64, tag = "4")]
    pub eval_us: i64,
}

/// `cordum.v1.BatchResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BatchResponse {
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<BatchItem>,
    #[prost(string, tag = "2")]
    pub policy_snapshot: String,
}
