//! The check of one result before it counts (scheduler spec §11, output policy spec §2.3).

use cordum_wire::messages::{JobRequest, JobResult};
use cordum_wire::output_messages::{OutputCheckRequest, OutputCheckResponse, OutputDecision};
use cordum_wire::tenant_of;
use prost::bytes::Bytes;
use prost::encoding::{encode_key, encode_varint, WireType};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::output_record::{FindingRecord, OutputRecord};

/// Content sent along with a request; more is read by the kernel itself.
pub const SENT_MAX_BYTES: usize = 2 * 1024 * 1024;
/// `OutputCheckRequest.output_content`.
const CONTENT_FIELD: u32 = 15;
const NO_COPY: &str = "output redaction required but sanitized output unavailable";
const OVER_BUDGET: &str = "scan budget exceeded";
const CRASHED: &str = "output check panic — fail-closed: the scan broke in the safety kernel";
/// What stands for a text that nobody may read.
pub(crate) const MASKED: &str = "[REDACTED]";
/// And for one that nobody could check.
const UNCHECKED: &str = "[REDACTED] (the error text could not be checked)";
/// Bytes of an error text that are checked; there is no more of it then.
const ERROR_MAX_BYTES: usize = 64 * 1024;
/// The key of a result was not there, and whether that is final.
pub const MISSING: &str = "output content missing";

/// How far the check of a result has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Checked {
    /// The kernel has to be asked.
    Asking,
    /// Accepted without a check: nothing is known about the job.
    Skipped,
    Allowed,
    /// Allowed as a copy with spans masked; first the copy is made, then it is checked.
    Redact(Vec<(usize, usize)>),
    Redacted(String),
    Quarantined,
    /// No answer; the fail mode says what follows.
    Unanswered(String),
    /// Waits for another check, whatever the fail mode: its content may come, or has to be read in full.
    Postponed,
    /// Let pass without an answer.
    FailedOpen,
    /// No answer, and no later attempt will have one: the fail mode says what follows.
    OverBudget,
    /// Allowed as far as the scan went, which was not the whole; the fail mode says what follows.
    Truncated,
}

/// Why there is no decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another attempt may get one.
    NoAnswer(String),
    /// The scan takes too long for this content.
    OverBudget,
    /// The scan breaks, and will again.
    Crashed,
}

/// One result under check.
#[derive(Clone, Debug)]
pub struct OutputCheck {
    /// Without the content, which joins it on the way out.
    pub request: OutputCheckRequest,
    pub checked: Checked,
    pub record: OutputRecord,
    /// The whole content, when it was read.
    pub content: Option<Bytes>,
    /// The content was not looked at, so that a scan has to follow.
    pub needs_scan: bool,
    /// Masked copy and its key.
    pub copy: Option<(String, Vec<u8>)>,
    pub eval_us: i64,
    /// Of a job that failed: its error text as everybody may read it.
    pub error_text: Option<String>,
}

/// What was read of a result's content.
#[derive(Clone, Debug, Default)]
pub struct ReadContent {
    /// From the start; all of it when as long as `size`.
    pub head: Bytes,
    /// Bytes stored, 0 = the key is not there.
    pub size: i64,
}

impl OutputCheck {
    /// Start the check of a result of `request`. With `is_last` a key that is not there will not come any more; with
    /// `is_own_artifact` the pointer names an artifact of the job's tenant.
    pub fn new(
        result: &JobResult,
        request: Option<&JobRequest>,
        read: ReadContent,
        is_last: bool,
        is_own_artifact: bool,
    ) -> OutputCheck {
        let mut check = OutputCheck::blank(result, request);
        let is_own = is_own_artifact || result.result_ptr == cordum_wire::result_pointer(&result.job_id);
        if check.checked == Checked::Asking && !result.result_ptr.is_empty() {
            if is_own {
                check.take_content(result, read, is_last);
            } else {
                check.refuse("invalid pointer");
            }
        }
        check
    }

    /// Start the check of the error text of a job that failed (output policy spec §2.6).
    pub fn of_error(result: &JobResult, request: Option<&JobRequest>) -> OutputCheck {
        let mut check = OutputCheck::blank(result, request);
        check.request.failed = true;
        check.request.artifact_ptrs.clear();
        check.content = Some(Bytes::copy_from_slice(result.error_message.as_bytes()));
        check
    }

    fn blank(result: &JobResult, request: Option<&JobRequest>) -> OutputCheck {
        OutputCheck {
            request: request.map_or_else(OutputCheckRequest::default, |request| describe(request, result)),
            checked: if request.is_some() {
                Checked::Asking
            } else {
                Checked::Skipped
            },
            record: OutputRecord {
                phase: "sync",
                ..OutputRecord::default()
            },
            content: None,
            needs_scan: false,
            copy: None,
            eval_us: 0,
            error_text: None,
        }
    }

