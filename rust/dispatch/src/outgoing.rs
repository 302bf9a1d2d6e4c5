//! What the scheduler publishes: dispatches, accepted results, dead-letter events.

use cordum_wire::messages::{
    Budget, BusPacket, DispatchIdentity, JobRequest, JobResult, JobStatus, Payload, Timestamp,
};
use prost::Message;
use serde_json::Value;

/// Sender id of everything the scheduler publishes.
pub const SENDER: &str = "cordum-scheduler";
pub const SUBJECT_ACCEPTED: &str = "sys.internal.job.result.accepted";
pub const SUBJECT_DLQ: &str = "sys.job.dlq";

/// One message to publish; `job_id` lets the service tie an outcome to its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub subject: String,
    pub payload: Vec<u8>,
    pub message_id: String,
    pub job_id: String,
}

/// Apply policy constraints (protojson form) to the dispatched copy (scheduler spec §6.2).
pub fn apply_constraints(request: &mut JobRequest, constraints: &Value) {
    request.env.retain(|key, _| !key.starts_with("CORDUM_"));
    if constraints.as_object().is_none_or(serde_json::Map::is_empty) {
        return;
    }
    request
        .env
        .insert("CORDUM_POLICY_CONSTRAINTS".into(), constraints.to_string());
    if let Some(level) = constraints.get("redactionLevel").and_then(Value::as_str) {
        request
            .env
            .insert("CORDUM_REDACTION_LEVEL".into(), level.to_owned());
    }
    let named = [
        ("maxArtifactBytes", "CORDUM_MAX_ARTIFACT_BYTES"),
        ("maxConcurrentJobs", "CORDUM_MAX_CONCURRENT_JOBS"),
        ("maxRetries", "CORDUM_MAX_RETRIES"),
    ];
    for (field, variable) in named {
        let value = budget_of(constraints, field);
        if value > 0 {
            request.env.insert(variable.into(), value.to_string());
        }
    }
    let limit = budget_of(constraints, "maxRuntimeMs");
    if limit > 0 {
        let budget = request.budget.get_or_insert_with(Budget::default);
        budget.deadline_ms = if budget.deadline_ms > 0 {
            budget.deadline_ms.min(limit)
        } else {
            limit
        };
    }
}

/// Tell the worker that its job runs without a policy answer (scheduler spec §22).
pub fn mark_bypass(request: &mut JobRequest, reason: &str) {
    request.labels.insert("safety_bypassed".into(), "true".into());
    request
        .labels
        .insert("safety_bypass_reason".into(), reason.to_owned());
}

/// A budget constraint, 0 when absent; 64-bit values are strings in protojson.
pub fn budget_of(constraints: &Value, field: &str) -> i64 {
    let value = constraints.get("budgets").and_then(|budgets| budgets.get(field));
    value
        .and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()))
        .unwrap_or(0)
}

/// The packet that hands a job to a worker or topic subject.
pub fn dispatch(
    request: JobRequest,
    trace_id: &str,
    identity: DispatchIdentity,
    subject: &str,
    now_us: i64,
) -> Outgoing {
    let job_id = request.job_id.clone();
    let message_id = format!("dispatch:{}", identity.dispatch_id);
    let request = JobRequest {
        dispatch: Some(identity),
        ..request
    };
    let payload = packet(
        if trace_id.is_empty() { &job_id } else { trace_id },
        Payload::JobRequest(request),
        now_us,
    );
    Outgoing {
        subject: subject.to_owned(),
        payload,
        message_id,
        job_id,
    }
}

/// A result published on one of the scheduler's result subjects.
pub fn result(subject: &str, result: JobResult, trace_id: &str, now_us: i64) -> Outgoing {
    let dispatch_id = result
        .dispatch
        .as_ref()
        .map_or("-", |dispatch| dispatch.dispatch_id.as_str());
    // A masked copy that takes the place of an original is news.
    let masked = if result.result_ptr.contains(":redacted:") {
        ":redacted"
    } else {
        ""
    };
    let message_id = format!(
        "{subject}:{}:{}:{dispatch_id}{masked}",
        result.job_id, result.status
    );
    let job_id = result.job_id.clone();
    let payload = packet(
        if trace_id.is_empty() { &job_id } else { trace_id },
        Payload::JobResult(result),
        now_us,
    );
    Outgoing {
        subject: subject.to_owned(),
        payload,
        message_id,
        job_id,
    }
}

