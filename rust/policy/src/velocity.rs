//! Rules that count requests (policy spec §13): what to count, and what the counts mean.

use std::collections::BTreeMap;

use serde_json::{json, Value};
use sha2::{Digest, Sha256};

use crate::document::{Rule, Velocity};
use crate::facts::Facts;

/// What one counter said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Within,
    Exceeded,
    /// No count: the rule asks a human.
    Failed,
    /// No count, and the operator chose to skip the rule then.
    FailedOpen,
}

impl Answer {
    /// Answer number of the bindings.
    pub fn from_number(number: u8) -> Option<Answer> {
        match number {
            0 => Some(Answer::Within),
            1 => Some(Answer::Exceeded),
            2 => Some(Answer::Failed),
            3 => Some(Answer::FailedOpen),
            _ => None,
        }
    }
}

/// One count that evaluation waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    pub rule_id: String,
    /// `<rule id>:<bucket>`, both escaped as the Redis key wants them.
    pub key_suffix: String,
    /// The job; empty = a fresh random id.
    pub member: String,
    pub max_requests: i64,
    pub window_seconds: i64,
}

/// Answers known so far; what is not known is written down.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// No hash map: its seed comes from a counter that all threads would write, once per evaluation.
    answers: BTreeMap<Need, Answer>,
    needs: Vec<Need>,
    /// Nobody will count: every count fails.
    is_closed: bool,
}

impl Counters {
    /// Counters of an evaluation that nobody counts for: velocity rules ask a human.
    pub fn unavailable() -> Counters {
        Counters {
            is_closed: true,
            ..Counters::default()
        }
    }

    /// Counts missing after the last evaluation.
    pub fn take_needs(&mut self) -> Vec<Need> {
        std::mem::take(&mut self.needs)
    }

    pub fn answer(&mut self, need: Need, answer: Answer) {
        self.answers.insert(need, answer);
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.needs.is_empty()
    }
}

/// How a velocity rule stands for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    NotExceeded,
    Exceeded,
    Unavailable,
    /// The count is not known yet.
    Waiting,
}

impl Standing {
    /// A word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Standing::NotExceeded => "within_limit",
            Standing::Exceeded => "exceeded",
            Standing::Unavailable => "unavailable",
            Standing::Waiting => "unknown",
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Tenant,
    Topic,
    ActorId,
    ActorType,
    PackId,
    Capability,
}

fn part(name: &str) -> Option<Part> {
    Some(match name {
        "tenant" => Part::Tenant,
        "topic" => Part::Topic,
        "actor_id" => Part::ActorId,
        "actor_type" => Part::ActorType,
        "pack_id" => Part::PackId,
        "capability" => Part::Capability,
        _ => return None,
    })
}

/// The part of a key, trimmed; `None` when it is unknown or empty for this request.
fn part_value<'f>(name: &str, facts: &'f Facts<'_, '_>) -> Option<&'f str> {
    let name = name.trim();
    let value = match part(name) {
        Some(Part::Tenant) => facts.tenant,
        Some(Part::Topic) => facts.topic,
        Some(Part::ActorId) => facts.actor_id,
        Some(Part::ActorType) => facts.actor_type,
        Some(Part::PackId) => facts.request.pack_id.trim(),
        Some(Part::Capability) => facts.request.capability.trim(),
        None => facts.request.label(name.strip_prefix("labels.")?)?.trim(),
    };
    (!value.is_empty()).then_some(value)
}

/// What a velocity rule counts by.
#[derive(Debug, PartialEq, Eq)]
pub struct Counted {
    velocity: Velocity,
    escaped_id: String,
}

impl Counted {
    pub(crate) fn new(rule: &Rule) -> Option<Counted> {
        let velocity = rule.velocity.clone()?;
        let id = if rule.id.is_empty() {
            &velocity.digest
        } else {
            &rule.id
        };
        Some(Counted {
            escaped_id: escape(id),
            velocity,
        })
    }

