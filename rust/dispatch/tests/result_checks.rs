//! Results whose output or error text is checked: fences, masks, contents nobody can read (scheduler spec §11).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use cordum_dispatch::outputs::OutputRow;
use cordum_dispatch::results::ResultPlan;
use cordum_wire::messages::{BatchItem, BatchRequest, BatchResponse, JobRequest, JobResult};
use cordum_wire::output_messages::{OutputCheckRequest, OutputCheckResponse, RedactionSpan};
use prost::Message;
use serde_json::Value;
use support::*;

#[test]
fn a_result_left_unchecked_is_fenced_by_the_record_that_was_read() {
    let row = |fields: &[(&str, &str)]| OutputRow {
        record: Some(record(fields)),
        request: Some(JobRequest {
            topic: "job.a".into(),
            ..JobRequest::default()
        }),
        ..OutputRow::default()
    };
    let stranger = [
        ("state", "SCHEDULED"),
        ("rev", "4"),
        ("dispatch_subject", "worker.x"),
        ("worker_id", "x"),
    ];
    let rows = [
        (row(&stranger), Some(4), "SUCCEEDED"),
        (OutputRow::default(), Some(0), "SUCCEEDED"),
        (
            row(&[("state", "RUNNING"), ("rev", "4"), ("worker_id", "w")]),
            Some(4),
            "RUNNING",
        ),
    ];
    for (row, rev, to) in rows {
        let message = reported(result(5));
        let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
        plan.supply_outputs(vec![row]);
        let change = unpack(&plan.commits(NOW)[0].1);
        assert_eq!((change["rev"].as_i64(), change["to"].as_str()), (rev, Some(to)));
    }
    assert!(result_change(result(5)).unwrap().get("rev").is_none());
}

/// The change of a failed result after a kernel answered about its error text, or did not.
fn failed_with(text: &str, answer: Option<OutputCheckResponse>, passes: bool) -> Value {
    let message = reported(JobResult {
        error_message: text.into(),
        ..result(6)
    });
    let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
    assert_eq!(plan.output_reads(), [("j".to_owned(), String::new())]);
    plan.supply_outputs(vec![OutputRow {
        request: Some(JobRequest::default()),
        ..OutputRow::default()
    }]);
    let batches = plan.output_batches();
    let asked = BatchRequest::decode(batches[0].1.as_slice()).unwrap();
    let asked = OutputCheckRequest::decode(asked.requests[0].as_slice()).unwrap();
    assert!(asked.failed && asked.output_content.is_empty() && asked.error_message == text);
    let item = answer.map(|answer| BatchItem {
        response: answer.encode_to_vec(),
        ..BatchItem::default()
    });
    let batch = item.map(|item| {
        let items = vec![item];
        BatchResponse {
            items,
            ..BatchResponse::default()
        }
        .encode_to_vec()
    });
    plan.output_answers(&[(1, batch.as_deref())], "away");
    plan.make_copies(|content, spans| {
        let (start, length) = spans[0];
        let mut copy = content.to_vec();
        copy.splice(start..start + length, *b"***");
        Some(copy)
    });
    assert!(plan.copies().is_empty());
    if passes {
        plan.pass_errors();
    }
    unpack(&plan.commits(NOW)[0].1)
}

#[test]
fn the_error_text_of_a_failed_job_is_masked_and_its_job_stays_failed() {
    for (decision, word) in [(1, "QUARANTINE"), (2, "REDACT")] {
        let answer = OutputCheckResponse {
            decision,
            policy_snapshot: "s".into(),
            redaction_spans: vec![RedactionSpan {
                offset: 2,
                length: 3,
                ..RedactionSpan::default()
            }],
            ..OutputCheckResponse::default()
        };
        let change = failed_with("a key", Some(answer), false);
        let told = [
            &change["to"],
            &change["set"]["failure_reason"],
            &change["dlq"]["reason"],
        ];
        assert_eq!(told, ["FAILED", "a ***", "a ***"]);
        let record: Value = serde_json::from_str(change["output"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&record["decision"], &record["phase"]),
            (&word.into(), &"sync".into())
        );
        assert!(record.get("original_ptr").is_none());
    }
    let allowed = OutputCheckResponse {
        policy_snapshot: "s".into(),
        ..OutputCheckResponse::default()
    };
    let change = failed_with("a key", Some(allowed), false);
    assert_eq!(change["set"]["failure_reason"], "a key");
    assert!(change.get("output").is_none());
}

#[test]
fn an_error_text_nobody_could_check_is_masked_as_a_whole() {
    let change = failed_with("a key", None, false);
    assert_eq!(
        change["set"]["failure_reason"],
        "[REDACTED] (the error text could not be checked)"
    );
    assert_eq!(failed_with("a key", None, true)["set"]["failure_reason"], "a key");
}

#[test]
fn a_content_that_no_scan_can_finish_is_not_kept_waiting() {
    let withheld = |code: i32, is_open: bool| {
        let message = reported(result(5));
        let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
        plan.supply_outputs(vec![OutputRow {
            record: Some(record(&[("state", "RUNNING"), ("rev", "4"), ("worker_id", "w")])),
            request: Some(JobRequest::default()),
            ..OutputRow::default()
        }]);
        let items = vec![BatchItem {
            code,
            error: "no".into(),
            ..BatchItem::default()
        }];
        let answer = BatchResponse {
            items,
            ..BatchResponse::default()
        };
        plan.output_answers(&[(1, Some(&answer.encode_to_vec()))], "");
        if is_open {
            plan.fail_open(&plan.unanswered());
        }
        unpack(&plan.commits(NOW)[0].1)
    };
    assert_eq!(withheld(2, false)["to"], "RUNNING");
    for (code, reason, kind) in [
        (
            8,
            "output check error — fail-closed: scan budget exceeded",
            "scan_budget_exceeded",
        ),
        (
            13,
            "output check panic — fail-closed: the scan broke in the safety kernel",
            "",
        ),
    ] {
        let change = withheld(code, false);
        assert_eq!(
            (&change["to"], &change["set"]["failure_reason"]),
            (&"OUTPUT_QUARANTINED".into(), &reason.into())
        );
        let output: Value = serde_json::from_str(change["output"].as_str().unwrap()).unwrap();
        assert_eq!(output["findings"][0]["type"].as_str().unwrap_or(""), kind);
    }
    assert_eq!(withheld(8, true)["to"], "SUCCEEDED");
    assert_eq!(withheld(13, true)["to"], "OUTPUT_QUARANTINED");
}

#[test]
fn a_kernel_that_cannot_read_content_is_not_well() {
    for (code, is_well) in [(0, true), (9, true), (4, false), (14, false)] {
        let message = reported(result(5));
        let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
        plan.supply_outputs(vec![OutputRow {
            record: Some(record(&[("state", "RUNNING"), ("rev", "4"), ("worker_id", "w")])),
            request: Some(JobRequest {
                topic: "job.a".into(),
                ..JobRequest::default()
            }),
            ..OutputRow::default()
        }]);
        assert_eq!(plan.output_topics(), [("job.a".to_owned(), 1)]);
        let answer = BatchResponse {
            items: vec![BatchItem {
                code,
                ..BatchItem::default()
            }],
            ..BatchResponse::default()
        };
        let bytes = answer.encode_to_vec();
        assert_eq!(plan.output_answers(&[(1, Some(&bytes))], ""), is_well, "{code}");
    }
}
