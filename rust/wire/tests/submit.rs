//! Job submissions: what is accepted, what is refused with which words, what is stored for each decision.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use cordum_wire::messages::{
    BatchItem, BatchRequest, BatchResponse, BusPacket, DecisionType, Payload, PolicyCheckRequest,
    PolicyCheckResponse,
};
use cordum_wire::submit::{Batch, Caller, Limits, Plan};
use proptest::prelude::*;
use prost::Message;
use serde_json::{json, Value};

const LIMITS: Limits = Limits {
    context_bytes: 2 << 20,
    prompt_chars: 50_000,
};
const NOW_US: i64 = 1_772_357_400_000_000;

fn caller() -> Caller {
    Caller {
        tenant: "acme".into(),
        principal: "ci".into(),
        fingerprint: "0123456789abcdef".into(),
        job_id: "j1".into(),
        trace_id: "t1".into(),
        ..Caller::default()
    }
}

fn batch(body: &str) -> Batch {
    Batch::parse(&[(body.as_bytes(), caller())], &LIMITS, NOW_US)
}

fn refusal(body: &str) -> (u16, String, String) {
    let plan = batch(body).plan(None, 64);
    assert!(plan.commits.is_empty(), "{body}");
    let outcome = &plan.outcomes[0];
    let answer: Value = serde_json::from_slice(&outcome.body).unwrap();
    assert_eq!(answer["status"], outcome.status);
    (
        outcome.status,
        answer["code"].as_str().unwrap().into(),
        answer["error"].as_str().unwrap().into(),
    )
}

fn judged(body: &str, decision: DecisionType, approval_required: bool) -> Plan {
    let response = PolicyCheckResponse {
        decision: decision as i32,
        reason: "because".into(),
        rule_id: "r1".into(),
        policy_snapshot: "v1:abc".into(),
        approval_required,
        ..PolicyCheckResponse::default()
    };
    let item = BatchItem {
        response: response.encode_to_vec(),
        ..BatchItem::default()
    };
    let answer = BatchResponse {
        items: vec![item],
        ..BatchResponse::default()
    };
    batch(body).plan(Some(&answer.encode_to_vec()), 64)
}

