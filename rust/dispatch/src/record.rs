//! The parts of a stored job record the planner reads.

use std::collections::HashMap;

/// A job hash as read from the store.
#[derive(Clone, Debug, Default)]
pub struct Record(HashMap<String, String>);

impl Record {
    /// Wrap the fields of a hash.
    pub fn new(fields: HashMap<String, String>) -> Self {
        Record(fields)
    }

    /// A text field, empty when absent.
    pub fn text(&self, field: &str) -> &str {
        self.0.get(field).map_or("", String::as_str)
    }

    /// A counter or time, 0 when absent or malformed.
    pub fn number(&self, field: &str) -> i64 {
        self.text(field).parse().unwrap_or(0)
    }

    /// Current state.
    pub fn state(&self) -> &str {
        self.text("state")
    }

    /// Record revision.
    pub fn revision(&self) -> u64 {
        self.number("rev").unsigned_abs()
    }
}

/// Part of a policy snapshot before the first `|`.
pub fn snapshot_base(snapshot: &str) -> &str {
    snapshot.split('|').next().unwrap_or(snapshot)
}
