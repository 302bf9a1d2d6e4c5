//! What is told and kept of results: unknown statuses, late ones, the agent of the worker (scheduler spec §10).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::Arc;

use cordum_dispatch::config::Config;
use cordum_dispatch::reply::Reply;
use cordum_dispatch::results::ResultPlan;
use cordum_dispatch::submit::Surroundings;
use cordum_dispatch::workers::WorkerTable;
use cordum_wire::messages::{BusPacket, JobResult, Payload};
use prost::Message;
use support::*;

fn result(status: i32) -> JobResult {
    JobResult {
        job_id: "j".into(),
        status,
        worker_id: "w".into(),
        ..JobResult::default()
    }
}

#[test]
fn a_status_nobody_knows_is_told_as_a_failure() {
    let message = reported(result(99));
    let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
    assert_eq!(unpack(&plan.commits(NOW)[0].1)["to"], "FAILED");
    let moved = Reply::Moved {
        state: "FAILED".into(),
        rev: 3,
        attempts: 1,
        topic: "job.a".into(),
        tenant: "acme".into(),
        created_at: NOW,
        worker_id: "w".into(),
        pool: "p".into(),
        saga: String::new(),
    };
    let applied = plan.apply(&[moved], &mut WorkerTable::default(), NOW);
    let statuses = applied.events.iter().map(|event| {
        let packet = BusPacket::decode(event.payload.as_slice()).unwrap();
        match packet.payload {
            Some(Payload::JobResult(result)) => result.status,
            _ => 0,
        }
    });
    assert_eq!(statuses.collect::<Vec<_>>(), [6, 6]);
}

#[test]
fn what_a_worker_wrote_too_late_gets_the_data_ttl() {
    for (state, kept) in [
        ("TIMEOUT", 1),
        ("CANCELLED", 1),
        ("SUCCEEDED", 0),
        ("OUTPUT_QUARANTINED", 0),
    ] {
        let message = reported(result(5));
        let mut plan = ResultPlan::new(surroundings(), &[&message], 1);
        plan.commits(NOW);
        let ignored = Reply::Ignored {
            why: "terminal".into(),
            state: state.into(),
        };
        let applied = plan.apply(&[ignored], &mut WorkerTable::default(), NOW);
        assert_eq!(applied.result_keys, vec!["res:j"; kept], "{state}");
    }
}

#[test]
fn a_record_names_the_agent_of_its_worker() {
    let config = r#"{"agents": {"w": {"id": "a-7", "name": "Mailer", "risk_tier": "high"}}}"#;
    let around = |document: &str| Surroundings {
        config: Arc::new(Config::parse(document.as_bytes()).unwrap()),
        ..surroundings()
    };
    let set = |around: Surroundings| {
        let message = reported(result(5));
        let mut plan = ResultPlan::new(around, &[&message], 1);
        unpack(&plan.commits(NOW)[0].1)["set"].clone()
    };
    let linked = set(around(config));
    assert_eq!(
        (&linked["agent_id"], &linked["agent_name"]),
        (&"a-7".into(), &"Mailer".into())
    );
    assert_eq!(linked["agent_risk_tier"], "high");
    let unlinked = set(around("{}"));
    assert!(unlinked.get("agent_id").is_none());
    assert!(unlinked.get("agent_name").is_none());
}
