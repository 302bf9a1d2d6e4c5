//! What is said about input rules: by example, and against brute force over a small universe of requests and contents.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeSet;

use cordum_policy::analysis::analyze;
use cordum_policy::{Policy, Source, SourceKind};
use cordum_wire::messages::{JobMetadata, PolicyCheckRequest, PolicyCheckResponse};
use proptest::prelude::*;
use prost::Message;
use serde_json::Value as Json;

mod universe;
use universe::request;

const NEVER: [&str; 2] = ["shadowed_rule", "empty_match"];

fn source(text: &str) -> Source<'_> {
    Source {
        kind: SourceKind::Base,
        content: text.as_bytes(),
    }
}

/// The report; every witness in it is what the engine says, and none is decided by a rule that never decides.
fn report(text: &str) -> Json {
    let report: Json = serde_json::from_slice(&analyze(&[source(text)]).unwrap()).unwrap();
    let policy = Policy::compile(&[source(text)]).unwrap();
    for finding in report["findings"].as_array().unwrap() {
        let witness = &finding["witness"];
        let decided = decided_by(&policy, &request(&witness["request"]));
        assert_eq!(
            decided,
            witness["verdict"]["rule_id"].as_str().unwrap(),
            "{finding:#}"
        );
        if NEVER.contains(&finding["kind"].as_str().unwrap()) {
            assert_ne!(decided, finding["rule"]["id"].as_str().unwrap(), "{finding:#}");
        }
    }
    report
}

fn decided_by(policy: &Policy, request: &PolicyCheckRequest) -> String {
    let bytes = policy.evaluate_bytes(&request.encode_to_vec()).unwrap();
    PolicyCheckResponse::decode(bytes.as_slice()).unwrap().rule_id
}

fn inputs(rules: &str) -> Json {
    report(&format!("default_decision: allow\ninput_rules:\n{rules}"))
}

/// Kind, severity, proof, rule and by of each finding, and question and rule of each open one.
fn told(report: &Json) -> Vec<String> {
    let text = |value: &Json| value.as_str().unwrap_or("").to_owned();
    let findings = report["findings"].as_array().unwrap().iter().map(|finding| {
        let by: Vec<String> = finding["by"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| text(&rule["id"]))
            .collect();
        let parts = ["kind", "severity", "proof"].map(|name| text(&finding[name]));
        format!(
            "{} {} < {}",
            parts.join(" "),
            text(&finding["rule"]["id"]),
            by.join("+")
        )
    });
    let open = report["undecided"].as_array().unwrap().iter();
    let open = open.map(|entry| format!("open {} {}", text(&entry["question"]), text(&entry["rule"]["id"])));
    findings.chain(open).collect()
}

#[test]
fn a_rule_behind_one_that_always_fires_is_found() {
    let found = inputs(
        "  - {id: all, match: {topics: [job.sql.*]}, decision: require_approval}\n\
         \x20 - {id: ddl, match: {topics: [job.sql.run], keywords: [drop]}, decision: deny}\n\
         \x20 - {id: ask, match: {topics: [job.sql.ask], keywords: [drop]}, decision: require_approval}\n",
    );
    assert_eq!(
        told(&found),
        [
            "shadowed_rule error covered_by_one ddl < all",
            "shadowed_rule warning covered_by_one ask < all"
        ]
    );
    let first = &found["findings"][0];
    assert_eq!(
        first["message"],
        "input rule `ddl` (input_rules[1]) can never decide: `all` (input_rules[0]) always fires first"
    );
    assert_eq!(first["witness"]["request"]["input_content"], "drop");
    assert_eq!(first["witness"]["verdict"]["decision"], "REQUIRE_APPROVAL");
}

