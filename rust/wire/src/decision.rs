//! JSON forms of policy answers: constraints, remediations, decision words.

use serde_json::{json, Map, Value};

use crate::messages::{DecisionType, PolicyCheckResponse, PolicyConstraints, PolicyRemediation};

/// Canonical protobuf JSON of constraints (camelCase, 64-bit integers as strings, defaults omitted; policy spec §15.4).
pub fn constraints_json(constraints: &PolicyConstraints) -> Value {
    let mut top = Map::new();
    if let Some(budgets) = &constraints.budgets {
        let mut map = Map::new();
        put_long(&mut map, "maxRuntimeMs", budgets.max_runtime_ms);
        put_int(&mut map, "maxRetries", budgets.max_retries);
        put_long(&mut map, "maxArtifactBytes", budgets.max_artifact_bytes);
        put_int(&mut map, "maxConcurrentJobs", budgets.max_concurrent_jobs);
        top.insert("budgets".into(), Value::Object(map));
    }
    if let Some(sandbox) = &constraints.sandbox {
        let mut map = Map::new();
        if sandbox.isolated {
            map.insert("isolated".into(), Value::Bool(true));
        }
        put_list(&mut map, "networkAllowlist", &sandbox.network_allowlist);
        put_list(&mut map, "fsReadOnly", &sandbox.fs_read_only);
        put_list(&mut map, "fsReadWrite", &sandbox.fs_read_write);
        top.insert("sandbox".into(), Value::Object(map));
    }
    if let Some(toolchain) = &constraints.toolchain {
        let mut map = Map::new();
        put_list(&mut map, "allowedTools", &toolchain.allowed_tools);
        put_list(&mut map, "allowedCommands", &toolchain.allowed_commands);
        top.insert("toolchain".into(), Value::Object(map));
    }
    if let Some(diff) = &constraints.diff {
        let mut map = Map::new();
        put_int(&mut map, "maxFiles", diff.max_files);
        put_int(&mut map, "maxLines", diff.max_lines);
        put_list(&mut map, "denyPathGlobs", &diff.deny_path_globs);
        top.insert("diff".into(), Value::Object(map));
    }
    if !constraints.redaction_level.is_empty() {
        top.insert(
            "redactionLevel".into(),
            Value::from(constraints.redaction_level.as_str()),
        );
    }
    Value::Object(top)
}

/// Remediations as the HTTP API shows them (gateway spec §14.3).
pub fn remediations_json(remediations: &[PolicyRemediation]) -> Value {
    remediations
        .iter()
        .map(|item| {
            json!({
                "id": item.id, "title": item.title, "summary": item.summary,
                "replacement_topic": item.replacement_topic,
                "replacement_capability": item.replacement_capability,
                "add_labels": item.add_labels, "remove_labels": item.remove_labels,
            })
        })
        .collect()
}

/// The decision word of storage and HTTP; anything that is not an input decision is `DENY` (policy spec §1).
pub fn decision_word(response: &PolicyCheckResponse) -> &'static str {
    match DecisionType::try_from(response.decision) {
        Ok(DecisionType::Allow | DecisionType::AllowWithConstraints) if response.approval_required => {
            "REQUIRE_APPROVAL"
        }
        Ok(DecisionType::Allow) => "ALLOW",
        Ok(DecisionType::AllowWithConstraints) => "ALLOW_WITH_CONSTRAINTS",
        Ok(DecisionType::RequireHuman) => "REQUIRE_APPROVAL",
        Ok(DecisionType::Throttle) => "THROTTLE",
        _ => "DENY",
    }
}

fn put_int(map: &mut Map<String, Value>, key: &str, value: i32) {
    if value != 0 {
        map.insert(key.into(), Value::from(value));
    }
}

fn put_long(map: &mut Map<String, Value>, key: &str, value: i64) {
    if value != 0 {
        map.insert(key.into(), Value::from(value.to_string()));
    }
}

fn put_list(map: &mut Map<String, Value>, key: &str, values: &[String]) {
    if !values.is_empty() {
        map.insert(key.into(), Value::from(values.to_vec()));
    }
}
