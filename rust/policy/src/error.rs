//! Errors of each stage.

use std::fmt;

use thiserror::Error;

use crate::limits;

/// One thing wrong with a policy document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// JSON path, `yaml` for syntax errors, empty for the document as a whole; starts with `bundle <id>: ` for a bundle.
    pub path: String,
    /// What is wrong, in the words of policy spec §3.
    pub message: String,
    /// Line of the document, 1-based; 0 where it is not known (JSON, limits of several documents together).
    pub line: usize,
}

impl Issue {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Issue {
            path: path.into(),
            message: message.into(),
            line: 0,
        }
    }

    /// The same issue, which stands in that line.
    pub fn on_line(self, line: usize) -> Self {
        Issue { line, ..self }
    }

    /// The same issue, named as one of bundle `id`.
    pub fn in_bundle(self, id: &str) -> Self {
        let path = if self.path.is_empty() {
            format!("bundle {id}")
        } else {
            format!("bundle {id}: {}", self.path)
        };
        Issue { path, ..self }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// Text form of several issues.
pub fn join(issues: &[Issue]) -> String {
    issues.iter().map(Issue::to_string).collect::<Vec<_>>().join("; ")
}

/// Why sources did not become a policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// Documents that do not parse, do not validate, or use what this version does not evaluate.
    #[error("{}", join(.0))]
    Invalid(Vec<Issue>),
    /// Neither a base nor a bundle was given.
    #[error("no policy source was given")]
    NoSource,
}

impl PolicyError {
    /// Stable name of the error.
    pub fn code(&self) -> &'static str {
        match self {
            PolicyError::Invalid(_) => "policy_invalid",
            PolicyError::NoSource => "policy_no_source",
        }
    }

    /// The single errors, in document order.
    pub fn issues(&self) -> Vec<Issue> {
        match self {
            PolicyError::Invalid(issues) => issues.clone(),
            PolicyError::NoSource => vec![Issue::new("", self.to_string())],
        }
    }
}

/// Why bytes are not a usable `PolicyCheckRequest`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    #[error("request ends inside a field")]
    Truncated,
    #[error("request has a malformed tag or length")]
    Malformed,
    #[error("field {0} has the wrong wire type")]
    WireType(u32),
    #[error("field {0} is not valid utf-8")]
    Utf8(u32),
    #[error("too many {what}: expected at most {max}", max = limits::MAX_REQUEST_ENTRIES)]
    TooMany { what: &'static str },
    #[error("an input rule needs the content of this request")]
    NeedsContent,
    #[error("the agent of this request was not looked up")]
    AgentNotLookedUp,
    #[error("topic too long: expected at most {max} bytes", max = limits::MAX_TOPIC_BYTES)]
    TopicTooLong,
}

impl RequestError {
    /// gRPC status number of an item with this error: INVALID_ARGUMENT, FAILED_PRECONDITION or UNAVAILABLE.
    pub fn status(&self) -> u8 {
        match self {
            RequestError::NeedsContent => 9,
            RequestError::AgentNotLookedUp => 14,
            _ => 3,
        }
    }

    /// Stable name of the error.
    pub fn code(&self) -> &'static str {
        match self {
            RequestError::NeedsContent => "content_needed",
            RequestError::AgentNotLookedUp => "agent_not_looked_up",
            RequestError::TooMany { .. } | RequestError::TopicTooLong => "request_too_large",
            _ => "request_malformed",
        }
    }
}

/// Why a batch as a whole was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    #[error("batch does not decode: {0}")]
    Malformed(RequestError),
    #[error("too many requests in a batch: expected at most {max}", max = limits::MAX_BATCH_ITEMS)]
    TooManyItems,
}

impl BatchError {
    /// Stable name of the error.
    pub fn code(&self) -> &'static str {
        match self {
            BatchError::Malformed(_) => "batch_malformed",
            BatchError::TooManyItems => "batch_too_large",
        }
    }
}
