//! What must hold after every write and every publish, and once the system is quiet (scheduler spec §2, §30, §31).

mod end;
mod record;
mod times;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use cordum_wire::messages::{BusPacket, JobStatus, Payload};
use cordum_wire::STATES;
use prost::Message;

use crate::bus::{Stored, ACCEPTED, DLQ};
use crate::ghost::Last;
use crate::plan::JobPlan;
use crate::redis::Data;
use crate::store;
use crate::world::World;

pub use end::{at_the_end, is_quiet, leftovers};
use record::Record;
pub use times::each_second;

const POOLS: [&str; 3] = ["p", "q", "t"];
const DEAD: [&str; 4] = ["FAILED", "TIMEOUT", "DENIED", "OUTPUT_QUARANTINED"];

/// Whether a state is final.
pub fn is_final(state: &str) -> bool {
    STATES[6..].contains(&state)
}

/// Transition table of scheduler spec §2.2, where a commit may pass SCHEDULED on its way to DISPATCHED.
fn legal(from: &str, to: &str) -> bool {
    let targets: &[&str] = match from {
        "" => &[
            "PENDING",
            "APPROVAL_REQUIRED",
            "SCHEDULED",
            "DISPATCHED",
            "RUNNING",
            "FAILED",
            "CANCELLED",
            "DENIED",
        ],
        "PENDING" => &STATES[..],
        "APPROVAL_REQUIRED" => &[
            "PENDING",
            "SCHEDULED",
            "DISPATCHED",
            "RUNNING",
            "SUCCEEDED",
            "FAILED",
            "CANCELLED",
            "TIMEOUT",
            "DENIED",
        ],
        "SCHEDULED" => &STATES[2..],
        "DISPATCHED" => &[
            "SCHEDULED",
            "RUNNING",
            "RETRYING",
            "SUCCEEDED",
            "FAILED",
            "CANCELLED",
            "TIMEOUT",
            "OUTPUT_QUARANTINED",
        ],
        "RUNNING" => &[
            "RUNNING",
            "RETRYING",
            "SUCCEEDED",
            "FAILED",
            "CANCELLED",
            "TIMEOUT",
            "OUTPUT_QUARANTINED",
        ],
        "RETRYING" => &[
            "SCHEDULED",
            "DISPATCHED",
            "RUNNING",
            "RETRYING",
            "SUCCEEDED",
            "FAILED",
            "CANCELLED",
            "TIMEOUT",
            "OUTPUT_QUARANTINED",
        ],
        "SUCCEEDED" => &["OUTPUT_QUARANTINED"],
        _ => &[],
    };
    targets.contains(&to)
}

/// Look at everything a write may have changed.
pub fn after_write(world: &Rc<World>) {
    for refusal in world.cluster.refusals.borrow_mut().drain(..) {
        world
            .ghost
            .borrow_mut()
            .violations
            .push(format!("redis refused: {refusal}"));
    }
    let touched = world.cluster.take_touched();
    let partitions: BTreeSet<&str> = touched
        .iter()
        .filter_map(|key| key.split_once('{')?.1.split_once('}'))
        .map(|(tag, _)| tag)
        .collect();
    for job in &world.plan.jobs {
        let tag = store::tag(&job.id);
        if partitions.contains(tag.trim_matches(['{', '}'])) {
            look(world, job);
        }
    }
    if !world.cluster.lost_writes.get() {
        store::tags()
            .iter()
            .filter(|tag| partitions.contains(tag.trim_matches(['{', '}'])))
            .for_each(|tag| count(world, tag));
    }
}

/// The counts of parked jobs are those of the records.
fn count(world: &Rc<World>, tag: &str) {
    let key = format!("job:parked:{tag}");
    let database = world.cluster.database(world.now(), &key);
    let counted: i64 = match database.get(&key).map(|entry| &entry.data) {
        Some(Data::Hash(causes)) => causes
            .values()
            .filter_map(|n| String::from_utf8_lossy(n).parse::<i64>().ok())
            .sum(),
        _ => 0,
    };
    let own = world.plan.jobs.iter().filter(|job| store::tag(&job.id) == tag);
    let parked = own
        .filter(|job| {
            !database
                .field(&store::meta(&job.id), "next_attempt_at")
                .is_empty()
        })
        .count();
    if counted != parked as i64 {
        world
            .ghost
            .borrow_mut()
            .violations
            .push(format!("{key} counts {counted} parked jobs, there are {parked}"));
    }
}

