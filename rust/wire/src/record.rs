//! The request part of a job record (scheduler spec §3.1), the same for every creator.

use std::collections::BTreeMap;

use crate::messages::JobRequest;
use crate::request::{canonical_hash, tenant_of};
use crate::transition::Transition;

/// Field of the W3C trace headers a job came with: `traceparent`, then `tracestate` on a line of its own if there is one.
pub const TRACE_CONTEXT: &str = "trace_context";

/// Write the request group of fields into `change.set`.
pub fn put_request_fields(change: &mut Transition, request: &JobRequest, trace_id: &str) {
    let empty = Default::default();
    let meta = request.meta.as_ref().unwrap_or(&empty);
    change.set_if("topic", &request.topic);
    change.set_if("tenant", record_tenant(request));
    change.set_if("team", request.env.get("team_id").map_or("", String::as_str));
    change.set_if("principal", &request.principal_id);
    change.set_if("memory_id", &request.memory_id);
    // Most traces are named after their first job: readers take the id of a record that names none.
    if trace_id != request.job_id {
        change.set_if("trace_id", trace_id);
    }
    change.set_if("labels", &labels_json(request));
    // Readers take the principal for the actor of a record that names none.
    if meta.actor_id != request.principal_id {
        change.set_if("actor_id", &meta.actor_id);
    }
    change.set_if(
        "actor_type",
        match meta.actor_type {
            1 => "human",
            2 => "service",
            _ => "",
        },
    );
    change.set_if("idempotency_key", &meta.idempotency_key);
    change.set_if("capability", &meta.capability);
    change.set_if("risk_tags", &list_json(&meta.risk_tags));
    change.set_if("requires", &list_json(&meta.requires));
    change.set_if("pack_id", &meta.pack_id);
    change.set_if("workflow_id", &request.workflow_id);
    change.set_if("run_id", request.labels.get("run_id").map_or("", String::as_str));
    let step = request
        .labels
        .get("step_id")
        .or_else(|| request.env.get("step_id"));
    change.set_if("step_id", step.map_or("", String::as_str));
    change.set_if("saga", crate::saga::role(request).word());
    change.set.insert("req_hash", canonical_hash(request));
}

/// Tenant of a record: `meta.tenant_id`, else `tenant_id`, else `env.tenant_id`, else `default`.
pub fn record_tenant(request: &JobRequest) -> &str {
    match request.meta.as_ref() {
        Some(meta) if !meta.tenant_id.is_empty() => &meta.tenant_id,
        _ => tenant_of(request),
    }
}

fn labels_json(request: &JobRequest) -> String {
    let mut labels: BTreeMap<&str, &str> = request
        .labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    if let Some(meta) = &request.meta {
        labels.extend(
            meta.labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
    }
    if labels.is_empty() {
        return String::new();
    }
    serde_json::to_string(&labels).unwrap_or_default()
}

fn list_json(values: &[String]) -> String {
    if values.is_empty() {
        return String::new();
    }
    serde_json::to_string(values).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflows_job_names_its_run_and_step() {
        let mut request = JobRequest {
            job_id: "j".into(),
            workflow_id: "w".into(),
            ..JobRequest::default()
        };
        request.env.insert("step_id".into(), "from env".into());
        let step = |request: &JobRequest| {
            let mut change = Transition::default();
            put_request_fields(&mut change, request, "j");
            change.set.get("step_id").cloned()
        };
        assert_eq!(step(&request).as_deref(), Some("from env"));
        request.labels.insert("step_id".into(), "s".into());
        assert_eq!(step(&request).as_deref(), Some("s"));
        request.env.clear();
        request.labels.clear();
        assert_eq!(step(&request), None);
    }
}
