//! One atomic change of a job record, as the store's scripts take it (msgpack map, see `store/lua/_job_common.lua`).

use std::collections::BTreeMap;

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::request::hex;

/// Fields left at their default are not sent; the script leaves what they name unchanged.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Transition {
    /// Job id.
    pub id: String,
    /// Allowed current states; the empty string stands for "no record".
    pub from: Vec<&'static str>,
    /// New state; equal to the current one for a park or refresh.
    pub to: &'static str,
    /// Exact record revision the plan was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<u64>,
    /// Request hash; refused when the record carries another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Fence of a result that echoes its dispatch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatch_id: Option<String>,
    /// Fence of a result after a direct dispatch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    /// Attempt number this change starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u64>,
    /// Refuse when a human already approved.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub not_approved: bool,
    /// Hash fields to write; an empty value removes the field.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "as_pairs")]
    pub set: BTreeMap<&'static str, String>,
    /// Hash fields to remove.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub del: Vec<&'static str>,
    /// Hash fields to increment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "as_pairs")]
    pub incr: BTreeMap<&'static str, i64>,
    /// Stored request (protojson).
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub req: Option<Vec<u8>>,
    /// Event list entries (JSON).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// Decision list entry (JSON).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// What makes two decisions equal; an equal one replaces the head of the list. The record keeps a digest of it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_digest")]
    pub decision_key: Option<String>,
    /// Next dispatch or running time-out, µs; 0 removes.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_digits")]
    pub due: Option<i64>,
    /// Deadline, µs; 0 removes.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_digits")]
    pub deadline: Option<i64>,
    /// Next attempt of a parked job, µs; 0 removes.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_digits")]
    pub retry: Option<i64>,
    /// Unconfirmed dispatch since, µs; 0 removes.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_digits")]
    pub disp: Option<i64>,
    /// Pools the parked job waits for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wait: Vec<String>,
    /// Its places there, in the same order; empty: it keeps the places it has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wait_at: Vec<String>,
    /// Duties left after the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<&'static str>>,
    /// Duty that is added when the record's part in a saga calls for it: `saga`, `rollback`, or `none` to be told the part only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saga: Option<&'static str>,
    /// Ends the wait of a withheld result.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub settles: bool,
    /// Record of an output check (JSON).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Dead letter written with the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dlq: Option<DeadLetter>,
}

/// The part of a dead letter the planner knows; the script adds topic, tenant, state and attempts of the record.
#[derive(Clone, Debug, Default, Serialize)]
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

/// Text form of bytes: the MessagePack of Redis 6.2 to 8 refuses the binary family.
fn as_text<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()))
}

/// Flat list of names and values: the script hands it to HSET as it came.
fn as_pairs<S: Serializer, V: Serialize>(
    fields: &BTreeMap<&'static str, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(fields.len() * 2))?;
    for (name, value) in fields {
        list.serialize_element(name)?;
        list.serialize_element(value)?;
    }
    list.end()
}

/// Decimal text: scores and fields reach the store without a conversion in the script.
fn as_digits<S: Serializer>(number: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&number.unwrap_or_default().to_string())
}

/// The first 64 bits of SHA-256 in hex: short, so that a record stays in the store's compact form.
fn as_digest<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let digest = Sha256::digest(text.as_deref().unwrap_or_default());
    serializer.serialize_str(hex(&digest).get(..16).unwrap_or_default())
}

impl Transition {
    /// Packed form. An empty vector never happens for this type; it is what an encoder failure would give.
    pub fn pack(&self) -> Vec<u8> {
        if self.set.values().any(String::is_empty) {
            return self.without_empty_values().pack();
        }
        rmp_serde::to_vec_named(self).unwrap_or_default()
    }

    fn without_empty_values(&self) -> Self {
        let mut change = self.clone();
        let (empty, set) = std::mem::take(&mut change.set)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, value)| value.is_empty());
        change.set = set;
        change.del.extend(empty.into_keys());
        change
    }

    /// Set a field unless the value is empty (empty fields are absent in records).
    pub fn set_if(&mut self, field: &'static str, value: &str) {
        if !value.is_empty() {
            self.set.insert(field, value.to_owned());
        }
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
