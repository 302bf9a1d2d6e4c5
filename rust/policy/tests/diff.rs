//! Comparisons against brute force: over every request of a small universe a change of verdict is reported between the two rules that
//! decide, and every reported change is one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeSet;

use cordum_policy::analysis::diff;
use cordum_policy::{Policy, Request, Source, SourceKind};
use proptest::prelude::*;
use prost::Message;
use serde_json::Value as Json;

mod universe;
use universe::{request, rules, UNIVERSE};

fn base(text: &str) -> Source<'_> {
    Source {
        kind: SourceKind::Base,
        content: text.as_bytes(),
    }
}

fn bundle<'a>(id: &str, text: &'a str) -> Source<'a> {
    Source {
        kind: SourceKind::Bundle(id.to_owned()),
        content: text.as_bytes(),
    }
}

fn compared(old: &[Source<'_>], new: &[Source<'_>]) -> Json {
    serde_json::from_slice(&diff(old, new).unwrap()).unwrap()
}

/// Decision and the id of the rule, or `default`.
fn verdict(policy: &Policy, bytes: &[u8]) -> (&'static str, String) {
    let decoded = Request::decode(bytes).unwrap();
    let outcome = policy.evaluate(&decoded);
    let rule = outcome.rule_path().map_or("default".to_owned(), str::to_owned);
    (outcome.decision.name(), rule)
}

fn side(change: &Json, name: &str) -> String {
    change[name]["path"].as_str().unwrap().to_owned()
}

/// Every witness says what both engines say.
fn check_witnesses(old: &Policy, new: &Policy, report: &Json) {
    for change in report["changes"].as_array().unwrap() {
        let witness = &change["witness"];
        if witness["exceeded"].is_object() {
            continue;
        }
        let bytes = request(&witness["request"]).encode_to_vec();
        let (before, after) = (verdict(old, &bytes), verdict(new, &bytes));
        assert_eq!(
            before.0,
            witness["old"]["decision"].as_str().unwrap(),
            "{change:#}"
        );
        assert_eq!(
            after.0,
            witness["new"]["decision"].as_str().unwrap(),
            "{change:#}"
        );
        assert_eq!(before.1, side(change, "old"), "{change:#}");
        assert_eq!(after.1, side(change, "new"), "{change:#}");
        assert_ne!(before.0, after.0, "{change:#}");
    }
}

fn check(old: &[Source<'_>], new: &[Source<'_>]) -> Result<(), TestCaseError> {
    let report = compared(old, new);
    let text = || -> String {
        let sources = old.iter().chain(new);
        sources
            .map(|source| format!("{:?}\n{}", source.kind, String::from_utf8_lossy(source.content)))
            .collect()
    };
    let (old, new) = (Policy::compile(old).unwrap(), Policy::compile(new).unwrap());
    check_witnesses(&old, &new, &report);
    let pairs = |key: &str| -> BTreeSet<(String, String)> {
        let entries = report[key].as_array().unwrap().iter();
        entries
            .map(|entry| (side(entry, "old"), side(entry, "new")))
            .collect()
    };
    let reported = pairs("changes");
    prop_assert!(pairs("undecided").is_empty(), "{}{report:#}", text());
    for bytes in UNIVERSE.iter() {
        let (before, after) = (verdict(&old, bytes), verdict(&new, bytes));
        let pair = (before.1, after.1);
        prop_assert!(
            before.0 == after.0 || reported.contains(&pair),
            "missed {pair:?}\n{}{report:#}",
            text()
        );
    }
    Ok(())
}

