//! The golden tables of `tests/golden/policy`, the same files that run through Python.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::path::Path;

use cordum_policy::yaml::{parse, Node, Value};
use cordum_policy::{validate, Agent, Agents, Decision, Issue, Policy, PolicyError, Source, SourceKind};
use cordum_wire::messages::{
    IdentityBinding, JobMetadata, PolicyCheckRequest, PolicyCheckResponse, PolicyConstraints,
    PolicyRemediation,
};
use prost::Message;

fn text(node: &Node) -> &str {
    match &node.value {
        Value::Str(text) => text,
        other => panic!("line {}: {other:?} is not a string", node.line),
    }
}

fn int(node: &Node) -> i64 {
    match node.value {
        Value::Int(value) => value,
        ref other => panic!("line {}: {other:?} is not an integer", node.line),
    }
}

fn texts(node: &Node) -> Vec<String> {
    match &node.value {
        Value::List(items) => items.iter().map(|item| text(item).to_owned()).collect(),
        other => panic!("line {}: {other:?} is not a list", node.line),
    }
}

fn entries(node: &Node) -> Vec<(&str, &Node)> {
    match &node.value {
        Value::Map(entries) => entries.iter().map(|(k, v)| (k.as_str(), &**v)).collect(),
        other => panic!("line {}: {other:?} is not a mapping", node.line),
    }
}

fn string_map(node: &Node) -> BTreeMap<String, String> {
    entries(node)
        .into_iter()
        .map(|(key, value)| (key.to_owned(), text(value).to_owned()))
        .collect()
}

fn compile(case: &Node) -> Result<Policy, PolicyError> {
    let mut sources = Vec::new();
    if let Some(policy) = case.get("policy") {
        sources.push(Source {
            kind: SourceKind::Base,
            content: text(policy).as_bytes(),
        });
    }
    for (id, content) in case.get("bundles").map(entries).unwrap_or_default() {
        sources.push(Source {
            kind: SourceKind::Bundle(id.to_owned()),
            content: text(content).as_bytes(),
        });
    }
    Policy::compile(&sources)
}

fn meta(node: &Node) -> JobMetadata {
    let mut meta = JobMetadata::default();
    for (key, value) in entries(node) {
        match key {
            "tenant_id" => meta.tenant_id = text(value).to_owned(),
            "actor_id" => meta.actor_id = text(value).to_owned(),
            "actor_type" => meta.actor_type = i32::try_from(int(value)).unwrap(),
            "capability" => meta.capability = text(value).to_owned(),
            "pack_id" => meta.pack_id = text(value).to_owned(),
            "risk_tags" => meta.risk_tags = texts(value),
            "requires" => meta.requires = texts(value),
            _ => panic!("line {}: unknown field {key}", value.line),
        }
    }
    meta
}

fn identity(node: &Node) -> IdentityBinding {
    let mut identity = IdentityBinding::default();
    for (key, value) in entries(node) {
        match key {
            "tenant_id" => identity.tenant_id = text(value).to_owned(),
            "principal_id" => identity.principal_id = text(value).to_owned(),
            _ => panic!("line {}: unknown field {key}", value.line),
        }
    }
    identity
}

fn request(node: &Node) -> PolicyCheckRequest {
    let mut request = PolicyCheckRequest::default();
    for (key, value) in entries(node) {
        match key {
            "job_id" => request.job_id = text(value).to_owned(),
            "topic" => request.topic = text(value).to_owned(),
            "tenant" => request.tenant = text(value).to_owned(),
            "principal_id" => request.principal_id = text(value).to_owned(),
            "labels" => request.labels = string_map(value),
            "effective_config" => request.effective_config = text(value).as_bytes().to_vec(),
            "meta" => request.meta = Some(meta(value)),
            "identity" => request.identity = Some(identity(value)),
            "input_content" => request.input_content = text(value).as_bytes().to_vec(),
            "input_content_type" => request.input_content_type = text(value).to_owned(),
            "input_size_bytes" => request.input_size_bytes = int(value),
            _ => panic!("line {}: unknown field {key}", value.line),
        }
    }
    request
}

fn constraints(node: &Node) -> Option<PolicyConstraints> {
    if matches!(node.value, Value::Null) {
        return None;
    }
    let mut found = PolicyConstraints::default();
    for (key, value) in entries(node) {
        let budgets = || int(value);
        match key {
            "max_runtime_ms" => {
                found.budgets.get_or_insert_default().max_runtime_ms = budgets();
            }
            "max_retries" => {
                found.budgets.get_or_insert_default().max_retries = budgets() as i32;
            }
            "isolated" => {
                found.sandbox.get_or_insert_default().isolated = matches!(value.value, Value::Bool(true));
            }
            "network_allowlist" => {
                found.sandbox.get_or_insert_default().network_allowlist = texts(value);
            }
            "allowed_tools" => {
                found.toolchain.get_or_insert_default().allowed_tools = texts(value);
            }
            "max_files" => found.diff.get_or_insert_default().max_files = budgets() as i32,
            "deny_path_globs" => {
                found.diff.get_or_insert_default().deny_path_globs = texts(value);
            }
            "redaction_level" => found.redaction_level = text(value).to_owned(),
            _ => panic!("line {}: unknown field {key}", value.line),
        }
    }
    Some(found)
}

