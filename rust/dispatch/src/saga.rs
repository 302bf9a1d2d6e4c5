//! The record of a job that undoes another one (scheduler spec §14).

use cordum_wire::messages::{JobRequest, JobStatus};
use cordum_wire::{DeadLetter, Transition};

use crate::commit::{creation_of, status_name};
use crate::outgoing;
use cordum_wire::stored::{event, Context};

/// Sender id of compensations.
pub const SENDER: &str = "cordum-scheduler-saga";
/// Reason code of a compensation that may not run.
pub const DENIED: &str = "saga_compensation_denied";

/// Why a compensation is recorded without ever running.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    pub reason: &'a str,
}

/// Transition that creates the record: PENDING, or with a refusal DENIED and dead-lettered.
pub fn creation(
    request: &JobRequest,
    trace_id: &str,
    refusal: Option<&Refusal<'_>>,
    now_us: i64,
) -> Transition {
    let mut change = creation_of(request, trace_id, now_us);
    let Some(Refusal { reason }) = refusal else {
        return change;
    };
    change.to = "DENIED";
    change.deadline = None;
    change.set.remove("deadline_unix");
    change.set.insert("failure_reason", (*reason).to_owned());
    change.after = Some(vec!["result", "dlq"]);
    change.dlq = Some(DeadLetter {
        status: status_name(JobStatus::FailedFatal),
        reason: (*reason).to_owned(),
        reason_code: DENIED.to_owned(),
        created_at: outgoing::rfc3339(now_us),
    });
    let context = Context {
        reason,
        error_code: DENIED,
        ..Context::default()
    };
    change.events = vec![event(&change.id, now_us, "DENIED", &context)];
    change
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn request() -> JobRequest {
        JobRequest {
            job_id: "comp-1".into(),
            topic: "job.undo".into(),
            ..JobRequest::default()
        }
    }

    #[test]
    fn a_compensation_starts_pending() {
        let change = creation(&request(), "t", None, 5);
        assert_eq!((change.to, change.from.as_slice()), ("PENDING", &[""][..]));
        assert!(change.dlq.is_none());
        assert_eq!(change.set.get("trace_id").map(String::as_str), Some("t"));
    }

    #[test]
    fn a_refused_compensation_is_a_dead_letter_from_the_start() {
        let refusal = Refusal { reason: "no" };
        let change = creation(&request(), "t", Some(&refusal), 5);
        assert_eq!(change.to, "DENIED");
        let letter = change.dlq.unwrap();
        assert_eq!(letter.status, "JOB_STATUS_FAILED_FATAL");
        assert_eq!(
            (letter.reason_code.as_str(), letter.reason.as_str()),
            (DENIED, "no")
        );
        assert_eq!(change.after, Some(vec!["result", "dlq"]));
        assert_eq!(change.events.len(), 1);
    }
}
