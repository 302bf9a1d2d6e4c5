//! From a submission body and its caller to a job request and its context document (gateway spec §14.1).

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::fields::{check_word, inspect, Fields};
use super::labels::clean_labels;
use super::limits::{Limits, DEADLINE_MS, IDEMPOTENCY_KEY_BYTES, TAGS, TOKENS, TOPIC_CHARS, WORD_BYTES};
use super::outcome::Refusal;
use super::topic::{is_tenant, is_topic};
use crate::json::rfc3339;
use crate::messages::{Budget, ContextHints, JobMetadata, JobRequest, Timestamp};

type Outcome<T> = Result<T, Refusal>;

const DEFAULT_TOPIC: &str = "job.default";
const SECRET_SCHEME: &str = "secret://";

/// What the gateway knows about the sender of one submission.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Tenant the request was resolved to.
    pub tenant: String,
    /// Effective principal.
    pub principal: String,
    /// The body may name the principal: nothing is bound and header principals are on.
    pub body_principal: bool,
    /// First 16 hex digits of the key's SHA-256.
    pub fingerprint: String,
    /// The credential may act for other tenants.
    pub cross_tenant: bool,
    /// Principal the credential is bound to; empty when none is.
    pub bound_principal: String,
    /// Holds `delegation.impersonate`: may speak for any agent.
    pub impersonates: bool,
    /// Id for the new job.
    pub job_id: String,
    /// Trace of the new job.
    pub trace_id: String,
    /// Idempotency key of the headers or the query, may be empty.
    pub idempotency_key: String,
}

/// A valid submission, ready to be judged.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// The request as it will be stored.
    pub request: JobRequest,
    /// The prompt, for the policy check.
    pub prompt: String,
    /// Bytes of `ctx:<job id>`.
    pub context: Vec<u8>,
    /// Idempotency key, may be empty.
    pub idempotency_key: String,
    /// What a replay under the same key must equal; empty without a key.
    pub idempotency_hash: String,
    /// `apikey:<16 hex>|principal:<id>`.
    pub submitted_by: String,
    /// Principal that must own the agent of label `agent_id`; none when there is nothing left to prove.
    pub agent_owner: Option<String>,
    /// W3C trace headers of its request, see [`crate::TRACE_CONTEXT`]; may be empty.
    pub trace_context: String,
}

/// Parse and validate one body.
pub fn parse(body: &[u8], caller: &Caller, limits: &Limits, now_us: i64) -> Outcome<Submission> {
    let fields = Fields::parse(body)?;
    let prompt = prompt(&fields, limits)?;
    let topic = topic(&fields)?;
    let tenant = tenant(&fields, caller)?;
    let context = fields.raw("context");
    let secrets = prompt.contains(SECRET_SCHEME)
        | match context {
            Some(raw) => inspect("context", raw, SECRET_SCHEME)?,
            None => false,
        };
    let request = request(&fields, caller, topic, tenant, secrets)?;
    let document = document(
        &request,
        &prompt,
        priority_word(request.priority),
        context,
        now_us,
    );
    if document.len() > limits.context_bytes {
        return Err(Refusal::too_large("context"));
    }
    let idempotency_key = idempotency_key(&fields, caller)?;
    let idempotency_hash = match idempotency_key.as_str() {
        "" => String::new(),
        _ => idempotency_hash(&request, &prompt, context)?,
    };
    let submitted_by = format!("apikey:{}|principal:{}", caller.fingerprint, request.principal_id);
    let agent_owner = agent_owner(&request, caller)?;
    let mut submission = Submission {
        request,
        prompt,
        context: document,
        idempotency_key,
        idempotency_hash,
        submitted_by,
        agent_owner,
        trace_context: String::new(),
    };
    if let Some(meta) = submission.request.meta.as_mut() {
        meta.idempotency_key.clone_from(&submission.idempotency_key);
    }
    submission.rename(&caller.job_id);
    Ok(submission)
}

impl Submission {
    /// Give the job another id: the one its idempotency key already stands for.
    pub fn rename(&mut self, job_id: &str) {
        self.request.job_id = job_id.to_owned();
        self.request.context_ptr = crate::context_pointer(job_id);
    }
}

fn prompt(fields: &Fields<'_>, limits: &Limits) -> Outcome<String> {
    let prompt = fields.prose("prompt")?;
    if prompt.trim().is_empty() {
        return Err(Refusal::invalid("prompt", "prompt is required"));
    }
    if prompt.len() > limits.prompt_chars && prompt.chars().count() > limits.prompt_chars {
        return Err(Refusal::too_large("prompt"));
    }
    Ok(prompt)
}

