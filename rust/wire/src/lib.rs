//! CAP packets: messages, canonical encoding and hashing. No I/O, no Python.

mod canonical;
pub mod messages;
mod partition;
mod request;

pub use canonical::canonical_bytes;
pub use partition::partition;
pub use request::{canonical_hash, submit_packet, tenant_of};