/// A policy with one rule left out, doubled, moved or with another decision.
fn edited(text: &str, at: usize, how: usize) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let rules = lines.len() - 2;
    let (one, other) = (2 + at % rules, 2 + (at / 7) % rules);
    let flipped;
    match how {
        0 if rules > 1 => {
            lines.remove(one);
        }
        1 => {
            let moved = lines.remove(one);
            lines.insert(other.min(lines.len()), moved);
        }
        2 => {
            let line = lines[one];
            flipped = if line.contains("decision: deny") {
                line.replace("decision: deny", "decision: allow")
            } else {
                line.replace("decision: allow", "decision: deny")
            };
            lines[one] = &flipped;
        }
        _ => lines[0] = "default_decision: allow",
    }
    lines.join("\n") + "\n"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_change_between_two_policies_is_found(old in rules(), new in rules()) {
        check(&[base(&old)], &[base(&new)])?;
    }

    #[test]
    fn every_change_of_an_edit_is_found(text in rules(), at in 0usize..1_000, how in 0usize..4) {
        check(&[base(&text)], &[base(&edited(&text, at, how))])?;
    }

    #[test]
    fn every_change_beside_invariants_is_found(
        invariants in rules(), text in rules(), at in 0usize..1_000, how in 0usize..8
    ) {
        let pair = |invariants, text| [base(text), bundle("secops/invariants", invariants)];
        if how < 4 {
            check(&pair(&invariants, &text), &pair(&invariants, &edited(&text, at, how)))?;
        } else {
            check(&pair(&invariants, &text), &pair(&edited(&invariants, at, how - 4), &text))?;
        }
    }

    #[test]
    fn a_policy_is_equivalent_to_itself(text in rules()) {
        let report = compared(&[base(&text)], &[base(&text)]);
        prop_assert_eq!(&report["equivalent"], &Json::Bool(true), "{}", report);
    }
}

/// Compare, check that each witness does what it says, and return the report.
fn report(old: &[Source<'_>], new: &[Source<'_>]) -> Json {
    let report = compared(old, new);
    let (before, after) = (Policy::compile(old).unwrap(), Policy::compile(new).unwrap());
    for change in report["changes"].as_array().unwrap() {
        let witness = &change["witness"];
        if witness["exceeded"].is_null() && !before.has_velocity() && !after.has_velocity() {
            let bytes = request(&witness["request"]).encode_to_vec();
            assert_eq!(
                verdict(&before, &bytes).0,
                witness["old"]["decision"],
                "{change:#}"
            );
            assert_eq!(
                verdict(&after, &bytes).0,
                witness["new"]["decision"],
                "{change:#}"
            );
        }
    }
    report
}

fn parts(report: &Json) -> Vec<String> {
    let changes = report["changes"].as_array().unwrap().iter();
    changes
        .map(|change| change["part"].as_str().unwrap().to_owned())
        .collect()
}

const ALLOW_ALL: &str = "rules:\n  - {id: all, decision: allow}\n";

#[test]
fn another_name_order_or_spelling_changes_nothing() {
    let old = "default_decision: deny\nrules:\n  \
               - {id: a, decision: allow, match: {topics: [job.a], tenants: [North]}}\n  \
               - {id: b, decision: deny, match: {topics: [job.b]}}\n";
    let new = "rules:\n  \
               - {id: renamed, decision: deny, reason: no, match: {topics: [job.b]}}\n  \
               - {id: a, decision: permit, match: {topics: [job.a, job.a], tenants: [north]}}\n  \
               - {id: rest, decision: deny}\n";
    let report = report(&[base(old)], &[base(new)]);
    assert_eq!(report["equivalent"], true, "{report:#}");
}

#[test]
fn a_class_is_told_in_as_few_words_as_possible_and_with_its_exceptions() {
    let old = "default_decision: deny\nrules:\n  \
               - {id: vip, decision: require_approval, match: {topics: [\"job.pay.*\"], tenants: [vip]}}\n  \
               - {id: pay, decision: deny, match: {topics: [\"job.pay.*\"]}}\n  \
               - {id: all, decision: deny}\n";
    let new = old.replace("pay, decision: deny", "pay, decision: allow");
    let report = report(&[base(old)], &[base(&new)]);
    assert_eq!(report["changes"].as_array().unwrap().len(), 1, "{report:#}");
    let change = &report["changes"][0];
    assert_eq!(change["direction"], "looser");
    assert_eq!(
        change["class"]["conditions"],
        serde_json::json!(["topic is job.pay.*"])
    );
    let vip = serde_json::json!({"rule": "vip", "policy": "both", "conditions": ["tenant is vip"]});
    assert_eq!(change["class"]["except"], serde_json::json!([vip]));
}

