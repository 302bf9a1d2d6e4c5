//! Reading side: a JSON tree into messages. Accepts lower camel case names, null for unset, integers as numbers or text.

use std::collections::BTreeMap;

use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use base64::Engine;
use serde_json::{Map, Value};

use super::time::parse_rfc3339;
use super::write::{ACTOR_TYPES, PRIORITIES};
use super::JsonError;
use crate::messages::{
    Budget, Compensation, ContextHints, DispatchIdentity, IdentityBinding, JobMetadata, JobRequest,
    ResourceRef, Timestamp,
};

type Outcome<T> = Result<T, JsonError>;

fn wrong<T>(field: &str, expected: &'static str) -> Outcome<T> {
    Err(JsonError::Field {
        field: field.to_owned(),
        expected,
    })
}

struct Object<'a>(&'a Map<String, Value>);

impl<'a> Object<'a> {
    fn of(field: &str, value: &'a Value) -> Outcome<Self> {
        match value {
            Value::Object(map) => Ok(Object(map)),
            _ => wrong(field, "an object"),
        }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Outcome<String> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => wrong(name, "a string"),
        }
    }

    fn number<T: std::str::FromStr + Default>(&self, name: &str) -> Outcome<T> {
        let parsed = match self.get(name) {
            None => return Ok(T::default()),
            Some(Value::String(text)) => text.parse().ok(),
            Some(Value::Number(number)) => number.to_string().parse().ok(),
            Some(_) => None,
        };
        parsed.map_or_else(|| wrong(name, "an integer"), Ok)
    }

    fn flag(&self, name: &str) -> Outcome<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => wrong(name, "true or false"),
        }
    }

    fn choice(&self, name: &str, names: &[&str]) -> Outcome<i32> {
        if let Some(Value::String(word)) = self.get(name) {
            let index = names.iter().position(|known| known == word);
            return index
                .and_then(|index| i32::try_from(index).ok())
                .map_or_else(|| wrong(name, "a known enum name"), Ok);
        }
        self.number(name)
    }

    fn list(&self, name: &str) -> Outcome<Vec<String>> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let texts = value.as_array().and_then(|items| {
            items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect()
        });
        texts.map_or_else(|| wrong(name, "a list of strings"), Ok)
    }

    fn map(&self, name: &str) -> Outcome<BTreeMap<String, String>> {
        let Some(value) = self.get(name) else {
            return Ok(BTreeMap::new());
        };
        let entries = value.as_object().and_then(|map| {
            map.iter()
                .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect()
        });
        entries.map_or_else(|| wrong(name, "a map of strings"), Ok)
    }

    fn bytes(&self, name: &str) -> Outcome<Vec<u8>> {
        let text = self.text(name)?;
        let decoded = STANDARD.decode(&text).or_else(|_| URL_SAFE.decode(&text));
        decoded.or_else(|_| wrong(name, "base64"))
    }

    fn timestamp(&self, name: &str) -> Outcome<Option<Timestamp>> {
        if self.get(name).is_none() {
            return Ok(None);
        }
        match parse_rfc3339(&self.text(name)?) {
            Some(timestamp) => Ok(Some(timestamp)),
            None => wrong(name, "an RFC 3339 time"),
        }
    }

    fn message<T>(&self, name: &str, read: fn(&Object<'_>) -> Outcome<T>) -> Outcome<Option<T>> {
        self.get(name)
            .map(|value| Object::of(name, value).and_then(|object| read(&object)))
            .transpose()
    }
}

pub(super) fn job_request(value: &Value) -> Outcome<JobRequest> {
    let object = Object::of("request", value)?;
    Ok(JobRequest {
        job_id: object.text("jobId")?,
        topic: object.text("topic")?,
        priority: object.choice("priority", &PRIORITIES)?,
        context_ptr: object.text("contextPtr")?,
        adapter_id: object.text("adapterId")?,
        env: object.map("env")?,
        parent_job_id: object.text("parentJobId")?,
        workflow_id: object.text("workflowId")?,
        step_index: object.number("stepIndex")?,
        memory_id: object.text("memoryId")?,
        context_hints: object.message("contextHints", context_hints)?,
        budget: object.message("budget", budget)?,
        tenant_id: object.text("tenantId")?,
        principal_id: object.text("principalId")?,
        labels: object.map("labels")?,
        meta: object.message("meta", metadata)?,
        compensation: object.message("compensation", compensation)?,
        identity: object.message("identity", identity)?,
        dispatch: object.message("dispatch", dispatch)?,
        context_ref: object.message("contextRef", resource)?,
    })
}

fn compensation(object: &Object<'_>) -> Outcome<Compensation> {
    Ok(Compensation {
        topic: object.text("topic")?,
        context_ptr: object.text("contextPtr")?,
        priority: object.choice("priority", &PRIORITIES)?,
        adapter_id: object.text("adapterId")?,
        env: object.map("env")?,
        memory_id: object.text("memoryId")?,
        context_hints: object.message("contextHints", context_hints)?,
        budget: object.message("budget", budget)?,
        tenant_id: object.text("tenantId")?,
        principal_id: object.text("principalId")?,
        labels: object.map("labels")?,
        meta: object.message("meta", metadata)?,
        identity: object.message("identity", identity)?,
        dispatch: object.message("dispatch", dispatch)?,
        context_ref: object.message("contextRef", resource)?,
    })
}

fn context_hints(object: &Object<'_>) -> Outcome<ContextHints> {
    Ok(ContextHints {
        max_input_tokens: object.number("maxInputTokens")?,
        allow_summarization: object.flag("allowSummarization")?,
        allow_retrieval: object.flag("allowRetrieval")?,
        tags: object.list("tags")?,
    })
}

fn budget(object: &Object<'_>) -> Outcome<Budget> {
    Ok(Budget {
        max_input_tokens: object.number("maxInputTokens")?,
        max_output_tokens: object.number("maxOutputTokens")?,
        max_total_tokens: object.number("maxTotalTokens")?,
        deadline_ms: object.number("deadlineMs")?,
    })
}

fn metadata(object: &Object<'_>) -> Outcome<JobMetadata> {
    Ok(JobMetadata {
        tenant_id: object.text("tenantId")?,
        actor_id: object.text("actorId")?,
        actor_type: object.choice("actorType", &ACTOR_TYPES)?,
        idempotency_key: object.text("idempotencyKey")?,
        capability: object.text("capability")?,
        risk_tags: object.list("riskTags")?,
        requires: object.list("requires")?,
        pack_id: object.text("packId")?,
        labels: object.map("labels")?,
    })
}

fn identity(object: &Object<'_>) -> Outcome<IdentityBinding> {
    Ok(IdentityBinding {
        tenant_id: object.text("tenantId")?,
        principal_id: object.text("principalId")?,
        actor_id: object.text("actorId")?,
        delegation_id: object.text("delegationId")?,
    })
}

fn dispatch(object: &Object<'_>) -> Outcome<DispatchIdentity> {
    Ok(DispatchIdentity {
        dispatch_id: object.text("dispatchId")?,
        attempt: object.number("attempt")?,
        assigned_worker_id: object.text("assignedWorkerId")?,
    })
}

fn resource(object: &Object<'_>) -> Outcome<ResourceRef> {
    Ok(ResourceRef {
        resolver_id: object.text("resolverId")?,
        uri: object.text("uri")?,
        sha256: object.bytes("sha256")?,
        media_type: object.text("mediaType")?,
        size_bytes: object.number("sizeBytes")?,
        expires_at: object.timestamp("expiresAt")?,
        purpose: object.text("purpose")?,
    })
}