#[test]
fn alternatives_that_are_all_among_those_of_an_earlier_rule_are_found() {
    for (earlier, later, is_covered) in [
        ("keywords: [Drop]", "keywords: [\"drop schema\"]", true),
        ("keywords: [\"drop schema\"]", "keywords: [drop]", false),
        ("keywords: [a, b]", "keywords: [b]", true),
        ("keywords: [a]", "keywords: [a, zz]", false),
        ("content_patterns: [x+, y+]", "content_patterns: [y+]", true),
        ("content_patterns: [x+]", "content_patterns: [y+]", false),
        ("scanners: [secret, pii]", "scanners: [pii]", true),
        ("scanners: [secret]", "scanners: [pii]", false),
        ("max_input_bytes: 10", "max_input_bytes: 20", true),
        ("max_input_bytes: 20", "max_input_bytes: 10", false),
        ("max_input_bytes: 10", "keywords: [a]", false),
        ("keywords: [a]", "max_input_bytes: 10", false),
        (
            "scope: {instruction_path: i, items_path: n}",
            "scope: {instruction_path: i, items_path: n}",
            true,
        ),
    ] {
        let found = inputs(&format!(
            "  - {{id: one, match: {{{earlier}}}, decision: deny}}\n  - {{id: two, match: {{{later}}}, decision: deny}}\n"
        ));
        let expected: &[&str] = if is_covered {
            &["shadowed_rule warning covered_by_one two < one"]
        } else {
            &[]
        };
        assert_eq!(told(&found), expected, "{earlier} / {later}");
    }
}

#[test]
fn rules_that_only_together_take_everything_are_named_together() {
    let found = inputs(
        "  - {id: north, match: {tenants: [north]}, decision: deny}\n\
         \x20 - {id: drop, match: {topics: [job.a], keywords: [drop]}, decision: deny}\n\
         \x20 - {id: both, match: {topics: [job.a], tenants: [north, south], keywords: [\"drop it\"]}, decision: deny}\n\
         \x20 - {id: rest, match: {topics: [\"job.*\"], tenants: [north, south], keywords: [\"drop it\"]}, decision: deny}\n",
    );
    assert_eq!(told(&found), ["shadowed_rule warning covered_by_one both < drop"]);
    let found = inputs(
        "  - {id: north, match: {tenants: [north]}, decision: deny}\n\
         \x20 - {id: south, match: {tenants: [south], keywords: [drop]}, decision: deny}\n\
         \x20 - {id: both, match: {tenants: [north, south], keywords: [\"drop it\"]}, decision: deny}\n",
    );
    assert_eq!(
        told(&found),
        ["shadowed_rule warning covered_by_union both < north+south"]
    );
}

#[test]
fn tiers_and_disabled_rules_keep_their_order() {
    let found = inputs(
        "  - {id: late, match: {topics: [job.a]}, decision: deny}\n\
         \x20 - {id: flow, tier: workflow, selector: {workflow_id: w}, match: {topics: [job.a]}, decision: deny}\n\
         \x20 - {id: off, enabled: false, match: {}, decision: deny}\n\
         \x20 - {id: other, match: {keywords: [a]}, decision: deny}\n",
    );
    assert!(told(&found).is_empty(), "{found:#}");
    assert_eq!(found["input_rules"], 3);
}

#[test]
fn a_rule_that_can_not_fire_is_found() {
    for (matching, proof) in [
        ("content_patterns: [\"[^\\\\s\\\\S]\"]", "no_content"),
        (
            "scope: {instruction_path: i, items_path: n, on_missing_input: allow, on_ambiguous: allow}",
            "no_content",
        ),
        ("max_input_bytes: 9223372036854775807", "no_content"),
        ("tenants: [\" \"], keywords: [a]", "no_request"),
    ] {
        let found = inputs(&format!(
            "  - {{id: no, match: {{{matching}}}, decision: deny}}\n"
        ));
        assert_eq!(
            told(&found),
            [format!("empty_match error {proof} no < ")],
            "{matching}"
        );
    }
    for matching in [
        "content_patterns: [\"[^\\\\s\\\\S]\", a]",
        "scope: {instruction_path: a.i, items_path: a.n, on_missing_input: allow, on_ambiguous: allow, allowed_categories: {pay: [x]}}",
        "scope: {instruction_path: i, items_path: n, on_missing_input: allow}",
    ] {
        let found = inputs(&format!("  - {{id: yes, match: {{{matching}}}, decision: deny}}\n"));
        assert!(told(&found).is_empty(), "{matching} {found:#}");
    }
}