#[test]
fn constraints_count_where_the_job_runs() {
    let rule = |decision: &str, ms: u32| {
        format!("rules:\n  - {{id: a, decision: {decision}, constraints: {{budgets: {{max_runtime_ms: {ms}}}}}}}\n")
    };
    let report_of = |decision: &str| report(&[base(&rule(decision, 1))], &[base(&rule(decision, 2))]);
    assert_eq!(report_of("allow")["changes"][0]["direction"], "constraints");
    assert_eq!(
        report_of("require_approval")["changes"][0]["direction"],
        "constraints"
    );
    assert_eq!(report_of("deny")["equivalent"], true);
}

#[test]
fn a_counting_rule_with_another_limit_is_a_change_for_those_who_count() {
    let rule = |max: u32| {
        format!(
            "rules:\n  - {{id: v, decision: throttle, velocity: {{max_requests: {max}, window_seconds: 60, \
             key: \"tenant:labels.user\"}}}}\n  - {{id: all, decision: allow}}\n"
        )
    };
    let report = report(&[base(&rule(10))], &[base(&rule(20))]);
    assert_eq!(report["equivalent"], false);
    assert!(report["undecided"].as_array().unwrap().is_empty(), "{report:#}");
    let witness = &report["changes"][0]["witness"];
    assert!(!witness["request"]["labels"]["user"].as_str().unwrap().is_empty());
    assert_ne!(witness["exceeded"]["old"], witness["exceeded"]["new"]);
}

#[test]
fn a_counting_rule_that_stays_hides_nothing() {
    let policy = |last: &str| {
        format!(
            "rules:\n  - {{id: v, decision: throttle, velocity: {{max_requests: 1, window_seconds: 60, key: tenant}}}}\n  \
             - {{id: all, decision: {last}}}\n"
        )
    };
    let report = report(&[base(&policy("allow"))], &[base(&policy("deny"))]);
    assert_eq!(report["changes"].as_array().unwrap().len(), 1, "{report:#}");
    assert!(report["undecided"].as_array().unwrap().is_empty(), "{report:#}");
}

#[test]
fn what_is_not_modelled_is_left_open() {
    let rule = |depth: u32| {
        format!("rules:\n  - {{id: d, decision: deny, match: {{delegation: {{max_depth: {depth}}}}}}}\n  - {{id: all, decision: allow}}\n")
    };
    let open = report(&[base(&rule(1))], &[base(&rule(2))]);
    assert_eq!(open["equivalent"], Json::Null, "{open:#}");
    assert_eq!(report(&[base(&rule(1))], &[base(&rule(1))])["equivalent"], true);
}

#[test]
fn defaults_of_a_workflow_are_told_apart() {
    let scoped = "tier: workflow\nselector: {workflow_id: w}\ndefault_decision: allow\n";
    let old = [base("default_decision: deny\n")];
    let new = [base("default_decision: deny\n"), bundle("pack/w", scoped)];
    let report = report(&old, &new);
    assert_eq!(
        report["changes"][0]["witness"]["request"]["labels"]["workflow_id"], "w",
        "{report:#}"
    );
    assert_eq!(report["changes"].as_array().unwrap().len(), 1);
}

#[test]
fn an_invariant_that_gives_way_is_seen() {
    let rules =
        "rules:\n  - {id: open, decision: allow, match: {topics: [job.a]}}\n  - {id: shut, decision: deny}\n";
    let invariant = "rules:\n  - {id: ask, decision: require_approval}\n";
    let new = rules.replace("  - {id: open, decision: allow, match: {topics: [job.a]}}\n", "");
    let report = report(
        &[base(rules), bundle("secops/invariants", invariant)],
        &[base(&new), bundle("secops/invariants", invariant)],
    );
    assert_eq!(report["equivalent"], false, "{report:#}");
    assert_eq!(
        report["changes"][0]["witness"]["old"]["decision"],
        "REQUIRE_APPROVAL"
    );
    assert_eq!(report["changes"][0]["witness"]["new"]["decision"], "DENY");
}

