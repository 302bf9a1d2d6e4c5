//! `output_policy` and `output_rules` of a document (output policy spec §4.1, §4.2).

use std::rc::Rc;

use cordum_output::Pattern;

use crate::document::Severity;
use crate::error::Issue;
use crate::read_document::{TierContext, SEVERITIES};
use crate::reader::{Object, Reader};
use crate::yaml::{Node, Value};

use super::document::{FailMode, OutputDecision, OutputMatch, OutputRule, OutputSettings};

const SETTINGS: &[&str] = &[
    "enabled",
    "fail_mode",
    "min_confidence",
    "redaction",
    "custom_patterns",
    "scanner_overrides",
    "topic_overrides",
];
/// `velocity` and `constraints` belong to input rules and are passed through (output policy spec §5.6).
const RULE: &[&str] = &[
    "id",
    "enabled",
    "severity",
    "description",
    "reason",
    "decision",
    "match",
    "tier",
    "selector",
    "velocity",
    "constraints",
];
const MATCH: &[&str] = &[
    "tenants",
    "topics",
    "capabilities",
    "risk_tags",
    "content_types",
    "has_error",
    "output_size_gt",
    "max_output_bytes",
    "content_patterns",
    "keywords",
    "scanners",
    "detectors",
    "min_confidence",
    "min_severity",
    "artifacts",
];

/// The node without the keys whose value is null: form editors write them for everything that is not set.
pub(crate) fn without_nulls(node: &Rc<Node>) -> Result<Rc<Node>, Issue> {
    let value = match &node.value {
        Value::Map(entries) => {
            let kept = entries
                .iter()
                .filter(|(_, value)| !matches!(value.value, Value::Null));
            let kept = kept.map(|(key, value)| Ok((key.clone(), without_nulls(value)?)));
            Value::Map(kept.collect::<Result<_, Issue>>()?)
        }
        Value::List(items) => Value::List(items.iter().map(without_nulls).collect::<Result<_, Issue>>()?),
        _ => return Ok(Rc::clone(node)),
    };
    Node::new(value, node.line).map(Rc::new)
}

/// The output part of a document's top level.
pub(crate) fn read_output(
    reader: &mut Reader,
    top: &Object<'_>,
    tiers: &TierContext,
) -> (Option<OutputSettings>, Vec<OutputRule>) {
    let Value::Map(entries) = &top.node.value else {
        return (None, Vec::new());
    };
    let parts = entries
        .iter()
        .filter(|(key, value)| key.starts_with("output_") && !matches!(value.value, Value::Null));
    let parts = parts.map(|(key, value)| Ok((key.clone(), without_nulls(value)?)));
    let parts = parts
        .collect::<Result<Vec<_>, Issue>>()
        .and_then(|parts| Node::new(Value::Map(parts), top.node.line));
    let node = match parts {
        Ok(node) => node,
        Err(issue) => {
            reader.report(issue.path, issue.message);
            return (None, Vec::new());
        }
    };
    let object = Object {
        node: &node,
        path: String::new(),
    };
    let settings = read_settings(reader, &object);
    let mut rules = Vec::new();
    for (node, path) in reader.items(&object, "output_rules") {
        if let Some(rule) = reader.object(node, path, RULE) {
            rules.push(read_rule(reader, &rule, tiers));
        }
    }
    (settings, rules)
}

fn read_settings(reader: &mut Reader, top: &Object<'_>) -> Option<OutputSettings> {
    let object = reader.child(top, "output_policy", SETTINGS)?;
    Some(OutputSettings {
        enabled: reader.boolean(&object, "enabled").unwrap_or(false),
        fail_mode: reader
            .one_of_or_blank(&object, "fail_mode", &["open", "closed"])
            .map(|at| if at == 0 { FailMode::Open } else { FailMode::Closed }),
        min_confidence: read_confidence(reader, &object),
    })
}

fn read_confidence(reader: &mut Reader, object: &Object<'_>) -> Option<f64> {
    let value = reader.number(object, "min_confidence")?;
    if !(0.0..=1.0).contains(&value) {
        let message = if value < 0.0 {
            "must be >= 0"
        } else {
            "must be <= 1"
        };
        reader.report(object.at("min_confidence"), message);
        return None;
    }
    Some(value)
}

