//! Findings against brute force: over every request of a small universe a reported rule never decides, and what never decides there and
//! was not reported is decided by a request outside of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeSet;

use cordum_policy::analysis::analyze;
use cordum_policy::{Policy, Request, Source, SourceKind};
use cordum_wire::messages::{PolicyCheckRequest, PolicyCheckResponse};
use proptest::prelude::*;
use prost::Message;
use serde_json::Value as Json;

mod universe;
use universe::{request, rules, UNIVERSE};

fn source(text: &str) -> Source<'_> {
    Source {
        kind: SourceKind::Base,
        content: text.as_bytes(),
    }
}

fn report(text: &str) -> Json {
    serde_json::from_slice(&analyze(&[source(text)]).unwrap()).unwrap()
}

fn ids(report: &Json, kinds: &[&str]) -> BTreeSet<String> {
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| kinds.contains(&finding["kind"].as_str().unwrap()))
        .map(|finding| finding["rule"]["id"].as_str().unwrap().to_owned())
        .collect()
}

const NEVER: [&str; 2] = ["shadowed_rule", "empty_match"];

fn decided(policy: &Policy, request: &PolicyCheckRequest) -> PolicyCheckResponse {
    let bytes = policy.evaluate_bytes(&request.encode_to_vec()).unwrap();
    PolicyCheckResponse::decode(bytes.as_slice()).unwrap()
}

fn rule_of(policy: &Policy, request: &[u8]) -> String {
    policy
        .evaluate(&Request::decode(request).unwrap())
        .rule_id
        .to_owned()
}

/// Every witness says what the engine says.
fn check_witnesses(policy: &Policy, report: &Json) {
    for finding in report["findings"].as_array().unwrap() {
        let witness = &finding["witness"];
        assert!(!witness.is_null(), "{finding}");
        let answer = decided(policy, &request(&witness["request"]));
        assert_eq!(
            answer.rule_id,
            witness["verdict"]["rule_id"].as_str().unwrap(),
            "{finding}"
        );
        if NEVER.contains(&finding["kind"].as_str().unwrap()) {
            assert_ne!(
                answer.rule_id,
                finding["rule"]["id"].as_str().unwrap(),
                "{finding}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_rule_is_reported_exactly_when_it_never_decides(text in rules()) {
        let policy = Policy::compile(&[source(&text)]).unwrap();
        let report = report(&text);
        check_witnesses(&policy, &report);
        let reported = ids(&report, &NEVER);
        let deciding: BTreeSet<String> =
            UNIVERSE.iter().map(|request| rule_of(&policy, request)).collect();
        for id in &reported {
            prop_assert!(!deciding.contains(id), "false alarm about {id}\n{text}{report:#}");
        }
        // The universe holds a request of every class these rules tell apart, but for those that need a second label.
        let open: BTreeSet<String> = report["undecided"].as_array().unwrap().iter()
            .map(|entry| entry["rule"]["id"].as_str().unwrap().to_owned()).collect();
        for at in 0..policy.rule_count() {
            let id = format!("r{at}");
            if !deciding.contains(&id) && !reported.contains(&id) && !open.contains(&id) {
                prop_assert!(text.contains("k: \"\""), "missed {id}\n{text}{report:#}");
            }
        }
    }
}
