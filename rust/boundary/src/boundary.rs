//! Registrations and schemas as one immutable snapshot.

use std::collections::HashMap;

use serde_json::Value;

use crate::limits::PAYLOAD_MAX_BYTES;
use crate::registry::{Registry, Status, Topic};
use crate::schema::Schema;
use crate::violation::Violation;

/// What a bad payload means (`SCHEMA_ENFORCEMENT`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Schemas are not looked at.
    Off,
    /// Faults are told, the job goes on.
    #[default]
    Warn,
    /// Faults end the job.
    Enforce,
}

impl Mode {
    /// The mode of a setting's word.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "off" => Some(Mode::Off),
            "warn" => Some(Mode::Warn),
            "enforce" => Some(Mode::Enforce),
            _ => None,
        }
    }
}

/// What is known about a schema a registration names.
#[derive(Clone, Debug)]
pub enum SchemaState {
    /// Compiled.
    Ready(Schema),
    /// No such schema is registered.
    NotFound,
    /// The stored text does not compile.
    Invalid,
    /// It could not be read, and never was.
    Unavailable,
}

/// The payload of a job as far as it could be read.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// The job has no pointer.
    NoPointer,
    /// The pointer names nothing that may be read.
    BadPointer,
    /// The key is gone.
    NotFound,
    /// More than [`PAYLOAD_MAX_BYTES`].
    TooLarge,
    /// The stored bytes.
    Here(&'a [u8]),
}

/// How a job's topic stands with the registry.
#[derive(Clone, Copy, Debug)]
pub enum Standing<'a> {
    /// The registry was never read.
    NotLoaded,
    /// Nothing is registered at all: topics are free.
    Free,
    /// Nobody registered it, or only other tenants did.
    Unknown,
    /// Registered and switched off.
    Disabled,
    /// Registered.
    Known(&'a Topic),
}

/// Why a job does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Reason code of dead letters (scheduler spec §13).
    pub code: &'static str,
    /// Text of dead letters.
    pub reason: &'static str,
    /// Faults of the payload; empty when the schema itself is at fault.
    pub violations: Vec<Violation>,
}

impl Fault {
    /// The job's topic is not registered, or disabled.
    pub fn unknown_topic() -> Self {
        Self::plain("unknown_topic", "unknown topic")
    }

    fn plain(code: &'static str, reason: &'static str) -> Self {
        Fault {
            code,
            reason,
            violations: Vec::new(),
        }
    }

    fn payload(violations: Vec<Violation>) -> Self {
        Fault {
            code: "schema_validation_failed",
            reason: "schema validation failed",
            violations,
        }
    }

    /// Whether the payload is at fault, and not the schema.
    pub fn is_of_payload(&self) -> bool {
        self.code == "schema_validation_failed"
    }
}

/// One snapshot of registrations, their schemas and the mode.
#[derive(Debug, Default)]
pub struct Boundary {
    /// What a bad payload means.
    pub mode: Mode,
    registry: Option<Registry>,
    schemas: HashMap<String, SchemaState>,
}

impl Boundary {
    /// A snapshot; `registry` is None as long as it was never read.
    pub fn new(mode: Mode, registry: Option<Registry>, schemas: HashMap<String, SchemaState>) -> Self {
        Boundary {
            mode,
            registry,
            schemas,
        }
    }

    /// The registrations, once read.
    pub fn registry(&self) -> Option<&Registry> {
        self.registry.as_ref()
    }

    /// How a topic stands for a tenant.
    pub fn standing(&self, tenant: &str, topic: &str) -> Standing<'_> {
        let Some(registry) = &self.registry else {
            return Standing::NotLoaded;
        };
        if registry.is_empty() {
            return Standing::Free;
        }
        match registry.find(tenant, topic) {
            None => Standing::Unknown,
            Some(found) if found.status == Status::Disabled => Standing::Disabled,
            Some(found) => Standing::Known(found),
        }
    }

    /// The schema payloads of a topic are checked against, None when they are not.
    pub fn schema_id<'a>(&self, topic: &'a Topic) -> Option<&'a str> {
        let is_checked = self.mode != Mode::Off && !topic.input_schema_id.is_empty();
        is_checked.then_some(topic.input_schema_id.as_str())
    }

    /// Whether a schema is at fault itself, so that no payload has to be read.
    pub fn schema_fault(&self, schema_id: &str) -> Option<Fault> {
        match self.schemas.get(schema_id) {
            Some(SchemaState::Ready(_)) => None,
            Some(SchemaState::Invalid) => Some(Fault::plain("schema_invalid", "topic input schema invalid")),
            Some(SchemaState::NotFound) => {
                Some(Fault::plain("schema_not_found", "topic input schema not found"))
            }
            Some(SchemaState::Unavailable) | None => Some(Fault::plain(
                "schema_registry_unavailable",
                "schema registry unavailable",
            )),
        }
    }

    /// Check a payload: the `context` of a document that has one, else the whole (scheduler spec §19.4).
    pub fn check(&self, schema_id: &str, payload: Payload<'_>) -> Option<Fault> {
        let Some(SchemaState::Ready(schema)) = self.schemas.get(schema_id) else {
            return self.schema_fault(schema_id);
        };
        let pointer = |message| Some(Fault::payload(vec![Violation::new("$.context_ptr", message)]));
        let bytes = match payload {
            Payload::NoPointer => return pointer("context payload required for schema validation"),
            Payload::BadPointer => return pointer("context pointer names no readable payload"),
            Payload::NotFound => return pointer("context payload not found"),
            Payload::TooLarge => return pointer("context payload too large for schema validation"),
            Payload::Here(bytes) if bytes.len() > PAYLOAD_MAX_BYTES => {
                return pointer("context payload too large for schema validation")
            }
            Payload::Here(bytes) => bytes,
        };
        let Ok(document) = serde_json::from_slice::<Value>(bytes) else {
            return Some(Fault::payload(vec![Violation::new(
                "$",
                "context payload is not valid JSON",
            )]));
        };
        let violations = schema.check(document.get("context").unwrap_or(&document));
        (!violations.is_empty()).then(|| Fault::payload(violations))
    }
}
