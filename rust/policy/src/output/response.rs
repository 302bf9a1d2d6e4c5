//! Bytes in, bytes out: `OutputCheckRequest` → `OutputCheckResponse` (output policy spec §10), one by one and in batches.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Instant;

use cordum_output::redact;
use serde_json::{json, Value};
use thiserror::Error;

use crate::batch::{elapsed_us, split};
use crate::compile::Policy;
use crate::error::{BatchError, RequestError};
use crate::limits::MAX_OUTPUT_ARTIFACTS;
use crate::response::{put_bytes, put_text, put_varint};

use super::artifacts::Artifact;
use super::evaluate::{OutputContent, OutputOutcome};
use super::findings::{OutputFinding, Span};
use super::request::OutputRequest;

/// Why a result could not be checked; never a decision.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckError {
    #[error("{0}")]
    Request(#[from] RequestError),
    #[error("no policy is loaded")]
    NotLoaded,
    #[error("the content of this result was not read")]
    ContentNotRead,
    #[error("{1}")]
    Content(u8, String),
    #[error("scan budget exceeded")]
    OverBudget,
    #[error("output check failed")]
    Failed,
}

impl CheckError {
    /// gRPC status number.
    pub fn status(&self) -> u8 {
        match self {
            CheckError::Request(error) => error.status(),
            CheckError::NotLoaded => 14,
            CheckError::ContentNotRead => 9,
            CheckError::Content(status, _) => *status,
            CheckError::OverBudget => 8,
            CheckError::Failed => 13,
        }
    }

    /// Stable name of the error.
    pub fn code(&self) -> &'static str {
        match self {
            CheckError::Request(error) => error.code(),
            CheckError::NotLoaded => "policy_not_loaded",
            CheckError::ContentNotRead | CheckError::Content(..) => "output_content_unreadable",
            CheckError::OverBudget => "scan_budget_exceeded",
            CheckError::Failed => "output_check_failed",
        }
    }
}

/// What reading a pointer gave.
#[derive(Clone, Debug)]
pub enum Supplied<'a> {
    Content(OutputContent<'a>),
    /// gRPC status number and what is wrong.
    Failed(u8, &'a str),
}

/// What was read for some requests of a batch, by place.
pub type Contents<'a> = [(usize, Supplied<'a>)];

/// A pointer that has to be read before a request can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    pub index: usize,
    pub job_id: String,
    pub tenant: String,
    pub pointer: String,
}

impl Policy {
    /// Serialized `OutputCheckRequest` → serialized `OutputCheckResponse`.
    ///
    /// Errors: whatever keeps the result from being checked.
    pub fn check_output<'c>(
        &self,
        request: &'c [u8],
        supplied: Option<&Supplied<'c>>,
        artifacts: &[&Supplied<'c>],
    ) -> Result<Vec<u8>, CheckError> {
        if !self.is_loaded {
            return Err(CheckError::NotLoaded);
        }
        if request.is_empty() {
            let outcome = OutputOutcome::allowed("missing request".into(), "");
            return Ok(encode(&outcome, &self.snapshot));
        }
        let mut decoded = OutputRequest::decode(request)?;
        if self.output.reads_artifacts(&decoded, decoded.size) {
            decoded.artifacts = read_artifacts(&decoded, artifacts)?;
        }
        let outcome = self.outcome(&decoded, supplied)?;
        Ok(encode(&outcome, &self.snapshot))
    }

