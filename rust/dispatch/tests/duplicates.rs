//! Submits of jobs that are known already, forged ones, and limits of tenants (scheduler spec §4, §5).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::Arc;

use cordum_dispatch::config::Config;
use cordum_dispatch::reply::Reply;
use cordum_dispatch::submit::{SubmitPlan, Surroundings, Verdict};
use cordum_dispatch::workers::WorkerTable;
use cordum_wire::messages::JobRequest;
use support::*;

fn plan(messages: &[Vec<u8>], delivered: u64) -> SubmitPlan {
    let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let deliveries = vec![delivered; messages.len()];
    SubmitPlan::new(surroundings(), &slices, &deliveries, Vec::new(), 7)
}

fn again(fields: &[(&str, &str)]) -> SubmitPlan {
    let mut plan = plan(&[submitted(request("j", "job.a"))], 2);
    plan.supply(vec![(Some(record(fields)), Some(request("j", "job.a")))], NOW);
    plan
}

fn kinds(plan: &SubmitPlan) -> Vec<&'static str> {
    plan.reports.iter().map(|report| report.kind).collect()
}

#[test]
fn a_parked_retry_is_not_hurried_by_a_second_submit() {
    let later = (NOW + 5_000_000).to_string();
    let due = (NOW - 1).to_string();
    for (fields, asks) in [
        (
            vec![("state", "RETRYING"), ("next_attempt_at", later.as_str())],
            false,
        ),
        (
            vec![("state", "RETRYING"), ("next_attempt_at", due.as_str())],
            true,
        ),
        // A workflow owns it: nobody retries it here.
        (vec![("state", "RETRYING")], false),
        (vec![("state", "PENDING")], true),
        (vec![("state", "SCHEDULED")], true),
    ] {
        let mut plan = again(&fields);
        assert_eq!(!plan.policy_batches().is_empty(), asks, "{fields:?}");
        assert_eq!(plan.verdicts, [Verdict::Ack]);
    }
}

#[test]
fn a_dead_letter_event_that_is_owed_is_paid_at_the_next_submit() {
    for (state, after, owed) in [
        ("DENIED", "result,dlq", true),
        ("FAILED", "dlq", true),
        ("FAILED", "result", false),
        ("DENIED", "", false),
        ("TIMEOUT", "result,dlq", false),
        ("SUCCEEDED", "result", false),
    ] {
        let plan = again(&[("state", state), ("after", after)]);
        assert_eq!(plan.owed.len(), usize::from(owed), "{state} {after}");
    }
}

#[test]
fn another_request_under_a_known_id_is_reported_in_every_state() {
    for state in ["PENDING", "APPROVAL_REQUIRED", "RUNNING", "SUCCEEDED", "DENIED"] {
        let mut plan = again(&[("state", state), ("req_hash", "other")]);
        assert_eq!(kinds(&plan), ["request_conflict"], "{state}");
        assert_eq!(plan.reports[0].about.job_id, "j");
        assert!(plan.policy_batches().is_empty(), "{state}");
    }
}

#[test]
fn two_requests_under_one_id_in_a_batch_are_reported_and_the_first_counts() {
    let mut other = request("j", "job.a");
    other.labels.insert("x".into(), "y".into());
    let same = submitted(request("j", "job.a"));
    let mut plan = plan(&[same.clone(), same, submitted(other)], 1);
    assert_eq!(kinds(&plan), ["request_conflict"]);
    assert_eq!(plan.policy_batches().concat().len(), 1);
}

#[test]
fn a_conflict_the_store_finds_is_reported_too() {
    let mut table = table(&[beat("w", "p", 0, 0)]);
    let mut plan = plan(&[submitted(request("j", "job.a"))], 1);
    plan.policy_batches();
    let bytes = answer(&[1]);
    plan.decide(&[(1, Some(&bytes))], "");
    let planned = plan.commits(&mut table, &[0; 4], NOW);
    let refused = Reply::Conflict {
        why: "request_hash".into(),
        state: "PENDING".into(),
    };
    plan.apply(planned, &[refused], &mut table, NOW);
    assert_eq!(kinds(&plan), ["request_conflict"]);
    assert_eq!(
        (plan.reports[0].about.sender.as_str(), plan.verdicts[0]),
        ("api-gateway", Verdict::Ack)
    );
}

#[test]
fn an_approval_nobody_gave_is_reported_and_not_believed() {
    let mut claiming = request("j", "job.a");
    claiming.labels.insert("approval_granted".into(), "True".into());
    let message = submitted(claiming);
    for (state, decided, kind) in [
        ("APPROVAL_REQUIRED", "", vec!["approval_claim"]),
        ("PENDING", "", vec!["approval_claim"]),
        ("PENDING", "approve", vec![]),
        ("DISPATCHED", "", vec![]),
    ] {
        // Even at its first delivery and from the gateway's name.
        let mut plan = plan(std::slice::from_ref(&message), 1);
        assert_eq!(plan.reads(), ["j"]);
        let stored = record(&[("state", state), ("approval_decision", decided)]);
        plan.supply(vec![(Some(stored), Some(request("j", "job.a")))], NOW);
        assert_eq!(kinds(&plan), kind, "{state}");
    }
}

#[test]
fn two_tenants_in_one_request_are_reported() {
    let mut forged = request("j", "job.a");
    forged.env.insert("tenant_id".into(), "other".into());
    let plan = plan(&[submitted(forged)], 1);
    assert_eq!(kinds(&plan), ["tenant_mismatch"]);
    assert_eq!(plan.reports[0].about.tenant, "acme");
}

