//! Submit plans: what each judgement and record turns into (scheduler spec §4–§9).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use cordum_dispatch::reply::Reply;
use cordum_dispatch::submit::{SubmitPlan, Verdict};
use cordum_dispatch::workers::WorkerTable;
use cordum_wire::messages::Payload;
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