#[test]
fn bad_fields_are_refused_by_name() {
    let labels = |count: usize| {
        let map: serde_json::Map<String, Value> = (0..count).map(|n| (format!("k{n}"), "v".into())).collect();
        json!({"prompt": "p", "labels": map}).to_string()
    };
    let deep = format!(
        r#"{{"prompt":"p","context":{}{}}}"#,
        "[".repeat(64),
        "]".repeat(64)
    );
    for (body, status, code) in [
        ("", 400, "invalid_json"),
        ("[]", 400, "invalid_json"),
        (r#"{"prompt":"p""#, 400, "invalid_json"),
        (r#"{"prompt":"\ud800"}"#, 400, "invalid_json"),
        (r#"{"prompt":"p","context":"\ud800"}"#, 400, "invalid_json"),
        (&deep, 400, "invalid_json"),
        ("{}", 400, "prompt_is_required"),
        (r#"{"prompt":" "}"#, 400, "prompt_is_required"),
        (r#"{"prompt":7}"#, 400, "prompt_must_be_a_string"),
        (
            r#"{"prompt":"a\u0000b"}"#,
            400,
            "prompt_must_not_contain_control_characters",
        ),
        (
            r#"{"prompt":"p","context":{"a":["\u0007"]}}"#,
            400,
            "context_must_not_contain_control_characters",
        ),
        (
            r#"{"prompt":"p","topic":"job.a\u0001"}"#,
            400,
            "topic_must_not_contain_control_characters",
        ),
        (
            r#"{"prompt":"p","topic":"sys.job.submit"}"#,
            400,
            "topic_must_look_like_job_name_with_letters_digits_dots_dashes_and_underscores",
        ),
        (
            r#"{"prompt":"p","capability":"a\nb"}"#,
            400,
            "capability_must_not_contain_control_characters",
        ),
        (
            r#"{"prompt":"p","priority":"now"}"#,
            400,
            "priority_must_be_batch_interactive_or_critical",
        ),
        (
            r#"{"prompt":"p","deadline_ms":-1}"#,
            400,
            "deadline_ms_must_be_an_integer_between_0_and_315360000000",
        ),
        (
            r#"{"prompt":"p","risk_tags":"pii"}"#,
            400,
            "risk_tags_must_be_a_list_of_strings",
        ),
        (
            r#"{"prompt":"p","labels":{"a":1}}"#,
            400,
            "labels_must_be_a_map_of_strings",
        ),
        (
            r#"{"prompt":"p","labels":{"_ma.x":"1"}}"#,
            400,
            "labels_use_a_reserved_prefix",
        ),
        (&labels(51), 400, "too_many_labels_at_most_50"),
        (
            r#"{"prompt":"p","memory_id":"a b"}"#,
            400,
            "MEMORY_POLICY_VIOLATION",
        ),
        (
            r#"{"prompt":"p","tenant_id":"globex"}"#,
            403,
            "tenant_access_denied",
        ),
        (
            r#"{"prompt":"p","labels":{"agent_id":"a1"}}"#,
            403,
            "access_denied",
        ),
        (r#"{"prompt":"p","delegation_token":"x"}"#, 403, "access_denied"),
        (
            &json!({"prompt": "p".repeat(50_001)}).to_string(),
            413,
            "payload_too_large",
        ),
    ] {
        let (got_status, got_code, _) = refusal(body);
        assert_eq!((got_status, got_code.as_str()), (status, code), "{body:.80}");
    }
}

#[test]
fn an_accepted_job_is_stored_pending_and_published() {
    let plan = judged(
        r#"{"prompt":"hi","topic":"job.a","labels":{"env":"prod"}}"#,
        DecisionType::Allow,
        false,
    );
    let commit = &plan.commits[0];
    assert_eq!((commit.state, commit.tenant.as_str()), ("PENDING", "acme"));
    let (message_id, packet) = commit.message.as_ref().unwrap();
    assert_eq!(message_id, "jobreq:j1");
    let packet = BusPacket::decode(packet.as_slice()).unwrap();
    let Some(Payload::JobRequest(request)) = packet.payload else {
        panic!("no request")
    };
    assert_eq!(
        (request.context_ptr.as_str(), request.principal_id.as_str()),
        ("redis://ctx:j1", "ci")
    );
    assert_eq!(request.labels.get("_source").map(String::as_str), Some("api"));
    assert!(!request.labels.contains_key("_content.prompt"));
    let answer: Value = serde_json::from_slice(&plan.outcomes[0].body).unwrap();
    assert_eq!(answer, json!({"job_id": "j1", "trace_id": "t1"}));
}

#[test]
fn without_a_kernel_every_job_is_accepted_as_pending() {
    let plan = batch(r#"{"prompt":"hi"}"#).plan(None, 64);
    assert_eq!(plan.commits[0].state, "PENDING");
    let truncated = batch(r#"{"prompt":"hi"}"#).plan(Some(&[0x0a, 0xff]), 64);
    assert_eq!(truncated.commits[0].state, "PENDING");
}

#[test]
fn a_decision_outside_the_table_is_a_denial() {
    for decision in [
        DecisionType::Deny,
        DecisionType::Unspecified,
        DecisionType::Quarantine,
    ] {
        let plan = judged(r#"{"prompt":"hi"}"#, decision, false);
        assert_eq!((plan.commits[0].state, plan.outcomes[0].status), ("DENIED", 403));
        assert!(plan.commits[0].message.is_none());
    }
}

#[test]
fn an_approval_is_held_and_not_published() {
    for (decision, required) in [(DecisionType::RequireHuman, false), (DecisionType::Allow, true)] {
        let plan = judged(r#"{"prompt":"hi"}"#, decision, required);
        assert_eq!(plan.commits[0].state, "APPROVAL_REQUIRED");
        assert!(plan.commits[0].message.is_none());
        let answer: Value = serde_json::from_slice(&plan.outcomes[0].body).unwrap();
        assert_eq!(answer["status"], "approval_required");
    }
}

#[test]
fn a_throttled_job_leaves_nothing_behind() {
    let plan = judged(r#"{"prompt":"hi"}"#, DecisionType::Throttle, false);
    assert!(plan.commits.is_empty());
    assert_eq!(
        (plan.outcomes[0].status, plan.outcomes[0].retry_after_s),
        (429, 30)
    );
}

#[test]
fn a_client_cannot_set_labels_of_the_control_plane() {
    let body = r#"{"prompt":"p","labels":{"approval_granted":"true","Approval_x":"1","_source":"workflow",
        "cordum.bus_msg_id":"x","policy.attachment_id":"y","ok":"1"}}"#;
    let plan = batch(body).plan(None, 64);
    let (_, packet) = plan.commits[0].message.as_ref().unwrap();
    let Some(Payload::JobRequest(request)) = BusPacket::decode(packet.as_slice()).unwrap().payload else {
        panic!()
    };
    let keys: Vec<&str> = request.labels.keys().map(String::as_str).collect();
    assert_eq!(keys, ["_source", "ok"]);
    assert_eq!(request.labels["_source"], "api");
}

#[test]
fn a_secret_reference_is_tagged_even_when_escaped() {
    for context in [
        r#""secret://a""#,
        r#"{"k":["secret:\/\/a"]}"#,
        r#"{"\u0073ecret://a":1}"#,
    ] {
        let body = format!(r#"{{"prompt":"p","context":{context}}}"#);
        let request = BatchRequest::decode(batch(&body).policy_request(&[]).as_slice()).unwrap();
        let check = PolicyCheckRequest::decode(request.requests[0].as_slice()).unwrap();
        assert_eq!(check.labels["secrets_present"], "true", "{context}");
        assert_eq!(check.meta.unwrap().risk_tags, ["secrets"]);
    }
}

#[test]
fn the_context_reaches_the_worker_byte_for_byte() {
    let plan = batch(r#"{"prompt":"p","context":{"n": 123456789012345678901234567890.0}}"#).plan(None, 64);
    let document = String::from_utf8(plan.commits[0].context.clone()).unwrap();
    assert!(
        document.ends_with(r#","context":{"n": 123456789012345678901234567890.0}}"#),
        "{document}"
    );
    assert!(
        document.contains(r#""created_at":"2026-03-01T09:30:00Z""#),
        "{document}"
    );
}

#[test]
fn a_bound_principal_wins_over_the_body() {
    let plan = batch(r#"{"prompt":"p","principal_id":"root","actor_id":"root"}"#).plan(None, 64);
    let (_, packet) = plan.commits[0].message.as_ref().unwrap();
    let Some(Payload::JobRequest(request)) = BusPacket::decode(packet.as_slice()).unwrap().payload else {
        panic!()
    };
    assert_eq!(request.principal_id, "ci");
    assert_eq!(request.labels["requested_principal"], "root");
    assert_eq!(request.meta.unwrap().actor_id, "ci");
}

#[test]
fn a_replay_hash_ignores_spacing_but_not_values() {
    let hash = |body: &str| {
        let keyed = Caller {
            idempotency_key: "k".into(),
            ..caller()
        };
        Batch::parse(&[(body.as_bytes(), keyed)], &LIMITS, NOW_US).claims()[0]
            .4
            .clone()
    };
    let first = hash(r#"{"prompt":"p","context":{"a":1,"b":2}}"#);
    assert_eq!(first, hash(r#"{"context":{ "b":2, "a":1 }, "prompt":"p"}"#));
    assert_ne!(first, hash(r#"{"prompt":"p","context":{"a":1,"b":3}}"#));
}

proptest! {
    #[test]
    fn arbitrary_bodies_are_answered_once(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let plan = Batch::parse(&[(body, caller())], &LIMITS, NOW_US).plan(None, 64);
        prop_assert_eq!(plan.outcomes.len(), 1);
    }

    #[test]
    fn json_with_odd_values_never_panics(
        name in "prompt|topic|labels|context|risk_tags|deadline_ms|priority",
        value in r#"[\[\]{}",:0-9a-z\\ -]{0,40}"#,
    ) {
        let body = format!(r#"{{"prompt":"p","{name}":{value}}}"#);
        prop_assert_eq!(batch(&body).plan(None, 64).outcomes.len(), 1);
    }
}

#[test]
fn an_agent_is_named_by_itself_its_owner_or_a_delegate() {
    let body = br#"{"prompt":"p","labels":{"agent_id":"a1"}}"#;
    let with = |bound: &str, impersonates: bool| {
        let caller = Caller {
            bound_principal: bound.into(),
            impersonates,
            ..caller()
        };
        Batch::parse(&[(&body[..], caller)], &LIMITS, NOW_US)
    };
    assert!(with("a1", false).agents().is_empty());
    assert!(with("", true).agents().is_empty());
    let to_prove = (0, "acme".to_owned(), "a1".to_owned(), "ci".to_owned());
    assert_eq!(with("ci", false).agents(), vec![to_prove]);
    assert_eq!(with("a1", false).plan(None, 64).commits.len(), 1);
    let refused = with("", false).plan(None, 64);
    assert!(refused.commits.is_empty());
    assert_eq!(refused.outcomes[0].status, 403);
}
