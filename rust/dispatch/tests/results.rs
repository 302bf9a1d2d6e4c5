//! Results: the change each asks for and what follows from its commit (scheduler spec §9, §10, §14).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use cordum_dispatch::outputs::OutputRow;
use cordum_dispatch::reply::Reply;
use cordum_dispatch::results::ResultPlan;
use cordum_dispatch::submit::Verdict;
use cordum_dispatch::workers::WorkerTable;
use cordum_wire::messages::{
    BatchItem, BatchRequest, BatchResponse, BusPacket, DispatchIdentity, JobRequest, JobResult, Payload,
};
use cordum_wire::output_messages::{OutputCheckRequest, OutputCheckResponse, RedactionSpan};
use prost::Message;
use serde_json::Value;
use support::*;

fn result(status: i32) -> JobResult {
    JobResult {
        job_id: "j".into(),
        status,
        worker_id: "w".into(),
        ..JobResult::default()
    }
}

fn result_change(result: JobResult) -> Option<Value> {
    let message = reported(result);
    let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
    plan.commits(NOW).first().map(|(_, packed)| unpack(packed))
}

#[test]
fn results_map_to_states() {
    let cases = [
        (5, "SUCCEEDED"),
        (6, "FAILED"),
        (7, "CANCELLED"),
        (8, "FAILED"),
        (9, "TIMEOUT"),
        (11, "FAILED"),
        (99, "FAILED"),
    ];
    for (status, state) in cases {
        assert_eq!(result_change(result(status)).unwrap()["to"], state, "{status}");
    }
    for ignored in [1, 2, 3] {
        assert!(result_change(result(ignored)).is_none(), "{ignored}");
    }
}

#[test]
fn a_result_cannot_end_a_job_that_was_never_dispatched() {
    let from = &result_change(result(5)).unwrap()["from"];
    assert!(!from
        .as_array()
        .unwrap()
        .iter()
        .any(|state| state == "PENDING" || state == "APPROVAL_REQUIRED"));
}

#[test]
fn an_echoed_dispatch_is_the_fence_and_else_the_worker() {
    let mut echoed = result(5);
    echoed.dispatch = Some(DispatchIdentity {
        dispatch_id: "j:1:aa".into(),
        ..Default::default()
    });
    assert_eq!(result_change(echoed).unwrap()["dispatch_id"], "j:1:aa");
    assert_eq!(result_change(result(5)).unwrap()["worker_id"], "w");
}

/// Where results are checked, one that seemed to end nothing must not succeed unchecked because its job moved meanwhile.
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
    assert_eq!(plan.output_reads(), [("j".to_owned(), false)]);
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

#[test]
fn a_foreign_pointer_is_not_stored() {
    let mut foreign = result(5);
    foreign.result_ptr = "redis://res:other".into();
    assert!(result_change(foreign).unwrap()["set"].get("result_ptr").is_none());
}

#[test]
fn a_retryable_failure_retries_within_the_budget_and_then_fails() {
    for (attempts, to) in [("1", "RETRYING"), ("2", "FAILED")] {
        let message = reported(result(10));
        let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
        assert_eq!(plan.reads(), ["j"]);
        plan.supply(vec![Some(record(&[
            ("attempts", attempts),
            ("rev", "5"),
            ("topic", "job.a"),
            ("state", "RUNNING"),
        ]))]);
        let change = unpack(&plan.commits(NOW)[0].1);
        assert_eq!(
            (change["to"].as_str(), change["rev"].as_i64()),
            (Some(to), Some(5)),
            "{attempts}"
        );
    }
}

#[test]
fn control_plane_senders_on_the_result_subject_are_not_results() {
    let message = packet(
        Payload::JobResult(JobResult {
            worker_id: "api-gateway".into(),
            ..result(7)
        }),
        "api-gateway",
    );
    let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
    assert!(plan.commits(NOW).is_empty());
    assert_eq!(plan.verdicts, [Verdict::Ack]);
}

