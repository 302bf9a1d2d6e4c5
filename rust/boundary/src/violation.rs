//! What is wrong with a payload, in words that show nothing of it.

use std::collections::BTreeSet;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use crate::limits::{ERRORS_MAX, TEXT_MAX_BYTES, VIOLATIONS_MAX};

/// One fault: where (JSON pointer, `$` for the document) and what. Sorted by path, then message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// JSON pointer, `$` for the document.
    pub path: String,
    /// Text without values of the payload.
    pub message: String,
}

impl Violation {
    /// A fault at `path`.
    pub fn new(path: &str, message: &str) -> Self {
        Violation {
            path: cut(path).to_owned(),
            message: cut(message).to_owned(),
        }
    }
}

/// Leaf errors of a document, sorted, each once, at most [`VIOLATIONS_MAX`].
pub(crate) fn violations(validator: &Validator, document: &Value) -> Vec<Violation> {
    let mut found = BTreeSet::new();
    let mut left = ERRORS_MAX;
    for error in validator.iter_errors(document) {
        collect(&error, &mut found, &mut left);
        if left == 0 {
            break;
        }
    }
    found.into_iter().take(VIOLATIONS_MAX).collect()
}

fn collect(error: &ValidationError<'_>, found: &mut BTreeSet<Violation>, left: &mut usize) {
    if *left == 0 {
        return;
    }
    match error.kind() {
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }
            if context.iter().any(|branch| !branch.is_empty()) =>
        {
            for inner in context.iter().flatten() {
                collect(inner, found, left);
            }
        }
        ValidationErrorKind::PropertyNames { error } => collect(error, found, left),
        _ => {
            *left -= 1;
            let path = error.instance_path().as_str();
            let path = if path.is_empty() { "$" } else { path };
            found.insert(Violation::new(path, &error.masked().to_string()));
        }
    }
}

/// The longest prefix within the bound.
pub(crate) fn cut(text: &str) -> &str {
    let end = (0..=TEXT_MAX_BYTES.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}
