//! The CAP messages of the hot path (`cordum.agent.v1`, protocol spec §3, §4). Maps are ordered so that encoding is deterministic.

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    /// From microseconds since the epoch.
    pub fn from_micros(us: i64) -> Self {
        Timestamp {
            seconds: us.div_euclid(1_000_000),
            nanos: (us.rem_euclid(1_000_000) * 1000) as i32,
        }
    }

    /// Microseconds since the epoch, saturating.
    pub fn as_micros(&self) -> i64 {
        self.seconds
            .saturating_mul(1_000_000)
            .saturating_add(i64::from(self.nanos) / 1000)
    }
}

/// Job status as reported by workers (protocol spec §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum JobStatus {
    Unspecified = 0,
    Pending = 1,
    Scheduled = 2,
    Dispatched = 3,
    Running = 4,
    Succeeded = 5,
    Failed = 6,
    Cancelled = 7,
    Denied = 8,
    Timeout = 9,
    FailedRetryable = 10,
    FailedFatal = 11,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct SignatureMetadata {
    #[prost(string, tag = "1")]
    pub profile_version: String,
    #[prost(string, tag = "2")]
    pub algorithm: String,
    #[prost(bytes = "vec", tag = "3")]
    pub message_id: Vec<u8>,
    #[prost(string, tag = "4")]
    pub audience: String,
    #[prost(message, optional, tag = "5")]
    pub expires_at: Option<Timestamp>,
    #[prost(string, tag = "6")]
    pub key_id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct IdentityBinding {
    #[prost(string, tag = "1")]
    pub tenant_id: String,
    #[prost(string, tag = "2")]
    pub principal_id: String,
    #[prost(string, tag = "3")]
    pub actor_id: String,
    #[prost(string, tag = "4")]
    pub delegation_id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct DispatchIdentity {
    #[prost(string, tag = "1")]
    pub dispatch_id: String,
    #[prost(uint64, tag = "2")]
    pub attempt: u64,
    #[prost(string, tag = "3")]
    pub assigned_worker_id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ResourceRef {
    #[prost(string, tag = "1")]
    pub resolver_id: String,
    #[prost(string, tag = "2")]
    pub uri: String,
    #[prost(bytes = "vec", tag = "3")]
    pub sha256: Vec<u8>,
    #[prost(string, tag = "4")]
    pub media_type: String,
    #[prost(uint64, tag = "5")]
    pub size_bytes: u64,
    #[prost(message, optional, tag = "6")]
    pub expires_at: Option<Timestamp>,
    #[prost(string, tag = "7")]
    pub purpose: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContextHints {
    #[prost(int32, tag = "1")]
    pub max_input_tokens: i32,
    #[prost(bool, tag = "2")]
    pub allow_summarization: bool,
    #[prost(bool, tag = "3")]
    pub allow_retrieval: bool,
    #[prost(string, repeated, tag = "4")]
    pub tags: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Budget {
    #[prost(int64, tag = "1")]
    pub max_input_tokens: i64,
    #[prost(int64, tag = "2")]
    pub max_output_tokens: i64,
    #[prost(int64, tag = "3")]
    pub max_total_tokens: i64,
    #[prost(int64, tag = "4")]
    pub deadline_ms: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct JobMetadata {
    #[prost(string, tag = "1")]
    pub tenant_id: String,
    #[prost(string, tag = "2")]
    pub actor_id: String,
    #[prost(int32, tag = "3")]
    pub actor_type: i32,
    #[prost(string, tag = "4")]
    pub idempotency_key: String,
    #[prost(string, tag = "5")]
    pub capability: String,
    #[prost(string, repeated, tag = "6")]
    pub risk_tags: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    pub requires: Vec<String>,
    #[prost(string, tag = "8")]
    pub pack_id: String,
    #[prost(btree_map = "string, string", tag = "9")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Compensation {
    #[prost(string, tag = "1")]
    pub topic: String,
    #[prost(string, tag = "2")]
    pub context_ptr: String,
    #[prost(int32, tag = "3")]
    pub priority: i32,
    #[prost(string, tag = "4")]
    pub adapter_id: String,
    #[prost(btree_map = "string, string", tag = "5")]
    pub env: BTreeMap<String, String>,
    #[prost(string, tag = "6")]
    pub memory_id: String,
    #[prost(message, optional, tag = "7")]
    pub context_hints: Option<ContextHints>,
    #[prost(message, optional, tag = "8")]
    pub budget: Option<Budget>,
    #[prost(string, tag = "9")]
    pub tenant_id: String,
    #[prost(string, tag = "10")]
    pub principal_id: String,
    #[prost(btree_map = "string, string", tag = "11")]
    pub labels: BTreeMap<String, String>,
    #[prost(message, optional, tag = "12")]
    pub meta: Option<JobMetadata>,
    #[prost(message, optional, tag = "13")]
    pub identity: Option<IdentityBinding>,
    #[prost(message, optional, tag = "14")]
    pub dispatch: Option<DispatchIdentity>,
    #[prost(message, optional, tag = "15")]
    pub context_ref: Option<ResourceRef>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct JobRequest {
    #[prost(string, tag = "1")]
    pub job_id: String,
    #[prost(string, tag = "2")]
    pub topic: String,
    #[prost(int32, tag = "3")]
    pub priority: i32,
    #[prost(string, tag = "4")]
    pub context_ptr: String,
    #[prost(string, tag = "5")]
    pub adapter_id: String,
    #[prost(btree_map = "string, string", tag = "6")]
    pub env: BTreeMap<String, String>,
    #[prost(string, tag = "7")]
    pub parent_job_id: String,
    #[prost(string, tag = "8")]
    pub workflow_id: String,
    #[prost(int32, tag = "9")]
    pub step_index: i32,
    #[prost(string, tag = "10")]
    pub memory_id: String,
    #[prost(message, optional, tag = "11")]
    pub context_hints: Option<ContextHints>,
    #[prost(message, optional, tag = "12")]
    pub budget: Option<Budget>,
    #[prost(string, tag = "13")]
    pub tenant_id: String,
    #[prost(string, tag = "14")]
    pub principal_id: String,
    #[prost(btree_map = "string, string", tag = "15")]
    pub labels: BTreeMap<String, String>,
    #[prost(message, optional, tag = "16")]
    pub meta: Option<JobMetadata>,
    #[prost(message, optional, tag = "17")]
    pub compensation: Option<Compensation>,
    #[prost(message, optional, tag = "18")]
    pub identity: Option<IdentityBinding>,
    #[prost(message, optional, tag = "19")]
    pub dispatch: Option<DispatchIdentity>,
    #[prost(message, optional, tag = "20")]
    pub context_ref: Option<ResourceRef>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct JobResult {
    #[prost(string, tag = "1")]
    pub job_id: String,
    #[prost(int32, tag = "2")]
    pub status: i32,
    #[prost(string, tag = "3")]
    pub result_ptr: String,
    #[prost(string, tag = "4")]
    pub worker_id: String,
    #[prost(int64, tag = "5")]
    pub execution_ms: i64,
    #[prost(string, tag = "6")]
    pub error_code: String,
    #[prost(string, tag = "7")]
    pub error_message: String,
    #[prost(string, repeated, tag = "8")]
    pub artifact_ptrs: Vec<String>,
    #[prost(int32, tag = "9")]
    pub error_code_enum: i32,
    #[prost(message, optional, tag = "10")]
    pub dispatch: Option<DispatchIdentity>,
    #[prost(message, optional, tag = "11")]
    pub identity: Option<IdentityBinding>,
    #[prost(message, optional, tag = "12")]
    pub result_ref: Option<ResourceRef>,
    #[prost(message, repeated, tag = "13")]
    pub artifact_refs: Vec<ResourceRef>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct JobProgress {
    #[prost(string, tag = "1")]
    pub job_id: String,
    #[prost(string, tag = "2")]
    pub step_id: String,
    #[prost(int32, tag = "3")]
    pub percent: i32,
    #[prost(string, tag = "4")]
    pub message: String,
    #[prost(string, tag = "5")]
    pub result_ptr: String,
    #[prost(string, repeated, tag = "6")]
    pub artifact_ptrs: Vec<String>,
    #[prost(int32, tag = "7")]
    pub status: i32,
    #[prost(message, optional, tag = "8")]
    pub dispatch: Option<DispatchIdentity>,
    #[prost(message, optional, tag = "9")]
    pub identity: Option<IdentityBinding>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct JobCancel {
    #[prost(string, tag = "1")]
    pub job_id: String,
    #[prost(string, tag = "2")]
    pub reason: String,
    #[prost(string, tag = "3")]
    pub requested_by: String,
    #[prost(message, optional, tag = "4")]
    pub dispatch: Option<DispatchIdentity>,
    #[prost(message, optional, tag = "5")]
    pub identity: Option<IdentityBinding>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Heartbeat {
    #[prost(string, tag = "1")]
    pub worker_id: String,
    #[prost(string, tag = "2")]
    pub region: String,
    #[prost(string, tag = "3")]
    pub r#type: String,
    #[prost(float, tag = "4")]
    pub cpu_load: f32,
    #[prost(float, tag = "5")]
    pub gpu_utilization: f32,
    #[prost(int32, tag = "6")]
    pub active_jobs: i32,
    #[prost(string, repeated, tag = "7")]
    pub capabilities: Vec<String>,
    #[prost(string, tag = "11")]
    pub pool: String,
    #[prost(int32, tag = "12")]
    pub max_parallel_jobs: i32,
    #[prost(btree_map = "string, string", tag = "13")]
    pub labels: BTreeMap<String, String>,
    #[prost(float, tag = "14")]
    pub memory_load: f32,
    #[prost(int32, tag = "15")]
    pub progress_pct: i32,
    #[prost(string, tag = "16")]
    pub last_memo: String,
    #[prost(string, tag = "18")]
    pub auth_token: String,
    #[prost(string, tag = "19")]
    pub agent_name: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Handshake {
    #[prost(string, tag = "1")]
    pub component_id: String,
    #[prost(int32, tag = "2")]
    pub role: i32,
    #[prost(int32, repeated, tag = "3")]
    pub supported_versions: Vec<i32>,
    #[prost(btree_map = "string, bool", tag = "4")]
    pub capabilities: BTreeMap<String, bool>,
    #[prost(string, tag = "5")]
    pub sdk_version: String,
    #[prost(string, repeated, tag = "6")]
    pub ready_topics: Vec<String>,
    #[prost(string, tag = "7")]
    pub agent_name: String,
}

/// The payloads the control plane reads or writes on its hot path; others stay opaque (`BusPacket::payload` is `None`).
#[derive(Clone, PartialEq, Oneof)]
#[expect(
    clippy::large_enum_variant,
    reason = "requests are the common case; a box would cost an allocation per packet"
)]
pub enum Payload {
    #[prost(message, tag = "10")]
    JobRequest(JobRequest),
    #[prost(message, tag = "11")]
    JobResult(JobResult),
    #[prost(message, tag = "12")]
    Heartbeat(Heartbeat),
    #[prost(message, tag = "15")]
    JobProgress(JobProgress),
    #[prost(message, tag = "16")]
    JobCancel(JobCancel),
    #[prost(message, tag = "17")]
    Handshake(Handshake),
}

#[derive(Clone, PartialEq, Message)]
pub struct BusPacket {
    #[prost(string, tag = "1")]
    pub trace_id: String,
    #[prost(string, tag = "2")]
    pub sender_id: String,
    #[prost(message, optional, tag = "3")]
    pub created_at: Option<Timestamp>,
    #[prost(int32, tag = "4")]
    pub protocol_version: i32,
    #[prost(message, optional, tag = "5")]
    pub signature_metadata: Option<SignatureMetadata>,
    #[prost(message, optional, tag = "6")]
    pub identity: Option<IdentityBinding>,
    #[prost(oneof = "Payload", tags = "10, 11, 12, 15, 16, 17")]
    pub payload: Option<Payload>,
    #[prost(bytes = "vec", tag = "14")]
    pub signature: Vec<u8>,
    #[prost(string, tag = "18")]
    pub auth_token: String,
}

pub use crate::policy_messages::*;