#[test]
fn a_committed_result_is_published_as_accepted_with_the_real_worker() {
    let message = reported(result(5));
    let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
    plan.commits(NOW);
    let moved = Reply::Moved {
        state: "SUCCEEDED".into(),
        rev: 3,
        attempts: 1,
        topic: "job.a".into(),
        tenant: "acme".into(),
        created_at: NOW,
        worker_id: "w".into(),
        pool: "p".into(),
        saga: String::new(),
    };
    let applied = plan.apply(&[moved], &mut WorkerTable::default(), NOW);
    let packet = BusPacket::decode(applied.events[0].payload.as_slice()).unwrap();
    assert_eq!(
        (packet.sender_id.as_str(), applied.events[0].subject.as_str()),
        ("cordum-scheduler", "sys.internal.job.result.accepted")
    );
    assert!(matches!(packet.payload, Some(Payload::JobResult(result)) if result.worker_id == "w"));
    assert_eq!(
        applied.tenants,
        [("acme".to_owned(), "j".to_owned(), false, false)]
    );
}

fn retried(fields: &[(&str, &str)], limit: Option<i64>) -> Option<Value> {
    let message = reported(result(10));
    let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
    plan.supply(vec![Some(record(fields))]);
    let asked = plan.retry_scopes().len();
    plan.supply_retry_limits(vec![limit; asked]);
    plan.commits(NOW).first().map(|(_, packed)| unpack(packed))
}

#[test]
fn the_retry_budget_is_policys_then_the_topics_then_the_configurations_then_three() {
    let policy = r#"{"budgets": {"maxRetries": "2"}}"#;
    let cases = [
        (policy, "job.a", Some(9), 2),
        ("", "job.a", Some(9), 1),
        ("", "job.two", Some(9), 9),
        ("", "job.two", Some(0), 0),
        ("", "job.two", None, 3),
    ];
    for (constraints, topic, configured, budget) in cases {
        for (attempts, state) in [(budget, "RETRYING"), (budget + 1, "FAILED")] {
            let attempts = attempts.to_string();
            let fields = [
                ("state", "DISPATCHED"),
                ("rev", "4"),
                ("topic", topic),
                ("attempts", attempts.as_str()),
                ("safety_constraints", constraints),
            ];
            assert_eq!(
                retried(&fields, configured).unwrap()["to"],
                state,
                "{topic} {attempts}"
            );
        }
    }
}

#[test]
fn attempts_nobody_could_have_are_not_charged() {
    let fields = [
        ("state", "DISPATCHED"),
        ("topic", "job.a"),
        ("attempts", "3"),
        ("rollbacks", "2"),
    ];
    assert_eq!(retried(&fields, None).unwrap()["to"], "RETRYING");
}

#[test]
fn a_workflows_job_waits_for_its_engine_and_a_compensation_does_not() {
    let owned = [
        ("state", "RUNNING"),
        ("run_id", "r"),
        ("attempts", "9"),
        ("topic", "job.a"),
    ];
    let change = retried(&owned, None).unwrap();
    assert_eq!(change["to"], "RETRYING");
    assert_eq!(change["due"], NOW + 900_000_000);
    assert!(change.get("retry").is_none());
    let undoing = [
        ("state", "RUNNING"),
        ("run_id", "r"),
        ("attempts", "1"),
        ("saga", "x"),
    ];
    assert!(retried(&undoing, None).unwrap().get("retry").is_some());
}

#[test]
fn a_retryable_failure_of_nothing_or_said_twice_is_only_counted() {
    for (state, word) in [
        ("", "unknown"),
        ("RETRYING", "duplicate"),
        ("SUCCEEDED", "duplicate"),
    ] {
        let message = reported(result(10));
        let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
        plan.supply(vec![(!state.is_empty()).then(|| record(&[("state", state)]))]);
        assert!(plan.commits(NOW).is_empty());
        assert_eq!(plan.ignored, [word], "{state}");
    }
}

