//! Topics and payloads before policy: what registrations and schemas do to a batch (scheduler spec §5 steps 4 and 5, §7.1).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use cordum_boundary::{Boundary, Mode, Registry, Schema, SchemaState};
use cordum_dispatch::admission::Notice;
use cordum_dispatch::config::Config;
use cordum_dispatch::submit::{SubmitPlan, Surroundings, Verdict};
use cordum_dispatch::workers::WorkerTable;
use cordum_wire::messages::JobRequest;
use serde_json::{json, Value};
use support::*;

fn registered(mode: Mode, registrations: Option<&Value>) -> Config {
    let registry = registrations.map(|data| Registry::parse(data.to_string().as_bytes()).unwrap());
    let schema = Schema::compile(br#"{"type": "object", "required": ["n"]}"#, &[]).unwrap();
    let schemas = [
        ("ok", SchemaState::Ready(schema)),
        ("gone", SchemaState::NotFound),
    ];
    let schemas: HashMap<String, SchemaState> = schemas.map(|(id, state)| (id.to_owned(), state)).into();
    config().with_boundary(Arc::new(Boundary::new(mode, registry, schemas)))
}

fn plan(config: &Arc<Config>, requests: Vec<JobRequest>) -> SubmitPlan {
    delivered(1, config, requests)
}

fn delivered(times: u64, config: &Arc<Config>, requests: Vec<JobRequest>) -> SubmitPlan {
    let messages: Vec<Vec<u8>> = requests.into_iter().map(submitted).collect();
    let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let around = Surroundings {
        config: Arc::clone(config),
        ..surroundings()
    };
    SubmitPlan::new(around, &slices, &vec![times; slices.len()], Vec::new(), 7)
}

fn asked(plan: &mut SubmitPlan) -> usize {
    plan.policy_batches().iter().map(Vec::len).sum()
}

fn codes(notices: &[Notice]) -> Vec<(&str, &'static str, bool)> {
    let facts = notices.iter().map(|n| (n.job_id.as_str(), n.code, n.fatal));
    facts.collect()
}

fn changes(mut plan: SubmitPlan, decisions: &[i32], table: &mut WorkerTable) -> Vec<Value> {
    let count = asked(&mut plan);
    assert_eq!(count, decisions.len());
    plan.decide(&[(count, Some(&answer(decisions)))], "");
    let entropy = [1; 64];
    let planned = plan.commits(table, &entropy, NOW);
    planned.iter().map(|p| unpack(&p.packed)).collect()
}

fn with_payload(id: &str, topic: &str) -> JobRequest {
    JobRequest {
        context_ptr: format!("redis://ctx:{id}"),
        ..request(id, topic)
    }
}

#[test]
fn a_job_the_gateway_has_just_taken_waits_for_its_topic() {
    let registrations = json!({"job.a": {"pool": "p"}});
    let config = Arc::new(registered(Mode::Off, Some(&registrations)));
    let mut plan = plan(&config, vec![request("fine", "job.a"), request("new", "job.new")]);
    assert!(plan.admit().is_empty());
    assert_eq!(asked(&mut plan), 1);
    assert_eq!(plan.verdicts, [Verdict::Ack, Verdict::Nak(1_000_000)]);
}

#[test]
fn jobs_on_topics_nobody_registered_end_without_a_question() {
    let registrations = json!({
        "job.a": {"pool": "p"},
        "tenant:acme:job.two": {"pool": "p", "status": "disabled"},
        "job.two": {"pool": "p"},
    });
    let config = Arc::new(registered(Mode::Off, Some(&registrations)));
    let mut plan = delivered(
        2,
        &config,
        vec![
            request("fine", "job.a"),
            request("none", "job.gpu"),
            request("off", "job.two"),
            request("gate", "sys.approval.gate"),
        ],
    );
    plan.supply(vec![(None, None); 4], NOW);
    let notices = plan.admit();
    assert_eq!(
        codes(&notices),
        [("none", "unknown_topic", true), ("off", "unknown_topic", true)]
    );
    let found = changes(plan, &[1, 1], &mut table(&[beat("w", "p", 0, 0)]));
    let by_id: HashMap<&str, &Value> = found.iter().map(|c| (c["id"].as_str().unwrap(), c)).collect();
    for id in ["none", "off"] {
        let change = by_id[id];
        assert_eq!(change["to"], "FAILED");
        assert_eq!(change["dlq"]["reason_code"], "unknown_topic");
        assert_eq!(change["dlq"]["reason"], "unknown topic");
        assert_eq!(change["dlq"]["status"], "JOB_STATUS_FAILED");
        assert_eq!(change["after"], json!(["result", "dlq"]));
    }
    assert_eq!(by_id["fine"]["to"], "DISPATCHED");
    assert_eq!(by_id["gate"]["to"], "SUCCEEDED");
}

#[test]
fn an_unread_registry_makes_jobs_wait_only_where_schemas_are_enforced() {
    for (mode, waits) in [(Mode::Enforce, true), (Mode::Warn, false), (Mode::Off, false)] {
        let config = Arc::new(registered(mode, None));
        let mut plan = plan(&config, vec![request("j", "job.a")]);
        assert!(plan.admit().is_empty());
        let expected = if waits {
            Verdict::Nak(1_000_000)
        } else {
            Verdict::Ack
        };
        assert_eq!(
            (plan.verdicts[0], asked(&mut plan)),
            (expected, usize::from(!waits))
        );
    }
    let empty = Arc::new(registered(Mode::Enforce, Some(&json!({}))));
    let mut free = plan(&empty, vec![request("j", "job.whatever")]);
    assert!(free.admit().is_empty());
    assert_eq!(asked(&mut free), 1);
}

#[test]
fn a_deprecated_topic_is_told_once_per_batch_and_runs() {
    let config = Arc::new(registered(
        Mode::Warn,
        Some(&json!({"job.a": {"pool": "p", "status": "deprecated"}})),
    ));
    let mut plan = plan(&config, vec![request("j", "job.a"), request("k", "job.a")]);
    assert_eq!(codes(&plan.admit()), [("j", "deprecated_topic", false)]);
    assert_eq!(asked(&mut plan), 2);
}

#[test]
fn payloads_are_asked_for_and_checked_only_where_a_schema_says_so() {
    let registrations = json!({
        "job.a": {"pool": "p", "input_schema_id": "ok"},
        "job.two": {"pool": "p", "input_schema_id": "gone"},
        "job.gpu": {"pool": "p"},
    });
    for (mode, fatal) in [(Mode::Enforce, true), (Mode::Warn, false)] {
        let config = Arc::new(registered(mode, Some(&registrations)));
        let mut plan = plan(
            &config,
            vec![
                with_payload("good", "job.a"),
                with_payload("bad", "job.a"),
                with_payload("gone", "job.a"),
                with_payload("cut", "job.a"),
                request("bare", "job.a"),
                with_payload("lost", "job.two"),
                with_payload("free", "job.gpu"),
            ],
        );
        let notices = plan.admit();
        assert_eq!(
            codes(&notices),
            [
                ("bare", "schema_validation_failed", fatal),
                ("lost", "schema_not_found", fatal)
            ]
        );
        assert_eq!(notices[0].violations[0].path, "$.context_ptr");
        let wanted = plan.unchecked();
        let keys: Vec<&str> = wanted.iter().map(|(_, key)| key.as_str()).collect();
        assert_eq!(keys, ["ctx:good", "ctx:bad", "ctx:gone", "ctx:cut"]);
        let found: [Option<(&[u8], i64)>; 4] = [
            Some((br#"{"n": 1}"#, 8)),
            Some((br#"{"m": 1}"#, 8)),
            None,
            Some((br#"{"n": 1}"#, 9)),
        ];
        let payloads: Vec<_> = wanted.iter().map(|(index, _)| *index).zip(found).collect();
        let failed = ["bad", "gone", "cut"].map(|id| (id, "schema_validation_failed", fatal));
        assert_eq!(codes(&plan.check_payloads(&payloads)), failed);
        assert!(plan.unchecked().is_empty());
        assert_eq!(asked(&mut plan), if fatal { 2 } else { 7 });
    }
    let off = Arc::new(registered(Mode::Off, Some(&registrations)));
    let mut unlooked = plan(&off, vec![request("bare", "job.a")]);
    assert!(unlooked.admit().is_empty() && unlooked.unchecked().is_empty());
}

#[test]
fn a_topic_without_mapping_goes_where_its_tenant_registered_it() {
    let registrations = json!({
        "job.new": {"pool": "p"},
        "tenant:acme:job.new": {"pool": "q"},
        "job.a": {"pool": "q"},
    });
    let config = Arc::new(registered(Mode::Off, Some(&registrations)));
    let mut workers = WorkerTable::default();
    for (id, pool) in [("wp", "p"), ("wq", "q")] {
        workers.heartbeat(&beat(id, pool, 0, 0), 0, NOW, &config);
    }
    let foreign = JobRequest {
        tenant_id: "globex".into(),
        ..request("foreign", "job.new")
    };
    let mut plan = plan(
        &config,
        vec![request("own", "job.new"), foreign, request("mapped", "job.a")],
    );
    assert!(plan.admit().is_empty());
    let found = changes(plan, &[1, 1, 1], &mut workers);
    let pools: HashMap<&str, &Value> = found
        .iter()
        .map(|change| (change["id"].as_str().unwrap(), &change["set"]["pool"]))
        .collect();
    // The routing table comes before registrations.
    assert_eq!(
        (pools["own"], pools["foreign"], pools["mapped"]),
        (&json!("q"), &json!("p"), &json!("p"))
    );
    assert_eq!(config.metric_topic("job.new"), "job.new");
    assert_eq!(config.metric_topic("job.never"), "other");
}

#[test]
fn the_snapshot_counts_workers_that_name_no_pool() {
    let registrations = json!({"job.new": {"pool": "p"}});
    let config = registered(Mode::Off, Some(&registrations));
    let mut workers = WorkerTable::default();
    workers.heartbeat(&beat("named", "p", 2, 4), 0, NOW, &config);
    workers.heartbeat(&beat("derived", "", 1, 4), 0, NOW, &config);
    workers.remember_topics("derived", &["job.new".to_owned()]);
    workers.invalidate();
    let overview = serde_json::to_value(workers.overview(NOW, &config)).unwrap();
    assert_eq!(
        overview["pools"],
        json!({"p": {"workers": 2, "active_jobs": 3, "capacity": 8}})
    );
    assert_eq!(
        overview["topics"]["job.new"],
        json!({"pool": "p", "workers": 2, "capacity": 8, "available": true})
    );
    assert_eq!(overview["topics"]["job.drain"]["available"], json!(false));
}
