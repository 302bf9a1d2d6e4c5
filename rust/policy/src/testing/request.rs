//! The request of a test, in the form of `POST /api/v1/policy/evaluate` (policy spec §17.1) → `PolicyCheckRequest`.
//!
//! It means here what it means there, with three differences: nobody asks, so an absent tenant or principal stays absent; there is no
//! stored effective config; and what would be ignored there (unknown members, `action`) is an error.

use std::collections::BTreeMap;

use cordum_wire::messages::{Budget, JobMetadata, PolicyCheckRequest};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::limits::{MAX_TEST_CONTENT_BYTES, MAX_TEST_ENTRIES, MAX_TEST_TEXT_BYTES};
use crate::reader::{Object, Reader};
use crate::testing::case::require;
use crate::yaml::{Node, Value};

const REQUEST: &[&str] = &[
    "topic",
    "job_id",
    "tenant",
    "org_id",
    "team_id",
    "workflow_id",
    "step_id",
    "principal_id",
    "priority",
    "labels",
    "memory_id",
    "estimated_cost",
    "budget",
    "meta",
    "capability",
    "risk_tags",
    "context",
    "input_content",
    "input_content_type",
    "input_size_bytes",
    "effective_config",
];
const META: &[&str] = &[
    "tenant_id",
    "actor_id",
    "actor_type",
    "idempotency_key",
    "capability",
    "risk_tags",
    "requires",
    "pack_id",
    "labels",
];
const BUDGET: &[&str] = &[
    "max_input_tokens",
    "maxInputTokens",
    "max_output_tokens",
    "maxOutputTokens",
    "max_total_tokens",
    "maxTotalTokens",
    "deadline_ms",
    "deadlineMs",
];
const PRIORITIES: &[(&str, i32)] = &[("batch", 1), ("interactive", 2), ("critical", 3)];
const ACTORS: &[(&str, i32)] = &[
    ("human", 1),
    ("service", 2),
    ("actor_type_human", 1),
    ("actor_type_service", 2),
];
/// Label that only the control plane sets.
const DESCRIPTOR: &str = "_action.descriptor_json";
/// Largest whole number that JSON carries exactly.
const MAX_SIZE: i64 = (1 << 53) - 1;

/// The request under `request`.
pub(super) fn read_request(reader: &mut Reader, case: &Object<'_>) -> Option<PolicyCheckRequest> {
    let body = reader.child(case, "request", REQUEST)?;
    require(reader, &body, "topic");
    let topic = text(reader, &body, "topic").trim().to_owned();
    if topic.is_empty()
        && matches!(
            body.node.get("topic").map(|node| &node.value),
            Some(Value::Str(_))
        )
    {
        reader.report(body.at("topic"), "must not be empty");
    }
    let meta = reader.child(&body, "meta", META);
    let [tenant, org] = ["tenant", "org_id"].map(|key| text(reader, &body, key).trim().to_owned());
    let mut request = PolicyCheckRequest {
        topic,
        job_id: text(reader, &body, "job_id"),
        tenant: first(tenant, org),
        principal_id: text(reader, &body, "principal_id"),
        memory_id: text(reader, &body, "memory_id"),
        priority: word(reader, &body, "priority", PRIORITIES),
        estimated_cost: reader.number(&body, "estimated_cost").unwrap_or(0.0),
        labels: labels(reader, &body, meta.as_ref()),
        meta: Some(metadata(reader, &body, meta.as_ref())),
        budget: budget(reader, &body),
        ..PolicyCheckRequest::default()
    };
    add_content(reader, &body, &mut request);
    if let Some(node) = present(&body, "effective_config") {
        request.effective_config = json(node);
    }
    Some(request)
}

fn first(one: String, other: String) -> String {
    if one.is_empty() {
        other
    } else {
        one
    }
}

fn present<'a>(object: &Object<'a>, key: &str) -> Option<&'a Node> {
    (object.node.get(key)).filter(|node| !matches!(node.value, Value::Null))
}

/// Labels of the request over those of `meta`; the named ids fill what is absent in both.
fn labels(reader: &mut Reader, body: &Object<'_>, meta: Option<&Object<'_>>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    if let Some(meta) = meta {
        labels.extend(reader.string_map(meta, "labels"));
    }
    labels.extend(reader.string_map(body, "labels"));
    for name in ["team_id", "workflow_id", "step_id"] {
        let value = text(reader, body, name);
        if !value.is_empty() {
            labels.entry(name.to_owned()).or_insert(value);
        }
    }
    labels.remove(DESCRIPTOR);
    if labels.len() > MAX_TEST_ENTRIES {
        reader.report(body.at("labels"), format!("more than {MAX_TEST_ENTRIES} entries"));
    }
    labels
}

