//! One atomic change of a job record, as the store's scripts take it (msgpack map, see `store/lua/_job_common.lua`).

use std::collections::BTreeMap;

use serde::Serialize;

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
    /// Hash fields to write.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<&'static str, String>,
    /// Hash fields to remove.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub del: Vec<&'static str>,
    /// Hash fields to increment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
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
    /// What makes two decisions equal; an equal one replaces the head of the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision_key: Option<String>,
    /// Next dispatch or running time-out, µs; 0 removes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<i64>,
    /// Deadline, µs; 0 removes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<i64>,
    /// Next attempt of a parked job, µs; 0 removes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<i64>,
    /// Unconfirmed dispatch since, µs; 0 removes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disp: Option<i64>,
    /// Pools the parked job waits for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wait: Vec<String>,
    /// Duties left after the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<&'static str>>,
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
fn as_text<S: serde::Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()))
}

impl Transition {
    /// Packed form. An empty vector never happens for this type; it is what an encoder failure would give.
    pub fn pack(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).unwrap_or_default()
    }

    /// Set a field unless the value is empty (empty fields are absent in records).
    pub fn set_if(&mut self, field: &'static str, value: &str) {
        if !value.is_empty() {
            self.set.insert(field, value.to_owned());
        }
    }
}
