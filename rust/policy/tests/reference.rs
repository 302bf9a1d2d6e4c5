//! A slow, obviously right evaluator of policy spec §5 and §6 and its comparison with the compiled engine on generated input.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeMap;

use cordum_policy::document::{Match, Rule, Scope};
use cordum_policy::mcp::McpLists;
use cordum_policy::{validate, Decision, Document, Policy, Request, Source, SourceKind};
use cordum_wire::messages::{JobMetadata, PolicyCheckRequest, PolicyCheckResponse};
use proptest::prelude::*;
use prost::Message;

fn same(a: &str, b: &str) -> bool {
    !a.trim().is_empty() && a.trim().to_lowercase() == b.trim().to_lowercase()
}

fn listed(value: &str, list: &[String]) -> bool {
    list.iter().any(|entry| same(value, entry))
}

/// One member of a class and what follows it.
fn member(class: &[char]) -> (char, &[char]) {
    match class {
        ['\\', c, rest @ ..] | [c, rest @ ..] => (*c, rest),
        [] => panic!("unclosed class"),
    }
}

/// Recursive and exponential, but plainly policy spec §5.2.
fn glob(pattern: &[char], topic: &[char]) -> bool {
    match pattern {
        [] => topic.is_empty(),
        ['*', rest @ ..] => {
            glob(rest, topic) || (!topic.is_empty() && topic[0] != '/' && glob(pattern, &topic[1..]))
        }
        ['?', rest @ ..] => !topic.is_empty() && topic[0] != '/' && glob(rest, &topic[1..]),
        ['\\', c, rest @ ..] => topic.first() == Some(c) && glob(rest, &topic[1..]),
        ['[', rest @ ..] => {
            let (negated, mut rest) = match rest {
                ['^', rest @ ..] => (true, rest),
                rest => (false, rest),
            };
            let mut inside = false;
            while rest[0] != ']' {
                let (low, left) = member(rest);
                let (mut high, mut left) = (low, left);
                if left[0] == '-' {
                    (high, left) = member(&left[1..]);
                }
                rest = left;
                inside |= topic.first().is_some_and(|c| (low..=high).contains(c));
            }
            !topic.is_empty() && inside != negated && glob(&rest[1..], &topic[1..])
        }
        [c, rest @ ..] => topic.first() == Some(c) && glob(rest, &topic[1..]),
    }
}

fn topic_matches(pattern: &str, topic: &str) -> bool {
    let pattern: Vec<char> = pattern.trim().chars().collect();
    let topic: Vec<char> = topic.chars().collect();
    !pattern.is_empty() && glob(&pattern, &topic)
}

fn label<'a>(request: &'a PolicyCheckRequest, key: &str) -> &'a str {
    request.labels.get(key).map_or("", String::as_str)
}

fn mcp_value(request: &PolicyCheckRequest, field: &str) -> String {
    let mut camel = field.to_owned();
    camel[..1].make_ascii_uppercase();
    [
        format!("mcp.{field}"),
        format!("mcp_{field}"),
        format!("mcp{camel}"),
    ]
    .iter()
    .map(|key| label(request, key).trim())
    .find(|value| !value.is_empty())
    .unwrap_or("")
    .to_owned()
}

fn mcp_selected(lists: &McpLists, request: &PolicyCheckRequest) -> bool {
    let values = ["server", "tool", "resource", "action"].map(|field| mcp_value(request, field));
    if lists.is_empty() {
        return true;
    }
    values.iter().any(|value| !value.is_empty())
        && values.iter().zip(&lists.fields).all(|(value, lists)| {
            !listed(value, &lists.deny) && (lists.allow.is_empty() || listed(value, &lists.allow))
        })
}