fn metadata(reader: &mut Reader, body: &Object<'_>, meta: Option<&Object<'_>>) -> JobMetadata {
    let capability = text(reader, body, "capability");
    let risk_tags = bounded_strings(reader, body, "risk_tags");
    let Some(meta) = meta else {
        return JobMetadata {
            capability,
            risk_tags,
            ..JobMetadata::default()
        };
    };
    let own_tags = bounded_strings(reader, meta, "risk_tags");
    JobMetadata {
        tenant_id: text(reader, meta, "tenant_id"),
        actor_id: text(reader, meta, "actor_id"),
        actor_type: word(reader, meta, "actor_type", ACTORS),
        idempotency_key: text(reader, meta, "idempotency_key"),
        capability: first(text(reader, meta, "capability"), capability),
        risk_tags: if own_tags.is_empty() { risk_tags } else { own_tags },
        requires: bounded_strings(reader, meta, "requires"),
        pack_id: text(reader, meta, "pack_id"),
        labels: BTreeMap::new(),
    }
}

fn budget(reader: &mut Reader, body: &Object<'_>) -> Option<Budget> {
    let object = reader.child(body, "budget", BUDGET)?;
    if matches!(&object.node.value, Value::Map(entries) if entries.is_empty()) {
        return None;
    }
    let mut number = |name: &str, camel: &str| {
        let key = if present(&object, camel).is_some() {
            camel
        } else {
            name
        };
        whole(reader, &object, key)
    };
    Some(Budget {
        max_input_tokens: number("max_input_tokens", "maxInputTokens"),
        max_output_tokens: number("max_output_tokens", "maxOutputTokens"),
        max_total_tokens: number("max_total_tokens", "maxTotalTokens"),
        deadline_ms: number("deadline_ms", "deadlineMs"),
    })
}

/// A 64-bit number as protobuf JSON writes it: a number or its digits as text.
fn whole(reader: &mut Reader, object: &Object<'_>, key: &str) -> i64 {
    if let Some(Value::Str(digits)) = present(object, key).map(|node| &node.value) {
        return digits.parse().unwrap_or_else(|_| {
            reader.report(object.at(key), "must be an integer");
            0
        });
    }
    reader.integer(object, key, i64::MIN, i64::MAX).unwrap_or(0)
}

/// `input_content` as it is, else `context` as JSON.
fn add_content(reader: &mut Reader, body: &Object<'_>, request: &mut PolicyCheckRequest) {
    let content = bounded_text(reader, body, "input_content", MAX_TEST_CONTENT_BYTES);
    let content_type = text(reader, body, "input_content_type");
    let context = present(body, "context");
    if context.is_some_and(|node| !matches!(node.value, Value::Map(_))) {
        reader.report(body.at("context"), "must be a mapping");
    }
    if !content.is_empty() {
        request.input_content = content.into_bytes();
        request.input_content_type = content_type;
    } else if let Some(context) = context {
        request.input_content = json(context);
        request.input_content_type = "application/json".to_owned();
    }
    let size = reader.integer(body, "input_size_bytes", 0, MAX_SIZE);
    request.input_size_bytes = size.unwrap_or(0);
}

fn text(reader: &mut Reader, object: &Object<'_>, key: &str) -> String {
    bounded_text(reader, object, key, MAX_TEST_TEXT_BYTES)
}

pub(super) fn bounded_text(reader: &mut Reader, object: &Object<'_>, key: &str, max: usize) -> String {
    let text = reader.string(object, key).unwrap_or_default();
    if text.len() > max {
        reader.report(object.at(key), format!("longer than {max} bytes"));
    }
    text
}

pub(super) fn bounded_strings(reader: &mut Reader, object: &Object<'_>, key: &str) -> Vec<String> {
    let texts = reader.strings(object, key);
    if texts.len() > MAX_TEST_ENTRIES {
        reader.report(object.at(key), format!("more than {MAX_TEST_ENTRIES} entries"));
    }
    texts
}

/// Number of a word, whatever its case; 0 when there is none.
fn word(reader: &mut Reader, object: &Object<'_>, key: &str, words: &[(&str, i32)]) -> i32 {
    let text = text(reader, object, key).trim().to_lowercase();
    if text.is_empty() {
        return 0;
    }
    let found = words.iter().find(|(name, _)| *name == text);
    if found.is_none() {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        reader.report(object.at(key), format!("must be one of {}", names.join(", ")));
    }
    found.map_or(0, |(_, number)| *number)
}

/// A tree as compact JSON, members in the order written.
fn json(node: &Node) -> Vec<u8> {
    serde_json::to_vec(&Tree(node)).unwrap_or_default()
}

struct Tree<'a>(&'a Node);

impl Serialize for Tree<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Str(text) => serializer.serialize_str(text),
            Value::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Tree(item))?;
                }
                list.end()
            }
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, &Tree(value))?;
                }
                map.end()
            }
        }
    }
}