    fn outcome<'c>(
        &self,
        request: &OutputRequest<'c>,
        supplied: Option<&Supplied<'c>>,
    ) -> Result<OutputOutcome<'_>, CheckError> {
        let content = match supplied {
            _ if request.is_failed => None,
            _ if !request.content.is_empty() => Some(OutputContent::whole(request.content)),
            Some(Supplied::Content(content)) => Some(*content),
            Some(Supplied::Failed(status, error)) => {
                return Err(CheckError::Content(*status, (*error).to_owned()))
            }
            None if request.result_ptr.is_empty() => None,
            None if self.output.reads_content(request, request.size) => {
                return Err(CheckError::ContentNotRead)
            }
            None => None,
        };
        let checked = catch_unwind(AssertUnwindSafe(|| self.output.check(request, content)));
        checked
            .map_err(|_| CheckError::Failed)?
            .map_err(|_| CheckError::OverBudget)
    }

    /// Pointers of a serialized `BatchRequest` that rules ask for.
    ///
    /// Errors: a batch that does not decode or is too large. A broken request says so in its own answer.
    pub fn output_pointers(&self, batch: &[u8]) -> Result<Vec<Pointer>, BatchError> {
        let requests = split(batch)?;
        let wanted = requests.into_iter().enumerate().filter_map(|(index, bytes)| {
            let request = OutputRequest::decode(bytes).ok()?;
            let is_wanted = !request.is_failed
                && request.content.is_empty()
                && !request.result_ptr.is_empty()
                && self.output.reads_content(&request, request.size);
            is_wanted.then(|| Pointer {
                index,
                job_id: request.job_id.to_owned(),
                tenant: request.tenant.to_owned(),
                pointer: request.result_ptr.to_owned(),
            })
        });
        Ok(wanted.collect())
    }

    /// Artifacts of a serialized `BatchRequest` that rules ask for; none of a request that names too many.
    ///
    /// Errors: as [`Policy::output_pointers`].
    pub fn output_artifacts(&self, batch: &[u8]) -> Result<Vec<Pointer>, BatchError> {
        let mut wanted = Vec::new();
        for (index, bytes) in split(batch)?.into_iter().enumerate() {
            let Ok(request) = OutputRequest::decode(bytes) else {
                continue;
            };
            let is_countable = request.artifact_ptrs.len() <= MAX_OUTPUT_ARTIFACTS;
            if is_countable && self.output.reads_artifacts(&request, request.size) {
                wanted.extend(request.artifact_ptrs.iter().map(|pointer| Pointer {
                    index,
                    job_id: request.job_id.to_owned(),
                    tenant: request.tenant.to_owned(),
                    pointer: (*pointer).to_owned(),
                }));
            }
        }
        Ok(wanted)
    }

    /// Serialized `BatchRequest` → serialized `BatchResponse`, one item per request in the same order.
    ///
    /// Errors: as [`Policy::output_pointers`].
    pub fn check_output_batch<'c>(
        &self,
        batch: &'c [u8],
        contents: &Contents<'c>,
        artifacts: &Contents<'c>,
    ) -> Result<Vec<u8>, BatchError> {
        let requests = split(batch)?;
        let mut out = Vec::with_capacity(requests.len() * 192);
        let mut before = Instant::now();
        for (index, request) in requests.into_iter().enumerate() {
            let supplied = contents
                .iter()
                .find_map(|(at, supplied)| (*at == index).then_some(supplied));
            let of_request = artifacts.iter().filter(|(at, _)| *at == index);
            let of_request: Vec<&Supplied<'c>> = of_request.map(|(_, supplied)| supplied).collect();
            let mut item = Vec::with_capacity(192);
            match self.check_output(request, supplied, &of_request) {
                Ok(response) => put_bytes(1, &response, &mut item),
                Err(error) => {
                    item.extend_from_slice(&[2 << 3, error.status()]);
                    put_text(3, &error.to_string(), &mut item);
                }
            }
            let now = Instant::now();
            let us = elapsed_us(before, now);
            if us > 0 {
                item.push(4 << 3);
                put_varint(us, &mut item);
            }
            put_bytes(1, &item, &mut out);
            before = now;
        }
        put_text(2, &self.snapshot, &mut out);
        Ok(out)
    }

    /// A dry run in words: decision, findings, the masked copy, and how each rule took part (output policy spec §11.5).
    ///
    /// Errors: as [`Policy::check_output`].
    pub fn simulate_output(&self, request: &[u8]) -> Result<Value, CheckError> {
        if !self.is_loaded {
            return Err(CheckError::NotLoaded);
        }
        let request = OutputRequest::decode(request)?;
        let content = (!request.content.is_empty()).then(|| OutputContent::whole(request.content));
        let before = Instant::now();
        let checked = catch_unwind(AssertUnwindSafe(|| self.output.check_traced(&request, content)));
        let (outcome, trace) = checked
            .map_err(|_| CheckError::Failed)?
            .map_err(|_| CheckError::OverBudget)?;
        let us = elapsed_us(before, Instant::now());
        let masked = (outcome.decision == super::OutputDecision::Redact).then(|| {
            let spans: Vec<_> = outcome
                .spans
                .iter()
                .map(|span| (span.offset, span.length))
                .collect();
            redact(request.content, &spans).map(|copy| String::from_utf8_lossy(&copy).into_owned())
        });
        let steps = trace.iter().map(|step| {
            if step.is_matched {
                json!({"rule_id": step.rule_id, "matched": true})
            } else {
                json!({"rule_id": step.rule_id, "matched": false, "why": step.why})
            }
        });
        Ok(json!({
            "decision": outcome.decision.name(),
            "reason": outcome.reason,
            "rule_id": outcome.rule_id,
            "policy_snapshot": self.snapshot,
            "findings": outcome.findings.iter().map(OutputFinding::to_json).collect::<Vec<_>>(),
            "redacted": masked.flatten(),
            "eval_us": us,
            "trace": steps.collect::<Vec<_>>(),
        }))
    }
}

