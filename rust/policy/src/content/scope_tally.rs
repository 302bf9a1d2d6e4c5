//! What the scope checks of one rule came to, counted until somebody asks (policy spec §7.3).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Intents told apart per rule; what comes later counts as `other`.
const MAX_INTENTS: usize = 64;
const OTHER: &str = "other";

/// How one evaluation of a scope rule ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScopeResult {
    Allow,
    Deny,
    /// The content could not be judged.
    Error,
}

/// Counts since they were last taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeCounts {
    /// Evaluations: allowed, denied, not to be judged.
    pub evaluations: [u64; 3],
    /// Findings by intent (empty: unknown) and type.
    pub violations: BTreeMap<(String, &'static str), u64>,
}

impl ScopeCounts {
    /// Add what another rule counted.
    pub fn add(&mut self, other: ScopeCounts) {
        for (sum, count) in self.evaluations.iter_mut().zip(other.evaluations) {
            *sum += count;
        }
        for (key, count) in other.violations {
            *self.violations.entry(key).or_default() += count;
        }
    }
}

/// The counter of one rule.
#[derive(Debug, Default)]
pub(crate) struct ScopeTally(Mutex<ScopeCounts>);

impl ScopeTally {
    pub fn note(&self, result: ScopeResult, intent: &str, violation: &'static str, findings: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.evaluations.get_mut(result as usize) {
            *count += 1;
        }
        if findings > 0 {
            let known = counts.violations.contains_key(&(intent.to_owned(), violation));
            let intent = if known || counts.violations.len() < MAX_INTENTS {
                intent
            } else {
                OTHER
            };
            *counts
                .violations
                .entry((intent.to_owned(), violation))
                .or_default() += findings;
        }
    }

    pub fn take(&self) -> ScopeCounts {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
