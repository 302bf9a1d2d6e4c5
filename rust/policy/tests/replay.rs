//! The decision log: what is recorded reads back, and a policy replayed over its own log changes nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use cordum_policy::replay::columns::{flags, Column};
use cordum_policy::replay::record::Call;
use cordum_policy::replay::{record, scan, Filter, Recorded, Replay, ReplaySpec, Segment, SegmentError};
use cordum_policy::{Policy, Request, Source, SourceKind};
use cordum_wire::messages::{BatchRequest, JobMetadata, PolicyCheckRequest};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use prost::Message;

const POLICY: &str = "
version: one
default_tenant: default
default_decision: deny
rules:
  - {id: no-prod, decision: deny, reason: not there, match: {topics: ['job.b.*'], labels: {env: prod}}}
  - {id: ask, decision: require_approval, reason: a person decides, match: {topics: ['job.b.*'], risk_tags: [write]}}
  - {id: slow, decision: throttle, reason: slowly, match: {actor_ids: [bob]}}
  - {id: boxed, decision: allow, match: {topics: ['job.a.*']}, constraints: {budgets: {max_runtime_ms: 10}}}
  - {id: rest, decision: allow, match: {capabilities: [c1, c2]}}
";

/// Decides by size and by whether the prompt is all there is.
const CONTENT_POLICY: &str = "
default_decision: allow
require_human: {downgrade_when_prompt_only: true}
input_rules: [{id: large, match: {max_input_bytes: 4}}, {id: all, match: {topics: ['job.*.b']}}]
";

fn policy(text: &str) -> Policy {
    let source = Source {
        kind: SourceKind::Base,
        content: text.as_bytes(),
    };
    Policy::compile(&[source]).unwrap()
}

fn request(job_id: &str, topic: &str) -> PolicyCheckRequest {
    PolicyCheckRequest {
        job_id: job_id.to_owned(),
        topic: topic.to_owned(),
        tenant: "north".to_owned(),
        ..PolicyCheckRequest::default()
    }
}

/// Record requests as `policy` answers them, request `i` at `i` µs.
fn recorded(policy: &Policy, requests: &[PolicyCheckRequest]) -> Vec<Recorded> {
    let bytes: Vec<Vec<u8>> = requests.iter().map(Message::encode_to_vec).collect();
    let answers: Vec<Vec<u8>> = bytes.iter().map(|b| policy.evaluate_bytes(b).unwrap()).collect();
    let calls: Vec<Call<'_>> = (0..)
        .zip(bytes.iter().zip(&answers))
        .map(|(time_us, (request, answer))| Call {
            request,
            answer,
            time_us,
            is_batch: false,
        })
        .collect();
    record(&calls)
}

fn segments(policy: &Policy, requests: &[PolicyCheckRequest]) -> Vec<Segment> {
    recorded(policy, requests)
        .iter()
        .map(|segment| Segment::decode(&segment.bytes).unwrap())
        .collect()
}

fn replayed(policy: &Policy, segments: &[Segment], spec: ReplaySpec) -> Replay {
    let mut replay = Replay::new(spec).unwrap();
    segments.iter().for_each(|segment| replay.add(policy, segment));
    replay
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-c]", "[ -~]{0,12}", "\\PC{0,6}"]
}