    fn take_content(&mut self, result: &JobResult, read: ReadContent, is_last: bool) {
        if read.size <= 0 {
            if is_last {
                return self.refuse(MISSING);
            }
            self.checked = Checked::Postponed;
            return;
        }
        self.request.output_size_bytes = read.size;
        if usize::try_from(read.size).is_ok_and(|size| size == read.head.len()) {
            self.request.content_hash = format!("sha256:{}", hex(&Sha256::digest(&read.head)));
            if read.head.len() > SENT_MAX_BYTES {
                self.request.result_ptr.clone_from(&result.result_ptr);
            }
            self.content = Some(read.head);
        } else if is_last {
            // Beyond what is read here the kernel looks at both ends.
            self.request.result_ptr.clone_from(&result.result_ptr);
        } else {
            self.needs_scan = true;
        }
    }

    /// Append the serialized request, content included, as field 1 of a batch.
    pub fn put_request(&self, batch: &mut Vec<u8>) {
        let is_sent = |one: &&Bytes| one.len() <= SENT_MAX_BYTES && !self.request.failed;
        put_request(
            &self.request,
            self.content.as_ref().filter(is_sent).map_or(&[], Bytes::as_ref),
            batch,
        );
    }

    /// A fault that no later check can mend (output policy spec §2.3).
    fn refuse(&mut self, why: &str) {
        self.find("pointer_unreadable", why, "result_pointer");
        self.quarantine(MISSING);
    }

    fn find(&mut self, kind: &str, detail: &str, scanner: &str) {
        self.record.findings.push(FindingRecord {
            kind: kind.to_owned(),
            severity: "high".to_owned(),
            detail: detail.to_owned(),
            scanner: scanner.to_owned(),
            ..FindingRecord::default()
        });
    }

    pub(crate) fn quarantine(&mut self, reason: &str) {
        self.checked = Checked::Quarantined;
        self.record.decision = "QUARANTINE";
        if !reason.is_empty() {
            self.record.reason = reason.to_owned();
        }
    }

    /// The kernel's answer; an item without one carries its error.
    pub fn answer(&mut self, answer: Result<OutputCheckResponse, Fault>) {
        let response = match answer {
            // A response without both is no answer: ALLOW is the zero value (protocol spec §20.4).
            Ok(response) if response.policy_snapshot.is_empty() && response.reason.is_empty() => {
                self.checked = Checked::Unanswered("safety kernel gave no decision".to_owned());
                return;
            }
            Ok(response) => response,
            Err(fault) => return self.fail(fault),
        };
        let phase = self.record.phase;
        self.record = OutputRecord {
            phase,
            ..OutputRecord::of(&response)
        };
        match OutputDecision::try_from(response.decision) {
            Ok(OutputDecision::Allow) => {
                let is_cut = self
                    .record
                    .findings
                    .iter()
                    .any(|one| one.kind == "content_truncated");
                self.checked = if is_cut {
                    Checked::Truncated
                } else {
                    Checked::Allowed
                };
                self.record.decision = "ALLOW";
            }
            // A job that failed stays that; its error text is masked.
            Ok(OutputDecision::Quarantine) if self.request.failed => {
                self.record.decision = "QUARANTINE";
                self.checked = Checked::Redact(places(&response));
            }
            Ok(OutputDecision::Quarantine) => self.quarantine(""),
            Ok(OutputDecision::Redact) => {
                self.record.decision = "REDACT";
                // What has to be masked is not known before the whole content was looked at.
                self.checked = if self.needs_scan {
                    Checked::Postponed
                } else {
                    Checked::Redact(places(&response))
                };
            }
            Err(_) => {
                self.checked = Checked::Unanswered("safety kernel gave an unknown decision".to_owned());
            }
        }
    }

    fn fail(&mut self, fault: Fault) {
        match fault {
            Fault::NoAnswer(error) => self.checked = Checked::Unanswered(error),
            _ if self.request.failed => self.checked = Checked::Unanswered(OVER_BUDGET.to_owned()),
            Fault::OverBudget => {
                self.find("scan_budget_exceeded", OVER_BUDGET, "size_check");
                self.checked = Checked::OverBudget;
            }
            Fault::Crashed => self.quarantine(CRASHED),
        }
    }

    /// Take the masked copy; `None`: it could not be made.
    pub fn put_copy(&mut self, copy: Option<Vec<u8>>) {
        if self.request.failed {
            let text = copy.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            self.error_text = Some(text.unwrap_or_else(|| MASKED.to_owned()));
            self.checked = Checked::Redacted(String::new());
            return;
        }
        match copy {
            Some(copy) => {
                let digest = hex(&Sha256::digest(&copy));
                let short = digest.get(..16).unwrap_or_default();
                self.copy = Some((format!("res:{}:redacted:{short}", self.request.job_id), copy));
            }
            None => self.no_copy(),
        }
    }

    fn no_copy(&mut self) {
        let reason = if self.record.reason.is_empty() {
            NO_COPY
        } else {
            ""
        };
        self.quarantine(reason);
    }