/// A message about a job that nobody has to receive.
pub fn told(subject: &str, job_id: &str, payload: Payload, trace_id: &str, now_us: i64) -> Outgoing {
    let trace_id = if trace_id.is_empty() { job_id } else { trace_id };
    Outgoing {
        subject: subject.to_owned(),
        payload: packet(trace_id, payload, now_us),
        message_id: String::new(),
        job_id: job_id.to_owned(),
    }
}

/// A result the scheduler itself gives a job.
pub fn own_result(
    job_id: &str,
    status: JobStatus,
    code: &str,
    message: &str,
    dispatch_id: &str,
) -> JobResult {
    let dispatch = (!dispatch_id.is_empty()).then(|| DispatchIdentity {
        dispatch_id: dispatch_id.to_owned(),
        ..DispatchIdentity::default()
    });
    JobResult {
        job_id: job_id.to_owned(),
        status: status as i32,
        worker_id: SENDER.to_owned(),
        error_code: code.to_owned(),
        error_message: message.to_owned(),
        error_code_enum: error_code_enum(code),
        dispatch,
        ..JobResult::default()
    }
}

/// `error_code` → `error_code_enum` (protocol spec §4.5).
pub fn error_code_enum(code: &str) -> i32 {
    match code {
        "approval_rejected" | "policy_denied" => 300,
        "policy_violation" => 301,
        "max_scheduling_retries" => 201,
        "timeout" => 200,
        "permission_denied" => 202,
        _ => 0,
    }
}

fn packet(trace_id: &str, payload: Payload, now_us: i64) -> Vec<u8> {
    BusPacket {
        trace_id: trace_id.to_owned(),
        sender_id: SENDER.to_owned(),
        created_at: Some(Timestamp::from_micros(now_us)),
        protocol_version: 1,
        payload: Some(payload),
        ..BusPacket::default()
    }
    .encode_to_vec()
}

/// RFC 3339 in UTC with second precision.
pub fn rfc3339(now_us: i64) -> String {
    let seconds = now_us.div_euclid(1_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil date from day number, after H. Hinnant's "chrono-compatible low-level date algorithms".
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_rfc3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_772_357_400_123_456), "2026-03-01T09:30:00Z");
        assert_eq!(rfc3339(951_782_399_000_000), "2000-02-28T23:59:59Z");
    }

    #[test]
    fn a_masked_copy_has_a_message_id_of_its_own() {
        let told = |pointer: &str| {
            let outcome = JobResult {
                result_ptr: pointer.into(),
                ..own_result("j", JobStatus::Succeeded, "", "", "j:1:aa")
            };
            result(SUBJECT_ACCEPTED, outcome, "t", 0).message_id
        };
        let plain = "sys.internal.job.result.accepted:j:5:j:1:aa";
        assert_eq!(told("redis://res:j"), plain);
        assert_eq!(told("redis://res:j:redacted:00ff"), format!("{plain}:redacted"));
    }

    #[test]
    fn codes_have_the_numbers_of_the_protocol_and_others_none() {
        let codes = [
            "approval_rejected",
            "policy_denied",
            "policy_violation",
            "max_scheduling_retries",
        ];
        assert_eq!(codes.map(error_code_enum), [300, 300, 301, 201]);
        let codes = ["timeout", "permission_denied", "safety_denied", "smtp_reject"];
        assert_eq!(codes.map(error_code_enum), [200, 202, 0, 0]);
    }

    #[test]
    fn constraints_lower_the_deadline_and_replace_reserved_variables() {
        let mut request = JobRequest {
            budget: Some(Budget {
                deadline_ms: 900,
                ..Budget::default()
            }),
            ..JobRequest::default()
        };
        request.env.insert("CORDUM_MAX_RETRIES".into(), "99".into());
        apply_constraints(
            &mut request,
            &json!({"budgets": {"maxRuntimeMs": "500", "maxRetries": 2}, "redactionLevel": "high"}),
        );
        assert_eq!(request.budget.map(|budget| budget.deadline_ms), Some(500));
        assert_eq!(
            request.env.get("CORDUM_MAX_RETRIES").map(String::as_str),
            Some("2")
        );
        assert_eq!(
            request.env.get("CORDUM_REDACTION_LEVEL").map(String::as_str),
            Some("high")
        );
    }

    #[test]
    fn a_submitter_cannot_preset_reserved_variables() {
        let mut request = JobRequest::default();
        request
            .env
            .insert("CORDUM_POLICY_CONSTRAINTS".into(), "{}".into());
        apply_constraints(&mut request, &Value::Null);
        assert!(request.env.is_empty());
    }
}