fn remediation(node: &Node) -> PolicyRemediation {
    let get = |key| {
        node.get(key)
            .map(|value| text(value).to_owned())
            .unwrap_or_default()
    };
    PolicyRemediation {
        id: get("id"),
        title: get("title"),
        summary: get("summary"),
        replacement_topic: get("replacement_topic"),
        replacement_capability: get("replacement_capability"),
        add_labels: node.get("add_labels").map(string_map).unwrap_or_default(),
        remove_labels: node.get("remove_labels").map(texts).unwrap_or_default(),
    }
}

fn check_response(response: &PolicyCheckResponse, expect: &Node) {
    for (key, value) in entries(expect) {
        match key {
            "decision" => {
                let all = [
                    Decision::Allow,
                    Decision::AllowWithConstraints,
                    Decision::RequireApproval,
                    Decision::Throttle,
                    Decision::Deny,
                ];
                let expected = all.iter().find(|d| d.name() == text(value)).unwrap();
                assert_eq!(response.decision, expected.wire(), "{response:?}");
            }
            "reason" => assert_eq!(response.reason, text(value)),
            "rule_id" => assert_eq!(response.rule_id, text(value)),
            "snapshot" => assert_eq!(response.policy_snapshot, text(value)),
            "approval_ref" => assert_eq!(response.approval_ref, text(value)),
            "approval_required" => {
                let expected = matches!(value.value, Value::Bool(true));
                assert_eq!(response.approval_required, expected);
            }
            "constraints" => assert_eq!(response.constraints, constraints(value)),
            "identity" => assert_eq!(response.identity, Some(identity(value))),
            "remediations" => {
                let Value::List(items) = &value.value else {
                    panic!("remediations must be a list");
                };
                let expected: Vec<_> = items.iter().map(|item| remediation(item)).collect();
                assert_eq!(response.remediations, expected);
            }
            _ => panic!("line {}: unknown field {key}", value.line),
        }
    }
}

/// Agents that were looked up: id → record, or nothing when there is none.
fn agents(node: &Node) -> Agents {
    Agents::looked_up(entries(node).into_iter().map(|(id, record)| {
        let get = |key| {
            record
                .get(key)
                .map(|value| text(value).to_owned())
                .unwrap_or_default()
        };
        let agent = Agent {
            id: id.to_owned(),
            tenant: get("tenant"),
            status: get("status"),
            risk_tier: get("risk_tier"),
            data_classifications: record.get("data_classifications").map(texts).unwrap_or_default(),
        };
        let is_there = !matches!(record.value, Value::Null);
        (id.to_owned(), is_there.then_some(agent))
    }))
}

fn joined(issues: &[Issue]) -> Vec<String> {
    issues.iter().map(Issue::to_string).collect()
}

fn run(case: &Node) {
    for (key, value) in entries(case) {
        match key {
            "name" | "policy" | "bundles" | "expect" | "tells_delegation" | "agents" => {}
            "errors" => {
                let issues = validate(text(case.get("policy").unwrap()).as_bytes());
                assert_eq!(joined(&issues), texts(value));
            }
            "lines" => {
                let issues = validate(text(case.get("policy").unwrap()).as_bytes());
                let lines: Vec<String> = issues.iter().map(|issue| issue.line.to_string()).collect();
                assert_eq!(lines, texts(value));
            }
            "error_starts" => {
                let issues = joined(&validate(text(case.get("policy").unwrap()).as_bytes()));
                assert_eq!(issues.len(), 1, "{issues:?}");
                assert!(issues[0].starts_with(text(value)), "{issues:?}");
            }
            "compile_errors" => {
                let issues = compile(case).err().map(|error| error.issues());
                assert_eq!(joined(&issues.unwrap_or_default()), texts(value));
            }
            "warnings" => assert_eq!(compile(case).unwrap().warnings(), texts(value)),
            "request" => {
                let policy = compile(case)
                    .unwrap()
                    .with_delegation(case.get("tells_delegation").is_some());
                let agents = case.get("agents").map_or(Agents::none(), agents);
                let request = request(value).encode_to_vec();
                let bytes = policy.evaluate_bytes_of(&request, &agents).unwrap();
                let response = PolicyCheckResponse::decode(bytes.as_slice()).unwrap();
                assert_eq!(response.encode_to_vec(), bytes, "canonical bytes");
                assert_eq!(response.policy_snapshot, policy.snapshot());
                check_response(&response, case.get("expect").unwrap());
            }
            _ => panic!("line {}: unknown field {key}", value.line),
        }
    }
}

#[test]
fn every_golden_case_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/policy");
    let mut failures = Vec::new();
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let root = parse(&std::fs::read(&path).unwrap()).unwrap();
        let Value::List(cases) = &root.value else {
            panic!("{path:?} must be a list");
        };
        for case in cases {
            count += 1;
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(case)));
            if result.is_err() {
                failures.push(text(case.get("name").unwrap()).to_owned());
            }
        }
    }
    assert!(count >= 120, "{count} cases");
    assert!(failures.is_empty(), "{} failed: {failures:#?}", failures.len());
}