    /// Append the request that asks about the copy, if there is one, as field 1 of a batch.
    pub fn put_copy_request(&self, batch: &mut Vec<u8>) {
        let Some((key, copy)) = self.copy.as_ref() else {
            return;
        };
        let mut request = OutputCheckRequest {
            output_size_bytes: i64::try_from(copy.len()).unwrap_or(i64::MAX),
            content_hash: String::new(),
            result_ptr: String::new(),
            // They passed, and nothing in them is masked.
            artifact_ptrs: Vec::new(),
            ..self.request.clone()
        };
        // The error text is masked as a whole.
        request.error_message.clear();
        let mut content = copy.as_slice();
        if copy.len() > SENT_MAX_BYTES {
            request.result_ptr = format!("redis://{key}");
            content = &[];
        }
        put_request(&request, content, batch);
    }

    /// What the kernel says about the copy: anything left in it, or no answer, quarantines (output policy spec §7.6).
    pub fn copy_answer(&mut self, answer: Result<OutputCheckResponse, Fault>) {
        let is_clean = answer.is_ok_and(|response| {
            let decision = OutputDecision::try_from(response.decision);
            let is_answer = !response.policy_snapshot.is_empty();
            let has_rest = !response.redaction_spans.is_empty();
            is_answer && !has_rest && matches!(decision, Ok(OutputDecision::Allow | OutputDecision::Redact))
        });
        match (is_clean, &self.copy) {
            (true, Some((key, _))) => {
                self.record.redacted_ptr = format!("redis://{key}");
                self.checked = Checked::Redacted(self.record.redacted_ptr.clone());
            }
            _ => {
                self.no_copy();
                self.record.redacted_ptr.clear();
            }
        }
    }

    /// What is to be read instead of the error text of a job that failed; `None`: the text itself.
    pub(crate) fn shown_error(&self) -> Option<&str> {
        match self.checked {
            Checked::Asking | Checked::Unanswered(_) | Checked::Redact(_) => Some(UNCHECKED),
            _ => self.error_text.as_deref(),
        }
    }

    /// There is nothing to scan.
    pub fn is_empty(&self) -> bool {
        self.content.is_none() && !self.needs_scan && self.request.result_ptr.is_empty()
    }

    /// A redaction of a result without content has nothing to mask but the error text.
    pub fn is_without_content(&self) -> bool {
        self.content.is_none() && !self.needs_scan
    }
}

/// Where a response wants its content masked.
fn places(response: &OutputCheckResponse) -> Vec<(usize, usize)> {
    let spans = response.redaction_spans.iter();
    let places = spans.filter_map(|span| {
        Some((
            usize::try_from(span.offset).ok()?,
            usize::try_from(span.length).ok()?,
        ))
    });
    places.collect()
}

/// An error text as far as it is checked, cut at a character.
pub(crate) fn cut_error(text: &mut String) {
    if text.len() > ERROR_MAX_BYTES {
        let end = (0..=ERROR_MAX_BYTES)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(end);
    }
}

/// A serialized request as field 1 of a batch. The content is the largest part by far: it is copied once, to where it leaves.
fn put_request(request: &OutputCheckRequest, content: &[u8], batch: &mut Vec<u8>) {
    let mut tail = Vec::with_capacity(16);
    if !content.is_empty() {
        encode_key(CONTENT_FIELD, WireType::LengthDelimited, &mut tail);
        encode_varint(content.len() as u64, &mut tail);
    }
    let length = request.encoded_len() + tail.len() + content.len();
    batch.reserve(length + 16);
    encode_key(1, WireType::LengthDelimited, batch);
    encode_varint(length as u64, batch);
    request.encode_raw(batch);
    batch.extend_from_slice(&tail);
    batch.extend_from_slice(content);
}

fn describe(request: &JobRequest, result: &JobResult) -> OutputCheckRequest {
    let meta = request.meta.as_ref();
    let label = |name: &str| request.labels.get(name).or_else(|| request.env.get(name));
    let mut capabilities: Vec<String> = Vec::new();
    let requires = meta.map(|meta| meta.requires.as_slice()).unwrap_or_default();
    let capability = meta.map(|meta| &meta.capability);
    for name in capability.into_iter().chain(requires) {
        if !name.is_empty() && !capabilities.contains(name) {
            capabilities.push(name.clone());
        }
    }
    let meta_labels = || meta.map(|meta| meta.labels.clone()).unwrap_or_default();
    OutputCheckRequest {
        job_id: result.job_id.clone(),
        topic: request.topic.clone(),
        tenant: tenant_of(request).to_owned(),
        labels: request.labels.clone(),
        artifact_ptrs: result.artifact_ptrs.clone(),
        error_message: result.error_message.clone(),
        error_code: result.error_code.clone(),
        worker_id: result.worker_id.clone(),
        execution_ms: result.execution_ms,
        workflow_id: request.workflow_id.clone(),
        step_id: label("step_id").cloned().unwrap_or_default(),
        capabilities,
        risk_tags: meta.map(|meta| meta.risk_tags.clone()).unwrap_or_default(),
        principal_id: request.principal_id.clone(),
        pack_id: meta.map(|meta| meta.pack_id.clone()).unwrap_or_default(),
        content_type: label("content_type").cloned().unwrap_or_default(),
        original_labels: if request.labels.is_empty() {
            meta_labels()
        } else {
            request.labels.clone()
        },
        ..OutputCheckRequest::default()
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
