//! Builders shared by the planner tests.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test helpers; each test file uses its part"
)]

use std::collections::HashMap;
use std::sync::Arc;

use cordum_dispatch::config::Config;
use cordum_dispatch::record::Record;
use cordum_dispatch::results::ResultPlan;
use cordum_dispatch::submit::Surroundings;
use cordum_dispatch::workers::WorkerTable;
use cordum_wire::messages::{
    BatchItem, BatchResponse, BusPacket, Heartbeat, JobRequest, JobResult, Payload, PolicyCheckResponse,
    Timestamp,
};
use prost::Message;
use rmpv::Value as Packed;
use serde_json::Value;

pub const NOW: i64 = 1_800_000_000_000_000;

pub fn config() -> Config {
    Config::parse(
        br#"{"topics": {"job.a": ["p"], "job.two": ["p", "q"], "job.gpu": ["p", "g"], "job.drain": ["d"]},
             "pools": {"g": {"requires": ["GPU", "cuda"]}, "d": {"status": "draining"}},
             "timeouts": {"topics": {"job.a": {"timeout_seconds": 7, "max_retries": 1}}}}"#,
    )
    .unwrap()
}

pub fn surroundings() -> Surroundings {
    Surroundings {
        config: Arc::new(config()),
        instance: "s-1".into(),
        partitions: 64,
        replicas: 1,
    }
}

pub fn beat(id: &str, pool: &str, active: i32, max: i32) -> Heartbeat {
    Heartbeat {
        worker_id: id.into(),
        pool: pool.into(),
        active_jobs: active,
        max_parallel_jobs: max,
        ..Heartbeat::default()
    }
}

pub fn table(beats: &[Heartbeat]) -> WorkerTable {
    let mut table = WorkerTable::default();
    for beat in beats {
        table.heartbeat(beat, 0, NOW, &config());
    }
    table
}

pub fn request(id: &str, topic: &str) -> JobRequest {
    JobRequest {
        job_id: id.into(),
        topic: topic.into(),
        tenant_id: "acme".into(),
        ..JobRequest::default()
    }
}

pub fn packet(payload: Payload, sender: &str) -> Vec<u8> {
    BusPacket {
        trace_id: "t".into(),
        sender_id: sender.into(),
        created_at: Some(Timestamp::from_micros(NOW)),
        protocol_version: 1,
        payload: Some(payload),
        ..BusPacket::default()
    }
    .encode_to_vec()
}

pub fn submitted(request: JobRequest) -> Vec<u8> {
    packet(Payload::JobRequest(request), "api-gateway")
}

pub fn reported(result: JobResult) -> Vec<u8> {
    let sender = result.worker_id.clone();
    packet(Payload::JobResult(result), &sender)
}

pub fn answer(decisions: &[i32]) -> Vec<u8> {
    let items = decisions
        .iter()
        .map(|decision| {
            let response = PolicyCheckResponse {
                decision: *decision,
                policy_snapshot: "v1:aa".into(),
                rule_id: "r".into(),
                reason: "because".into(),
                ..PolicyCheckResponse::default()
            };
            BatchItem {
                response: response.encode_to_vec(),
                ..BatchItem::default()
            }
        })
        .collect();
    BatchResponse {
        items,
        policy_snapshot: "v1:aa".into(),
    }
    .encode_to_vec()
}

pub fn record(fields: &[(&str, &str)]) -> Record {
    let map: HashMap<String, String> = fields
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    Record::new(map)
}

fn json(value: &Packed) -> Value {
    match value {
        Packed::String(text) => String::from_utf8_lossy(text.as_bytes()).into(),
        Packed::Array(items) => items.iter().map(json).collect(),
        Packed::Map(members) => {
            let members = members.iter();
            members
                .map(|(name, item)| (name.as_str().unwrap().to_owned(), json(item)))
                .collect()
        }
        Packed::Boolean(flag) => (*flag).into(),
        number => number.as_i64().into(),
    }
}

/// A packed change as JSON, for assertions: flat field lists as maps, times as numbers.
pub fn unpack(packed: &[u8]) -> Value {
    let unpacked = json(&rmpv::decode::read_value(&mut &*packed).unwrap());
    let mut change = unpacked.as_object().unwrap().clone();
    for (name, value) in &mut change {
        match name.as_str() {
            "set" | "incr" => {
                let pairs = value.as_array().unwrap().chunks(2);
                *value = pairs
                    .map(|pair| (pair[0].as_str().unwrap().to_owned(), pair[1].clone()))
                    .collect();
            }
            "due" | "deadline" | "retry" | "disp" => {
                *value = value.as_str().unwrap().parse::<i64>().unwrap().into();
            }
            _ => {}
        }
    }
    change.into()
}

/// A stored request as the gateway stamps it when a human approves.
pub fn approved_request() -> JobRequest {
    let mut request = request("j", "job.a");
    for (label, value) in [
        ("approval_granted", "true"),
        ("approval_snapshot", "v1:aa|cfg:1"),
        ("cordum.bus_msg_id", "approval:j"),
    ] {
        request.labels.insert(label.into(), value.into());
    }
    request
}

pub fn result(status: i32) -> JobResult {
    JobResult {
        job_id: "j".into(),
        status,
        worker_id: "w".into(),
        ..JobResult::default()
    }
}

pub fn result_change(result: JobResult) -> Option<Value> {
    let message = reported(result);
    let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
    plan.commits(NOW).first().map(|(_, packed)| unpack(packed))
}
