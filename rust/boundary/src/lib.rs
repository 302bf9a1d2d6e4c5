//! What a job must satisfy before policy is asked: a registered topic and a payload that fits its input schema (scheduler spec
//! §5 steps 4 and 5, §19.4, §19.5). Pure: documents and payloads are given, nothing is fetched.

mod boundary;
mod limits;
mod registry;
mod schema;
mod violation;

pub use boundary::{Boundary, Fault, Mode, Payload, SchemaState, Standing};
pub use limits::{PAYLOAD_MAX_BYTES, SCHEMA_MAX_BYTES, VIOLATIONS_MAX};
pub use registry::{Registry, RegistryError, Status, Topic};
pub use schema::{Schema, SchemaError};
pub use violation::Violation;