fn look(world: &Rc<World>, plan: &JobPlan) {
    let now = world.now();
    let database = world.cluster.database(now, &store::meta(&plan.id));
    let record = Record {
        database: &database,
        id: &plan.id,
        tag: store::tag(&plan.id),
    };
    let mut faults = Vec::new();
    let weak = world.cluster.lost_writes.get();
    let mut ghost = world.ghost.borrow_mut();
    let current = Last {
        state: record.text("state"),
        rev: record.number("rev"),
        attempts: record.number("attempts"),
    };
    let crowd = crowd(world, plan);
    let silence = silence(world, &ghost.beats, &record);
    let seen = ghost.jobs.entry(plan.id.clone()).or_default();
    let changed = current.rev != seen.last.rev || current.state != seen.last.state;
    let after = record.text("after");
    if changed {
        world.note(format_args!(
            "{} {} -> {} rev {} attempts {}",
            plan.id, seen.last.state, current.state, current.rev, current.attempts
        ));
        if !weak {
            record.check_move(seen, &current, world.bus.lost_messages.get(), &mut faults);
            times::on_move(world, &record, seen, plan, &current, &mut faults);
        }
        let known = weak
            && seen
                .dispatches
                .values()
                .any(|id| *id == record.text("dispatch_id"));
        if current.state == "DISPATCHED" && seen.last.state != "DISPATCHED" && !known {
            record.check_dispatch(seen, plan, &current, weak, crowd, &mut faults);
            if !weak {
                record.check_worker(silence, &mut faults);
            }
        }
        if seen.states.last() != Some(&current.state) {
            seen.states.push(current.state.clone());
        }
        if !weak && is_final(&current.state) && !is_final(&seen.last.state) {
            record.check_end(seen, plan, &current.state, &mut faults);
        }
        if !weak && current.state != seen.last.state {
            seen.verdicts.clear();
        }
        seen.last = current.clone();
        seen.taken = seen.taken.take().or_else(|| record.taken());
    } else if !weak {
        record.check_duties(world, seen, &after, &mut faults);
    }
    if !weak {
        record.check_confirmed(seen, &current.state, &mut faults);
    }
    seen.after = after;
    seen.unconfirmed = record.at("disp").map(|_| record.text("dispatch_id"));
    record.check_keys(&current.state, &mut faults);
    drop(database);
    let faults = faults.into_iter().map(|fault| format!("{}: {fault}", plan.id));
    ghost.violations.extend(faults);
}

/// How long the worker a dispatch names had given no sign of life when it was chosen, µs.
fn silence(world: &World, beats: &BTreeMap<String, i64>, record: &Record<'_>) -> i64 {
    let by = record.text("dispatched_by");
    let index = by
        .trim_start_matches('s')
        .split('-')
        .next()
        .and_then(|n| n.parse().ok());
    let skew = index.and_then(|index: usize| world.plan.skews.get(index));
    let beat = beats.get(&record.text("worker_id"));
    match (skew, beat) {
        (Some(skew), Some(beat)) => record.number("dispatched_at") - skew - beat,
        _ => 0,
    }
}

/// Other active jobs of the tenant that are under a limit.
fn crowd(world: &Rc<World>, plan: &JobPlan) -> usize {
    let others = world
        .plan
        .jobs
        .iter()
        .filter(|job| job.id != plan.id && job.tenant == plan.tenant && job.max_concurrent > 0);
    others
        .filter(|job| {
            let key = store::meta(&job.id);
            let state = world.cluster.database(world.now(), &key).field(&key, "state");
            STATES[2..5].contains(&state.as_str())
        })
        .count()
}

