//! Submit and result plans: what each judgement, record and result turns into (scheduler spec §4–§10).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use cordum_dispatch::reply::Reply;
use cordum_dispatch::results::ResultPlan;
use cordum_dispatch::submit::{SubmitPlan, Verdict};
use cordum_dispatch::workers::WorkerTable;
use cordum_wire::messages::{BusPacket, DispatchIdentity, JobResult, Payload};
use prost::Message;
use serde_json::Value;
use support::*;

fn plan(messages: &[Vec<u8>], delivered: u64) -> SubmitPlan {
    let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    SubmitPlan::new(
        surroundings(),
        &slices,
        &vec![delivered; messages.len()],
        Vec::new(),
        7,
    )
}

fn judged(mut plan: SubmitPlan, decisions: &[i32], table: &mut WorkerTable) -> (SubmitPlan, Vec<Value>) {
    let asked: usize = plan.policy_batches().iter().map(Vec::len).sum();
    let bytes = answer(decisions);
    plan.decide(&[(asked, Some(&bytes))], "");
    let changes = plan
        .commits(table, &[1, 2, 3, 4, 5, 6, 7, 8], NOW)
        .iter()
        .map(|p| unpack(&p.packed))
        .collect();
    (plan, changes)
}

fn one(decision: i32) -> Value {
    let mut table = table(&[beat("w", "p", 0, 0)]);
    judged(
        plan(&[submitted(request("j", "job.a"))], 1),
        &[decision],
        &mut table,
    )
    .1
    .remove(0)
}

#[test]
fn allow_is_dispatched_with_attempt_and_unguessable_id() {
    let change = one(1);
    assert_eq!(change["to"], "DISPATCHED");
    assert_eq!(change["from"], serde_json::json!(["PENDING"]));
    assert_eq!(change["attempt"], 1);
    assert_eq!(change["set"]["dispatch_id"], "j:1:01020304");
    assert_eq!(change["set"]["dispatch_subject"], "worker.w.jobs");
    assert!(change["hash"].as_str().unwrap().len() == 64);
}

#[test]
fn deny_ends_the_job_with_a_dead_letter() {
    let change = one(2);
    assert_eq!(change["to"], "DENIED");
    assert_eq!(change["dlq"]["reason"], "safety: denied: because");
    assert_eq!(change["dlq"]["reason_code"], "safety_denied");
    assert_eq!(change["after"], serde_json::json!(["result", "dlq"]));
}

#[test]
fn an_unknown_decision_is_a_deny() {
    for decision in [0, 6, 7, 42] {
        let change = one(decision);
        assert_eq!(
            (&change["to"], &change["dlq"]["reason_code"]),
            (&"DENIED".into(), &"safety_unknown".into())
        );
    }
}

#[test]
fn approval_holds_and_pins_the_request() {
    let change = one(3);
    assert_eq!(change["to"], "APPROVAL_REQUIRED");
    assert_eq!(change["not_approved"], true);
    assert_eq!(change["set"]["safety_job_hash"], change["hash"]);
    assert_eq!(change["set"]["approval_status"], "pending");
}

#[test]
fn throttle_parks_for_five_seconds_without_a_failure() {
    let change = one(4);
    assert_eq!(
        (change["to"].as_str(), change["retry"].as_i64()),
        (Some("PENDING"), Some(NOW + 5_000_000))
    );
    assert!(change.get("incr").is_none());
}

#[test]
fn no_answer_means_nothing_runs() {
    let mut table = table(&[beat("w", "p", 0, 0)]);
    let mut plan = plan(&[submitted(request("j", "job.a"))], 1);
    assert_eq!(plan.policy_batches().len(), 1);
    plan.decide(&[(1, None)], "");
    let change = unpack(&plan.commits(&mut table, &[0; 4], NOW)[0].packed);
    assert_eq!(
        (&change["to"], &change["set"]["safety_decision"]),
        (&"PENDING".into(), &"UNAVAILABLE".into())
    );
    assert!(change["retry"].as_i64().unwrap() - NOW <= 600_000);
}

#[test]
fn a_short_or_garbled_answer_means_nothing_runs() {
    for bytes in [answer(&[]), vec![0xff; 9]] {
        let mut table = table(&[beat("w", "p", 0, 0)]);
        let mut plan = plan(&[submitted(request("j", "job.a"))], 1);
        plan.policy_batches();
        plan.decide(&[(1, Some(&bytes))], "");
        assert_eq!(
            unpack(&plan.commits(&mut table, &[0; 4], NOW)[0].packed)["to"],
            "PENDING"
        );
    }
}

#[test]
fn no_worker_parks_with_back_off_and_remembers_the_pool() {
    let mut empty = WorkerTable::default();
    let (_, changes) = judged(plan(&[submitted(request("j", "job.a"))], 1), &[1], &mut empty);
    assert_eq!(changes[0]["wait"], serde_json::json!(["p"]));
    assert_eq!(changes[0]["incr"]["route_failures"], 1);
    let delay = changes[0]["retry"].as_i64().unwrap() - NOW;
    assert!((1_000_000..1_500_000).contains(&delay));
}

#[test]
fn a_job_woken_early_keeps_its_place_and_its_count() {
    let mut due = SubmitPlan::new(surroundings(), &[], &[], vec!["j".into()], 1);
    let planned = NOW + 9_000_000;
    let stored = record(&[
        ("state", "PENDING"),
        ("rev", "4"),
        ("next_attempt_at", &planned.to_string()),
    ]);
    due.supply(vec![(Some(stored), Some(request("j", "job.a")))], NOW);
    let (_, changes) = judged(due, &[1], &mut WorkerTable::default());
    assert_eq!(changes[0]["retry"].as_i64(), Some(planned));
    assert!(changes[0].get("incr").is_none());
}

