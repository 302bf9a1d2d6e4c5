//! What adding a source may and may not do to decisions (policy spec §25.2), over every request of a small universe.

#![allow(clippy::unwrap_used, reason = "tests")]

use cordum_policy::{Decision, Policy, Request, Source, SourceKind};
use proptest::prelude::*;

mod universe;
use universe::{rules, UNIVERSE};

fn compiled(base: &str, bundle: Option<(&str, &str)>) -> Policy {
    let base = Source {
        kind: SourceKind::Base,
        content: base.as_bytes(),
    };
    let bundle = bundle.map(|(id, text)| Source {
        kind: SourceKind::Bundle(id.to_owned()),
        content: text.as_bytes(),
    });
    Policy::compile(&std::iter::once(base).chain(bundle).collect::<Vec<_>>()).unwrap()
}

/// Decision and whether a rule of the document named by `path` made it.
fn decided(policy: &Policy, bytes: &[u8]) -> (Decision, bool) {
    let request = Request::decode(bytes).unwrap();
    let outcome = policy.evaluate(&request);
    (outcome.decision, outcome.rule_path().is_some())
}

/// Check `holds(before, after)` for every request that a rule of the base decides.
fn check(
    base: &str,
    bundle: (&str, &str),
    holds: impl Fn(Decision, Decision) -> bool,
) -> Result<(), TestCaseError> {
    let (before, after) = (compiled(base, None), compiled(base, Some(bundle)));
    for bytes in UNIVERSE.iter() {
        let (old, by_rule) = decided(&before, bytes);
        let (new, _) = decided(&after, bytes);
        prop_assert!(
            !by_rule || holds(old, new),
            "{old:?} became {new:?}\n{base}{}\n{}",
            bundle.0,
            bundle.1
        );
    }
    Ok(())
}

/// Only the rules that block.
fn blocking(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains("decision: allow,"));
    let kept: Vec<&str> = lines.filter(|line| !line.starts_with("default")).collect();
    kept.join("\n")
        .replace("rules:", if kept.len() == 1 { "rules: []" } else { "rules:" })
        + "\n"
}

/// The rules as velocity rules.
fn counting(text: &str) -> String {
    let counted = text.replace(
        "{id: r",
        "{velocity: {max_requests: 1, window_seconds: 60, key: tenant}, id: v",
    );
    counted
        .lines()
        .filter(|line| !line.starts_with("default"))
        .collect::<Vec<_>>()
        .join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_pack_never_changes_what_an_operators_rule_decides(base in rules(), pack in rules()) {
        let pack = pack.replace("id: r", "id: pack");
        check(&base, ("pack/overlay", &pack), |old, new| old == new)?;
    }

    #[test]
    fn a_pack_that_takes_ids_of_operators_never_frees_anything(base in rules(), pack in rules()) {
        check(&base, ("pack/overlay", &pack), |old, new| new >= old)?;
    }

    #[test]
    fn a_blocking_invariant_never_frees_anything(base in rules(), invariants in rules()) {
        check(&base, ("secops/invariants", &blocking(&invariants)), |old, new| new >= old)?;
    }

    #[test]
    fn a_velocity_bundle_never_frees_anything(base in rules(), counted in rules()) {
        check(&base, ("velocity/v", &counting(&counted)), |old, new| new >= old)?;
    }
}
