//! Warnings about documents that load (policy spec §3).

use ahash::AHashSet;
use cordum_output::is_slow_pattern;

use crate::document::{Decision, Document, Scope};
use crate::merge::Merged;
use crate::output::document::OutputDecision;

const SLOW: &str =
    "slow pattern: no literal of three characters begins every match, so that it reads every content";

/// Warnings about one document's rules; `located` turns a path into its printed form.
pub(crate) fn of_document(document: &Document, located: &dyn Fn(&str) -> String, warnings: &mut Vec<String>) {
    let mut closed: AHashSet<&Scope> = AHashSet::new();
    for rule in &document.rules {
        let mut warn = |message: &str| warnings.push(format!("{}: {message}", rule.path));
        if rule.id.is_empty() {
            warn("rule has no id");
        }
        if closed.contains(&rule.scope) {
            warn("rule is unreachable: an earlier rule of the same tier matches everything");
        }
        if !rule.matching.is_unconditional() {
            continue;
        }
        // A rule that counts leaves requests to the next one until its limit is exceeded.
        if rule.velocity.is_none() {
            closed.insert(&rule.scope);
        }
        if rule.decision == Decision::Allow {
            warn("rule allows everything: it has no match keys");
        }
    }
    let mut closed: AHashSet<&Scope> = AHashSet::new();
    for rule in &document.output_rules {
        let mut warn = |message: &str| warnings.push(format!("{}: {message}", rule.path));
        if rule.id.is_empty() {
            warn("rule has no id");
        }
        if closed.contains(&rule.scope) {
            warn("rule is unreachable: an earlier rule of the same tier matches everything");
        }
        // Others are walked on after a redaction.
        let is_final = rule.decision != OutputDecision::Redact;
        if rule.enabled && is_final && rule.matching.is_unconditional() {
            closed.insert(&rule.scope);
            if rule.decision == OutputDecision::Allow {
                warn("rule allows everything: it has no match keys");
            }
        }
        for (at, pattern) in rule.matching.patterns.iter().enumerate() {
            if is_slow_pattern(pattern) {
                warnings.push(format!("{}.match.content_patterns[{at}]: {SLOW}", rule.path));
            }
        }
    }
    for (at, rule) in document.input_rules.iter().enumerate() {
        if rule.id.is_empty() {
            warnings.push(format!(
                "{}: rule has no id",
                located(&format!("input_rules[{at}]"))
            ));
        }
    }
}

/// An id collision that was kept as an addition.
pub(crate) fn kept(path: &str, id: &str) -> String {
    format!(
        "{path}: rule \"{id}\" exists in an earlier source and must not be replaced from here; both are kept"
    )
}

/// Tenant topic lists do nothing next to rules (policy spec §6.4).
pub(crate) fn inert_tenant_lists(merged: &mut Merged) {
    if merged.rules.is_empty() && merged.invariants.is_empty() {
        return;
    }
    for (name, tenant) in &merged.tenants {
        if !tenant.allow_topics.is_empty() || !tenant.deny_topics.is_empty() {
            merged.warnings.push(format!(
                "tenants.{name}: topic lists do nothing because the policy has rules"
            ));
        }
    }
}
