//! What a submission is answered over HTTP (gateway spec §10, §14.1).

use serde::Serialize;

/// Status and body of one answer; `body` is a JSON object without `request_id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// HTTP status.
    pub status: u16,
    /// JSON object.
    pub body: Vec<u8>,
    /// Value of the `X-Trace-Id` header, may be empty.
    pub trace_id: String,
    /// Value of the `Retry-After` header in seconds, 0 for none.
    pub retry_after_s: u32,
}

/// A refusal before anything was judged or stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Machine word; empty means: derived from the message.
    pub code: &'static str,
    /// Text for humans.
    pub message: String,
    /// Field path the message is about, may be empty.
    pub field: String,
}

impl Refusal {
    /// 400 about one field; the code is derived from the message.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Refusal {
            status: 400,
            code: "",
            message: message.into(),
            field: field.to_owned(),
        }
    }

    /// 400 `invalid_json`.
    pub fn json() -> Self {
        Refusal {
            status: 400,
            code: "invalid_json",
            message: "invalid json".into(),
            field: String::new(),
        }
    }

    /// 413 `payload_too_large`.
    pub fn too_large(field: &str) -> Self {
        Refusal {
            status: 413,
            code: "payload_too_large",
            message: "payload too large".into(),
            field: field.to_owned(),
        }
    }

    /// 403 with a fixed code.
    pub fn forbidden(code: &'static str, message: &str) -> Self {
        Refusal {
            status: 403,
            code,
            message: message.into(),
            field: String::new(),
        }
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    code: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    field: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    job_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_id: &'a str,
}

#[derive(Serialize)]
struct AcceptedBody<'a> {
    job_id: &'a str,
    trace_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

pub(super) fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_else(|_| b"{}".to_vec())
}

impl From<&Refusal> for Outcome {
    fn from(refusal: &Refusal) -> Self {
        let derived = slug(&refusal.message);
        let body = ErrorBody {
            error: &refusal.message,
            code: if refusal.code.is_empty() {
                &derived
            } else {
                refusal.code
            },
            status: refusal.status,
            field: &refusal.field,
            job_id: "",
            trace_id: "",
        };
        Outcome {
            status: refusal.status,
            body: json(&body),
            trace_id: String::new(),
            retry_after_s: 0,
        }
    }
}

impl Outcome {
    /// The job exists and will be scheduled.
    pub fn accepted(job_id: &str, trace_id: &str) -> Self {
        Self::stored(job_id, trace_id, None, "")
    }

    /// The job waits for a human.
    pub fn held(job_id: &str, trace_id: &str, reason: &str) -> Self {
        Self::stored(job_id, trace_id, Some("approval_required"), reason)
    }

    fn stored(job_id: &str, trace_id: &str, status: Option<&str>, reason: &str) -> Self {
        let body = AcceptedBody {
            job_id,
            trace_id,
            status,
            reason,
        };
        Outcome {
            status: 200,
            body: json(&body),
            trace_id: trace_id.to_owned(),
            retry_after_s: 0,
        }
    }

    /// Policy said no; the job is stored as denied.
    pub fn denied(job_id: &str, trace_id: &str, reason: &str) -> Self {
        let error = if reason.is_empty() {
            "denied by policy"
        } else {
            reason
        };
        let body = ErrorBody {
            error,
            code: "policy_denied",
            status: 403,
            field: "",
            job_id,
            trace_id,
        };
        Outcome {
            status: 403,
            body: json(&body),
            trace_id: trace_id.to_owned(),
            retry_after_s: 0,
        }
    }

    /// Policy said not now; nothing is stored.
    pub fn throttled(reason: &str) -> Self {
        let error = if reason.is_empty() {
            "throttled by policy"
        } else {
            reason
        };
        let body = ErrorBody {
            error,
            code: "rate_limited",
            status: 429,
            field: "",
            job_id: "",
            trace_id: "",
        };
        Outcome {
            status: 429,
            body: json(&body),
            trace_id: String::new(),
            retry_after_s: 30,
        }
    }
}

/// Lower-cased text with every run of other characters than letters and digits turned into `_`.
pub fn slug(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            code.push(character.to_ascii_lowercase());
        } else if !code.is_empty() && !code.ends_with('_') {
            code.push('_');
        }
    }
    code.truncate(code.trim_end_matches('_').len());
    code
}
