//! Rules that look at the artifacts of a result (output policy spec §4.3, `artifacts`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use cordum_policy::output::{Artifact, OutputContent, OutputDecision, OutputRequest};
use cordum_policy::{Policy, Source, SourceKind};

const RULES: &str = r"
output_rules:
- {id: trusted, match: {topics: [job.trusted]}, decision: allow}
- {id: people, match: {scanners: [pii]}, decision: redact}
- {id: inside, match: {artifacts: true, keywords: [osprey]}, decision: quarantine, reason: a code name}
- {id: masked, match: {artifacts: true, content_patterns: ['kestrel-[0-9]+']}, decision: redact}
";

/// Decision, rule, and detail of the findings.
fn check(topic: &str, text: &str, artifacts: &[Artifact<'_>]) -> (OutputDecision, String, Vec<String>) {
    let policy = Policy::compile(&[Source {
        kind: SourceKind::Base,
        content: RULES.as_bytes(),
    }])
    .unwrap();
    let request = OutputRequest {
        topic,
        artifact_ptrs: artifacts.iter().map(|_| "redis://art:1").collect(),
        artifacts: artifacts.to_vec(),
        ..OutputRequest::default()
    };
    let content = OutputContent::whole(text.as_bytes());
    let outcome = policy.output().check(&request, Some(content)).unwrap();
    assert!(outcome
        .spans
        .iter()
        .all(|span| span.offset + span.length <= text.len()));
    let details = outcome.findings.iter().map(|one| one.detail.to_string());
    (outcome.decision, outcome.rule_id.to_owned(), details.collect())
}

fn holding(text: &str) -> Artifact<'_> {
    Artifact::Content(OutputContent::whole(text.as_bytes()))
}

#[test]
fn rules_look_at_artifacts_only_where_they_ask_for_it() {
    assert_eq!(
        check("job.a", "x", &[holding("ann@example.com")]).0,
        OutputDecision::Allow
    );
    let (decision, rule, _) = check("job.a", "x", &[holding("y"), holding("the osprey file")]);
    assert_eq!((decision, rule.as_str()), (OutputDecision::Quarantine, "inside"));
    assert_eq!(check("job.a", "osprey", &[]).0, OutputDecision::Quarantine);
    assert_eq!(
        check("job.trusted", "x", &[holding("osprey")]).0,
        OutputDecision::Allow
    );
}

#[test]
fn what_cannot_be_masked_is_quarantined() {
    let (decision, rule, _) = check("job.a", "kestrel-1", &[holding("y")]);
    assert_eq!((decision, rule.as_str()), (OutputDecision::Redact, "masked"));
    let (decision, rule, _) = check("job.a", "ann@example.com", &[holding("kestrel-1")]);
    assert_eq!((decision, rule.as_str()), (OutputDecision::Quarantine, "masked"));
}

#[test]
fn artifacts_that_nobody_can_read_are_not_let_through() {
    let broken = [holding("y"), Artifact::Unreadable("invalid pointer")];
    let (decision, rule, details) = check("job.a", "x", &broken);
    assert_eq!((decision, rule.as_str()), (OutputDecision::Quarantine, "inside"));
    assert_eq!(details, ["artifact: invalid pointer"]);
    assert_eq!(check("job.trusted", "x", &broken).0, OutputDecision::Allow);
    let many = [holding("y"); 33];
    let (decision, _, details) = check("job.a", "x", &many);
    assert_eq!(decision, OutputDecision::Quarantine);
    assert_eq!(details, ["artifact: more artifacts than are looked at"]);
    let cut = Artifact::Content(OutputContent {
        head: b"y",
        tail: b"z",
        size: 1_000,
    });
    let (decision, _, details) = check("job.a", "x", &[cut]);
    assert_eq!(decision, OutputDecision::Allow);
    assert_eq!(details, ["content exceeded scan limit (2 bytes), truncated"]);
}