#[test]
fn a_move_the_table_forbids_is_counted_with_both_states_and_acknowledged() {
    let message = reported(result(5));
    let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
    plan.commits(NOW);
    let refused = Reply::Conflict {
        why: "state".into(),
        state: "CANCELLED".into(),
    };
    let applied = plan.apply(&[refused], &mut WorkerTable::default(), NOW);
    assert_eq!(
        applied.counts,
        [
            ("ignored", "state".to_owned()),
            ("invalid", "CANCELLED>SUCCEEDED".to_owned())
        ]
    );
    assert_eq!(plan.verdicts, [Verdict::Ack]);
}

#[test]
fn a_running_report_starts_the_time_out_of_its_topic() {
    let message = reported(result(4));
    let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
    assert_eq!(plan.reads(), ["j"]);
    plan.supply(vec![Some(record(&[("state", "DISPATCHED"), ("topic", "job.a")]))]);
    let change = unpack(&plan.commits(NOW)[0].1);
    assert_eq!(
        (change["to"].as_str(), change["worker_id"].as_str()),
        (Some("RUNNING"), Some("w"))
    );
    assert_eq!(change["due"], NOW + 7_000_000);
}

#[test]
fn saga_duties_follow_the_outcome_and_the_records_part() {
    let cases = [
        (5, "c", true),
        (5, "m", false),
        (5, "x", false),
        (11, "m", true),
        (11, "x", false),
        (6, "c", false),
    ];
    for (status, part, has_duty) in cases {
        let message = reported(result(status));
        let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
        plan.commits(NOW);
        let moved = Reply::Moved {
            state: "X".into(),
            rev: 3,
            attempts: 1,
            topic: "job.a".into(),
            tenant: "acme".into(),
            created_at: NOW,
            worker_id: "w".into(),
            pool: "p".into(),
            saga: part.into(),
        };
        let applied = plan.apply(&[moved], &mut WorkerTable::default(), NOW);
        assert_eq!(applied.sagas.len(), usize::from(has_duty), "{status} {part}");
        assert_eq!(applied.duties.len(), usize::from(!has_duty), "{status} {part}");
        let failed = applied
            .counts
            .iter()
            .any(|(name, _)| *name == "saga_compensation_failed");
        assert_eq!(failed, status != 5 && part == "x", "{status} {part}");
    }
}

#[test]
fn a_dead_letter_event_is_the_schedulers_own() {
    let mut failed = result(8);
    failed.error_code = "permission_denied".into();
    let message = reported(failed);
    let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
    plan.commits(NOW);
    let moved = Reply::parse(&[cordum_dispatch::reply::Value::Text("moved".into())]);
    let applied = plan.apply(&[moved], &mut WorkerTable::default(), NOW);
    let packet = BusPacket::decode(applied.events[0].payload.as_slice()).unwrap();
    assert_eq!(applied.events[0].subject, "sys.job.dlq");
    let Some(Payload::JobResult(letter)) = packet.payload else {
        panic!("no result");
    };
    assert_eq!(
        (letter.worker_id.as_str(), letter.status, letter.error_code_enum),
        ("cordum-scheduler", 8, 202)
    );
}

#[test]
fn an_outcome_in_one_batch_with_the_report_of_running_is_not_lost() {
    for (statuses, to, naks) in [
        (vec![4, 5], "SUCCEEDED", vec![]),
        (vec![5, 4], "SUCCEEDED", vec![]),
        (vec![5, 5], "SUCCEEDED", vec![]),
        (vec![10, 5], "", vec![1]),
    ] {
        let messages: Vec<Vec<u8>> = statuses.iter().map(|status| reported(result(*status))).collect();
        let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let mut plan = ResultPlan::new(surroundings(), &slices, 1);
        let changes = plan.commits(NOW);
        if !to.is_empty() {
            assert_eq!(unpack(&changes[0].1)["to"], to, "{statuses:?}");
        }
        let waiting: Vec<usize> = (0..statuses.len())
            .filter(|at| matches!(plan.verdicts[*at], Verdict::Nak(_)))
            .collect();
        assert_eq!(waiting, naks, "{statuses:?}");
    }
}
