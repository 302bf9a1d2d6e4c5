//! Tests of a policy run against the merged policy, through the one evaluation function.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use cordum_policy::testing::{encode_request, run_tests};
use cordum_policy::{Policy, PolicyError, Source, SourceKind};
use cordum_wire::messages::PolicyCheckRequest;
use prost::Message;
use serde_json::{json, Value};

const ROOM: usize = 1 << 20;

fn base(content: &str) -> Source<'_> {
    Source {
        kind: SourceKind::Base,
        content: content.as_bytes(),
    }
}

fn bundle<'a>(id: &str, content: &'a str) -> Source<'a> {
    Source {
        kind: SourceKind::Bundle(id.to_owned()),
        content: content.as_bytes(),
    }
}

fn run(sources: &[Source<'_>]) -> Value {
    serde_json::from_slice(&run_tests(sources, &[], ROOM).unwrap()).unwrap()
}

fn results(report: &Value) -> Vec<(&str, bool)> {
    let cases = report["cases"].as_array().unwrap().iter();
    cases
        .map(|case| (case["name"].as_str().unwrap(), case["passed"].as_bool().unwrap()))
        .collect()
}

#[test]
fn a_case_sees_the_merged_policy() {
    let own = r#"
rules: [{id: docs, decision: allow, match: {topics: ["job.docs.*"]}}]
tests: [{name: docs run, request: {topic: job.docs.a}, expect: {decision: allow, rule_id: docs}}]
"#;
    assert_eq!(run(&[base(own)])["failed"], 0);
    let stop = r#"
rules: [{id: docs, decision: deny, match: {topics: ["job.*"]}, reason: incident}]
tests: [{name: nothing runs, request: {topic: job.docs.a}, expect: {decision: block, reason_contains: incident}}]
"#;
    let report = run(&[base(own), bundle("secops/stop", stop)]);
    assert_eq!(results(&report), [("docs run", false), ("nothing runs", true)]);
    let case = &report["cases"][0];
    assert_eq!(case["source"], "base");
    assert_eq!(case["differs"], json!(["decision"]));
    assert_eq!(
        case["got"],
        json!({"decision": "DENY", "rule_id": "docs", "reason": "incident", "constraints": null})
    );
    assert_eq!(report["cases"][1]["source"], "secops/stop");
}

#[test]
fn every_member_of_an_expectation_counts() {
    let policy = |expect: &str| {
        format!(
            r#"
rules:
  - id: build
    match: {{topics: ["job.build"]}}
    decision: require_approval
    reason: builds wait
    constraints: {{budgets: {{max_retries: 2, max_runtime_ms: 5}}, sandbox: {{network_allowlist: [a, b]}}}}
tests: [{{name: x, request: {{topic: job.build}}, expect: {{decision: require_approval, {expect}}}}}]
"#
        )
    };
    for (expect, differs) in [
        ("rule_id: build", json!([])),
        ("rule_id: ''", json!(["rule_id"])),
        ("reason_contains: wait", json!([])),
        ("reason_contains: Wait", json!(["reason_contains"])),
        ("constraints: {budgets: {max_retries: 2}}", json!([])),
        ("constraints: {budgets: {max_retries: 2.0}}", json!([])),
        ("constraints: {budgets: {max_retries: 3}}", json!(["constraints"])),
        // What a decision does not limit can be demanded too.
        (
            "constraints: {budgets: {max_artifact_bytes: 0}, redaction_level: ''}",
            json!([]),
        ),
        ("constraints: {sandbox: {network_allowlist: [a, b]}}", json!([])),
        (
            "constraints: {sandbox: {network_allowlist: [b]}}",
            json!(["constraints"]),
        ),
        ("constraints: {sandbox: {isolated: true}}", json!(["constraints"])),
    ] {
        let text = policy(expect);
        assert_eq!(run(&[base(&text)])["cases"][0]["differs"], differs, "{expect}");
    }
}

const COUNTED: &str = r#"
rules:
  - {id: burst, decision: throttle, match: {topics: [job.mail]}, velocity: {max_requests: 3, window_seconds: 60, key: tenant}}
  - {id: flood, decision: deny, match: {topics: [job.mail]}, velocity: {max_requests: 9, window_seconds: 60, key: tenant}}
  - {id: mail, decision: allow, match: {topics: [job.mail]}}
tests:
  - {name: within, request: {topic: job.mail}, expect: {decision: allow, rule_id: mail}}
  - {name: first, request: {topic: job.mail}, exceeded: [burst], expect: {decision: throttle, rule_id: burst}}
  - {name: second, request: {topic: job.mail}, exceeded: [flood], expect: {decision: deny, rule_id: flood}}
  - {name: overlay, request: {topic: job.mail}, exceeded: [night], expect: {decision: require_approval, rule_id: night}}
  - {name: typo, request: {topic: job.mail}, exceeded: [brust], expect: {decision: allow}}
"#;

#[test]
fn counters_are_within_their_limits_unless_the_case_says_otherwise() {
    let night = r#"
rules: [{id: night, decision: require_approval, velocity: {max_requests: 1, window_seconds: 9, key: topic}}]
"#;
    let report = run(&[base(COUNTED), bundle("velocity/night", night)]);
    let wanted = [
        ("within", true),
        ("first", true),
        ("second", true),
        ("overlay", true),
        // A name that counts nothing would make the case pass for the wrong reason.
        ("typo", false),
    ];
    assert_eq!(results(&report), wanted);
    let error = report["cases"][4]["error"].as_str().unwrap();
    assert_eq!(error, "exceeded: `brust` is no velocity rule of the policy");
    assert_eq!(report["coverage"]["covered"], 4);
}

#[test]
fn a_rule_is_covered_when_it_decides() {
    let report = run(&[base(
        r#"
rules:
  - {id: vip, decision: require_approval, match: {topics: ["job.pay"], tenants: [vip]}}
  - {id: pay, decision: allow, match: {topics: ["job.pay"]}}
  - {decision: deny, match: {topics: ["job.drop"]}}
  - {id: tool, decision: allow, match: {topics: ["job.tool"]}}
input_rules:
  - {id: ddl, match: {topics: ["job.pay"], keywords: [drop]}}
  - {id: off, enabled: false, match: {keywords: [x]}}
tenants: {north: {mcp: {deny_tools: [rm]}}}
tests:
  - {name: a, request: {topic: job.pay}, expect: {decision: allow}}
  - {name: b, request: {topic: job.pay, input_content: drop it}, expect: {decision: deny, rule_id: ddl}}
  - {name: c, request: {topic: job.other}, expect: {decision: deny, rule_id: ""}}
  - {name: d, request: {topic: job.drop}, expect: {decision: deny}}
  - {name: e, request: {topic: job.tool, tenant: north, labels: {mcp.tool: rm}}, expect: {decision: deny}}
"#,
    )]);
    assert_eq!(report["failed"], 0, "{report}");
    let coverage = &report["coverage"];
    assert_eq!(coverage["rules"], 5);
    assert_eq!(coverage["by_rule"], json!({"pay": 1, "ddl": 1, "rules[2]": 1}));
    let missing = json!([{"id": "vip", "path": "rules[0]"}, {"id": "tool", "path": "rules[3]"}]);
    assert_eq!(coverage["uncovered"], missing);
}

#[test]
fn rules_about_agents_can_be_tested() {
    let report = run(&[base(
        r#"
rules:
  - {id: risky, decision: require_approval, match: {agent_risk_tiers: [high]}}
  - {id: rest, decision: allow, match: {topics: [job.a]}}
tests:
  - {name: risky, request: {topic: job.a}, agent: {risk_tier: high}, expect: {decision: require_approval, rule_id: risky}}
  - {name: calm, request: {topic: job.a, tenant: north}, agent: {risk_tier: low}, expect: {decision: allow}}
  - {name: stopped, request: {topic: job.a}, agent: {status: suspended}, expect: {decision: deny, rule_id: ""}}
  - {name: foreign, request: {topic: job.a}, agent: {tenant: south}, expect: {decision: deny}}
"#,
    )]);
    assert_eq!(report["failed"], 0, "{report}");
}

#[test]
fn files_of_tests_join_those_of_the_document() {
    let policy = "rules: [{id: a, decision: allow, match: {topics: [job.a]}}]";
    let file = "tests: [{name: a, request: {topic: job.a}, expect: {decision: allow}}]";
    let report = run_tests(&[base(policy)], &[("a.tests.yaml", file.as_bytes())], ROOM).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(
        (&report["passed"], &report["cases"][0]["source"]),
        (&json!(1), &json!("a.tests.yaml"))
    );
    let broken = run_tests(&[base("rules: {}")], &[("t", b"rules: []\ntests: [1]")], ROOM).unwrap_err();
    let paths: Vec<String> = broken.issues().iter().map(ToString::to_string).collect();
    assert_eq!(
        paths,
        [
            "rules: must be a list",
            "t: policy: unknown field \"rules\"",
            "t: tests[0]: must be a mapping"
        ]
    );
    assert_eq!(run_tests(&[], &[], ROOM), Err(PolicyError::NoSource));
}

fn many(count: usize, decision: &str) -> String {
    let mut text = "rules: [{id: a, decision: allow}]\ntests:\n".to_owned();
    for at in 0..count {
        text +=
            &format!("  - {{name: c{at}, request: {{topic: job.a}}, expect: {{decision: {decision}}}}}\n");
    }
    text
}

#[test]
fn a_report_lists_what_fits_and_counts_the_rest() {
    let text = many(1000, "deny");
    let report = run_tests(&[base(&text)], &[], 16_384).unwrap();
    assert!(report.len() < 16_384 + 8_192, "{}", report.len());
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["failed"], 1000);
    let listed = report["cases"].as_array().unwrap().len() as u64;
    assert!(listed > 0);
    assert_eq!(report["omitted"], 1000 - listed);
}

