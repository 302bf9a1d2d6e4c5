use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::msgpack::Packer;
use crate::{result_pointer, STATES};

/// Members of a context by the number they are stored as. New ones go to the end.
const MEMBERS: [&str; 13] = [
    "rule",
    "reason",
    "eval_ms",
    "worker_id",
    "pool",
    "strategy",
    "wait_ms",
    "error_code",
    "error_msg",
    "result_ptr",
    "duration_ms",
    "findings",
    "scanner",
];
const WORKER_ID: u8 = 3;
const STRATEGY: u8 = 5;
const RESULT_PTR: u8 = 9;
/// Strategies by the number they are stored as. New ones go to the end.
const STRATEGIES: [&str; 1] = ["least_loaded"];
/// What the record itself says of its request.
const RECORDED: u8 = 64;

/// Context of one transition; empty members are left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    pub rule: &'a str,
    pub reason: &'a str,
    /// Of the policy, ms.
    pub eval_ms: Option<f64>,
    pub worker_id: &'a str,
    pub pool: &'a str,
    pub strategy: &'a str,
    pub wait_ms: Option<i64>,
    pub error_code: &'a str,
    pub error_msg: &'a str,
    pub result_ptr: &'a str,
    pub duration_ms: Option<i64>,
    /// Of the output check.
    pub findings: Option<usize>,
    pub scanner: &'a str,
    /// The topic, actor, capability and risk tags of the record belong to it.
    pub recorded: bool,
    /// `worker_id` is the record's, and stays it: the job has ended.
    pub last_worker: bool,
}

enum Member<'a> {
    Text(&'a str),
    Strategy(&'a str),
    Int(Option<i64>),
    Float(Option<f64>),
    /// A pointer; `true` stands for the job's own result.
    Pointer(&'a str),
    /// The worker the record names, stored as `true`.
    LastWorker,
}

impl Member<'_> {
    fn is_there(&self) -> bool {
        match self {
            Member::Text(text) | Member::Strategy(text) | Member::Pointer(text) => !text.is_empty(),
            Member::Int(number) => number.is_some(),
            Member::Float(number) => number.is_some(),
            Member::LastWorker => true,
        }
    }
}

impl Context<'_> {
    /// In the order of `MEMBERS`.
    fn members(&self) -> [Member<'_>; MEMBERS.len()] {
        [
            Member::Text(self.rule),
            Member::Text(self.reason),
            Member::Float(self.eval_ms),
            if self.last_worker && !self.worker_id.is_empty() {
                Member::LastWorker
            } else {
                Member::Text(self.worker_id)
            },
            Member::Text(self.pool),
            Member::Strategy(self.strategy),
            Member::Int(self.wait_ms),
            Member::Text(self.error_code),
            Member::Text(self.error_msg),
            Member::Pointer(self.result_ptr),
            Member::Int(self.duration_ms),
            Member::Int(
                self.findings
                    .map(|count| i64::try_from(count).unwrap_or(i64::MAX)),
            ),
            Member::Text(self.scanner),
        ]
    }
}

/// One entry of a job's event list: time in µs, state, context.
pub fn event(job_id: &str, ts: i64, state: &str, context: &Context<'_>) -> Vec<u8> {
    let members = context.members();
    let mut entry = Packer::default();
    entry.list(3);
    entry.int(ts);
    word(&mut entry, &STATES, state);
    entry.map(members.iter().filter(|member| member.is_there()).count() + usize::from(context.recorded));
    for (number, member) in members.iter().enumerate().filter(|(_, member)| member.is_there()) {
        entry.uint(number as u64);
        match *member {
            Member::Text(text) => entry.text(text),
            Member::Strategy(name) => word(&mut entry, &STRATEGIES, name),
            Member::Int(number) => entry.int(number.unwrap_or_default()),
            Member::Float(number) => entry.float(number.unwrap_or_default()),
            Member::Pointer(text) if text == result_pointer(job_id) => entry.flag(true),
            Member::Pointer(text) => entry.text(text),
            Member::LastWorker => entry.flag(true),
        }
    }
    if context.recorded {
        entry.uint(u64::from(RECORDED));
        entry.flag(true);
    }
    entry.finish()
}

/// A word as its number, or as it is when it has none.
fn word(entry: &mut Packer, words: &[&str], text: &str) {
    match words.iter().position(|word| *word == text) {
        Some(number) => entry.uint(number as u64),
        None => entry.text(text),
    }
}

/// What `word` wrote; None for a number nobody gave.
fn word_of<'a>(words: &[&'a str], stored: &'a Value) -> Option<&'a str> {
    match stored {
        Value::String(text) => Some(text),
        number => words.get(usize::try_from(number.as_u64()?).ok()?).copied(),
    }
}