#[test]
fn a_rule_about_requests_that_the_rules_stop_is_found() {
    let found = report(
        "default_decision: deny\n\
         rules:\n  - {id: stop, match: {topics: [job.sql.*]}, decision: deny}\n\
         \x20 - {id: go, match: {topics: [\"job.pay.*\"]}, decision: allow}\n\
         input_rules:\n  - {id: ddl, match: {topics: [job.sql.run], keywords: [drop]}, decision: deny}\n\
         \x20 - {id: live, match: {topics: [job.pay.run], keywords: [drop]}, decision: deny}\n\
         \x20 - {id: unheard, match: {topics: [job.mail.send], keywords: [drop]}, decision: deny}\n",
    );
    assert_eq!(
        told(&found),
        [
            "shadowed_rule warning no_request_passes ddl < stop",
            "shadowed_rule warning no_request_passes unheard < "
        ]
    );
    let found = report("input_rules: [{id: a, match: {keywords: [x]}}, {id: b, match: {keywords: [x]}}]");
    assert_eq!(told(&found), ["open shadowed_rule a"]);
    assert!(found["undecided"][0]["reason"]
        .as_str()
        .unwrap()
        .contains("lets a request pass"));
}

#[test]
fn content_that_is_held_where_a_later_rule_denies_is_found() {
    let found = inputs(
        "  - {id: hold, match: {topics: [job.*], keywords: [schema]}, decision: require_approval}\n\
         \x20 - {id: ddl, match: {topics: [job.sql], keywords: [\"drop schema\", truncate]}, decision: deny}\n",
    );
    assert_eq!(told(&found), ["contradiction warning witness ddl < hold"]);
    assert_eq!(
        found["findings"][0]["witness"]["request"]["input_content"],
        "drop schema"
    );
    let found = inputs(
        "  - {id: hold, match: {keywords: [alpha]}, decision: require_approval}\n\
         \x20 - {id: beta, match: {keywords: [beta]}, decision: deny}\n",
    );
    assert_eq!(told(&found), ["contradiction info witness beta < hold"]);
    // The exception of a later rule, the stricter rule first, and rules that share no request are no findings.
    for rules in [
        "  - {id: hold, match: {topics: [job.a], keywords: [\"drop it\"]}, decision: require_approval}\n\
         \x20 - {id: ddl, match: {topics: [\"job.*\"], keywords: [drop]}, decision: deny}\n",
        "  - {id: ddl, match: {keywords: [alpha]}, decision: deny}\n\
         \x20 - {id: hold, match: {keywords: [beta]}, decision: require_approval}\n",
        "  - {id: hold, match: {topics: [job.a], keywords: [alpha]}, decision: require_approval}\n\
         \x20 - {id: ddl, match: {topics: [job.b], keywords: [beta]}, decision: deny}\n",
    ] {
        assert!(told(&inputs(rules)).is_empty(), "{rules}");
    }
}

#[test]
fn what_no_text_shows_is_left_open() {
    // No sample is known of this detector, so nobody can show that the rule ever fires.
    let found = inputs("  - {id: keys, match: {detectors: [slack_token]}, decision: deny}\n");
    assert_eq!(told(&found), ["open shadowed_rule keys"]);
}

const TOPICS: [&str; 5] = ["job.a.x", "job.b.x", "job.c", "job.other", "job.edge.action"];
const TENANTS: [&str; 3] = ["t1", "t2", "else"];
const CONTENTS: [&str; 7] = [
    "",
    "drop",
    "drop schema",
    "zz",
    "drop\nzz",
    "drop schema\nzz",
    "plain",
];
const SIZES: [i64; 3] = [0, 101, 1_001];
const LOOKS: [&str; 8] = [
    "",
    "keywords: [drop], ",
    "keywords: [\"drop schema\"], ",
    "keywords: [zz, \"drop schema\"], ",
    "content_patterns: [\"zz+\"], ",
    "content_patterns: [\"[^\\\\s\\\\S]\"], ",
    "max_input_bytes: 100, ",
    "max_input_bytes: 1000, ",
];

