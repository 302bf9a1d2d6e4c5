//! Post-commit duties found in `job:after` (`scheduler/duties.py`, `scheduler/packets.py`).

use std::rc::Rc;

use cordum_wire::messages::{
    BusPacket, DispatchIdentity, JobCancel, JobResult, JobStatus, Payload, Timestamp,
};
use prost::Message;

use crate::bus::{self, Outcome, Publish, ACCEPTED, DLQ};
use crate::cluster::Unavailable;
use crate::command;
use crate::planner::outgoing::SENDER;
use crate::redis::Resp;
use crate::replica::{text, Fields, Replica};
use crate::saga;
use crate::store;
use crate::world::SECOND;
use crate::wrong::Wrong;

const AGE: i64 = 10 * SECOND;

/// Perform duties older than 10 s.
pub async fn sweep(replica: &Rc<Replica>) -> Result<(), Unavailable> {
    let ids = replica.overdue("after", replica.now() - AGE, 200).await?;
    perform(replica, &ids).await
}

/// Publish what is due for these jobs, then clear the duties.
pub async fn perform(replica: &Rc<Replica>, ids: &[String]) -> Result<(), Unavailable> {
    if ids.is_empty() {
        return Ok(());
    }
    replica.step("duties.read").await;
    let records = replica.records(ids).await?;
    let mut messages = Vec::new();
    let mut owners = Vec::new();
    let mut done: Vec<(String, i64)> = Vec::new();
    let mut idle: Vec<(String, Option<i64>)> = Vec::new();
    let mut sagas = Vec::new();
    for (id, record) in ids.iter().zip(&records) {
        let Some(record) = record.as_ref().filter(|record| !text(record, "after").is_empty()) else {
            idle.push((
                id.clone(),
                record
                    .as_ref()
                    .and_then(|record| text(record, "rev").parse().ok()),
            ));
            continue;
        };
        let entry = replica.execute(command!["GET", store::dlq_entry(id)]).await?;
        for message in due_messages(replica, id, record, &entry) {
            messages.push(message);
            owners.push(id.clone());
        }
        let tenant = record.get("tenant").map_or("default", String::as_str).to_owned();
        if text(record, "state") == "RETRYING" {
            let at = text(record, "dispatched_at").parse().unwrap_or(0);
            replica.note_released(vec![(tenant.clone(), id.clone(), at)]);
        } else if !moved_on(record) {
            replica.note_tenants(vec![(tenant.clone(), id.clone(), false, false)]);
        }
        if text(record, "after").split(',').any(|duty| duty == "dlq") {
            replica.note_dead_letters(vec![(tenant, id.clone())]);
        }
        if text(record, "after")
            .split(',')
            .any(|duty| matches!(duty, "saga" | "rollback"))
        {
            sagas.push(id.clone());
        }
        done.push((id.clone(), text(record, "rev").parse().unwrap_or(0)));
    }
    replica.all(store::clear_after(&idle)).await?;
    replica.step("duties.publish").await;
    let outcomes = bus::publish(&replica.world, replica.link(), messages, true).await;
    let failed: Vec<String> = owners
        .into_iter()
        .zip(outcomes)
        .filter(|(_, outcome)| *outcome != Outcome::Ok)
        .map(|(owner, _)| owner)
        .collect();
    done.retain(|(id, _)| !failed.contains(id));
    replica.step("duties.flush").await;
    replica.flush_side().await?;
    replica.step("duties.clear").await;
    let published = "result,dlq,cancel";
    replica.all(store::duties_done(&done, published)).await?;
    saga::note(
        replica,
        sagas.into_iter().filter(|id| !failed.contains(id)).collect(),
    );
    Ok(())
}

fn due_messages(replica: &Replica, id: &str, record: &Fields, entry: &Resp) -> Vec<Publish> {
    let letter: serde_json::Value = serde_json::from_str(&entry.text()).unwrap_or_default();
    let word = |name: &str| {
        letter
            .get(name)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let now = replica.now();
    let mut messages = Vec::new();
    for duty in text(record, "after").split(',') {
        match duty {
            "dlq" => messages.push(outcome(
                DLQ,
                id,
                record,
                &word("reason_code"),
                &word("reason"),
                now,
            )),
            "result" if replica.world.is(Wrong::SweepForgetsResult) => {}
            "result" => {
                let reason = text(record, "failure_reason").to_owned();
                messages.push(outcome(ACCEPTED, id, record, &word("reason_code"), &reason, now));
            }
            "cancel" => {
                let cancel = JobCancel {
                    job_id: id.to_owned(),
                    ..JobCancel::default()
                };
                let payload = packet(id, SENDER, Payload::JobCancel(cancel), now);
                bus::publish_core(&replica.world, replica.link(), "sys.job.cancel", payload);
            }
            _ => {}
        }
    }
    messages
}

/// The result that reports a record's outcome on one subject.
pub fn outcome(subject: &str, id: &str, record: &Fields, code: &str, message: &str, now: i64) -> Publish {
    // RETRYING is the only outcome a job moves on from; by then the record names its next dispatch.
    let moved_on = moved_on(record);
    let status = if moved_on {
        JobStatus::FailedRetryable
    } else {
        status_of(text(record, "state"))
    };
    let dispatch_id = if moved_on { "" } else { text(record, "dispatch_id") };
    let result = JobResult {
        job_id: id.to_owned(),
        status: status as i32,
        worker_id: record.get("worker_id").map_or(SENDER, String::as_str).to_owned(),
        error_code: code.to_owned(),
        error_message: message.to_owned(),
        dispatch: (!dispatch_id.is_empty()).then(|| DispatchIdentity {
            dispatch_id: dispatch_id.to_owned(),
            ..DispatchIdentity::default()
        }),
        ..JobResult::default()
    };
    let suffix = if dispatch_id.is_empty() { "-" } else { dispatch_id };
    Publish {
        subject: subject.to_owned(),
        id: format!("{subject}:{id}:{}:{suffix}", status as i32),
        payload: packet(id, SENDER, Payload::JobResult(result), now).into(),
    }
}

fn moved_on(record: &Fields) -> bool {
    matches!(
        text(record, "state"),
        "PENDING" | "SCHEDULED" | "DISPATCHED" | "RUNNING"
    )
}

pub fn status_of(state: &str) -> JobStatus {
    match state {
        "SUCCEEDED" => JobStatus::Succeeded,
        "CANCELLED" => JobStatus::Cancelled,
        "DENIED" | "OUTPUT_QUARANTINED" => JobStatus::Denied,
        "TIMEOUT" => JobStatus::Timeout,
        "RETRYING" => JobStatus::FailedRetryable,
        _ => JobStatus::Failed,
    }
}

/// A bus packet.
pub fn packet(trace: &str, sender: &str, payload: Payload, now: i64) -> Vec<u8> {
    BusPacket {
        trace_id: trace.to_owned(),
        sender_id: sender.to_owned(),
        created_at: Some(Timestamp::from_micros(now)),
        protocol_version: 1,
        payload: Some(payload),
        ..BusPacket::default()
    }
    .encode_to_vec()
}
