//! A class of requests → one request of it, as bytes and as the JSON that people read (policy spec §17.1).

use ahash::AHashSet;
use cordum_wire::messages::{JobMetadata, PolicyCheckRequest};
use prost::Message;
use serde_json::{json, Map, Value as Json};

use crate::analysis::condition::Scalar;
use crate::analysis::labels::{choose, Value};
use crate::analysis::state::State;
use crate::mcp::McpField;

/// One concrete request.
#[derive(Clone, Debug)]
pub struct Witness {
    pub(crate) request: PolicyCheckRequest,
    pub(crate) bytes: Vec<u8>,
}

/// Values that some rule names, so that a fresh one can be chosen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vocabulary {
    names: AHashSet<String>,
    /// Folded name of the tenant of requests that name none; `None` when that is not one tenant.
    pub default_tenant: Option<String>,
}

impl Vocabulary {
    pub fn add(&mut self, values: impl IntoIterator<Item = String>) {
        self.names.extend(values);
    }

    pub fn add_all(&mut self, other: &Vocabulary) {
        self.names.extend(other.names.iter().cloned());
        if self.default_tenant != other.default_tenant {
            self.default_tenant = None;
        }
    }

    /// A value nobody names, built on `stem`.
    fn fresh(&self, stem: &str) -> String {
        if !self.names.contains(stem) {
            return stem.to_owned();
        }
        let numbered = (1u32..).map(|at| format!("{stem}-{at}"));
        numbered
            .into_iter()
            .find(|value| !self.names.contains(value))
            .unwrap_or_default()
    }
}

impl Witness {
    pub(crate) fn new(request: PolicyCheckRequest) -> Witness {
        let bytes = request.encode_to_vec();
        Witness { request, bytes }
    }

    /// A request of the class; `None` when a value could not be settled.
    pub(crate) fn of_class(state: &State, topic: String, vocabulary: &Vocabulary) -> Option<Witness> {
        // A fact without a value is left empty unless that is excluded.
        let text = |scalar| match state.value(scalar) {
            Some(value) => value.to_owned(),
            None if state.admits(scalar, "") => String::new(),
            None => vocabulary.fresh("other"),
        };
        let tenant = match state.value(Scalar::Tenant) {
            Some(value) => value.to_owned(),
            // What people can send as their own.
            None if (vocabulary.default_tenant.iter()).any(|name| state.admits(Scalar::Tenant, name)) => {
                String::new()
            }
            None => vocabulary.fresh("tenant"),
        };
        let mut request = PolicyCheckRequest {
            topic,
            tenant,
            job_id: text(Scalar::JobScope),
            input_content_type: text(Scalar::ContentType),
            meta: Some(JobMetadata {
                capability: text(Scalar::Capability),
                pack_id: text(Scalar::PackId),
                actor_id: text(Scalar::ActorId),
                actor_type: match state.value(Scalar::ActorType) {
                    Some("human") => 1,
                    Some("service") => 2,
                    _ => 0,
                },
                risk_tags: state.tags(),
                requires: state.required.iter().cloned().collect(),
                ..JobMetadata::default()
            }),
            ..PolicyCheckRequest::default()
        };
        for (key, tests) in &state.labels {
            match choose(tests, state.labelled == Some(false)) {
                Value::Text(text) => {
                    request.labels.insert(key.clone(), text);
                }
                Value::Absent => {}
                Value::None | Value::Undecided => return None,
            }
        }
        add_derived_labels(state, vocabulary, &mut request);
        Some(Witness::new(request))
    }

    /// The request as `POST /api/v1/policy/evaluate` takes it; what is absent is left out.
    pub fn to_json(&self) -> Json {
        let request = &self.request;
        let mut body = Map::new();
        body.insert("topic".to_owned(), json!(request.topic));
        let texts = [
            ("job_id", &request.job_id),
            ("tenant", &request.tenant),
            ("principal_id", &request.principal_id),
            ("input_content_type", &request.input_content_type),
        ];
        for (key, value) in texts.into_iter().filter(|(_, value)| !value.is_empty()) {
            body.insert(key.to_owned(), json!(value));
        }
        if !request.labels.is_empty() {
            body.insert("labels".to_owned(), json!(request.labels));
        }
        if !request.input_content.is_empty() {
            let text = String::from_utf8_lossy(&request.input_content);
            body.insert("input_content".to_owned(), json!(text));
        }
        if request.input_size_bytes > 0 {
            body.insert("input_size_bytes".to_owned(), json!(request.input_size_bytes));
        }
        let meta = request.meta.as_ref().map(meta_json).unwrap_or_default();
        if !meta.is_empty() {
            body.insert("meta".to_owned(), Json::Object(meta));
        }
        Json::Object(body)
    }
}

fn meta_json(meta: &JobMetadata) -> Map<String, Json> {
    let actor_type = match meta.actor_type {
        1 => "human",
        2 => "service",
        _ => "",
    };
    let mut body = Map::new();
    let texts = [
        ("capability", meta.capability.as_str()),
        ("pack_id", &meta.pack_id),
        ("actor_id", &meta.actor_id),
        ("actor_type", actor_type),
        ("tenant_id", &meta.tenant_id),
    ];
    for (key, value) in texts.into_iter().filter(|(_, value)| !value.is_empty()) {
        body.insert(key.to_owned(), json!(value));
    }
    for (key, list) in [("risk_tags", &meta.risk_tags), ("requires", &meta.requires)] {
        if !list.is_empty() {
            body.insert(key.to_owned(), json!(list));
        }
    }
    body
}

/// Labels that stand for facts; a label the class speaks of keeps its value.
fn add_derived_labels(state: &State, vocabulary: &Vocabulary, request: &mut PolicyCheckRequest) {
    let mut add = |key: &str, value: String| {
        if !state.labels.contains_key(key) {
            request.labels.entry(key.to_owned()).or_insert(value);
        }
    };
    if let Some(workflow) = state.value(Scalar::WorkflowScope) {
        add("_source", "workflow".to_owned());
        add("workflow_id", workflow.to_owned());
    }
    let mut is_named = false;
    for field in McpField::ALL {
        let value = state.value(Scalar::Mcp(field as u8)).unwrap_or("");
        if !value.is_empty() {
            is_named = true;
            add(&format!("mcp.{}", field.name()), value.to_owned());
        }
    }
    if state.mcp == Some(true) && !is_named {
        let value = vocabulary.fresh("other");
        // The tool is what most calls name.
        let order = [
            McpField::Tool,
            McpField::Server,
            McpField::Resource,
            McpField::Action,
        ];
        if let Some(field) = order
            .into_iter()
            .find(|field| state.admits(Scalar::Mcp(*field as u8), &value))
        {
            add(&format!("mcp.{}", field.name()), value);
        }
    }
    if state.secrets == Some(true) && state.labelled != Some(false) {
        add("secrets_present", "true".to_owned());
    } else if state.secrets == Some(true) {
        if let Some(meta) = request.meta.as_mut() {
            meta.risk_tags.push("secrets".to_owned());
        }
        return;
    }
    if state.labelled == Some(true) && request.labels.is_empty() {
        request
            .labels
            .insert("note".to_owned(), vocabulary.fresh("other"));
    }
}