#[test]
fn fifty_routing_failures_end_the_job() {
    let mut due = SubmitPlan::new(surroundings(), &[], &[], vec!["j".into()], 1);
    let stored = record(&[
        ("state", "PENDING"),
        ("rev", "51"),
        ("route_failures", "50"),
        ("last_cause", "no_workers"),
    ]);
    due.supply(vec![(Some(stored), Some(request("j", "job.a")))], NOW);
    let (_, changes) = judged(due, &[1], &mut WorkerTable::default());
    assert_eq!(
        changes[0]["dlq"]["reason"],
        "max scheduling retries exceeded (attempts=50, last=no_workers)"
    );
    assert_eq!(
        (&changes[0]["to"], &changes[0]["rev"]),
        (&"FAILED".into(), &51.into())
    );
}

#[test]
fn a_submit_that_differs_from_the_stored_request_is_refused() {
    let mut plan = plan(&[submitted(approved_request())], 1);
    plan.supply(
        vec![(
            Some(record(&[("state", "PENDING"), ("req_hash", "other")])),
            Some(request("j", "job.a")),
        )],
        NOW,
    );
    assert!(plan.policy_batches().is_empty());
    assert_eq!(plan.verdicts, [Verdict::Ack]);
}

#[test]
fn a_redelivered_submit_of_a_finished_job_does_nothing() {
    for state in [
        "DISPATCHED",
        "RUNNING",
        "SUCCEEDED",
        "FAILED",
        "CANCELLED",
        "DENIED",
        "TIMEOUT",
        "APPROVAL_REQUIRED",
    ] {
        let mut plan = plan(&[submitted(request("j", "job.a"))], 2);
        plan.supply(
            vec![(Some(record(&[("state", state)])), Some(request("j", "job.a")))],
            NOW,
        );
        assert!(
            plan.commits(&mut WorkerTable::default(), &[0; 4], NOW).is_empty(),
            "{state}"
        );
        assert_eq!(plan.verdicts, [Verdict::Ack], "{state}");
    }
}

#[test]
fn duplicates_inside_a_batch_are_handled_once() {
    let message = submitted(request("j", "job.a"));
    let mut table = table(&[beat("w", "p", 0, 0)]);
    let (plan, changes) = judged(plan(&[message.clone(), message], 1), &[1], &mut table);
    assert_eq!((changes.len(), plan.verdicts.len()), (1, 2));
}

#[test]
fn a_job_submitted_on_the_bus_is_recorded_first() {
    let mut plan = plan(
        &[packet(Payload::JobRequest(request("j", "job.a")), "someone")],
        1,
    );
    assert_eq!(plan.reads(), ["j"]);
    plan.supply(vec![(None, None)], NOW);
    assert_eq!(plan.to_create(), [0]);
    plan.created(0, true, NOW);
    assert_eq!(plan.policy_batches().len(), 1);
}

#[test]
fn forged_tenants_and_broken_requests_are_dropped_and_counted() {
    let mut forged = request("j", "job.a");
    forged.env.insert("tenant_id".into(), "other".into());
    let mut negative = request("k", "job.a");
    negative.step_index = -1;
    let plan = plan(
        &[submitted(forged), submitted(negative), b"garbage \xff".to_vec()],
        1,
    );
    assert_eq!(plan.invalid, ["tenant_mismatch", "invalid"]);
    assert_eq!(plan.verdicts, [Verdict::Ack, Verdict::Ack, Verdict::Corrupt]);
}

#[test]
fn a_lost_race_is_acknowledged_and_gives_the_worker_back() {
    let mut table = table(&[beat("w", "p", 0, 0)]);
    let mut plan = plan(&[submitted(request("j", "job.a"))], 1);
    plan.policy_batches();
    let bytes = answer(&[1]);
    plan.decide(&[(1, Some(&bytes))], "");
    let planned = plan.commits(&mut table, &[0; 4], NOW);
    assert_eq!(table.get("w").unwrap().active(1), 1);
    let lost = Reply::Conflict {
        why: "state".into(),
        state: "DISPATCHED".into(),
    };
    let applied = plan.apply(planned, &[lost], &mut table, NOW);
    assert!(applied.dispatches.is_empty());
    assert_eq!(
        (table.get("w").unwrap().active(1), plan.verdicts[0]),
        (0, Verdict::Ack)
    );
}

#[test]
fn a_dispatch_enters_the_tenant_sets_with_its_commit_and_is_contested_when_somebody_was_first() {
    let mut table = table(&[beat("w", "p", 0, 0)]);
    let mut plan = plan(&[submitted(request("j", "job.a"))], 1);
    plan.policy_batches();
    let bytes = answer(&[1]);
    plan.decide(&[(1, Some(&bytes))], "");
    let planned = plan.commits(&mut table, &[0; 4], NOW);
    let admitted = plan.admissions(&planned);
    assert_eq!((admitted.len(), admitted[0].2, admitted[0].3), (1, true, true));
    let ended = Reply::Conflict {
        why: "state".into(),
        state: "SUCCEEDED".into(),
    };
    let applied = plan.apply(planned, &[ended], &mut table, NOW);
    let (tenant, job_id, ..) = admitted[0].clone();
    assert_eq!(applied.contested, [(tenant, job_id)]);
    assert!(applied.tenants.is_empty());
}

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
