//! One atomic change of a job record, as the store's scripts take it (msgpack map, see `store/lua/_job_common.lua`).

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::msgpack::Packer;
use crate::request::hex;

/// Fields left at their default are not sent; the script leaves what they name unchanged.
#[derive(Clone, Debug, Default)]
pub struct Transition {
    /// Job id.
    pub id: String,
    /// Allowed current states; the empty string stands for "no record".
    pub from: Vec<&'static str>,
    /// New state; equal to the current one for a park or refresh.
    pub to: &'static str,
    /// Exact record revision the plan was made from.
    pub rev: Option<u64>,
    /// Request hash; refused when the record carries another one.
    pub hash: Option<String>,
    /// Fence of a result that echoes its dispatch.
    pub dispatch_id: Option<String>,
    /// Fence of a result after a direct dispatch.
    pub worker_id: Option<String>,
    /// Attempt number this change starts.
    pub attempt: Option<u64>,
    /// Refuse when a human already approved.
    pub not_approved: bool,
    /// Hash fields to write; an empty value removes the field.
    pub set: BTreeMap<&'static str, String>,
    /// Hash fields to remove.
    pub del: Vec<&'static str>,
    /// Hash fields to increment.
    pub incr: BTreeMap<&'static str, i64>,
    /// Stored request, see `stored`.
    pub req: Option<Vec<u8>>,
    /// Event list entries, see `stored`.
    pub events: Vec<Vec<u8>>,
    /// Decision list entry (JSON).
    pub decision: Option<String>,
    /// Entry of the decision before, which so far was in the record only.
    pub decision_before: Option<String>,
    /// The decision is in the fields alone: the record must have none in its list, and its `safety_checked_at` be this one.
    pub plain: Option<String>,
    /// What makes two decisions equal; an equal one replaces the head of the list. The record keeps a digest of it.
    pub decision_key: Option<String>,
    /// Next dispatch or running time-out, µs; 0 removes.
    pub due: Option<i64>,
    /// Deadline, µs; 0 removes.
    pub deadline: Option<i64>,
    /// Next attempt of a parked job, µs; 0 removes.
    pub retry: Option<i64>,
    /// Unconfirmed dispatch since, µs; 0 removes.
    pub disp: Option<i64>,
    /// Pools the parked job waits for.
    pub wait: Vec<String>,
    /// Its places there, in the same order; empty: it keeps the places it has.
    pub wait_at: Vec<String>,
    /// Duties left after the commit.
    pub after: Option<Vec<&'static str>>,
    /// Duty that is added when the record's part in a saga calls for it: `saga`, `rollback`, or `none` to be told the part only.
    pub saga: Option<&'static str>,
    /// Ends the wait of a withheld result.
    pub settles: bool,
    /// Record of an output check (JSON).
    pub output: Option<String>,
    /// Dead letter written with the change.
    pub dlq: Option<DeadLetter>,
}

/// The part of a dead letter the planner knows; the script adds topic, tenant, state and attempts of the record.
#[derive(Clone, Debug, Default)]
pub struct DeadLetter {
    /// Enum name, e.g. `JOB_STATUS_FAILED`.
    pub status: String,
    /// Text for humans.
    pub reason: String,
    /// Machine word.
    pub reason_code: String,
    /// RFC 3339.
    pub created_at: String,
}

impl Transition {
    /// Packed form: one map; an empty value in `set` removes the field.
    pub fn pack(&self) -> Vec<u8> {
        let (empty, set): (Vec<_>, Vec<_>) = self.set.iter().partition(|(_, value)| value.is_empty());
        let del: Vec<&str> = self
            .del
            .iter()
            .copied()
            .chain(empty.iter().map(|(name, _)| **name))
            .collect();
        let mut map = Map::default();
        map.text("id", &self.id);
        map.texts("from", &self.from);
        map.text("to", self.to);
        map.uint("rev", self.rev);
        map.some("hash", self.hash.as_deref());
        map.some("dispatch_id", self.dispatch_id.as_deref());
        map.some("worker_id", self.worker_id.as_deref());
        map.uint("attempt", self.attempt);
        map.flag("not_approved", self.not_approved);
        map.pairs("set", set.iter().map(|(name, value)| (**name, Pair::Text(value))));
        map.any("del", &del);
        map.pairs(
            "incr",
            self.incr.iter().map(|(name, by)| (*name, Pair::Number(*by))),
        );
        map.some("req", self.req.as_deref());
        map.any("events", &self.events);
        map.some("decision", self.decision.as_deref());
        map.some("decision_before", self.decision_before.as_deref());
        map.some("plain", self.plain.as_deref());
        map.some(
            "decision_key",
            self.decision_key.as_deref().map(digest).as_deref(),
        );
        map.time("due", self.due);
        map.time("deadline", self.deadline);
        map.time("retry", self.retry);
        map.time("disp", self.disp);
        map.any("wait", &self.wait);
        map.any("wait_at", &self.wait_at);
        if let Some(after) = &self.after {
            map.texts("after", after);
        }
        map.some("saga", self.saga);
        map.flag("settles", self.settles);
        map.some("output", self.output.as_deref());
        if let Some(letter) = &self.dlq {
            map.letter("dlq", letter);
        }
        map.finish()
    }

