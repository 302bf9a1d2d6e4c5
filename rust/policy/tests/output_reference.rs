//! The walk over output rules equals a naive reading of the spec, and masked copies keep their promises, on generated input.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use cordum_policy::output::{redact, OutputContent, OutputDecision, OutputRequest};
use cordum_policy::{Policy, Source, SourceKind};
use proptest::prelude::*;
use serde_json::{json, Value};

const WORDS: &[&str] = &[
    "osprey",
    "alice@example.com",
    "heron",
    "bob@example.com",
    "x",
    "Osprey",
];

#[derive(Clone, Debug)]
struct Rule {
    enabled: bool,
    decision: &'static str,
    topics: Vec<&'static str>,
    tenants: Vec<&'static str>,
    has_error: Option<bool>,
    size: i64,
    keywords: Vec<&'static str>,
    pattern: Option<&'static str>,
    email: bool,
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let rule = (
        prop::bool::weighted(0.9),
        prop::sample::select(vec!["allow", "redact", "redact", "quarantine", "deny"]),
        prop::sample::subsequence(vec!["job.a", "job.*", "job.b"], 0..=2),
        prop::sample::subsequence(vec!["acme", "Blue"], 0..=1),
        prop::option::weighted(0.2, any::<bool>()),
        prop::sample::select(vec![0i64, 0, 0, 12]),
        prop::sample::subsequence(vec!["osprey", "heron"], 0..=2),
        prop::option::weighted(0.3, Just("h[a-z]ron")),
        prop::bool::weighted(0.3),
    );
    let rule = rule.prop_map(
        |(enabled, decision, topics, tenants, has_error, size, keywords, pattern, email)| Rule {
            enabled,
            decision,
            topics,
            tenants,
            has_error,
            size,
            keywords,
            pattern,
            email,
        },
    );
    prop::collection::vec(rule, 0..6)
}

fn document(rules: &[Rule]) -> String {
    let written = rules.iter().enumerate().map(|(at, rule)| {
        let mut matching = json!({
            "topics": rule.topics, "tenants": rule.tenants, "has_error": rule.has_error,
            "output_size_gt": rule.size, "keywords": rule.keywords,
            "content_patterns": rule.pattern.into_iter().collect::<Vec<_>>(),
        });
        if rule.email {
            matching["detectors"] = json!(["email_address"]);
        }
        json!({"id": at.to_string(), "enabled": rule.enabled, "decision": rule.decision, "match": matching})
    });
    json!({"output_policy": {"enabled": true}, "output_rules": written.collect::<Vec<Value>>()}).to_string()
}

/// Where `word` stands in `text`, without case.
fn places(text: &str, word: &str) -> Vec<(usize, usize)> {
    let lower = text.to_ascii_lowercase();
    (0..lower.len())
        .filter(|at| lower.get(*at..).is_some_and(|rest| rest.starts_with(word)))
        .map(|at| (at, word.len()))
        .collect()
}

fn emails(text: &str) -> Vec<(usize, usize)> {
    ["alice@example.com", "bob@example.com"]
        .iter()
        .flat_map(|word| places(text, word))
        .collect()
}

