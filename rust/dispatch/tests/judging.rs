//! Judgements of a submit plan: stored approvals, payloads the kernel asks for, outages (policy spec §15, §16.3).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use cordum_dispatch::record::Record;
use cordum_dispatch::submit::SubmitPlan;
use cordum_wire::messages::{BatchItem, BatchResponse, BusPacket, JobRequest, Payload, PolicyCheckRequest};
use prost::Message;
use serde_json::Value;
use support::*;

fn plan_of(request: JobRequest) -> SubmitPlan {
    let message = submitted(request);
    SubmitPlan::new(surroundings(), &[&message], &[1], Vec::new(), 7)
}

/// A plan that starts from a stored record and request.
fn plan_from(record: Record, request: JobRequest) -> SubmitPlan {
    let mut plan = SubmitPlan::new(surroundings(), &[], &[], vec!["j".into()], 7);
    plan.supply(vec![(Some(record), Some(request))], NOW);
    plan.judge_approved("v1:aa|cfg:3");
    plan
}

fn approved_record(changes: &[(&str, &str)]) -> Record {
    let hash = cordum_wire::canonical_hash(&approved_request());
    let mut fields = vec![
        ("state", "PENDING"),
        ("rev", "3"),
        ("req_hash", hash.as_str()),
        ("safety_job_hash", hash.as_str()),
        ("approval_decision", "approve"),
        ("approval_revision", "2"),
        ("approval_by", "bob"),
        ("approval_publish_status", "pending"),
        ("safety_approval_required", "true"),
        ("safety_snapshot", "v1:aa|cfg:2"),
        ("safety_rule_id", "r"),
        ("safety_constraints", r#"{"budgets":{"maxRetries":2}}"#),
    ];
    fields.retain(|(name, _)| changes.iter().all(|(changed, _)| name != changed));
    fields.extend_from_slice(changes);
    record(&fields)
}

fn change_of(plan: &mut SubmitPlan) -> Value {
    let mut table = table(&[beat("w", "p", 0, 0)]);
    unpack(&plan.commits(&mut table, &[0; 4], NOW)[0].packed)
}

fn checks(plan: &mut SubmitPlan) -> Vec<PolicyCheckRequest> {
    let batches = plan.policy_batches();
    let flat = batches.iter().flatten();
    flat.map(|bytes| PolicyCheckRequest::decode(bytes.as_slice()).unwrap())
        .collect()
}

fn asks_for_content() -> Vec<u8> {
    let items = vec![BatchItem {
        code: 9,
        ..BatchItem::default()
    }];
    BatchResponse {
        items,
        policy_snapshot: "v1:aa".into(),
    }
    .encode_to_vec()
}

fn with_context() -> JobRequest {
    JobRequest {
        context_ptr: "redis://ctx:j".into(),
        ..request("j", "job.a")
    }
}

#[test]
fn a_stored_approval_passes_without_a_new_question_and_is_recorded() {
    let mut plan = plan_from(approved_record(&[]), approved_request());
    assert!(plan.policy_batches().is_empty());
    assert!(plan.mismatches.is_empty());
    let change = change_of(&mut plan);
    assert_eq!(change["to"], "DISPATCHED");
    assert_eq!(change["set"]["safety_decision"], "ALLOW");
    assert_eq!(change["set"]["safety_reason"], "approval granted");
    assert_eq!(
        change["set"]["safety_constraints"],
        r#"{"budgets":{"maxRetries":2}}"#
    );
    assert_eq!(change["set"]["approval_publish_status"], "published");
}

#[test]
fn an_approval_that_is_not_in_the_record_or_of_another_policy_is_checked_anew() {
    let cases = [
        (&[("approval_decision", "")][..], "record"),
        (&[("approval_decision", "reject")], "record"),
        (&[("safety_approval_required", "")], "record"),
        (&[("safety_snapshot", "v2:bb|cfg:1")], "snapshot"),
        (&[("safety_snapshot", "")], "snapshot"),
    ];
    for (changes, cause) in cases {
        let mut plan = plan_from(approved_record(changes), approved_request());
        assert_eq!(plan.mismatches[0].cause, cause, "{changes:?}");
        assert_eq!(checks(&mut plan).len(), 1);
    }
    let mut unstamped = plan_from(approved_record(&[]), request("j", "job.a"));
    assert_eq!(checks(&mut unstamped).len(), 1);
}

#[test]
fn an_approval_waits_while_the_policy_in_force_is_unknown_and_is_void_under_another() {
    let start = || {
        let mut plan = SubmitPlan::new(surroundings(), &[], &[], vec!["j".into()], 7);
        plan.supply(vec![(Some(approved_record(&[])), Some(approved_request()))], NOW);
        assert!(plan.claims_approval());
        plan
    };
    let mut unknown = start();
    unknown.judge_approved("");
    assert!(unknown.policy_batches().is_empty());
    assert!(unknown.bypassable().is_empty());
    assert_eq!(change_of(&mut unknown)["to"], "PENDING");
    let mut other = start();
    other.judge_approved("v2:bb");
    assert_eq!(other.mismatches[0].cause, "snapshot");
    assert_eq!(checks(&mut other).len(), 1);
}

#[test]
fn a_gate_passes_although_the_policy_changed() {
    let gate = JobRequest {
        topic: "sys.approval.gate".into(),
        ..approved_request()
    };
    let hash = cordum_wire::canonical_hash(&gate);
    let stored = approved_record(&[
        ("req_hash", &hash),
        ("safety_job_hash", &hash),
        ("safety_snapshot", "v9:zz"),
    ]);
    let mut plan = plan_from(stored, gate);
    assert!(plan.policy_batches().is_empty());
    assert_eq!(change_of(&mut plan)["to"], "SUCCEEDED");
}

#[test]
fn a_request_that_was_altered_after_its_approval_never_runs() {
    let altered = JobRequest {
        memory_id: "other".into(),
        ..approved_request()
    };
    let mut plan = plan_from(approved_record(&[]), altered);
    assert_eq!(plan.mismatches[0].cause, "hash");
    assert!(plan.policy_batches().is_empty());
    let change = change_of(&mut plan);
    assert_eq!(change["to"], "DENIED");
    assert_eq!(change["set"]["approval_status"], "invalidated");
    assert!(change.get("hash").is_none());
}

#[test]
fn a_request_that_was_altered_after_it_was_submitted_is_refused_unasked() {
    let hash = cordum_wire::canonical_hash(&request("j", "job.a"));
    let altered = || JobRequest {
        memory_id: "other".into(),
        ..request("j", "job.a")
    };
    for (state, failures, end) in [
        ("PENDING", "0", "DENIED"),
        ("SCHEDULED", "50", "DENIED"),
        ("RETRYING", "0", "FAILED"),
    ] {
        let stored = record(&[
            ("state", state),
            ("rev", "3"),
            ("req_hash", &hash),
            ("tenant", "acme"),
            ("route_failures", failures),
            ("next_attempt_at", "1"),
        ]);
        let mut plan = plan_from(stored, altered());
        assert!(plan.policy_batches().is_empty());
        let report = &plan.reports[0];
        assert_eq!(
            (report.kind, report.about.topic.as_str()),
            ("request_altered", "job.a")
        );
        let change = change_of(&mut plan);
        assert_eq!(
            (change["to"].as_str(), change["rev"].as_u64()),
            (Some(end), Some(3))
        );
        assert_eq!(change["dlq"]["reason_code"], "safety_denied");
        assert!(change.get("hash").is_none());
        assert!(change["set"].get("approval_status").is_none());
    }
}

#[test]
fn an_approval_of_an_old_policy_that_still_asks_is_asked_for_anew() {
    let stored = approved_record(&[("safety_snapshot", "v0:old")]);
    let mut plan = plan_from(stored, approved_request());
    assert_eq!(checks(&mut plan).len(), 1);
    plan.decide(&[(1, Some(&answer(&[3])))], "");
    let change = change_of(&mut plan);
    assert_eq!(change["to"], "APPROVAL_REQUIRED");
    assert_eq!(change["set"]["approval_revision"], "3");
    assert_eq!(change["set"]["approval_status"], "pending");
    assert!(change["set"].get("approval_publish_status").is_none());
    let removed = change["del"].as_array().unwrap();
    for field in ["approval_decision", "approval_by", "approval_publish_status"] {
        assert!(removed.contains(&field.into()), "{field}");
    }
}

#[test]
fn the_payload_is_sent_only_when_the_kernel_asks_for_it() {
    let mut plan = plan_of(with_context());
    let first = checks(&mut plan).remove(0);
    assert_eq!(first.labels["_content.state"], "omitted");
    plan.decide(&[(1, Some(&asks_for_content()))], "");
    assert_eq!(plan.content_topics(), ["job.a"]);
    assert_eq!(plan.content_keys(), [(0, "ctx:j".to_owned())]);
    assert!(plan.policy_batches().is_empty());
    plan.supply_content(0, Some((b"hello".to_vec(), 5)));
    let second = checks(&mut plan).remove(0);
    assert_eq!(
        (second.input_content.as_slice(), second.input_size_bytes),
        (&b"hello"[..], 5)
    );
    plan.decide(&[(1, Some(&answer(&[1])))], "");
    assert_eq!(change_of(&mut plan)["to"], "DISPATCHED");
}

#[test]
fn a_topic_known_to_need_its_payload_is_asked_about_once() {
    let mut plan = plan_of(with_context());
    plan.expect_content(|topic| topic == "job.a");
    assert!(plan.policy_batches().is_empty());
    assert_eq!(plan.content_keys(), [(0, "ctx:j".to_owned())]);
}

#[test]
fn a_payload_that_is_gone_is_named_in_the_question_and_in_the_record() {
    let mut plan = plan_of(with_context());
    plan.expect_content(|_| true);
    plan.content_keys();
    plan.supply_content(0, None);
    assert_eq!(checks(&mut plan).remove(0).labels["_content.state"], "missing");
    plan.decide(&[(1, Some(&answer(&[1])))], "");
    let decision: Value = serde_json::from_str(change_of(&mut plan)["decision"].as_str().unwrap()).unwrap();
    assert_eq!(decision["content"], "missing");
}

#[test]
fn a_payload_that_could_not_be_read_keeps_its_job_waiting() {
    let mut plan = plan_of(with_context());
    plan.expect_content(|_| true);
    plan.content_keys();
    let change = change_of(&mut plan);
    assert_eq!(change["to"], "PENDING");
    assert_eq!(change["set"]["safety_decision"], "UNAVAILABLE");
}

#[test]
fn the_effective_config_of_the_job_restricts_it() {
    let mut request = request("j", "job.a");
    let config = r#"{"safety":{"denied_topics":["job.*"]}}"#;
    request
        .env
        .insert("CORDUM_EFFECTIVE_CONFIG".into(), config.into());
    assert_eq!(
        checks(&mut plan_of(request)).remove(0).effective_config,
        config.as_bytes()
    );
}

#[test]
fn an_outage_is_recorded_and_uses_up_no_budget() {
    let stored = record(&[("state", "PENDING"), ("rev", "2"), ("safety_defers", "3")]);
    let mut plan = plan_from(stored, request("j", "job.a"));
    assert_eq!(checks(&mut plan).len(), 1);
    assert!(!plan.decide(&[(1, None)], "safety kernel circuit open"));
    let change = change_of(&mut plan);
    let decision: Value = serde_json::from_str(change["decision"].as_str().unwrap()).unwrap();
    assert_eq!(decision["decision"], "UNAVAILABLE");
    assert_eq!(change["set"]["safety_reason"], "safety kernel circuit open");
    assert_eq!(
        change["incr"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["safety_defers"]
    );
    let wait = change["retry"].as_i64().unwrap() - NOW;
    assert!((3_200_000..4_800_000).contains(&wait), "{wait}");
}

#[test]
fn an_undecided_answer_counts_as_a_failure_of_the_kernel() {
    for (decision, well) in [(0, false), (1, true), (2, true), (42, true)] {
        let mut plan = plan_of(request("j", "job.a"));
        plan.policy_batches();
        assert_eq!(
            plan.decide(&[(1, Some(&answer(&[decision])))], ""),
            well,
            "{decision}"
        );
    }
}

#[test]
fn an_open_fail_mode_admits_marked_jobs_of_its_tenants_only() {
    let mut plan = plan_of(request("j", "job.a"));
    plan.policy_batches();
    plan.decide(&[(1, None)], "gone");
    assert_eq!(plan.bypassable(), ["acme"]);
    plan.bypass(&["other".into()]);
    assert_eq!(plan.bypassable(), ["acme"]);
    plan.bypass(&["acme".into()]);
    let mut table = table(&[beat("w", "p", 0, 0)]);
    let planned = plan.commits(&mut table, &[0; 4], NOW);
    let change = unpack(&planned[0].packed);
    assert_eq!(change["to"], "DISPATCHED");
    assert_eq!(change["set"]["safety_decision"], "UNAVAILABLE");
    let reply = cordum_dispatch::reply::Reply::Moved {
        state: "DISPATCHED".into(),
        rev: 2,
        attempts: 1,
        topic: "job.a".into(),
        tenant: "acme".into(),
        created_at: 0,
        worker_id: String::new(),
        pool: String::new(),
        saga: String::new(),
    };
    let applied = plan.apply(planned, &[reply], &mut table, NOW);
    assert_eq!(applied.bypassed.len(), 1);
    let packet = BusPacket::decode(applied.dispatches[0].payload.as_slice()).unwrap();
    let Some(Payload::JobRequest(sent)) = packet.payload else {
        unreachable!()
    };
    assert_eq!(sent.labels["safety_bypassed"], "true");
    assert_eq!(sent.labels["safety_bypass_reason"], "gone");
}

#[test]
fn no_fail_mode_admits_gates_held_jobs_or_jobs_with_a_fault_of_their_own() {
    let gate = JobRequest {
        topic: "sys.approval.gate".into(),
        ..request("j", "job.a")
    };
    let held = approved_record(&[("safety_snapshot", "v0:old")]);
    let pending = || record(&[("state", "PENDING"), ("rev", "1")]);
    let faulty = BatchResponse {
        items: vec![BatchItem {
            code: 3,
            ..BatchItem::default()
        }],
        ..BatchResponse::default()
    }
    .encode_to_vec();
    let cases: [(Record, JobRequest, Option<&[u8]>); 3] = [
        (pending(), gate, None),
        (held, approved_request(), None),
        (pending(), request("j", "job.a"), Some(&faulty)),
    ];
    for (stored, request, reply) in cases {
        let mut plan = plan_from(stored, request);
        assert_eq!(checks(&mut plan).len(), 1);
        plan.decide(&[(1, reply)], "gone");
        assert!(plan.bypassable().is_empty());
        plan.bypass(&["acme".into()]);
        assert_ne!(change_of(&mut plan)["to"], "DISPATCHED");
    }
}