#[test]
fn the_bounds_of_the_section_are_errors() {
    let text = many(1001, "deny");
    let issues = run_tests(&[base(&text)], &[], ROOM).unwrap_err().issues();
    assert_eq!(issues[0].to_string(), "tests: more than 1000 tests");
    // Each text fits, and so does the document; an alias repeats one of them.
    let word = "x".repeat(2 << 20);
    let mut text = "tests:\n".to_owned();
    for at in 0..9 {
        let content = if at < 7 {
            format!("&w{at} {word}")
        } else {
            "*w0".to_owned()
        };
        text += &format!("  - {{name: c{at}, request: {{topic: job.a, input_content: {content}}}, expect: {{decision: deny}}}}\n");
    }
    let issues = run_tests(&[base(&text)], &[], ROOM).unwrap_err().issues();
    assert_eq!(
        issues[0].to_string(),
        "tests: longer than 16777216 bytes together"
    );
}

#[test]
fn tests_are_part_of_the_snapshot_and_of_nothing_else() {
    let rules = "rules: [{id: a, decision: allow, match: {topics: [job.a]}}]\n";
    let tested =
        format!("{rules}tests: [{{name: x, request: {{topic: job.a}}, expect: {{decision: deny}}}}]");
    let (plain, with) = (
        Policy::compile(&[base(rules)]).unwrap(),
        Policy::compile(&[base(&tested)]).unwrap(),
    );
    assert_ne!(plain.snapshot(), with.snapshot());
    assert_eq!(plain.rule_count(), with.rule_count());
    assert_eq!(plain.warnings(), with.warnings());
}

#[test]
fn a_request_takes_the_first_of_its_two_places() {
    let text = br#"{"request": {"topic": " job.a ", "org_id": "north", "capability": "outer", "risk_tags": ["outer"],
        "meta": {"capability": "inner", "labels": {"a": "meta", "b": "meta"}}, "labels": {"a": "own"}, "step_id": "s",
        "context": {"z": 1, "a": [null, 1.5]}}}"#;
    let request = PolicyCheckRequest::decode(encode_request(text).unwrap().as_slice()).unwrap();
    assert_eq!(
        (request.topic.as_str(), request.tenant.as_str()),
        ("job.a", "north")
    );
    let meta = request.meta.unwrap();
    assert_eq!(
        (meta.capability.as_str(), meta.risk_tags),
        ("inner", vec!["outer".to_owned()])
    );
    let labels: Vec<_> = request
        .labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(labels, [("a", "own"), ("b", "meta"), ("step_id", "s")]);
    assert_eq!(request.input_content, br#"{"z":1,"a":[null,1.5]}"#);
    assert_eq!(request.input_content_type, "application/json");
}
