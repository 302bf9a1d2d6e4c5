//! Compiled JSON Schemas. Nothing is ever fetched: a reference is to the schema itself, to a meta-schema, or to a document that
//! was handed over (packs spec §6).

use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Registry, Validator};
use serde_json::Value;

use crate::limits::{
    PATTERN_MAX_BYTES, PATTERN_MAX_STEPS_BACK, SCHEMA_MAX_BYTES, SCHEMA_MAX_DEPTH, SCHEMA_MAX_REFERENCES,
};
use crate::violation::{cut, violations, Violation};

/// Why a schema was not compiled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Not a usable schema.
    #[error("{0}")]
    Invalid(String),
    /// It refers to a document that was not handed over.
    #[error("reference to `{0}`, which is not registered")]
    Missing(String),
}

impl SchemaError {
    fn invalid(message: impl Into<String>) -> Self {
        SchemaError::Invalid(message.into())
    }
}

/// A compiled schema; cheap to clone.
#[derive(Clone, Debug)]
pub struct Schema(Arc<Validator>);

impl Schema {
    /// Compile a schema (an object) together with the documents it may refer to, by URL.
    pub fn compile(text: &[u8], documents: &[(String, Vec<u8>)]) -> Result<Self, SchemaError> {
        let schema = read(text)?;
        let mut registry = Registry::new();
        for (url, text) in documents {
            registry = registry.add(url, read(text)?).map_err(unusable)?;
        }
        let registry = registry.prepare().map_err(|error| unresolved(&error))?;
        let patterns = PatternOptions::fancy_regex()
            .backtrack_limit(PATTERN_MAX_STEPS_BACK)
            .size_limit(PATTERN_MAX_BYTES)
            .dfa_size_limit(PATTERN_MAX_BYTES);
        let built = jsonschema::options()
            .with_registry(&registry)
            .offline()
            .should_validate_formats(false)
            .with_pattern_options(patterns)
            .build(&schema);
        match built {
            Ok(validator) => Ok(Schema(Arc::new(validator))),
            Err(error) => Err(match error.kind() {
                ValidationErrorKind::Referencing(cause) => unresolved(cause),
                _ => {
                    let path = error.instance_path().as_str();
                    let place = if path.is_empty() { "$" } else { path };
                    SchemaError::invalid(format!("{place}: {}", cut(&error.masked_with("it").to_string())))
                }
            }),
        }
    }

    /// Faults of a document.
    pub fn check(&self, document: &Value) -> Vec<Violation> {
        if self.0.is_valid(document) {
            return Vec::new();
        }
        violations(&self.0, document)
    }
}

fn read(text: &[u8]) -> Result<Value, SchemaError> {
    if text.len() > SCHEMA_MAX_BYTES {
        return Err(SchemaError::invalid(format!(
            "too large: expected at most {SCHEMA_MAX_BYTES} bytes, got {}",
            text.len()
        )));
    }
    let schema: Value =
        serde_json::from_slice(text).map_err(|error| SchemaError::invalid(format!("not JSON: {error}")))?;
    if !schema.is_object() {
        return Err(SchemaError::invalid("expected an object"));
    }
    let mut references = 0;
    measure(&schema, 1, &mut references)?;
    Ok(schema)
}

fn measure(value: &Value, depth: usize, references: &mut usize) -> Result<(), SchemaError> {
    if depth > SCHEMA_MAX_DEPTH {
        return Err(SchemaError::invalid(format!(
            "too deep: expected at most {SCHEMA_MAX_DEPTH} levels"
        )));
    }
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                if matches!(name.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef") {
                    *references += 1;
                }
                measure(inner, depth + 1, references)?;
            }
        }
        Value::Array(items) => {
            for inner in items {
                measure(inner, depth + 1, references)?;
            }
        }
        _ => {}
    }
    if *references > SCHEMA_MAX_REFERENCES {
        return Err(SchemaError::invalid(format!(
            "too many references: expected at most {SCHEMA_MAX_REFERENCES}"
        )));
    }
    Ok(())
}

fn unresolved(error: &jsonschema::ReferencingError) -> SchemaError {
    match error {
        jsonschema::ReferencingError::Unretrievable { uri, .. } => SchemaError::Missing(uri.clone()),
        other => SchemaError::invalid(cut(&other.to_string())),
    }
}

fn unusable(error: jsonschema::ReferencingError) -> SchemaError {
    SchemaError::invalid(cut(&error.to_string()))
}
