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
        assert_eq!(before.0, witness["old"]["decision"].as_str().unwrap(), "{change:#}");
        assert_eq!(after.0, witness["new"]["decision"].as_str().unwrap(), "{change:#}");
        assert_eq!(before.1, side(change, "old"), "{change:#}");
        assert_eq!(after.1, side(change, "new"), "{change:#}");
        assert_ne!(before.0, after.0, "{change:#}");
    }
}

fn check(old_text: &str, new_text: &str) -> Result<(), TestCaseError> {
    let (old, new) = (
        Policy::compile(&[base(old_text)]).unwrap(),
        Policy::compile(&[base(new_text)]).unwrap(),
    );
    let report = compared(&[base(old_text)], &[base(new_text)]);
    check_witnesses(&old, &new, &report);
    let pairs = |key: &str| -> BTreeSet<(String, String)> {
        let entries = report[key].as_array().unwrap().iter();
        entries.map(|entry| (side(entry, "old"), side(entry, "new"))).collect()
    };
    let (reported, open) = (pairs("changes"), pairs("undecided"));
    for bytes in UNIVERSE.iter() {
        let (before, after) = (verdict(&old, bytes), verdict(&new, bytes));
        let pair = (before.1, after.1);
        prop_assert!(
            before.0 == after.0 || reported.contains(&pair) || open.contains(&pair),
            "missed {pair:?}\n{old_text}{new_text}{report:#}"
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
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_change_between_two_policies_is_found(old in rules(), new in rules()) {
        check(&old, &new)?;
    }

    #[test]
    fn every_change_of_an_edit_is_found(text in rules(), at in 0usize..1_000, how in 0usize..4) {
        check(&text, &edited(&text, at, how))?;
    }

    #[test]
    fn a_policy_is_equivalent_to_itself(text in rules()) {
        let report = compared(&[base(&text)], &[base(&text)]);
        prop_assert_eq!(&report["equivalent"], &Json::Bool(true), "{}", report);
    }
}