    /// Set a field unless the value is empty (empty fields are absent in records).
    pub fn set_if(&mut self, field: &'static str, value: &str) {
        if !value.is_empty() {
            self.set.insert(field, value.to_owned());
        }
    }
}

/// The first 64 bits of SHA-256 in hex: short, so that a record stays in the store's compact form.
fn digest(text: &str) -> String {
    let digest = Sha256::digest(text);
    hex(&digest).get(..16).unwrap_or_default().to_owned()
}

enum Pair<'a> {
    Text(&'a str),
    Number(i64),
}

/// The members of a change. Maps of fields are flat lists: the script hands them to HSET as they come.
#[derive(Default)]
struct Map {
    members: usize,
    body: Packer,
}

impl Map {
    fn key(&mut self, name: &str) {
        self.members += 1;
        self.body.text(name);
    }

    fn text(&mut self, name: &str, value: &str) {
        self.key(name);
        self.body.text(value);
    }

    fn some<T: AsRef<[u8]> + ?Sized>(&mut self, name: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.key(name);
            self.body.bytes(value.as_ref());
        }
    }

    fn uint(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.key(name);
            self.body.uint(value);
        }
    }

    fn flag(&mut self, name: &str, is_set: bool) {
        if is_set {
            self.key(name);
            self.body.flag(true);
        }
    }

    /// Decimal text: scores and fields reach the store without a conversion in the script.
    fn time(&mut self, name: &str, at: Option<i64>) {
        if let Some(at) = at {
            self.text(name, &at.to_string());
        }
    }

    fn texts<T: AsRef<[u8]>>(&mut self, name: &str, items: &[T]) {
        self.key(name);
        self.body.list(items.len());
        for item in items {
            self.body.bytes(item.as_ref());
        }
    }

    fn any<T: AsRef<[u8]>>(&mut self, name: &str, items: &[T]) {
        if !items.is_empty() {
            self.texts(name, items);
        }
    }

    fn pairs<'a>(&mut self, name: &str, pairs: impl ExactSizeIterator<Item = (&'a str, Pair<'a>)>) {
        if pairs.len() == 0 {
            return;
        }
        self.key(name);
        self.body.list(pairs.len() * 2);
        for (field, value) in pairs {
            self.body.text(field);
            match value {
                Pair::Text(text) => self.body.text(text),
                Pair::Number(number) => self.body.int(number),
            }
        }
    }

    fn letter(&mut self, name: &str, letter: &DeadLetter) {
        self.key(name);
        self.body.map(4);
        for (field, value) in [
            ("status", &letter.status),
            ("reason", &letter.reason),
            ("reason_code", &letter.reason_code),
            ("created_at", &letter.created_at),
        ] {
            self.body.text(field);
            self.body.text(value);
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut packed = Packer::default();
        packed.map(self.members);
        packed.append(self.body);
        packed.finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use serde_json::{json, Value};

    #[test]
    fn fields_are_flat_times_are_digits_and_empty_values_remove() {
        let change = Transition {
            id: "j".into(),
            set: BTreeMap::from([("pool", "p".to_owned()), ("team", String::new())]),
            incr: BTreeMap::from([("attempts", 1)]),
            due: Some(1_800_000_000_000_001),
            ..Transition::default()
        };
        let packed: Value = rmp_serde::from_slice(&change.pack()).unwrap();
        assert_eq!(
            packed,
            json!({
                "id": "j", "from": [], "to": "", "set": ["pool", "p"], "del": ["team"], "incr": ["attempts", 1],
                "due": "1800000000000001",
            })
        );
    }
}