fn severity_named(name: &str) -> Option<Severity> {
    let levels = [
        Severity::Low,
        Severity::Medium,
        Severity::High,
        Severity::Critical,
    ];
    let at = SEVERITIES.iter().position(|level| *level == name)?;
    levels.get(at).copied()
}

fn read_rule(reader: &mut Reader, rule: &Object<'_>, tiers: &TierContext) -> OutputRule {
    reader.string(rule, "description");
    let name = reader.string(rule, "decision").unwrap_or_default();
    let decision = OutputDecision::named(&name).unwrap_or_else(|| {
        let names = OutputDecision::NAMES.join(", ");
        reader.report(rule.at("decision"), format!("must be one of {names}"));
        OutputDecision::Deny
    });
    let severity = reader.text(rule, "severity").trim().to_lowercase();
    OutputRule {
        id: reader.text(rule, "id").trim().to_owned(),
        path: rule.path.clone(),
        scope: tiers.of_rule(reader, rule),
        enabled: reader.boolean(rule, "enabled").unwrap_or(true),
        severity: severity_named(&severity).unwrap_or(Severity::High),
        reason: reader.text(rule, "reason"),
        decision,
        matching: read_match(reader, rule),
    }
}

fn read_match(reader: &mut Reader, rule: &Object<'_>) -> OutputMatch {
    let Some(object) = reader.child(rule, "match", MATCH) else {
        return OutputMatch::default();
    };
    let mut size_limit = 0;
    for key in ["output_size_gt", "max_output_bytes"] {
        let limit = reader.integer(&object, key, 0, i64::MAX).unwrap_or(0);
        size_limit = limit.max(size_limit);
    }
    let mut keywords = reader.strings(&object, "keywords");
    keywords.retain(|keyword| !keyword.trim().is_empty());
    let mut matching = OutputMatch {
        tenants: reader.strings(&object, "tenants"),
        topics: reader.globs(&object, "topics"),
        capabilities: reader.strings(&object, "capabilities"),
        risk_tags: reader.strings(&object, "risk_tags"),
        content_types: reader.strings(&object, "content_types"),
        has_error: reader.boolean(&object, "has_error"),
        size_limit,
        patterns: read_patterns(reader, &object),
        keywords,
        scanners: Vec::new(),
        min_confidence: read_confidence(reader, &object),
        min_severity: read_min_severity(reader, &object),
        artifacts: reader.boolean(&object, "artifacts").unwrap_or(false),
    };
    read_scanners(reader, &object, &mut matching);
    matching
}

fn read_min_severity(reader: &mut Reader, object: &Object<'_>) -> Option<Severity> {
    let at = reader.one_of_or_blank(object, "min_severity", SEVERITIES)?;
    SEVERITIES.get(at).and_then(|name| severity_named(name))
}

/// Patterns, compiled to see that they can be (§5.5).
fn read_patterns(reader: &mut Reader, object: &Object<'_>) -> Vec<String> {
    let patterns = reader.strings(object, "content_patterns");
    for (at, pattern) in patterns.iter().enumerate() {
        if let Err(reason) = Pattern::new(pattern) {
            let path = format!("{}[{at}]", object.at("content_patterns"));
            reader.report(path, format!("invalid pattern: {reason}"));
        }
    }
    patterns
}

/// Names of scanners and detectors; an unknown one is an error, one that does nothing needs something beside it.
fn read_scanners(reader: &mut Reader, object: &Object<'_>, matching: &mut OutputMatch) {
    let mut idle = None;
    for key in ["scanners", "detectors"] {
        for (at, name) in reader.strings(object, key).into_iter().enumerate() {
            let folded = name.trim().to_lowercase();
            let path = format!("{}[{at}]", object.at(key));
            if reader.detectors.is_idle(&folded) {
                idle.get_or_insert((path, folded));
            } else if !reader.detectors.knows(&folded) {
                reader.report(path, format!("unknown scanner \"{name}\""));
            } else if !matching.scanners.contains(&folded) {
                matching.scanners.push(folded);
            }
        }
    }
    if let Some((path, name)) = idle.filter(|_| matching.patterns.is_empty() && matching.keywords.is_empty())
    {
        let message = format!("scanner \"{name}\" needs content_patterns or keywords");
        reader.report(path, message);
    }
}
