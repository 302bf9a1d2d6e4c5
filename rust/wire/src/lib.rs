//! CAP packets and job records: messages, canonical encoding, hashing, protojson. No I/O, no Python.

mod canonical;
mod claims;
mod decision;
pub mod delivery;
pub mod json;
pub mod messages;
mod msgpack;
pub mod output_messages;
mod partition;
mod pointer;
mod policy_messages;
pub mod publish;
mod record;
mod request;
pub mod saga;
mod seal;
mod states;
pub mod stored;
pub mod submit;
mod transition;

pub use canonical::canonical_bytes;
pub use claims::Claim;
pub use decision::{constraints_json, decision_word, remediations_json};
pub use partition::partition;
pub use pointer::{artifact_key, context_pointer, result_pointer};
pub use record::{put_request_fields, record_tenant, TRACE_CONTEXT};
pub use request::{canonical_hash, config_scope, submit_packet, tenant_of, ConfigScope};
pub use seal::{SealError, Sealer};
pub use states::STATES;
pub use transition::{DeadLetter, Transition};