/// What a rule finds, `None` when it does not match.
fn naive_match(
    rule: &Rule,
    topic: &str,
    tenant: &str,
    error: &str,
    text: Option<&str>,
) -> Option<Vec<(usize, usize)>> {
    let is_topic = |pattern: &&str| *pattern == topic || (*pattern == "job.*" && topic.starts_with("job."));
    let size = text.map_or(0, |text| text.len() as i64);
    if !rule.enabled
        || !(rule.topics.is_empty() || rule.topics.iter().any(is_topic))
        || !(rule.tenants.is_empty() || rule.tenants.iter().any(|t| t.eq_ignore_ascii_case(tenant)))
        || rule.has_error.is_some_and(|wanted| wanted == error.is_empty())
        || (rule.size > 0 && size <= rule.size)
    {
        return None;
    }
    let (content, mut spans) = (text.unwrap_or(""), Vec::new());
    let groups: [(bool, Vec<&str>); 2] = [
        (!rule.keywords.is_empty(), rule.keywords.clone()),
        (rule.pattern.is_some(), vec!["heron"]),
    ];
    for (is_asked, words) in groups {
        let found: Vec<_> = words.iter().flat_map(|word| places(content, word)).collect();
        if is_asked && found.is_empty() {
            return None;
        }
        if is_asked {
            spans.extend(found);
        }
    }
    if rule.email {
        let found = emails(content);
        if found.is_empty() {
            return None;
        }
        spans.extend(found);
    }
    Some(spans)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_walk_equals_a_naive_reading(
        rules in rules(),
        topic in prop::sample::select(vec!["job.a", "job.b", "job.c", ""]),
        tenant in prop::sample::select(vec!["acme", "BLUE", ""]),
        error in prop::sample::select(vec!["", "", "E"]),
        words in prop::option::weighted(0.9, prop::collection::vec(prop::sample::select(WORDS), 1..5)),
    ) {
        let source = document(&rules);
        let policy = Policy::compile(&[Source { kind: SourceKind::Base, content: source.as_bytes() }]).unwrap();
        let text = words.map(|words| words.join(" "));
        let request = OutputRequest { topic, tenant, error_code: error, ..OutputRequest::default() };
        let content = text.as_deref().map(|text| OutputContent::whole(text.as_bytes()));
        let got = policy.output().check(&request, content).unwrap();

        let (mut wanted, mut id, mut spans, mut masks_emails) = ("ALLOW", String::new(), Vec::new(), false);
        for (at, rule) in rules.iter().enumerate() {
            let Some(found) = naive_match(rule, topic, tenant, error, text.as_deref()) else { continue };
            match rule.decision {
                "allow" if wanted == "ALLOW" => { id = at.to_string(); break }
                "allow" => break,
                "redact" => {
                    if wanted == "ALLOW" { (wanted, id) = ("REDACT", at.to_string()); }
                    spans.extend(found);
                    masks_emails |= rule.email;
                }
                _ => { (wanted, id, spans) = ("QUARANTINE", at.to_string(), Vec::new()); break }
            }
        }
        spans.sort_unstable();
        spans.dedup();
        prop_assert_eq!(got.decision.name(), wanted);
        prop_assert_eq!(got.rule_id, id);
        let mut told: Vec<_> = got.spans.iter().map(|span| (span.offset, span.length)).collect();
        told.dedup();
        prop_assert_eq!(told, spans);
        if got.decision == OutputDecision::Redact {
            let spans: Vec<_> = got.spans.iter().map(|span| (span.offset, span.length)).collect();
            let copy = redact(text.as_deref().unwrap_or("").as_bytes(), &spans).unwrap();
            prop_assert!(!masks_emails || emails(std::str::from_utf8(&copy).unwrap()).is_empty());
        }
    }

    #[test]
    fn a_masked_copy_of_json_is_json_without_the_value(
        secret in "[a-z]{8}\\PC{0,3}", before in "\\PC{0,8}", after in "\\PC{0,8}", extra in prop::collection::vec((0usize..60, 0usize..9), 0..3),
    ) {
        let marked = format!("{before}{secret}{after}");
        let text = json!({"k": [1, true, {"v": marked}], "n": 123456}).to_string();
        let written = json!(secret).to_string();
        let inner = written.get(1..written.len() - 1).unwrap();
        let at = text.find(inner).unwrap();
        let mut spans = vec![(at, inner.len())];
        spans.extend(extra);
        let copy = redact(text.as_bytes(), &spans).unwrap();
        prop_assert!(serde_json::from_slice::<Value>(&copy).is_ok());
        let masked = String::from_utf8(copy).unwrap();
        let count = |text: &str| text.matches(inner).count();
        prop_assert!(count(&masked) < count(&text), "{masked}");
    }

    #[test]
    fn masking_never_panics_and_ends_outside_are_clamped(
        content in prop::collection::vec(any::<u8>(), 0..80), spans in prop::collection::vec((0usize..100, 0usize..100), 0..6),
    ) {
        let copy = redact(&content, &spans);
        prop_assert!(copy.is_some());
    }
}