#[test]
fn due_entries_of_jobs_that_wait_for_nothing_are_named() {
    let due = vec!["gone".into(), "runs".into(), "waits".into()];
    let mut plan = SubmitPlan::new(surroundings(), &[], &[], due, 1);
    plan.supply(
        vec![
            (None, None),
            (
                Some(record(&[("state", "RUNNING")])),
                Some(request("runs", "job.a")),
            ),
            (
                Some(record(&[("state", "PENDING")])),
                Some(request("waits", "job.a")),
            ),
        ],
        NOW,
    );
    assert_eq!(plan.strays, ["gone", "runs"]);
}

fn limited(licensed: i64) -> Surroundings {
    let document = format!(r#"{{"topics": {{"job.a": ["p"]}}, "max_concurrent_jobs": {licensed}}}"#);
    Surroundings {
        config: Arc::new(Config::parse(document.as_bytes()).unwrap()),
        ..surroundings()
    }
}

/// An admitted batch of the jobs, ready for reservations.
fn admitted(around: Surroundings, jobs: &[JobRequest]) -> SubmitPlan {
    let messages: Vec<Vec<u8>> = jobs.iter().cloned().map(submitted).collect();
    let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let mut plan = SubmitPlan::new(around, &slices, &vec![1; jobs.len()], Vec::new(), 7);
    plan.policy_batches();
    let bytes = answer(&vec![1; jobs.len()]);
    plan.decide(&[(jobs.len(), Some(&bytes))], "");
    plan
}

#[test]
fn a_licence_limits_every_tenant_and_gives_slots_by_priority() {
    let mut urgent = request("z", "job.a");
    urgent.priority = 3;
    let mut plan = admitted(
        limited(2),
        &[request("a", "job.a"), request("b", "job.a"), urgent],
    );
    let asked = plan.reservations(NOW);
    assert_eq!(
        asked,
        [(
            "acme".to_owned(),
            2,
            vec!["z".to_owned(), "a".to_owned(), "b".to_owned()]
        )]
    );
    plan.refused(&["b".to_owned()]);
    let mut table = table(&[beat("w", "p", 0, 1)]);
    let planned = plan.commits(&mut table, &[0; 12], NOW);
    let causes: Vec<_> = planned
        .iter()
        .map(|planned| unpack(&planned.packed))
        .filter(|change| change["to"] != "DISPATCHED")
        .map(|change| {
            (
                change["id"].clone(),
                change["set"]["last_cause"].clone(),
                change.get("incr").cloned(),
            )
        })
        .collect();
    assert!(causes.contains(&("b".into(), "tier_limit_exceeded".into(), None)));
    // `a` holds a slot of its tenant but found no worker: the slot goes back.
    let moved = |_| Reply::Moved {
        state: String::new(),
        rev: 2,
        attempts: 0,
        topic: "job.a".into(),
        tenant: "acme".into(),
        created_at: NOW,
        worker_id: String::new(),
        pool: String::new(),
        saga: String::new(),
    };
    let replies: Vec<Reply> = planned.iter().map(moved).collect();
    let applied = plan.apply(planned, &replies, &mut table, NOW);
    assert_eq!(applied.released, [("acme".to_owned(), "a".to_owned())]);
}

#[test]
fn without_a_licence_or_constraint_nobody_asks_for_slots() {
    for unlimited in [-1, 0] {
        assert!(admitted(limited(unlimited), &[request("a", "job.a")])
            .reservations(NOW)
            .is_empty());
    }
}

#[test]
fn routing_failures_are_forgotten_when_the_dispatch_is_confirmed_not_before() {
    let mut due = SubmitPlan::new(surroundings(), &[], &[], vec!["j".into()], 1);
    let stored = record(&[
        ("state", "SCHEDULED"),
        ("rev", "4"),
        ("route_failures", "3"),
        ("next_attempt_at", "1"),
    ]);
    due.supply(vec![(Some(stored), Some(request("j", "job.a")))], NOW);
    due.policy_batches();
    let bytes = answer(&[1]);
    due.decide(&[(1, Some(&bytes))], "");
    let mut table = table(&[beat("w", "p", 0, 0)]);
    let planned = due.commits(&mut table, &[0; 4], NOW);
    let change = unpack(&planned[0].packed);
    assert_eq!(change["to"], "DISPATCHED");
    assert!(!change["del"]
        .as_array()
        .unwrap()
        .contains(&"route_failures".into()));
    let moved = Reply::Moved {
        state: "DISPATCHED".into(),
        rev: 5,
        attempts: 1,
        topic: "job.a".into(),
        tenant: "acme".into(),
        created_at: NOW,
        worker_id: "w".into(),
        pool: "p".into(),
        saga: String::new(),
    };
    let applied = due.apply(planned, &[moved], &mut table, NOW);
    let undo = &applied.undo[0];
    assert_eq!((undo.job_id.as_str(), undo.failures, undo.rev), ("j", 3, 5));
}

#[test]
fn a_job_in_line_keeps_its_place() {
    let mut due = SubmitPlan::new(surroundings(), &[], &[], vec!["j".into()], 1);
    let stored = record(&[
        ("state", "PENDING"),
        ("rev", "4"),
        ("wait_pools", "p"),
        ("parked_at", "77"),
        ("next_attempt_at", "1"),
    ]);
    due.supply(vec![(Some(stored), Some(request("j", "job.a")))], NOW);
    due.policy_batches();
    let bytes = answer(&[1]);
    due.decide(&[(1, Some(&bytes))], "");
    let planned = due.commits(&mut WorkerTable::default(), &[0; 4], NOW);
    let change = unpack(&planned[0].packed);
    assert_eq!(change["wait"], serde_json::json!(["p"]));
    assert!(change.get("wait_at").is_none());
    assert!(change["set"].get("parked_at").is_none());
}