fn matches(matching: &Match, request: &PolicyCheckRequest) -> bool {
    let meta = request.meta.clone().unwrap_or_default();
    let tenant = [&request.tenant, &meta.tenant_id]
        .into_iter()
        .find(|t| !t.trim().is_empty())
        .map_or("default", |t| t.trim());
    let holds = |list: &[String], value: &str| list.is_empty() || listed(value, list);
    let secrets = ["true", "1"].contains(&label(request, "secrets_present"))
        || label(request, "secrets_present").to_lowercase() == "yes"
        || meta.risk_tags.iter().any(|tag| same(tag, "secrets"));
    let number =
        |text: &str| -> Option<f64> { text.trim().parse().ok().filter(|number: &f64| number.is_finite()) };
    holds(&matching.tenants, tenant)
        && (matching.topics.is_empty()
            || matching
                .topics
                .iter()
                .any(|pattern| topic_matches(pattern, request.topic.trim())))
        && holds(&matching.capabilities, &meta.capability)
        && holds(&matching.pack_ids, &meta.pack_id)
        && holds(&matching.actor_ids, &request.principal_id)
        && (matching.risk_tags.is_empty()
            || meta.risk_tags.iter().any(|tag| listed(tag, &matching.risk_tags)))
        && matching
            .requires
            .iter()
            .all(|name| meta.requires.iter().any(|given| same(name, given)))
        && (matching.labels.is_empty() || !request.labels.is_empty())
        && matching
            .labels
            .iter()
            .all(|(key, value)| label(request, key) == value)
        && (matching.label_allowlist.is_empty()
            || matching.label_allowlist.iter().any(|(key, list)| {
                let value = request.labels.get(key);
                value.is_some_and(|value| !listed(value, list))
            }))
        && (matching.label_threshold.is_empty()
            || matching
                .label_threshold
                .iter()
                .any(|(key, threshold)| number(label(request, key)).is_some_and(|value| value > *threshold)))
        && matching
            .secrets_present
            .is_none_or(|expected| expected == secrets)
        && mcp_selected(&matching.mcp, request)
}

/// Decision and rule id by looking at every rule.
fn decide(document: &Document, request: &PolicyCheckRequest) -> (Decision, String) {
    let is_trusted = label(request, "_source") == "workflow";
    let workflow = if is_trusted {
        label(request, "workflow_id")
    } else {
        ""
    };
    let job = request.job_id.as_str();
    let tiers: [&dyn Fn(&Scope) -> bool; 3] = [
        &|scope| matches!(scope, Scope::Job(id) if id == job),
        &|scope| matches!(scope, Scope::Workflow(id) if id == workflow),
        &|scope| *scope == Scope::Global,
    ];
    let mut rules: Vec<&Rule> = Vec::new();
    for in_tier in tiers {
        rules.extend(document.rules.iter().filter(|rule| in_tier(&rule.scope)));
    }
    let found = rules.iter().find(|rule| {
        matches(&rule.matching, request)
            && (request.topic != "job.edge.action"
                || rule.matching.topics.iter().any(|t| t == "job.edge.action"))
    });
    if let Some(rule) = found {
        return (rule.decision, rule.id.clone());
    }
    let is_scoped = rules.iter().any(|rule| rule.scope != Scope::Global);
    let default = document.default_decision.unwrap_or(Decision::Deny);
    let decision = if is_scoped { Decision::Deny } else { default };
    (decision, String::new())
}

const WORDS: [&str; 6] = ["a", "B", " b", "c", "", "secrets"];
const TOPICS: [&str; 7] = [
    "job.a",
    "job.a.b",
    "job.b/c",
    "job.c.a",
    "job.edge.action",
    "job.b",
    "job.ab",
];
const PATTERNS: [&str; 12] = [
    "job.*",
    "job.a",
    "job.a*",
    "job.*.b",
    "job.?",
    "job.[a-b]*",
    "*",
    "job.[^a]*",
    "job.edge.action",
    "*a",
    " job.b ",
    "j*[^x]*c",
];
const KEYS: [&str; 7] = [
    "env",
    "n",
    "mcp.tool",
    "mcp_server",
    "secrets_present",
    "workflow_id",
    "_source",
];
const VALUES: [&str; 8] = ["a", "b", "", "3", "10.5", "true", "workflow", "inf"];

fn list(words: &'static [&'static str]) -> impl Strategy<Value = Option<String>> {
    let items = prop::collection::vec(prop::sample::select(words), 0..3);
    prop::option::weighted(0.25, items.prop_map(|items| format!("{items:?}")))
}

