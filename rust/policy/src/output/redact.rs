//! The masked copy of a result (output policy spec §7).

pub use cordum_output::{redact, MARKER};