#[test]
fn lists_of_a_tenant_are_compared_by_what_they_refuse() {
    let tenant = |list: &str| format!("{ALLOW_ALL}tenants:\n  north: {{mcp: {list}}}\n");
    let looser = report(
        &[base(&tenant("{deny_tools: [x, y]}"))],
        &[base(&tenant("{deny_tools: [x]}"))],
    );
    assert_eq!(parts(&looser), ["tenant_mcp"], "{looser:#}");
    assert_eq!(looser["changes"][0]["direction"], "looser");
    let same = report(
        &[base(&tenant("{deny_tools: [x, y]}"))],
        &[base(&tenant("{deny_tools: [Y, x, x]}"))],
    );
    assert_eq!(same["equivalent"], true, "{same:#}");
}

#[test]
fn velocity_bundles_are_compared() {
    let rule = |max: u32| {
        format!("rules:\n  - {{id: burst, decision: throttle, velocity: {{max_requests: {max}, window_seconds: 60, key: tenant}}}}\n")
    };
    let (few, many) = (rule(5), rule(50));
    let with = |text| vec![base(ALLOW_ALL), bundle("velocity/burst", text)];
    let added = report(&[base(ALLOW_ALL)], &with(&few));
    assert_eq!(parts(&added), ["velocity"], "{added:#}");
    assert_eq!(added["changes"][0]["direction"], "stricter");
    assert_eq!(
        parts(&report(&with(&few), &with(&many))),
        ["velocity", "velocity"]
    );
    assert_eq!(report(&with(&few), &with(&few))["equivalent"], true);
    let closed = "rules:\n  - {id: all, decision: deny}\n";
    let moot = report(&[base(closed)], &[base(closed), bundle("velocity/burst", &few)]);
    assert_eq!(moot["equivalent"], true, "{moot:#}");
}

#[test]
fn input_rules_are_compared_with_content_that_shows_it() {
    for matching in [
        "keywords: [forbidden]",
        "content_patterns: [\"(?i)drop\\\\s+schema\"]",
        "scanners: [pii]",
        "input_size_gt: 100",
        "topics: [job.a]",
    ] {
        let ruled =
            format!("{ALLOW_ALL}input_rules:\n  - {{id: i, decision: deny, match: {{{matching}}}}}\n");
        let added = report(&[base(ALLOW_ALL)], &[base(&ruled)]);
        assert_eq!(parts(&added), ["input_rules"], "{matching}: {added:#}");
        assert_eq!(added["changes"][0]["direction"], "stricter");
        assert_eq!(report(&[base(&ruled)], &[base(&ruled)])["equivalent"], true);
        let human = format!("{ruled}require_human: {{min_severity_for_deny: critical}}\n");
        assert_eq!(
            report(&[base(&ruled)], &[base(&human)])["changes"][0]["direction"],
            "looser",
            "{matching}"
        );
    }
    let off = format!("{ALLOW_ALL}input_rules:\n  - {{id: i, enabled: false, match: {{keywords: [x]}}}}\n");
    assert_eq!(report(&[base(ALLOW_ALL)], &[base(&off)])["equivalent"], true);
}

#[test]
fn another_default_tenant_matters_only_where_rules_tell_tenants_apart() {
    let policy = |tenant: &str, listed: &str| {
        format!("default_tenant: {tenant}\nrules:\n  - {{id: a, decision: allow, match: {{tenants: [{listed}]}}}}\n")
    };
    let told = report(
        &[base(&policy("north", "north"))],
        &[base(&policy("south", "north"))],
    );
    assert_eq!(parts(&told), ["default_tenant"], "{told:#}");
    assert_eq!(told["changes"][0]["witness"]["request"]["tenant"], Json::Null);
    let untold = report(
        &[base(&policy("north", "east"))],
        &[base(&policy("south", "east"))],
    );
    assert_eq!(untold["equivalent"], true, "{untold:#}");
}

#[test]
fn no_policy_at_all_is_one_that_denies() {
    let opened: Json = serde_json::from_slice(&diff(&[], &[base(ALLOW_ALL)]).unwrap()).unwrap();
    assert_eq!(opened["changes"][0]["direction"], "looser", "{opened:#}");
    let shut = compared(&[], &[base("rules:\n  - {id: no, decision: deny}\n")]);
    assert_eq!(shut["equivalent"], true, "{shut:#}");
}
