//! A small universe of requests, and rules that tell them apart.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "shared by tests"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::LazyLock;

use cordum_wire::messages::{JobMetadata, PolicyCheckRequest};
use proptest::prelude::*;
use prost::Message;
use serde_json::Value as Json;

/// The JSON of a witness as the request it stands for.
pub fn request(json: &Json) -> PolicyCheckRequest {
    let text = |value: &Json| value.as_str().unwrap_or("").to_owned();
    let list = |value: &Json| -> Vec<String> {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().map(text).collect()
    };
    let meta = &json["meta"];
    let labels = json["labels"].as_object();
    PolicyCheckRequest {
        topic: text(&json["topic"]),
        job_id: text(&json["job_id"]),
        tenant: text(&json["tenant"]),
        input_content: text(&json["input_content"]).into_bytes(),
        input_content_type: text(&json["input_content_type"]),
        input_size_bytes: json["input_size_bytes"].as_i64().unwrap_or(0),
        labels: labels
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect(),
        meta: Some(JobMetadata {
            capability: text(&meta["capability"]),
            pack_id: text(&meta["pack_id"]),
            actor_id: text(&meta["actor_id"]),
            actor_type: match meta["actor_type"].as_str() {
                Some("human") => 1,
                Some("service") => 2,
                _ => 0,
            },
            risk_tags: list(&meta["risk_tags"]),
            requires: list(&meta["requires"]),
            ..JobMetadata::default()
        }),
        ..PolicyCheckRequest::default()
    }
}

/// Fields of generated rules with the values they list, and what a request of the universe may say about each.
const FIELDS: [(&str, &[&str]); 9] = [
    (
        "topics",
        &[
            "[\"job.a\"]",
            "[\"job.*\"]",
            "[\"job.a\", \"job.b\"]",
            "[\"job.[ab]\"]",
            "[\"job.?\"]",
        ],
    ),
    ("tenants", &["[t1]", "[t1, t2]", "[T2]"]),
    ("capabilities", &["[c1]", "[c1, c2]", "[\" \"]"]),
    ("risk_tags", &["[secrets]", "[x]", "[x, secrets]"]),
    ("requires", &["[r1]", "[r1, r2]"]),
    ("labels", &["{k: v}", "{k: \"5\"}", "{k: \"\"}"]),
    ("label_allowlist", &["{k: [v]}", "{k: [v, \"5\"]}"]),
    ("label_threshold", &["{k: 4}", "{k: 5}", "{k: 6}"]),
    ("secrets_present", &["true", "false"]),
];
const MCP: [&str; 4] = [
    "{allow_tools: [a]}",
    "{deny_tools: [a]}",
    "{allow_servers: [s]}",
    "{allow_tools: [a, b], deny_servers: [s]}",
];

const CALLS: [&[(&str, &str)]; 10] = [
    &[],
    &[("mcp.tool", "a")],
    &[("mcp.tool", "b")],
    &[("mcp.server", "s")],
    &[("mcp.tool", "a"), ("mcp.server", "s")],
    &[("secrets_present", "yes")],
    &[("secrets_present", "yes"), ("mcp.tool", "a")],
    &[("secrets_present", "yes"), ("mcp.tool", "b")],
    &[("secrets_present", "yes"), ("mcp.server", "s")],
    &[("secrets_present", "yes"), ("mcp.tool", "a"), ("mcp.server", "s")],
];

/// The universe, serialized once.
pub static UNIVERSE: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| universe().iter().map(Message::encode_to_vec).collect());

fn universe() -> Vec<PolicyCheckRequest> {
    let mut all = Vec::new();
    for topic in ["job.a", "job.b", "job.c", "job.cc", "job.d/e"] {
        for tenant in ["t1", "t2", "t3"] {
            for capability in ["", "c1", "c2", "c3"] {
                for tags in [&[][..], &["secrets"], &["x"], &["x", "secrets"]] {
                    for requires in [&[][..], &["r1"], &["r1", "r2"]] {
                        for label in [
                            None,
                            Some("v"),
                            Some("5"),
                            Some("6"),
                            Some("7"),
                            Some("w"),
                            Some("5 "),
                            Some("v "),
                        ] {
                            for call in CALLS {
                                let mut request = PolicyCheckRequest {
                                    topic: topic.to_owned(),
                                    tenant: tenant.to_owned(),
                                    meta: Some(JobMetadata {
                                        capability: capability.to_owned(),
                                        risk_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
                                        requires: requires.iter().map(|name| (*name).to_owned()).collect(),
                                        ..JobMetadata::default()
                                    }),
                                    ..PolicyCheckRequest::default()
                                };
                                let pairs = label
                                    .map(|value| ("k", value))
                                    .into_iter()
                                    .chain(call.iter().copied());
                                request.labels = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
                                all.push(request);
                            }
                        }
                    }
                }
            }
        }
    }
    all
}

pub fn rules() -> impl Strategy<Value = String> {
    let field = (0..FIELDS.len() + 1, 0usize..8);
    let rule = (prop::collection::vec(field, 0..4), 0usize..4);
    prop::collection::vec(rule, 1..7).prop_map(|rules| {
        let mut text = String::from("default_decision: deny\nrules:\n");
        for (at, (fields, decision)) in rules.into_iter().enumerate() {
            let decision = ["allow", "deny", "require_approval", "throttle"][decision];
            let mut seen = BTreeSet::new();
            let mut matching = Vec::new();
            for (field, value) in fields.into_iter().filter(|(field, _)| seen.insert(*field)) {
                matching.push(match FIELDS.get(field) {
                    Some((name, values)) => format!("{name}: {}", values[value % values.len()]),
                    None => format!("mcp: {}", MCP[value % MCP.len()]),
                });
            }
            writeln!(
                text,
                "  - {{id: r{at}, decision: {decision}, match: {{{}}}}}",
                matching.join(", ")
            )
            .unwrap();
        }
        text
    })
}