fn mapping(values: BoxedStrategy<String>) -> impl Strategy<Value = Option<String>> {
    let map = prop::collection::btree_map(prop::sample::select(&KEYS[..]), values, 0..3);
    prop::option::weighted(
        0.2,
        map.prop_map(|map: BTreeMap<&str, String>| {
            let entries: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{key:?}: {value}"))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }),
    )
}

fn match_text() -> impl Strategy<Value = String> {
    let value = || prop::sample::select(&VALUES[..]).prop_map(|v| format!("{v:?}"));
    let lists =
        prop::collection::vec(prop::sample::select(&VALUES[..]), 0..3).prop_map(|items| format!("{items:?}"));
    (
        (
            list(&PATTERNS),
            list(&WORDS),
            list(&WORDS),
            list(&WORDS),
            list(&WORDS),
        ),
        mapping(value().boxed()),
        mapping(lists.boxed()),
        mapping(
            prop::sample::select(&["2", "5.5", "-1"][..])
                .prop_map(str::to_owned)
                .boxed(),
        ),
        prop::option::weighted(0.15, any::<bool>()),
        prop::option::weighted(0.15, (list(&WORDS), list(&WORDS))),
    )
        .prop_map(
            |((topics, tenants, capabilities, tags, requires), labels, allow, over, secrets, mcp)| {
                let fields = [
                    ("topics", topics),
                    ("tenants", tenants),
                    ("capabilities", capabilities),
                    ("risk_tags", tags),
                    ("requires", requires),
                    ("labels", labels),
                    ("label_allowlist", allow),
                    ("label_threshold", over),
                    ("secrets_present", secrets.map(|value| value.to_string())),
                    (
                        "mcp",
                        mcp.map(|(allow, deny)| {
                            format!(
                                "{{\"allow_tools\": {}, \"deny_servers\": {}}}",
                                allow.unwrap_or("[]".into()),
                                deny.unwrap_or("[]".into())
                            )
                        }),
                    ),
                ];
                let fields: Vec<String> = fields
                    .into_iter()
                    .filter_map(|(key, value)| Some(format!("{key:?}: {}", value?)))
                    .collect();
                format!("{{{}}}", fields.join(", "))
            },
        )
}

fn policy_text(rules: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let scope = prop_oneof![
        6 => Just(""),
        1 => Just("\"tier\": \"job\", \"selector\": {\"job_id\": \"a\"}, "),
        1 => Just("\"tier\": \"workflow\", \"selector\": {\"workflow_id\": \"b\"}, "),
    ];
    let decision = prop::sample::select(&["allow", "deny", "require_approval", "throttle"][..]);
    let rule = (scope, decision, match_text());
    (prop::collection::vec(rule, rules), any::<bool>()).prop_map(|(rules, open)| {
        let rules: Vec<String> = rules
            .into_iter()
            .enumerate()
            .map(|(at, (scope, decision, matching))| {
                format!("{{\"id\": \"r{at}\", {scope}\"decision\": \"{decision}\", \"match\": {matching}}}")
            })
            .collect();
        let default = if open { "allow" } else { "deny" };
        format!(
            "{{\"default_decision\": \"{default}\", \"rules\": [\n{}]}}",
            rules.join(",\n")
        )
    })
}

fn some_request() -> impl Strategy<Value = PolicyCheckRequest> {
    let word = || prop::sample::select(&WORDS[..]).prop_map(str::to_owned);
    let words = || prop::collection::vec(word(), 0..3);
    let labels = prop::collection::btree_map(
        prop::sample::select(&KEYS[..]).prop_map(str::to_owned),
        prop::sample::select(&VALUES[..]).prop_map(str::to_owned),
        0..4,
    );
    (
        prop::sample::select(&TOPICS[..]),
        word(),
        word(),
        word(),
        words(),
        words(),
        labels,
    )
        .prop_map(
            |(topic, job_id, tenant, capability, risk_tags, requires, labels)| PolicyCheckRequest {
                job_id,
                topic: topic.to_owned(),
                tenant,
                labels,
                meta: Some(JobMetadata {
                    capability,
                    risk_tags,
                    requires,
                    ..JobMetadata::default()
                }),
                ..PolicyCheckRequest::default()
            },
        )
}

fn compile(text: &str) -> Policy {
    let source = Source {
        kind: SourceKind::Base,
        content: text.as_bytes(),
    };
    Policy::compile(&[source]).unwrap()
}

fn answer(policy: &Policy, request: &PolicyCheckRequest) -> (i32, String) {
    let bytes = policy.evaluate_bytes(&request.encode_to_vec()).unwrap();
    let response = PolicyCheckResponse::decode(bytes.as_slice()).unwrap();
    (response.decision, response.rule_id)
}

fn compare(text: &str, requests: &[PolicyCheckRequest]) {
    let policy = compile(text);
    let document = Document::parse(text.as_bytes()).unwrap();
    for request in requests {
        let (decision, rule) = decide(&document, request);
        assert_eq!(answer(&policy, request), (decision.wire(), rule), "{request:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_engine_decides_as_the_reference(
        text in policy_text(0..12),
        requests in prop::collection::vec(some_request(), 8),
    ) {
        compare(&text, &requests);
    }

    #[test]
    fn every_pattern_matches_as_the_reference(pattern in "[a\\*\\?/x\\[\\]\\^\\\\b-]{0,8}", topic in "[ab/x]{0,8}") {
        if let Some(compiled) = cordum_policy::glob::Glob::new(&pattern) {
            prop_assert_eq!(compiled.matches(&topic), topic_matches(&pattern, &topic));
        }
    }

    #[test]
    fn order_of_rules_that_cannot_both_match_does_not_matter(
        capabilities in Just((0..20).collect::<Vec<usize>>()).prop_shuffle(),
        asked in 0usize..20,
    ) {
        let rules: Vec<String> = capabilities
            .iter()
            .map(|n| format!("{{id: r{n}, decision: allow, match: {{capabilities: [c{n}]}}}}"))
            .collect();
        let policy = compile(&format!("rules: [{}]", rules.join(", ")));
        let request = PolicyCheckRequest {
            topic: "job.a".to_owned(),
            meta: Some(JobMetadata { capability: format!("c{asked}"), ..JobMetadata::default() }),
            ..PolicyCheckRequest::default()
        };
        prop_assert_eq!(answer(&policy, &request), (Decision::Allow.wire(), format!("r{asked}")));
    }

    #[test]
    fn a_snapshot_depends_on_the_bytes_alone(text in policy_text(0..4), ids in Just(vec!["a/x", "b/y", "secops/z"]).prop_shuffle()) {
        let sources: Vec<Source<'_>> = ids
            .iter()
            .map(|id| Source { kind: SourceKind::Bundle((*id).to_owned()), content: text.as_bytes() })
            .collect();
        let mut sorted = sources.clone();
        sorted.sort_by_key(|source| format!("{:?}", source.kind));
        let (one, other) = (Policy::compile(&sources).unwrap(), Policy::compile(&sorted).unwrap());
        prop_assert_eq!(one.snapshot(), other.snapshot());
        prop_assert!(one.snapshot().starts_with("cfg:"));
    }

    #[test]
    fn arbitrary_bytes_never_panic_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = validate(&bytes);
    }

    #[test]
    fn arbitrary_yaml_never_panics_the_parser(text in "[a-c:{}\\[\\],&*!|>\"'#? \n\t-]{0,120}") {
        let _ = validate(text.as_bytes());
    }

    #[test]
    fn arbitrary_bytes_never_panic_the_evaluator(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let policy = compile("rules: [{id: r, decision: allow, match: {labels: {a: b}}}]");
        let _ = policy.evaluate_bytes(&bytes);
        let _ = policy.evaluate_batch(&bytes);
        let _ = Request::decode(&bytes).map(|request| policy.explain(&request));
    }

    #[test]
    fn a_truncated_request_is_an_error_or_a_decision(request in some_request(), cut in 0usize..200) {
        let policy = compile("default_decision: deny");
        let bytes = request.encode_to_vec();
        if let Ok(answer) = policy.evaluate_bytes(&bytes[..cut.min(bytes.len())]) {
            let response = PolicyCheckResponse::decode(answer.as_slice()).unwrap();
            prop_assert_eq!(response.decision, Decision::Deny.wire());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_large_policy_decides_as_the_reference(
        text in policy_text(4000..4300),
        requests in prop::collection::vec((some_request(), 0usize..300), 100),
    ) {
        // A pack id per rule spreads the winners over all ranks.
        let mut parts = text.split("\"match\": {");
        let mut spread = parts.next().unwrap().to_owned();
        for (at, part) in parts.enumerate() {
            spread += &format!("\"match\": {{\"pack_ids\": [\"p{}\"], {part}", at * at % 293);
        }
        let mut requests = requests;
        for (request, pack) in &mut requests {
            request.meta.as_mut().unwrap().pack_id = format!("p{pack}");
        }
        let requests: Vec<PolicyCheckRequest> = requests.into_iter().map(|(r, _)| r).collect();
        compare(&spread, &requests);
    }
}

#[test]
fn every_rank_of_a_large_policy_can_win() {
    let rules: Vec<String> = (0..9000)
        .map(|n| {
            format!(
                "{{id: r{n}, decision: allow, match: {{topics: ['job.*'], capabilities: [c{n}, all{n}]}}}}"
            )
        })
        .collect();
    let policy = compile(&format!("rules: [{}]", rules.join(", ")));
    for n in 0..9000 {
        let request = PolicyCheckRequest {
            topic: "job.a".to_owned(),
            meta: Some(JobMetadata {
                capability: format!("C{n}"),
                ..JobMetadata::default()
            }),
            ..PolicyCheckRequest::default()
        };
        assert_eq!(answer(&policy, &request).1, format!("r{n}"));
    }
}
