//! Writing side: straight into one buffer, no intermediate tree.

use std::collections::BTreeMap;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

use super::time::rfc3339;
use crate::messages::{
    Budget, Compensation, ContextHints, DispatchIdentity, IdentityBinding, JobMetadata, JobRequest,
    ResourceRef,
};

pub(super) const PRIORITIES: [&str; 4] = [
    "JOB_PRIORITY_UNSPECIFIED",
    "JOB_PRIORITY_INTERACTIVE",
    "JOB_PRIORITY_BATCH",
    "JOB_PRIORITY_CRITICAL",
];
pub(super) const ACTOR_TYPES: [&str; 3] =
    ["ACTOR_TYPE_UNSPECIFIED", "ACTOR_TYPE_HUMAN", "ACTOR_TYPE_SERVICE"];

/// JSON object writer; `first` tracks whether a comma is due.
pub(super) struct Writer {
    out: Vec<u8>,
    first: bool,
}

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Writer {
            out: Vec::with_capacity(bytes),
            first: true,
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    fn open(&mut self) {
        self.out.push(b'{');
        self.first = true;
    }

    fn close(&mut self) {
        self.out.push(b'}');
        self.first = false;
    }

    fn key(&mut self, name: &'static str) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Writing to a vector cannot fail.
    fn quoted(&mut self, text: &str) {
        let _ = serde_json::to_writer(&mut self.out, text);
    }

    fn text(&mut self, name: &'static str, text: &str) {
        self.key(name);
        self.quoted(text);
    }

    fn int(&mut self, name: &'static str, value: i32) {
        self.key(name);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    fn long(&mut self, name: &'static str, value: impl std::fmt::Display) {
        self.key(name);
        self.out.extend_from_slice(format!("\"{value}\"").as_bytes());
    }

    fn flag(&mut self, name: &'static str, value: bool) {
        self.key(name);
        self.out
            .extend_from_slice(if value { b"true".as_slice() } else { b"false" });
    }

    fn choice(&mut self, name: &'static str, names: &[&str], value: i32) {
        match usize::try_from(value).ok().and_then(|index| names.get(index)) {
            Some(word) => self.text(name, word),
            None => self.int(name, value),
        }
    }

    fn list(&mut self, name: &'static str, values: &[String]) {
        self.key(name);
        self.out.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.quoted(value);
        }
        self.out.push(b']');
    }

    fn map(&mut self, name: &'static str, values: &BTreeMap<String, String>) {
        self.key(name);
        self.out.push(b'{');
        for (index, (key, value)) in values.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.quoted(key);
            self.out.push(b':');
            self.quoted(value);
        }
        self.out.push(b'}');
    }

    fn message<T>(&mut self, name: &'static str, value: Option<&T>, body: fn(&mut Self, &T)) {
        if let Some(value) = value {
            self.key(name);
            self.open();
            body(self, value);
            self.close();
        }
    }

    pub(super) fn job_request(&mut self, request: &JobRequest) {
        self.open();
        self.text("jobId", &request.job_id);
        self.text("topic", &request.topic);
        self.choice("priority", &PRIORITIES, request.priority);
        self.text("contextPtr", &request.context_ptr);
        self.text("adapterId", &request.adapter_id);
        self.map("env", &request.env);
        self.text("parentJobId", &request.parent_job_id);
        self.text("workflowId", &request.workflow_id);
        self.int("stepIndex", request.step_index);
        self.text("memoryId", &request.memory_id);
        self.message(
            "contextHints",
            request.context_hints.as_ref(),
            Self::context_hints,
        );
        self.message("budget", request.budget.as_ref(), Self::budget);
        self.text("tenantId", &request.tenant_id);
        self.text("principalId", &request.principal_id);
        self.map("labels", &request.labels);
        self.message("meta", request.meta.as_ref(), Self::metadata);
        self.message("compensation", request.compensation.as_ref(), Self::compensation);
        self.message("identity", request.identity.as_ref(), Self::identity);
        self.message("dispatch", request.dispatch.as_ref(), Self::dispatch);
        self.message("contextRef", request.context_ref.as_ref(), Self::resource);
        self.close();
    }

    fn compensation(&mut self, inverse: &Compensation) {
        self.text("topic", &inverse.topic);
        self.text("contextPtr", &inverse.context_ptr);
        self.choice("priority", &PRIORITIES, inverse.priority);
        self.text("adapterId", &inverse.adapter_id);
        self.map("env", &inverse.env);
        self.text("memoryId", &inverse.memory_id);
        self.message(
            "contextHints",
            inverse.context_hints.as_ref(),
            Self::context_hints,
        );
        self.message("budget", inverse.budget.as_ref(), Self::budget);
        self.text("tenantId", &inverse.tenant_id);
        self.text("principalId", &inverse.principal_id);
        self.map("labels", &inverse.labels);
        self.message("meta", inverse.meta.as_ref(), Self::metadata);
        self.message("identity", inverse.identity.as_ref(), Self::identity);
        self.message("dispatch", inverse.dispatch.as_ref(), Self::dispatch);
        self.message("contextRef", inverse.context_ref.as_ref(), Self::resource);
    }

    fn context_hints(&mut self, hints: &ContextHints) {
        self.int("maxInputTokens", hints.max_input_tokens);
        self.flag("allowSummarization", hints.allow_summarization);
        self.flag("allowRetrieval", hints.allow_retrieval);
        self.list("tags", &hints.tags);
    }

    fn budget(&mut self, budget: &Budget) {
        self.long("maxInputTokens", budget.max_input_tokens);
        self.long("maxOutputTokens", budget.max_output_tokens);
        self.long("maxTotalTokens", budget.max_total_tokens);
        self.long("deadlineMs", budget.deadline_ms);
    }

    fn metadata(&mut self, meta: &JobMetadata) {
        self.text("tenantId", &meta.tenant_id);
        self.text("actorId", &meta.actor_id);
        self.choice("actorType", &ACTOR_TYPES, meta.actor_type);
        self.text("idempotencyKey", &meta.idempotency_key);
        self.text("capability", &meta.capability);
        self.list("riskTags", &meta.risk_tags);
        self.list("requires", &meta.requires);
        self.text("packId", &meta.pack_id);
        self.map("labels", &meta.labels);
    }

    fn identity(&mut self, identity: &IdentityBinding) {
        self.text("tenantId", &identity.tenant_id);
        self.text("principalId", &identity.principal_id);
        self.text("actorId", &identity.actor_id);
        self.text("delegationId", &identity.delegation_id);
    }

    fn dispatch(&mut self, dispatch: &DispatchIdentity) {
        self.text("dispatchId", &dispatch.dispatch_id);
        self.long("attempt", dispatch.attempt);
        self.text("assignedWorkerId", &dispatch.assigned_worker_id);
    }

    fn resource(&mut self, resource: &ResourceRef) {
        self.text("resolverId", &resource.resolver_id);
        self.text("uri", &resource.uri);
        self.text("sha256", &STANDARD.encode(&resource.sha256));
        self.text("mediaType", &resource.media_type);
        self.long("sizeBytes", resource.size_bytes);
        if let Some(expires_at) = &resource.expires_at {
            self.text("expiresAt", &rfc3339(expires_at));
        }
        self.text("purpose", &resource.purpose);
    }
}
