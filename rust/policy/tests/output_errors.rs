//! Error texts of failed jobs: who looks at them, what is masked, who decides (output policy spec §2.6).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use cordum_policy::output::{OutputDecision, OutputRequest};
use cordum_policy::{Policy, Source, SourceKind};

const RULES: &str = r"
output_rules:
- {id: people, match: {scanners: [pii]}, decision: redact}
- {id: large, match: {output_size_gt: 1000}, decision: quarantine}
- {id: probe, match: {topics: [job.probe]}, decision: allow}
- {id: errors, match: {has_error: true, keywords: [osprey]}, decision: quarantine, reason: a code name}
- {id: bare, match: {topics: [job.bare], has_error: true}, decision: deny}
";

/// Decision, rule, reason, and the text with what is masked as `_`.
fn check(rules: &str, topic: &str, text: &str) -> (OutputDecision, String, String, String) {
    let policy = Policy::compile(&[Source {
        kind: SourceKind::Base,
        content: rules.as_bytes(),
    }])
    .unwrap();
    let request = OutputRequest {
        topic,
        error_message: text,
        is_failed: true,
        size: 1_000_000,
        ..OutputRequest::default()
    };
    let outcome = policy.output().check(&request, None).unwrap();
    let mut shown = text.as_bytes().to_vec();
    for span in &outcome.spans {
        shown[span.offset..span.offset + span.length].fill(b'_');
    }
    let shown = String::from_utf8(shown).unwrap();
    (
        outcome.decision,
        outcome.rule_id.to_owned(),
        outcome.reason.into_owned(),
        shown,
    )
}

#[test]
fn every_rule_that_matches_masks_and_the_strictest_decides() {
    let (decision, rule, reason, shown) = check(RULES, "job.a", "osprey: ann@example.com Osprey");
    assert_eq!(decision, OutputDecision::Quarantine);
    assert_eq!((rule.as_str(), reason.as_str()), ("errors", "a code name"));
    assert_eq!(shown, "______: _______________ ______");
    let (decision, rule, reason, shown) = check(RULES, "job.a", "to ann@example.com");
    assert_eq!(decision, OutputDecision::Redact);
    assert_eq!((rule.as_str(), reason.as_str()), ("people", "e-mail address"));
    assert_eq!(shown, "to _______________");
}

#[test]
fn an_allow_ends_the_walk_and_keeps_what_was_masked() {
    let (decision, _, _, shown) = check(RULES, "job.probe", "osprey of ann@example.com");
    assert_eq!(
        (decision, shown.as_str()),
        (OutputDecision::Redact, "osprey of _______________")
    );
    let (decision, rule, _, _) = check(RULES, "job.probe", "osprey");
    assert_eq!((decision, rule.as_str()), (OutputDecision::Allow, "probe"));
}

#[test]
fn a_rule_that_finds_no_place_masks_the_whole_text() {
    let (decision, rule, reason, shown) = check(RULES, "job.bare", "disk full");
    assert_eq!((decision, rule.as_str()), (OutputDecision::Deny, "bare"));
    assert_eq!(
        (reason.as_str(), shown.as_str()),
        ("error text masked by policy", "_________")
    );
}

#[test]
fn without_a_rule_for_errors_nobody_looks_at_them() {
    let rules = "output_rules: [{id: people, match: {scanners: [pii]}, decision: redact}]";
    assert_eq!(check(rules, "job.a", "ann@example.com").0, OutputDecision::Allow);
    let off = RULES.replace("has_error: true", "has_error: false");
    assert_eq!(
        check(&off, "job.a", "osprey ann@example.com").0,
        OutputDecision::Allow
    );
    assert_eq!(check(RULES, "job.a", "clean").0, OutputDecision::Allow);
}