fn universe_of_contents() -> Vec<PolicyCheckRequest> {
    let mut all = Vec::new();
    for topic in TOPICS {
        for tenant in TENANTS {
            for tag in ["", "k", "m"] {
                for content in CONTENTS {
                    for size in SIZES {
                        all.push(PolicyCheckRequest {
                            topic: topic.to_owned(),
                            tenant: tenant.to_owned(),
                            input_content: content.as_bytes().to_vec(),
                            input_size_bytes: size,
                            meta: Some(JobMetadata {
                                risk_tags: (!tag.is_empty()).then(|| tag.to_owned()).into_iter().collect(),
                                ..JobMetadata::default()
                            }),
                            ..PolicyCheckRequest::default()
                        });
                    }
                }
            }
        }
    }
    all
}

fn conditions() -> impl Strategy<Value = String> {
    let topics = prop::sample::select(vec!["", "", "topics: [job.a.*], ", "topics: [job.b.x, job.c], "]);
    let tenants = prop::sample::select(vec!["", "", "tenants: [t1], ", "tenants: [t1, t2], "]);
    let tags = prop::sample::select(vec!["", "", "", "risk_tags: [k], "]);
    (topics, tenants, tags).prop_map(|(topics, tenants, tags)| format!("{topics}{tenants}{tags}"))
}

fn policies() -> impl Strategy<Value = String> {
    let rule = (
        conditions(),
        prop::sample::select(vec!["deny", "allow", "require_approval"]),
    );
    let input = (
        conditions(),
        prop::sample::select(LOOKS.to_vec()),
        prop::sample::select(vec!["deny", "require_approval"]),
    );
    let default = prop::sample::select(vec!["allow", "allow", "deny"]);
    let parts = (
        default,
        prop::collection::vec(rule, 0..4),
        prop::collection::vec(input, 1..6),
    );
    parts.prop_map(|(default, rules, inputs)| {
        let mut text = format!("default_decision: {default}\nrules:\n");
        for (at, (conditions, decision)) in rules.iter().enumerate() {
            text += &format!("  - {{id: r{at}, match: {{{conditions}}}, decision: {decision}}}\n");
        }
        if rules.is_empty() {
            text = text.replace("rules:\n", "");
        }
        text += "input_rules:\n";
        for (at, (conditions, looks, decision)) in inputs.iter().enumerate() {
            text += &format!("  - {{id: i{at}, match: {{{conditions}{looks}}}, decision: {decision}}}\n");
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn an_input_rule_is_reported_exactly_when_it_never_decides(text in policies()) {
        let policy = Policy::compile(&[source(&text)]).unwrap();
        let report = report(&text);
        let ids = |list: &Json, kinds: &[&str]| -> BTreeSet<String> {
            list.as_array().unwrap().iter()
                .filter(|entry| entry["kind"].is_null() || kinds.contains(&entry["kind"].as_str().unwrap()))
                .map(|entry| entry["rule"]["id"].as_str().unwrap().to_owned())
                .filter(|id| id.starts_with('i'))
                .collect()
        };
        let reported = ids(&report["findings"], &NEVER);
        let open = ids(&report["undecided"], &[]);
        let deciding: BTreeSet<String> = universe_of_contents().iter()
            .map(|request| decided_by(&policy, request)).collect();
        for id in &reported {
            prop_assert!(!deciding.contains(id), "false alarm about {id}\n{text}{report:#}");
        }
        let is_closed = report["undecided"].as_array().unwrap().iter()
            .any(|entry| entry["reason"].as_str().unwrap().contains("lets a request pass"));
        for at in 0..text.matches("id: i").count() {
            let id = format!("i{at}");
            let is_known = deciding.contains(&id) || reported.contains(&id) || open.contains(&id);
            prop_assert!(is_known || is_closed, "missed {id}\n{text}{report:#}");
        }
    }
}