fn topic(fields: &Fields<'_>) -> Outcome<String> {
    let topic = fields.word("topic", usize::MAX)?;
    if topic.is_empty() {
        return Ok(DEFAULT_TOPIC.to_owned());
    }
    if topic.len() > TOPIC_CHARS {
        let message = format!("topic is too long (at most {TOPIC_CHARS} characters)");
        return Err(Refusal::invalid("topic", message));
    }
    if !is_topic(&topic) {
        let message = "topic must look like job.name with letters, digits, dots, dashes and underscores";
        return Err(Refusal::invalid("topic", message));
    }
    Ok(topic)
}

fn tenant(fields: &Fields<'_>, caller: &Caller) -> Outcome<String> {
    let mut tenant = caller.tenant.clone();
    for name in ["tenant_id", "org_id"] {
        let named = fields.word(name, WORD_BYTES)?;
        if named.is_empty() || named == tenant {
            continue;
        }
        if !caller.cross_tenant {
            return Err(Refusal::forbidden("tenant_access_denied", "tenant access denied"));
        }
        if !is_tenant(&named) {
            return Err(Refusal::invalid(name, format!("{name} is not a tenant id")));
        }
        tenant = named;
    }
    Ok(tenant)
}

fn idempotency_key(fields: &Fields<'_>, caller: &Caller) -> Outcome<String> {
    let key = fields.word("idempotency_key", IDEMPOTENCY_KEY_BYTES)?;
    if !key.is_empty() {
        return Ok(key);
    }
    check_word("idempotency_key", &caller.idempotency_key, IDEMPOTENCY_KEY_BYTES)?;
    Ok(caller.idempotency_key.trim().to_owned())
}

fn priority(fields: &Fields<'_>) -> Outcome<i32> {
    match fields.word("priority", WORD_BYTES)?.to_ascii_lowercase().as_str() {
        "" | "interactive" => Ok(1),
        "batch" => Ok(2),
        "critical" => Ok(3),
        _ => Err(Refusal::invalid(
            "priority",
            "priority must be batch, interactive or critical",
        )),
    }
}

fn priority_word(priority: i32) -> &'static str {
    match priority {
        2 => "batch",
        3 => "critical",
        _ => "interactive",
    }
}

fn actor_type(fields: &Fields<'_>) -> Outcome<i32> {
    match fields
        .word("actor_type", WORD_BYTES)?
        .to_ascii_lowercase()
        .as_str()
    {
        "" => Ok(0),
        "human" => Ok(1),
        "service" => Ok(2),
        _ => Err(Refusal::invalid(
            "actor_type",
            "actor_type must be human or service",
        )),
    }
}

fn memory_id(fields: &Fields<'_>) -> Outcome<String> {
    let memory_id = fields.word("memory_id", WORD_BYTES)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":._@-/".contains(&byte);
    if memory_id.bytes().all(is_plain) {
        return Ok(memory_id);
    }
    Err(Refusal {
        status: 400,
        code: "MEMORY_POLICY_VIOLATION",
        message: "memory_id is malformed".into(),
        field: "memory_id".into(),
    })
}

/// The principal of the job and, when the body asked for another one, that one.
fn principal(fields: &Fields<'_>, caller: &Caller) -> Outcome<(String, Option<String>)> {
    let named = fields.word("principal_id", WORD_BYTES)?;
    if named.is_empty() || named == caller.principal {
        Ok((caller.principal.clone(), None))
    } else if caller.body_principal {
        Ok((named, None))
    } else {
        Ok((caller.principal.clone(), Some(named)))
    }
}

/// Who must own the agent that the label `agent_id` names: nobody when the caller is bound to that very agent or may speak
/// for any; a caller that is bound to nobody speaks for no agent.
fn agent_owner(request: &JobRequest, caller: &Caller) -> Outcome<Option<String>> {
    let Some(agent) = request.labels.get("agent_id").map(|agent| agent.trim()) else {
        return Ok(None);
    };
    if agent.is_empty() || caller.impersonates || agent == caller.bound_principal {
        return Ok(None);
    }
    if caller.bound_principal.is_empty() {
        return Err(Refusal::forbidden("access_denied", "access denied"));
    }
    Ok(Some(caller.bound_principal.clone()))
}

fn refuse_delegation(fields: &Fields<'_>) -> Outcome<()> {
    let token = fields.word("delegation_token", usize::MAX)?;
    let audience = fields.word("delegation_audience_agent_id", WORD_BYTES)?;
    if token.is_empty() && audience.is_empty() {
        return Ok(());
    }
    // No delegation can be verified here, so none is accepted.
    Err(Refusal::forbidden("access_denied", "access denied"))
}

