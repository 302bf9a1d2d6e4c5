//! What is reported of the hits; redaction takes them all (output policy spec §16.6, de-duplication).

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::hit::{Hit, ScanResult};

impl ScanResult {
    /// Hits without repetitions: the first of each detector and value. Values are compared by a hash salted per call.
    pub fn distinct(&self, content: &[u8]) -> Vec<Hit> {
        let hasher = RandomState::new();
        let mut seen = HashSet::with_capacity(self.hits.len());
        let is_new = |hit: &&Hit| {
            let value = content.get(hit.span()).unwrap_or_default();
            seen.insert((hit.detector, hasher.hash_one(value)))
        };
        self.hits.iter().filter(is_new).copied().collect()
    }
}