/// The JSON form of an entry (scheduler spec §3.3), None when it is not one of `event`. `record` gives fields of the job's
/// record.
pub fn event_from_store(job_id: &str, entry: &[u8], record: impl Fn(&str) -> String) -> Option<Value> {
    let (ts, state, members): (i64, Value, BTreeMap<u8, Value>) = rmp_serde::from_slice(entry).ok()?;
    let state = word_of(&STATES, &state)?;
    let mut context = Map::new();
    for (number, value) in members {
        match (MEMBERS.get(usize::from(number)), value) {
            (Some(name), value) if number == STRATEGY => {
                context.insert((*name).into(), word_of(&STRATEGIES, &value).into());
            }
            (Some(name), Value::Bool(_)) if number == RESULT_PTR => {
                context.insert((*name).into(), result_pointer(job_id).into());
            }
            (Some(name), Value::Bool(_)) if number == WORKER_ID => {
                context.insert((*name).into(), record(name).into());
            }
            (Some(name), value) => {
                context.insert((*name).into(), value);
            }
            (None, _) if number == RECORDED => put_recorded(&mut context, &record),
            // Written by a newer version.
            (None, _) => {}
        }
    }
    let mut event = Map::new();
    event.insert("ts".into(), ts.into());
    event.insert("state".into(), state.into());
    if !context.is_empty() {
        event.insert("ctx".into(), context.into());
    }
    Some(event.into())
}

fn put_recorded(context: &mut Map<String, Value>, record: impl Fn(&str) -> String) {
    // An actor that is not named is the principal.
    let actor = Some(record("actor_id")).filter(|actor| !actor.is_empty());
    let actor = actor.unwrap_or_else(|| record("principal"));
    for (name, value) in [("topic", record("topic")), ("actor_id", actor)] {
        if !value.is_empty() {
            context.insert(name.into(), value.into());
        }
    }
    let capability = record("capability");
    if !capability.is_empty() {
        context.insert("capabilities".into(), vec![capability].into());
    }
    if let Ok(Value::Array(tags)) = serde_json::from_str(&record("risk_tags")) {
        context.insert("risk_tags".into(), tags.into());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn nothing(_: &str) -> String {
        String::new()
    }

    #[test]
    fn an_event_reads_as_the_json_of_the_spec() {
        let context = Context {
            rule: "r-1",
            reason: "why",
            eval_ms: Some(0.25),
            worker_id: "w",
            pool: "p",
            strategy: "least_loaded",
            wait_ms: Some(0),
            error_code: "timeout",
            error_msg: "late",
            result_ptr: "redis://res:j",
            duration_ms: Some(70_000),
            findings: Some(2),
            scanner: "secrets",
            recorded: true,
            last_worker: false,
        };
        let record = |name: &str| match name {
            "topic" => "job.a".to_owned(),
            "risk_tags" => r#"["write"]"#.to_owned(),
            "capability" => "c".to_owned(),
            _ => String::new(),
        };
        let stored = event("j", 1_800_000_000_000_001, "SUCCEEDED", &context);
        assert_eq!(
            event_from_store("j", &stored, record).unwrap(),
            json!({"ts": 1_800_000_000_000_001_i64, "state": "SUCCEEDED", "ctx": {
                "rule": "r-1", "reason": "why", "eval_ms": 0.25, "worker_id": "w", "pool": "p",
                "strategy": "least_loaded", "wait_ms": 0, "error_code": "timeout", "error_msg": "late",
                "result_ptr": "redis://res:j", "duration_ms": 70_000, "findings": 2, "scanner": "secrets",
                "topic": "job.a", "capabilities": ["c"], "risk_tags": ["write"],
            }})
        );
    }

    #[test]
    fn a_bare_event_has_no_context_and_a_foreign_pointer_stays() {
        for state in STATES.iter().chain(&["NEW"]) {
            let stored = event("j", -1, state, &Context::default());
            assert_eq!(
                event_from_store("j", &stored, nothing).unwrap(),
                json!({"ts": -1, "state": state})
            );
        }
        let context = Context {
            result_ptr: "redis://res:other",
            ..Context::default()
        };
        let stored = event("j", 1, "FAILED", &context);
        let read = event_from_store("j", &stored, nothing).unwrap();
        assert_eq!(read.pointer("/ctx/result_ptr").unwrap(), "redis://res:other");
        let context = Context {
            strategy: "round_robin",
            ..Context::default()
        };
        let stored = event("j", 1, "DISPATCHED", &context);
        let read = event_from_store("j", &stored, nothing).unwrap();
        assert_eq!(read.pointer("/ctx/strategy").unwrap(), "round_robin");
    }

    #[test]
    fn the_worker_of_a_job_that_ended_is_the_one_its_record_names() {
        let context = Context {
            worker_id: "worker-073",
            last_worker: true,
            ..Context::default()
        };
        let stored = event("j", 1, "SUCCEEDED", &context);
        let record = |name: &str| if name == "worker_id" { "worker-073" } else { "" }.to_owned();
        let read = event_from_store("j", &stored, record).unwrap();
        assert_eq!(read.pointer("/ctx/worker_id").unwrap(), "worker-073");
        let named = Context {
            last_worker: false,
            ..context
        };
        assert!(stored.len() < event("j", 1, "SUCCEEDED", &named).len());
    }

    #[test]
    fn a_dispatch_takes_a_fraction_of_its_json() {
        let context = Context {
            worker_id: "worker-073",
            pool: "bench-1",
            strategy: "least_loaded",
            wait_ms: Some(875),
            ..Context::default()
        };
        let stored = event("j", 1_796_031_187_340_550, "DISPATCHED", &context);
        let json = event_from_store("j", &stored, nothing).unwrap().to_string();
        assert!(
            stored.len() * 2 < json.len(),
            "{} of {}",
            stored.len(),
            json.len()
        );
    }

    proptest! {
        #[test]
        fn nothing_stored_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = event_from_store("j", &bytes, nothing);
        }
    }
}