fn request(
    fields: &Fields<'_>,
    caller: &Caller,
    topic: String,
    tenant: String,
    secrets: bool,
) -> Outcome<JobRequest> {
    refuse_delegation(fields)?;
    let (principal_id, requested) = principal(fields, caller)?;
    let pack_id = fields.word("pack_id", WORD_BYTES)?;
    let mut labels = clean_labels(fields.map("labels")?)?;
    let source = if pack_id.is_empty() { "api" } else { "pack" };
    labels.insert("_source".into(), source.into());
    if let Some(requested) = requested {
        labels.insert("requested_principal".into(), requested);
    }
    let mut risk_tags = fields.words("risk_tags", TAGS)?;
    if secrets {
        labels.insert("secrets_present".into(), "true".into());
        if !risk_tags.iter().any(|tag| tag.eq_ignore_ascii_case("secrets")) {
            risk_tags.push("secrets".into());
        }
    }
    let actor_id = fields.word("actor_id", WORD_BYTES)?;
    let max_input_tokens = fields.count("max_input_tokens", 8000, i64::from(i32::MAX))?;
    let max_output_tokens = fields.count("max_output_tokens", 1024, TOKENS)?;
    let memory_id = memory_id(fields)?;
    let mut request = JobRequest {
        topic,
        priority: priority(fields)?,
        adapter_id: fields.word("adapter_id", WORD_BYTES)?,
        context_hints: Some(ContextHints {
            max_input_tokens: i32::try_from(max_input_tokens).unwrap_or(i32::MAX),
            allow_summarization: fields.flag("allow_summarization")?,
            allow_retrieval: fields.flag("allow_retrieval")?,
            tags: fields.words("tags", TAGS)?,
        }),
        budget: Some(Budget {
            max_input_tokens,
            max_output_tokens,
            max_total_tokens: fields.count("max_total_tokens", 0, TOKENS)?,
            deadline_ms: fields.count("deadline_ms", 0, DEADLINE_MS)?,
        }),
        meta: Some(JobMetadata {
            tenant_id: tenant.clone(),
            actor_id: if caller.body_principal && !actor_id.is_empty() {
                actor_id
            } else {
                principal_id.clone()
            },
            actor_type: actor_type(fields)?,
            capability: fields.word("capability", WORD_BYTES)?,
            risk_tags,
            requires: fields.words("requires", TAGS)?,
            pack_id,
            ..JobMetadata::default()
        }),
        tenant_id: tenant.clone(),
        principal_id,
        labels,
        ..JobRequest::default()
    };
    for (key, value) in [
        ("tenant_id", tenant),
        ("team_id", fields.word("team_id", WORD_BYTES)?),
        ("project_id", fields.word("project_id", WORD_BYTES)?),
        ("memory_id", memory_id.clone()),
        ("context_mode", context_mode(fields)?),
        ("max_input_tokens", max_input_tokens.to_string()),
        ("max_output_tokens", max_output_tokens.to_string()),
    ] {
        if !value.is_empty() {
            request.env.insert(key.to_owned(), value);
        }
    }
    request.memory_id = memory_id;
    Ok(request)
}

fn context_mode(fields: &Fields<'_>) -> Outcome<String> {
    let mode = fields.word("context_mode", WORD_BYTES)?;
    match mode.as_str() {
        "" | "raw" | "chat" | "rag" => Ok(mode),
        _ => Err(Refusal::invalid(
            "context_mode",
            "context_mode must be raw, chat or rag",
        )),
    }
}

/// The document a worker's handler receives (protocol spec §10); the caller's context goes in byte for byte.
fn document(
    request: &JobRequest,
    prompt: &str,
    priority: &str,
    context: Option<&str>,
    now_us: i64,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(prompt.len() + context.map_or(0, str::len) + 256);
    let created_at = rfc3339(&Timestamp::from_micros(now_us.div_euclid(1_000_000) * 1_000_000));
    for (index, (key, value)) in [
        ("prompt", prompt),
        ("adapter_id", &request.adapter_id),
        ("priority", priority),
        ("topic", &request.topic),
        ("created_at", &created_at),
        ("tenant_id", &request.tenant_id),
    ]
    .into_iter()
    .enumerate()
    {
        out.extend_from_slice(if index == 0 { b"{\"" } else { b",\"" });
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        // Writing text to a vector cannot fail.
        let _ = serde_json::to_writer(&mut out, value);
    }
    if let Some(context) = context {
        out.extend_from_slice(b",\"context\":");
        out.extend_from_slice(context.as_bytes());
    }
    out.push(b'}');
    out
}

/// SHA-256 over topic, prompt, context, tenant and labels; the context counts by value, not by its spacing.
fn idempotency_hash(request: &JobRequest, prompt: &str, context: Option<&str>) -> Outcome<String> {
    let context = match context {
        None => Value::Null,
        Some(raw) => serde_json::from_str(raw).map_err(|_| Refusal::json())?,
    };
    let parts = (
        &request.topic,
        prompt,
        &context,
        &request.tenant_id,
        &request.labels,
    );
    let bytes = serde_json::to_vec(&parts).map_err(|_| Refusal::json())?;
    Ok(crate::request::hex(&Sha256::digest(bytes)))
}