    /// Facts that must not be empty, or else the rule does not count the request.
    pub(crate) fn key_parts(&self) -> impl Iterator<Item = &str> {
        self.velocity.key.split(':').map(str::trim)
    }

    /// The limit as a person reads it.
    pub(crate) fn to_json(&self) -> Value {
        let Velocity {
            max_requests,
            window_seconds,
            key,
            ..
        } = &self.velocity;
        json!({"max_requests": max_requests, "window_seconds": window_seconds, "key": key})
    }

    /// Whether the request is one that the rule counts.
    pub(crate) fn counts(&self, facts: &Facts<'_, '_>) -> bool {
        self.key_parts().all(|name| part_value(name, facts).is_some())
    }

    /// Ask `counters` about this request.
    pub(crate) fn standing(&self, rule_id: &str, facts: &Facts<'_, '_>, counters: &mut Counters) -> Standing {
        let mut values = Vec::new();
        for name in self.velocity.key.split(':') {
            match part_value(name, facts) {
                Some(value) => values.push(value),
                None => return Standing::NotExceeded,
            }
        }
        if counters.is_closed {
            return Standing::Unavailable;
        }
        let need = Need {
            rule_id: rule_id.to_owned(),
            key_suffix: format!("{}:{}", self.escaped_id, escape(&values.join(":"))),
            member: facts.request.job_id.to_owned(),
            max_requests: self.velocity.max_requests,
            window_seconds: self.velocity.window_seconds,
        };
        match counters.answers.get(&need) {
            Some(Answer::Within | Answer::FailedOpen) => Standing::NotExceeded,
            Some(Answer::Exceeded) => Standing::Exceeded,
            Some(Answer::Failed) => Standing::Unavailable,
            None => {
                if !counters.needs.contains(&need) {
                    counters.needs.push(need);
                }
                Standing::Waiting
            }
        }
    }
}

/// Text as part of a Redis key; texts that differ stay different.
fn escape(text: &str) -> String {
    let escaped = text.replace([':', ' ', '\t', '\r', '\n'], "_");
    if escaped == text {
        escaped
    } else {
        format!("{escaped}~{}", digest(text, 4))
    }
}

/// The first bytes of the SHA-256 of a text, in hex.
pub(crate) fn digest(text: &str, bytes: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(bytes)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::escape;

    #[test]
    fn escaped_keys_stay_apart() {
        assert_eq!(escape("plain"), "plain");
        assert!(escape("a:b").starts_with("a_b~"));
        assert_ne!(escape("a:b"), escape("a b"));
        assert_ne!(escape("a:b"), escape("a_b"));
    }

    fn counter_of(document: &str) -> String {
        let source = crate::Source {
            kind: crate::SourceKind::Base,
            content: document.as_bytes(),
        };
        let policy = crate::Policy::compile(&[source]).unwrap();
        let mut counters = super::Counters::default();
        let request = crate::Request {
            topic: "job.a",
            tenant: "north",
            ..crate::Request::default()
        };
        policy.evaluate_counted(&request, &mut counters);
        counters.take_needs().pop().unwrap().key_suffix
    }

    #[test]
    fn a_rule_without_id_is_counted_by_what_it_says() {
        let one = counter_of(
            "rules: [{decision: throttle, velocity: {max_requests: 1, window_seconds: 60, key: tenant}}]",
        );
        let other = counter_of(
            "rules:\n- velocity:\n    key: \"tenant\"\n    window_seconds: 60\n    max_requests: 1\n  decision: throttle\n",
        );
        assert_eq!(one, other);
        // printf '{"decision":"throttle","velocity":{"key":"tenant","max_requests":1,"window_seconds":60}}' | sha256sum
        assert_eq!(one, "7533129e5046:north");
        let wider = counter_of(
            "rules: [{decision: throttle, velocity: {max_requests: 2, window_seconds: 60, key: tenant}}]",
        );
        assert_ne!(one, wider);
    }
}
