//! Results: the change each asks for and what follows from its commit (scheduler spec §9, §10, §14).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use cordum_dispatch::reply::Reply;
use cordum_dispatch::results::ResultPlan;
use cordum_dispatch::submit::Verdict;
use cordum_dispatch::workers::WorkerTable;
use cordum_wire::messages::{BusPacket, DispatchIdentity, JobResult, Payload};
use prost::Message;
use serde_json::Value;
use support::*;

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

/// Only SCHEDULED has an edge to DENIED among the states a result may end (scheduler spec §2.2).
#[test]
fn a_worker_that_denies_is_believed_where_the_table_allows_it() {
    for (state, to, from) in [
        ("SCHEDULED", "DENIED", vec!["SCHEDULED"]),
        (
            "DISPATCHED",
            "FAILED",
            vec!["DISPATCHED", "RUNNING", "SCHEDULED", "RETRYING"],
        ),
        (
            "RETRYING",
            "FAILED",
            vec!["DISPATCHED", "RUNNING", "SCHEDULED", "RETRYING"],
        ),
    ] {
        let message = reported(result(8));
        let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
        assert_eq!(plan.reads(), ["j"]);
        plan.supply(vec![Some(record(&[
            ("rev", "5"),
            ("topic", "job.a"),
            ("state", state),
        ]))]);
        let change = unpack(&plan.commits(NOW)[0].1);
        assert_eq!(change["to"], to, "{state}");
        assert_eq!(change["from"], serde_json::json!(from), "{state}");
        assert_eq!(change.get("rev").is_some(), to == "DENIED", "{state}");
        assert_eq!(change["dlq"]["status"], "JOB_STATUS_DENIED", "{state}");
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

#[test]
fn a_repetition_in_a_batch_is_answered_as_the_result_it_repeats() {
    let (first, again) = (reported(result(5)), reported(result(5)));
    let refused = Reply::Conflict {
        why: "state".into(),
        state: "CANCELLED".into(),
    };
    for (reply, is_done) in [(Reply::Failed, false), (refused, true)] {
        let mut plan = ResultPlan::new(surroundings(), &[&first, &again], 1);
        assert_eq!(plan.commits(NOW).len(), 1);
        plan.apply(&[reply], &mut WorkerTable::default(), NOW);
        assert_eq!(plan.verdicts[0] == Verdict::Ack, is_done);
        assert_eq!(plan.verdicts[0], plan.verdicts[1]);
    }
}