/// Artifacts as rules look at them. What another attempt may read is an error; so are artifacts that nobody read.
fn read_artifacts<'c>(
    request: &OutputRequest<'c>,
    supplied: &[&Supplied<'c>],
) -> Result<Vec<Artifact<'c>>, CheckError> {
    const PASSING: [u8; 3] = [4, 10, 14];
    if request.artifact_ptrs.len() > MAX_OUTPUT_ARTIFACTS {
        return Ok(Vec::new());
    }
    if supplied.len() < request.artifact_ptrs.len() {
        return Err(CheckError::ContentNotRead);
    }
    let each = supplied.iter().map(|one| match one {
        Supplied::Content(content) => Ok(Artifact::Content(*content)),
        Supplied::Failed(status, error) if PASSING.contains(status) => {
            Err(CheckError::Content(*status, (*error).to_owned()))
        }
        Supplied::Failed(_, error) => Ok(Artifact::Unreadable(error)),
    });
    each.collect()
}

/// Serialized `OutputCheckResponse`.
fn encode(outcome: &OutputOutcome<'_>, snapshot: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    put_number(1, u64::from(outcome.decision.wire()), &mut out);
    put_text(2, outcome.reason.trim(), &mut out);
    put_text(3, outcome.rule_id, &mut out);
    put_text(4, snapshot, &mut out);
    for finding in &outcome.findings {
        put_bytes(5, &finding.encoded(), &mut out);
    }
    for span in &outcome.spans {
        let bytes = span.encoded();
        // Field numbers of ours start at 100, two bytes as a key.
        put_varint(100 << 3 | 2, &mut out);
        put_varint(bytes.len() as u64, &mut out);
        out.extend(bytes);
    }
    out
}

fn put_number(tag: u8, value: u64, out: &mut Vec<u8>) {
    if value > 0 {
        out.push(tag << 3);
        put_varint(value, out);
    }
}

impl OutputFinding<'_> {
    fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        put_text(1, self.kind, &mut out);
        put_text(2, self.severity, &mut out);
        put_text(3, &self.detail, &mut out);
        put_number(4, self.offset as u64, &mut out);
        put_number(5, self.length as u64, &mut out);
        put_text(6, self.scanner, &mut out);
        if self.confidence > 0.0 {
            out.push(7 << 3 | 5);
            out.extend_from_slice(&self.confidence.to_le_bytes());
        }
        put_text(8, self.pattern, &mut out);
        out
    }

    fn to_json(&self) -> Value {
        let mut object = json!({"type": self.kind, "severity": self.severity, "detail": self.detail});
        let Value::Object(fields) = &mut object else {
            return object;
        };
        for (name, text) in [("scanner", self.scanner), ("matched_pattern", self.pattern)] {
            if !text.is_empty() {
                fields.insert(name.to_owned(), text.into());
            }
        }
        for (name, number) in [("offset", self.offset), ("length", self.length)] {
            if number > 0 {
                fields.insert(name.to_owned(), number.into());
            }
        }
        if self.confidence > 0.0 {
            // Two digits: a 32-bit float in 64 bits shows digits nobody wrote.
            let rounded = (f64::from(self.confidence) * 1e4).round() / 1e4;
            fields.insert("confidence".to_owned(), rounded.into());
        }
        object
    }
}

impl Span<'_> {
    fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        put_number(1, self.offset as u64, &mut out);
        put_number(2, self.length as u64, &mut out);
        put_text(3, self.detector, &mut out);
        out
    }
}