prop_compose! {
    fn any_request()(
        job in "[a-z0-9]{6}",
        topic in prop_oneof!["job\\.[a-c]\\.[a-c]", word()],
        tenant in prop_oneof![Just("north".to_owned()), Just("south".to_owned()), Just(String::new())],
        (principal, actor, pack) in (word(), prop_oneof![Just("bob".to_owned()), word()], word()),
        labels in btree_map(prop_oneof![Just("env".to_owned()), Just("agent_id".to_owned()), word()],
                            prop_oneof![Just("prod".to_owned()), word()], 0..5),
        capability in prop_oneof!["c[1-3]", word()],
        risk_tags in vec(prop_oneof![Just("write".to_owned()), word()], 0..4),
        requires in vec(word(), 0..3),
        actor_type in 0i32..3,
        config in prop_oneof![Just(Vec::new()), Just(br#"{"safety":{"denied_topics":["job.a.a"]}}"#.to_vec()), vec(any::<u8>(), 0..8)],
        size in prop_oneof![Just(0i64), 1i64..1_000_000],
    ) -> PolicyCheckRequest {
        PolicyCheckRequest {
            job_id: job, topic, tenant, principal_id: principal, labels: labels.into_iter().collect(),
            effective_config: config, input_size_bytes: size,
            meta: Some(JobMetadata { actor_id: actor, actor_type, capability, risk_tags, requires, pack_id: pack, ..JobMetadata::default() }),
            ..PolicyCheckRequest::default()
        }
    }
}

proptest! {
    #[test]
    fn every_recorded_fact_reads_back(requests in vec(any_request(), 1..40)) {
        let policy = policy(POLICY);
        let mut seen = 0;
        for segment in segments(&policy, &requests) {
            for number in 0..segment.len() {
                let row = segment.row(number);
                let bytes = requests[row.time_us() as usize].encode_to_vec();
                let original = Request::decode(&bytes).unwrap();
                let outcome = policy.evaluate(&original);
                prop_assert_eq!(format!("{original:?}"), format!("{:?}", row.request()));
                prop_assert_eq!(row.text(Column::Rule), outcome.rule_id);
                prop_assert_eq!(row.text(Column::Reason), &*outcome.reason);
                prop_assert_eq!(row.number(Column::Decision), outcome.decision.wire() as u32);
                prop_assert_eq!(row.text(Column::Snapshot), policy.snapshot());
                seen += 1;
            }
        }
        prop_assert_eq!(seen, requests.len());
    }

    #[test]
    fn a_policy_replayed_over_its_own_log_changes_nothing(requests in vec(any_request(), 1..60)) {
        let policy = policy(POLICY);
        let summary = replayed(&policy, &segments(&policy, &requests), ReplaySpec::default()).summary();
        prop_assert_eq!(summary.unchanged, summary.total_jobs);
        prop_assert_eq!(summary.other_rule, 0);
    }

    #[test]
    fn withheld_content_changes_no_verdict(
        requests in vec((any_request(), "[x]{0,8}", "[y]{0,8}"), 1..30)
    ) {
        let policy = policy(CONTENT_POLICY);
        let requests: Vec<_> = requests.into_iter().map(|(mut request, content, prompt)| {
            request.topic = "job.a.b".to_owned();
            request.input_content = content.into_bytes();
            request.labels.insert("_content.prompt".to_owned(), prompt);
            request
        }).collect();
        let summary = replayed(&policy, &segments(&policy, &requests), ReplaySpec::default()).summary();
        prop_assert_eq!(summary.unchanged, summary.total_jobs);
        prop_assert_eq!(summary.other_rule, 0);
    }

    #[test]
    fn damaged_segments_are_refused_or_read_without_a_panic(
        requests in vec(any_request(), 1..10), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()
    ) {
        let policy = policy(POLICY);
        let mut bytes = recorded(&policy, &requests).remove(0).bytes;
        let position = at.index(bytes.len());
        bytes[position] ^= byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(segment) = Segment::decode(&bytes) {
            replayed(&policy, &[segment], ReplaySpec::default()).result();
        }
    }
}

#[test]
fn a_batch_is_recorded_item_by_item_without_its_failures() {
    let policy = policy(POLICY);
    let batch = BatchRequest {
        requests: vec![
            request("one", "job.a.x").encode_to_vec(),
            vec![0xff],
            request("two", "job.z").encode_to_vec(),
        ],
    }
    .encode_to_vec();
    let answer = policy.evaluate_batch(&batch).unwrap();
    let call = Call {
        request: &batch,
        answer: &answer,
        time_us: 7,
        is_batch: true,
    };
    let segment = Segment::decode(&record(&[call])[0].bytes).unwrap();
    let jobs: Vec<_> = (0..segment.len())
        .map(|row| segment.row(row).text(Column::JobId))
        .collect();
    assert_eq!(jobs, ["one", "two"]);
}

#[test]
fn content_is_never_kept() {
    let policy = policy(POLICY);
    let mut with_content = request("one", "job.a.x");
    with_content.input_content = b"TOPSECRET-CONTENT".to_vec();
    with_content
        .labels
        .insert("_content.prompt".to_owned(), "TOPSECRET-PROMPT".to_owned());
    let segments = segments(&policy, &[with_content]);
    let row = segments[0].row(0);
    assert!(!format!("{:?}", segments[0]).contains("TOPSECRET"));
    assert!(row.has(flags::CONTENT) && row.has(flags::PROMPT));
    assert_eq!(row.request().input_size_bytes, 17);
}

#[test]
fn tenants_get_segments_of_their_own() {
    let policy = policy(POLICY);
    let mut other = request("two", "job.a.x");
    other.tenant = "south".to_owned();
    let mut tenants: Vec<_> = recorded(&policy, &[request("one", "job.a.x"), other])
        .into_iter()
        .map(|segment| (segment.tenant, segment.rows))
        .collect();
    tenants.sort();
    assert_eq!(tenants, [("north".to_owned(), 1), ("south".to_owned(), 1)]);
}

#[test]
fn a_candidate_reports_what_changes_grouped_by_rule() {
    let old = policy(POLICY);
    let log = segments(
        &old,
        &[
            request("one", "job.a.x"),
            request("two", "job.a.y"),
            request("one", "job.a.x"),
            request("three", "job.b.x"),
        ],
    );
    let new = policy("version: two\nrules: [{id: stop, decision: deny, reason: stopped, match: {topics: ['job.a.*']}}, {id: go, decision: allow, match: {topics: ['job.b.*']}}]");
    let spec = ReplaySpec {
        max_changes: 1,
        ..ReplaySpec::default()
    };
    let result: serde_json::Value = serde_json::from_slice(&replayed(&new, &log, spec).result()).unwrap();
    assert_eq!(result["summary"]["total_jobs"], 3);
    assert_eq!(result["summary"]["escalated"], 2);
    assert_eq!(result["summary"]["relaxed"], 1);
    assert_eq!(result["groups"][0]["original_rule_id"], "boxed");
    assert_eq!(result["groups"][0]["new_rule_id"], "stop");
    assert_eq!(result["groups"][0]["count"], 2);
    assert_eq!(result["changes"].as_array().unwrap().len(), 1);
    assert_eq!(
        result["rule_hits"][0],
        serde_json::json!({"rule_id": "stop", "decision": "DENY", "count": 2})
    );
}

#[test]
fn a_replay_stops_at_the_number_of_jobs_asked_for() {
    let policy = policy(POLICY);
    let log = segments(&policy, &[request("one", "job.a.x"), request("two", "job.a.y")]);
    let spec = ReplaySpec {
        max_jobs: 1,
        ..ReplaySpec::default()
    };
    let result: serde_json::Value = serde_json::from_slice(&replayed(&policy, &log, spec).result()).unwrap();
    assert_eq!(result["summary"]["total_jobs"], 1);
    assert_eq!(result["is_cut"], true);
}

#[test]
fn filters_select_and_the_newest_row_comes_first() {
    let policy = policy(POLICY);
    let mut agent = request("three", "job.a.x");
    agent.labels.insert("agent_id".to_owned(), "robo".to_owned());
    let log = segments(
        &policy,
        &[request("one", "job.a.x"), request("two", "job.z"), agent],
    );
    let jobs = |filter: Filter, before, limit| -> Vec<String> {
        let found = scan(&log, &filter.compile().unwrap(), before, limit);
        let items: Vec<serde_json::Value> = serde_json::from_slice(&found).unwrap();
        items
            .iter()
            .map(|item| item["job_id"].as_str().unwrap().to_owned())
            .collect()
    };
    let by = |change: fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        filter
    };
    assert_eq!(jobs(Filter::default(), None, 9), ["three", "two", "one"]);
    assert_eq!(jobs(Filter::default(), Some(2), 1), ["two"]);
    assert_eq!(
        jobs(by(|f| f.topic = "job.a.*".to_owned()), None, 9),
        ["three", "one"]
    );
    assert_eq!(jobs(by(|f| f.agent_id = "robo".to_owned()), None, 9), ["three"]);
    assert_eq!(jobs(by(|f| f.decision = "DENY".to_owned()), None, 9), ["two"]);
    assert_eq!(
        jobs(by(|f| f.rule_id = "boxed".to_owned()), None, 9),
        ["three", "one"]
    );
    assert_eq!(jobs(by(|f| f.since_us = Some(2)), None, 9), ["three"]);
    assert_eq!(jobs(by(|f| f.until_us = Some(1)), None, 9), ["one"]);
}

#[test]
fn a_segment_that_claims_too_much_is_refused() {
    assert_eq!(
        Segment::decode(&[0xff, 0xff, 0xff, 0xff, 0]),
        Err(SegmentError::TooLarge)
    );
}