/// A message passes the bus.
pub fn on_publish(world: &Rc<World>, message: &Stored) {
    let payload = BusPacket::decode(&*message.payload)
        .ok()
        .and_then(|packet| packet.payload);
    let weak = world.cluster.lost_writes.get();
    let mut ghost = world.ghost.borrow_mut();
    match payload {
        Some(Payload::JobRequest(request)) if message.id.starts_with("dispatch:") => {
            let identity = request.dispatch.unwrap_or_default();
            world.note(format_args!("publish {} on {}", message.id, message.subject));
            let seen = ghost.jobs.entry(request.job_id.clone()).or_default();
            let count = seen.published.entry(identity.dispatch_id.clone()).or_default();
            *count += 1;
            let count = *count;
            let taken = (request.topic, request.principal_id);
            if !weak && seen.taken.as_ref().is_some_and(|first| *first != taken) {
                ghost.violations.push(format!(
                    "dispatch {} is not what was taken, but {taken:?}",
                    identity.dispatch_id
                ));
                return;
            }
            let committed = seen.dispatches.get(&(identity.attempt as i64)) == Some(&identity.dispatch_id);
            let taken_back = seen.rolled_back.contains(&identity.dispatch_id);
            // A bus that died may have handed on what it never stored.
            let excused =
                world.bus.lost_messages.get() && world.bus.dispatches().iter().all(|m| m.id != message.id);
            if count > 1 && !excused {
                ghost.violations.push(format!(
                    "dispatch {} is published {count} times",
                    identity.dispatch_id
                ));
            }
            if taken_back && !weak {
                ghost.violations.push(format!(
                    "dispatch {} is published after it was rolled back",
                    identity.dispatch_id
                ));
            }
            if !committed && !weak {
                ghost
                    .violations
                    .push(format!("dispatch {} was never committed", identity.dispatch_id));
            }
        }
        Some(Payload::JobResult(result)) if message.subject == ACCEPTED || message.subject == DLQ => {
            world.note(format_args!("publish {}", message.id));
            let told = states_of(result.status);
            let seen = ghost.jobs.entry(result.job_id.clone()).or_default();
            seen.told.insert((result.status, message.subject == DLQ));
            let states = &seen.states;
            if !weak && !states.iter().any(|state| told.contains(&state.as_str())) {
                let text = format!("{}: told as {told:?} before it was so: {states:?}", result.job_id);
                ghost.violations.push(text);
            }
        }
        _ => {}
    }
}

/// A message is acknowledged: its effect is durable (scheduler spec §4).
pub fn on_ack(world: &Rc<World>, subject: &str, sequence: usize, payload: &[u8]) {
    if world.cluster.lost_writes.get() {
        return;
    }
    let fault = match BusPacket::decode(payload).ok().and_then(|packet| packet.payload) {
        Some(Payload::JobResult(result)) => result_ack(world, &result),
        // One that was altered under way is refused.
        Some(Payload::JobRequest(request)) if request.principal_id.is_empty() => {
            submit_ack(world, subject, sequence, &request.job_id)
        }
        _ => None,
    };
    world.ghost.borrow_mut().violations.extend(fault);
}

fn result_ack(world: &World, result: &cordum_wire::messages::JobResult) -> Option<String> {
    let key = store::meta(&result.job_id);
    let database = world.cluster.database(world.now(), &key);
    let (state, dispatch) = (database.field(&key, "state"), database.field(&key, "dispatch_id"));
    let own = result
        .dispatch
        .as_ref()
        .is_some_and(|identity| identity.dispatch_id == dispatch);
    let ends = result.status != JobStatus::Running as i32;
    (own && ends && matches!(state.as_str(), "DISPATCHED" | "RUNNING")).then(|| {
        format!(
            "{}: the result of {dispatch} was acknowledged in vain",
            result.job_id
        )
    })
}

fn submit_ack(world: &World, subject: &str, sequence: usize, id: &str) -> Option<String> {
    let key = store::meta(id);
    let database = world.cluster.database(world.now(), &key);
    let state = database.field(&key, "state");
    let parked = database
        .score(&store::schedule(&store::tag(id), "retry"), id)
        .is_some();
    let approved = database.field(&key, "approval_publish_status") == "pending";
    let others = world.bus.waiting(subject, sequence).into_iter().any(|payload| {
        let payload = BusPacket::decode(&*payload)
            .ok()
            .and_then(|packet| packet.payload);
        matches!(payload, Some(Payload::JobRequest(request)) if request.job_id == id)
    });
    let idle = state.is_empty() || (state == "PENDING" && !parked && !approved);
    (idle && !others).then(|| format!("{id}: a submit was acknowledged in vain, the job is in `{state}`"))
}

/// States a reported status may stand for.
fn states_of(status: i32) -> &'static [&'static str] {
    match JobStatus::try_from(status) {
        Ok(JobStatus::Succeeded) => &["SUCCEEDED"],
        Ok(JobStatus::Failed | JobStatus::FailedFatal) => &["FAILED"],
        Ok(JobStatus::Cancelled) => &["CANCELLED"],
        Ok(JobStatus::Denied) => &["DENIED", "OUTPUT_QUARANTINED", "FAILED"],
        Ok(JobStatus::Timeout) => &["TIMEOUT"],
        Ok(JobStatus::FailedRetryable) => &["RETRYING"],
        _ => &[],
    }
}
