//! Input rules (policy spec §2.6).

use crate::document::{ContentScope, Decision, Detectors, InputRule, Match, Severity};
use crate::read_document::{read_severity, TierContext};
use crate::reader::{Object, Reader};

const INPUT_DECISIONS: &[&str] = &["deny", "require_approval", "require-approval", "require_human"];

pub(crate) fn read_input_rules(reader: &mut Reader, top: &Object<'_>, tiers: &TierContext) -> Vec<InputRule> {
    let known = [
        "id",
        "description",
        "reason",
        "tier",
        "selector",
        "enabled",
        "severity",
        "decision",
        "match",
    ];
    let mut rules = Vec::new();
    for (node, path) in reader.items(top, "input_rules") {
        if let Some(rule) = reader.object(node, path, &known) {
            rules.push(read_input_rule(reader, &rule, tiers));
        }
    }
    rules
}

fn read_input_rule(reader: &mut Reader, rule: &Object<'_>, tiers: &TierContext) -> InputRule {
    reader.string(rule, "description");
    let decision = match reader.one_of(rule, "decision", INPUT_DECISIONS) {
        Some(0) | None => Decision::Deny,
        Some(_) => Decision::RequireApproval,
    };
    let mut read = InputRule {
        id: reader.text(rule, "id").trim().to_owned(),
        path: rule.path.clone(),
        scope: tiers.of_rule(reader, rule),
        enabled: reader.boolean(rule, "enabled").unwrap_or(true),
        severity: read_severity(reader, rule, "severity").unwrap_or(Severity::High),
        decision,
        reason: reader.text(rule, "reason"),
        matching: Match::default(),
        content_types: Vec::new(),
        size_limit: 0,
        detectors: Detectors::default(),
    };
    read_input_match(reader, rule, &mut read);
    read
}

fn read_input_match(reader: &mut Reader, rule: &Object<'_>, read: &mut InputRule) {
    let known = [
        "tenants",
        "topics",
        "capabilities",
        "risk_tags",
        "content_types",
        "scanners",
        "detectors",
        "content_patterns",
        "keywords",
        "input_size_gt",
        "max_input_bytes",
        "scope",
    ];
    let Some(object) = reader.child(rule, "match", &known) else {
        return;
    };
    read.matching.tenants = reader.strings(&object, "tenants");
    read.matching.topics = reader.globs(&object, "topics");
    read.matching.capabilities = reader.strings(&object, "capabilities");
    read.matching.risk_tags = reader.strings(&object, "risk_tags");
    read.content_types = reader.strings(&object, "content_types");
    for key in ["input_size_gt", "max_input_bytes"] {
        let limit = reader.integer(&object, key, 0, i64::MAX).unwrap_or(0);
        read.size_limit = read.size_limit.max(limit);
    }
    let mut named = read_scanners(reader, &object, "scanners");
    named.extend(read_scanners(reader, &object, "detectors"));
    let (idle, scanning): (Vec<_>, Vec<_>) = named
        .into_iter()
        .partition(|(_, name)| reader.detectors.is_idle(name));
    let mut keywords = reader.strings(&object, "keywords");
    keywords.retain(|keyword| !keyword.trim().is_empty());
    read.detectors = Detectors {
        scope: read_scope(reader, &object),
        patterns: reader.patterns(&object, "content_patterns"),
        keywords,
        scanners: scanning.into_iter().map(|(_, name)| name).collect(),
    };
    // A name that does nothing must not leave a rule without detector, which fires on everything.
    if let Some((path, name)) = idle.into_iter().next().filter(|_| read.detectors.is_empty()) {
        let message = format!("scanner \"{name}\" needs content_patterns or keywords");
        reader.report(path, message);
    }
}

/// Paths and names under `key`, names trimmed and lower-case; an unknown one is an error.
fn read_scanners(reader: &mut Reader, object: &Object<'_>, key: &str) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for (at, name) in reader.strings(object, key).into_iter().enumerate() {
        let folded = name.trim().to_lowercase();
        let path = format!("{}[{at}]", object.at(key));
        if reader.detectors.is_idle(&folded) || reader.detectors.knows(&folded) {
            names.push((path, folded));
        } else {
            reader.report(path, format!("unknown scanner \"{name}\""));
        }
    }
    names
}

fn read_scope(reader: &mut Reader, object: &Object<'_>) -> Option<ContentScope> {
    let known = [
        "instruction_path",
        "items_path",
        "category_path",
        "name_path",
        "allowed_categories",
        "aliases",
        "on_missing_input",
        "on_ambiguous",
    ];
    // A scope that is no object is reported, and keeps the rule from being one without detectors.
    let Some(scope) = reader.child(object, "scope", &known) else {
        return object.has("scope").then(ContentScope::default);
    };
    for key in ["instruction_path", "items_path"] {
        if reader.text(&scope, key).is_empty() {
            reader.report(scope.path.clone(), format!("missing field \"{key}\""));
        }
    }
    let or = |text: String, default: &str| {
        if text.is_empty() {
            default.to_owned()
        } else {
            text
        }
    };
    let mut allows = |key| reader.one_of_or_blank(&scope, key, &["deny", "allow"]) == Some(1);
    let (allows_missing_input, allows_ambiguous) = (allows("on_missing_input"), allows("on_ambiguous"));
    Some(ContentScope {
        instruction_path: reader.text(&scope, "instruction_path"),
        items_path: reader.text(&scope, "items_path"),
        category_path: or(reader.text(&scope, "category_path"), "category"),
        name_path: or(reader.text(&scope, "name_path"), "name"),
        allowed_categories: reader.list_map(&scope, "allowed_categories"),
        aliases: reader.string_map(&scope, "aliases"),
        allows_missing_input,
        allows_ambiguous,
    })
}
