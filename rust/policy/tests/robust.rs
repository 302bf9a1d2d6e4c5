//! Whatever comes in, the parser and the evaluator answer; they never panic.

#![allow(clippy::unwrap_used, reason = "tests")]

use cordum_policy::{validate, Policy, Source, SourceKind};
use cordum_wire::messages::PolicyCheckRequest;
use proptest::prelude::*;
use prost::Message;

const SEEDS: [&str; 3] = [
    "version: '1'\ndefault_decision: deny\nrules:\n  - {id: a, match: {topics: ['job.*'], labels: {k: v}}, decision: allow}\n",
    "input_rules:\n  - {id: k, match: {keywords: [bomb], content_patterns: ['a+b'], scanners: [pii]}}\n  - {id: s, match: \
     {scope: {instruction_path: a.b, items_path: c, allowed_categories: {x: [y]}}}}\n",
    "tenants: {t: {mcp: {allow_tools: [x]}}}\nrules: [{id: v, velocity: {max_requests: 1, window_seconds: 9, key: tenant}}]\n",
];

fn compile(text: &[u8]) -> Option<Policy> {
    let source = Source {
        kind: SourceKind::Base,
        content: text,
    };
    Policy::compile(&[source]).ok()
}

fn rich() -> Policy {
    let text = format!("default_decision: allow\n{}", SEEDS[1]);
    compile(text.as_bytes()).unwrap()
}

/// A document with a few bytes replaced, removed or doubled.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0u8..3, any::<u8>()), 1..6);
    (0..SEEDS.len(), edits).prop_map(|(seed, edits)| {
        let mut text = SEEDS.get(seed).unwrap().as_bytes().to_vec();
        for (place, kind, byte) in edits {
            let at = place.index(text.len());
            match kind {
                0 => *text.get_mut(at).unwrap() = byte,
                1 if text.len() > 1 => drop(text.remove(at)),
                _ => text.insert(at, byte),
            }
        }
        text
    })
}

proptest! {
    #[test]
    fn a_document_of_any_bytes_gets_an_answer(text in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = validate(&text);
    }

    #[test]
    fn a_damaged_document_is_refused_or_compiles_and_evaluates(text in mutated()) {
        let issues = validate(&text);
        let compiled = compile(&text);
        prop_assert_eq!(issues.is_empty(), compiled.is_some());
        if let Some(policy) = compiled {
            let request = PolicyCheckRequest { topic: "job.a".into(), ..PolicyCheckRequest::default() };
            prop_assert!(policy.evaluate_bytes(&request.encode_to_vec()).is_ok());
        }
    }

    #[test]
    fn a_request_of_any_bytes_gets_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let policy = rich();
        let _ = policy.evaluate_bytes(&bytes);
        let _ = policy.evaluate_batch(&bytes);
    }

    #[test]
    fn content_of_any_bytes_is_searched(content in prop::collection::vec(any::<u8>(), 1..400)) {
        let request = PolicyCheckRequest {
            topic: "job.a".into(),
            input_content: content,
            ..PolicyCheckRequest::default()
        };
        prop_assert!(rich().evaluate_bytes(&request.encode_to_vec()).is_ok());
    }
}
