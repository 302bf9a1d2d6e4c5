//! The submit pipeline (`scheduler/submit_pipeline.py`, `scheduler/safety.py`, `scheduler/rollback.py`).

use std::rc::Rc;

use cordum_wire::messages::JobRequest;
use cordum_wire::stored::request_from_store;
use cordum_wire::DeadLetter;

use crate::bus::{self, Answer, Delivery, Outcome, Publish};
use crate::cluster::{script, Unavailable};
use crate::command;
use crate::duties;
use crate::judging::{judge, reserve};
use crate::planner::commit::{creation, Applied, Undo};
use crate::planner::job_config::JobConfig;
use crate::planner::outgoing::Outgoing;
use crate::planner::record::Record;
use crate::planner::reply::Reply;
use crate::planner::submit::SubmitPlan;
use crate::redis::{Command, Resp};
use crate::replica::{answers, Replica};
use crate::rollback::roll_back;
use crate::side::unanswered;
use crate::store;
use crate::world::{sleep, SECOND};
use crate::wrong::Wrong;

/// After its commit a dispatch may be published for so long.
pub const PUBLISH_WITHIN: i64 = 4 * SECOND;
const TERMINAL: [&str; 6] = [
    "SUCCEEDED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "DENIED",
    "OUTPUT_QUARANTINED",
];
const ACTIVE: [&str; 3] = ["SCHEDULED", "DISPATCHED", "RUNNING"];

/// One batch of `sys.job.submit`.
pub async fn handle(replica: &Rc<Replica>, batch: &[Delivery]) -> Result<Vec<Answer>, Unavailable> {
    let messages: Vec<&[u8]> = batch.iter().map(|delivery| &*delivery.payload).collect();
    let delivered: Vec<u64> = batch.iter().map(|delivery| delivery.delivered).collect();
    let plan = SubmitPlan::new(
        replica.surroundings(),
        &messages,
        &delivered,
        Vec::new(),
        replica.seed(),
    );
    let plan = run(replica, plan, batch.len()).await?;
    replica.step("submit.answer").await;
    Ok(answers(&plan.verdicts))
}

/// Parked jobs that are due.
pub async fn handle_due(replica: &Rc<Replica>, ids: Vec<String>) -> Result<(), Unavailable> {
    let size = ids.len();
    let plan = SubmitPlan::new(replica.surroundings(), &[], &[], ids, replica.seed());
    run(replica, plan, size).await.map(|_| ())
}

async fn run(replica: &Rc<Replica>, mut plan: SubmitPlan, size: usize) -> Result<SubmitPlan, Unavailable> {
    replica.step("submit.read").await;
    read(replica, &mut plan).await?;
    replica.step("submit.create").await;
    create(replica, &mut plan).await?;
    // Topics, schemas and configurations write nothing and are the same for all: only the places to die are kept.
    replica.step("submit.admit").await;
    replica.step("submit.configure").await;
    let scopes = plan.config_scopes();
    plan.supply_configs(scopes.iter().map(|_| JobConfig::default()).collect());
    replica.step("submit.judge").await;
    judge(replica, &mut plan).await;
    replica.step("submit.reserve").await;
    let reserved = reserve(replica, &mut plan).await?;
    let since = replica.world.now();
    replica.step("submit.commit").await;
    let (applied, listed) = commit(replica, &mut plan, size).await?;
    let slots = applied
        .released
        .iter()
        .map(|(tenant, job)| (tenant.clone(), job.clone(), reserved));
    replica.note_released(slots.collect());
    replica.step("submit.publish").await;
    publish(replica, applied, since, listed).await?;
    replica.step("submit.look_after").await;
    look_after(replica, &plan).await;
    Ok(plan)
}

async fn read(replica: &Replica, plan: &mut SubmitPlan) -> Result<(), Unavailable> {
    let ids = plan.reads();
    if ids.is_empty() {
        return Ok(());
    }
    let records = replica.records(&ids).await?;
    let requests = requests(replica, &ids).await?;
    let rows = records
        .into_iter()
        .map(|fields| fields.map(Record::new))
        .zip(requests)
        .collect();
    plan.supply(rows, replica.now());
    Ok(())
}

async fn requests(replica: &Replica, ids: &[String]) -> Result<Vec<Option<JobRequest>>, Unavailable> {
    let replies = replica
        .all(ids.iter().map(|id| command!["GET", store::request(id)]).collect())
        .await?;
    let found = ids.iter().zip(&replies);
    Ok(found.map(|(id, reply)| stored_request(id, reply)).collect())
}

/// The stored request of a job.
pub fn stored_request(id: &str, reply: &Resp) -> Option<JobRequest> {
    match reply {
        Resp::Bulk(bytes) => request_from_store(id, bytes).ok(),
        _ => None,
    }
}

async fn create(replica: &Replica, plan: &mut SubmitPlan) -> Result<(), Unavailable> {
    let now = replica.now();
    let indexes = plan.to_create();
    if indexes.is_empty() {
        return Ok(());
    }
    let call = |index: &usize| {
        let item = &plan.items[*index];
        let number = store::partition(&item.request.job_id);
        store::apply("job_create", number, now, vec![creation(item, now).pack()])
    };
    let replies = replica.pipeline(indexes.iter().map(call).collect()).await?;
    for (index, reply) in indexes.into_iter().zip(&replies) {
        let moved = matches!(store::replies_of(reply, 1).first(), Some(Reply::Moved { .. }));
        plan.created(index, moved, now);
    }
    Ok(())
}

/// Apply packed changes grouped by partition, with the pending side writes in the same step.
pub async fn apply_groups(
    replica: &Replica,
    name: &str,
    changes: &[(u32, Vec<u8>)],
    now: i64,
) -> Result<Vec<Reply>, Unavailable> {
    let riding = replica.take_side();
    let mut groups: Vec<(u32, Vec<Vec<u8>>)> = Vec::new();
    for (number, packed) in changes {
        match groups.last_mut() {
            Some((last, blobs)) if last == number => blobs.push(packed.clone()),
            _ => groups.push((*number, vec![packed.clone()])),
        }
    }
    let sizes: Vec<usize> = groups.iter().map(|(_, blobs)| blobs.len()).collect();
    let mut commands: Vec<Command> = groups
        .into_iter()
        .map(|(number, blobs)| store::apply(name, number, now, blobs))
        .collect();
    commands.extend(riding.iter().cloned());
    match replica.pipeline(commands).await {
        Ok(replies) => {
            replica.give_back(unanswered(&riding, &replies[sizes.len()..]));
            Ok(replies
                .iter()
                .zip(sizes)
                .flat_map(|(reply, size)| store::replies_of(reply, size))
                .collect())
        }
        Err(error) => {
            replica.give_back(riding);
            Err(error)
        }
    }
}

async fn commit(
    replica: &Replica,
    plan: &mut SubmitPlan,
    size: usize,
) -> Result<(Applied, i64), Unavailable> {
    let now = replica.now();
    let entropy: Vec<u8> = (0..4 * size.max(1)).map(|_| replica.seed() as u8).collect();
    let mut planned = plan.commits(&mut replica.table.borrow_mut(), &entropy, now);
    planned.sort_by_key(|plan| plan.partition);
    replica.note_tenants_at(plan.admissions(&planned), now);
    let changes: Vec<(u32, Vec<u8>)> = planned
        .iter()
        .map(|plan| (plan.partition, plan.packed.clone()))
        .collect();
    let replies = if changes.is_empty() {
        Vec::new()
    } else {
        apply_groups(replica, "sched_commit", &changes, now).await?
    };
    if replica.world.is(Wrong::RepliesIgnored) {
        let granted = planned
            .iter()
            .map(|plan| pretended(plan.item))
            .collect::<Vec<_>>();
        return Ok((
            plan.apply(planned, &granted, &mut replica.table.borrow_mut(), now),
            now,
        ));
    }
    Ok((
        plan.apply(planned, &replies, &mut replica.table.borrow_mut(), now),
        now,
    ))
}

/// What a store would say that grants everything.
fn pretended(item: usize) -> Reply {
    Reply::Moved {
        state: "DISPATCHED".into(),
        rev: 2,
        attempts: 1,
        topic: "job.a".into(),
        tenant: format!("t{item}"),
        created_at: 0,
        worker_id: String::new(),
        pool: String::new(),
        saga: String::new(),
    }
}

/// Pay what ended jobs owe, drop due entries nobody waits for. What fails is left to the sweeps.
async fn look_after(replica: &Rc<Replica>, plan: &SubmitPlan) {
    if !plan.owed.is_empty() && duties::perform(replica, &plan.owed).await.is_err() {
        return;
    }
    if !plan.strays.is_empty() {
        replica.step("strays.drop").await;
        let drops = store::by_partition(plan.strays.clone())
            .into_iter()
            .map(|(number, ids)| {
                let args = ids.into_iter().map(String::into_bytes).collect();
                script(
                    "wheel_drop",
                    &store::schedule(&store::tag_of(number), "retry"),
                    args,
                )
            });
        let _ = replica.all(drops.collect()).await;
    }
}

async fn publish(
    replica: &Rc<Replica>,
    applied: Applied,
    since: i64,
    listed: i64,
) -> Result<(), Unavailable> {
    let causes = [
        "throttle",
        "tenant_limit",
        "safety_unavailable",
        "no_workers",
        "pool_overloaded",
        "no_pool_mapping",
    ];
    replica.waiting.borrow_mut().extend(applied.waiting);
    if applied.counts.iter().any(|(name, _)| causes.contains(name)) {
        replica.turn.borrow().fill(&replica.world, true);
    }
    replica.note_tenants(applied.tenants);
    replica.note_dead_letters(applied.dead_letters);
    if !applied.events.is_empty() {
        let (other, duties) = (Rc::clone(replica), applied.duties);
        let events = applied.events;
        if applied.dispatches.is_empty() {
            publish_events(replica, events, duties).await;
        } else {
            // Both bursts at once; this task only waits for its own.
            replica.world.spawn(replica.group, async move {
                publish_events(&other, events, duties).await;
            });
        }
    }
    if !applied.dispatches.is_empty() {
        publish_dispatches(replica, applied.dispatches, applied.undo, since).await?;
    }
    if !applied.contested.is_empty() {
        list_anew(replica, applied.contested, listed).await;
    }
    Ok(())
}

async fn publish_dispatches(
    replica: &Replica,
    dispatches: Vec<Outgoing>,
    undo: Vec<Undo>,
    since: i64,
) -> Result<(), Unavailable> {
    if replica.world.now() - since > PUBLISH_WITHIN && !replica.world.is(Wrong::PublishesLate) {
        return Ok(());
    }
    let outcomes = bus::publish(&replica.world, replica.link(), messages(&dispatches), false).await;
    replica.step("submit.confirm").await;
    let mut confirmed = Vec::new();
    let mut failed = Vec::new();
    for (outgoing, outcome) in dispatches.into_iter().zip(outcomes) {
        let blind = replica.world.is(Wrong::RollbackOnTimeout) && outcome == Outcome::Timeout;
        let trusting = replica.world.is(Wrong::ConfirmUnheard) && outcome == Outcome::Timeout;
        match outcome {
            Outcome::Ok => confirmed.push(named(outgoing)),
            _ if trusting => confirmed.push(named(outgoing)),
            Outcome::NoStream => failed.push(outgoing),
            _ if blind => failed.push(outgoing),
            // A time-out or a lost connection proves nothing: settled later.
            _ => {}
        }
    }
    replica.note_confirmed(confirmed);
    roll_back(replica, &failed, &undo).await
}

/// Job and dispatch id.
fn named(outgoing: Outgoing) -> (String, String) {
    let dispatch_id = outgoing.message_id.trim_start_matches("dispatch:").to_owned();
    (outgoing.job_id, dispatch_id)
}

/// Bus messages of planned ones.
pub fn messages(outgoing: &[Outgoing]) -> Vec<Publish> {
    let message = |out: &Outgoing| Publish {
        subject: out.subject.clone(),
        id: out.message_id.clone(),
        payload: out.payload.clone().into(),
    };
    outgoing.iter().map(message).collect()
}

/// Publish accepted results and dead-letter events; a failed one stays a duty of its job.
/// Returns the jobs of those that failed.
pub async fn publish_events(
    replica: &Replica,
    events: Vec<Outgoing>,
    duties: Vec<(String, i64)>,
) -> Vec<String> {
    replica.step("events.publish").await;
    let mut left = events;
    for round in 0..2 {
        if round > 0 && !left.is_empty() {
            sleep(&replica.world, SECOND / 2).await;
        }
        let outcomes = bus::publish(&replica.world, replica.link(), messages(&left), true).await;
        let pairs = left.into_iter().zip(outcomes);
        left = pairs
            .filter(|(_, outcome)| *outcome != Outcome::Ok)
            .map(|(out, _)| out)
            .collect();
    }
    replica.step("events.done").await;
    let failed: Vec<String> = left.into_iter().map(|out| out.job_id).collect();
    let careless = replica.world.is(Wrong::DutiesForgotten);
    let done = duties
        .into_iter()
        .filter(|(job, _)| careless || !failed.contains(job));
    replica.note_done(done.collect());
    failed
}

/// Take back the listing of jobs admitted here but moved by somebody else.
async fn list_anew(replica: &Replica, contested: Vec<(String, String)>, listed: i64) {
    replica.step("contested.read").await;
    let ids: Vec<String> = contested.iter().map(|(_, job)| job.clone()).collect();
    let Ok(rows) = replica.columns(&ids, &["state"]).await else {
        return;
    };
    for ((tenant, job), row) in contested.into_iter().zip(rows) {
        let state = row[0].as_str();
        if state.is_empty() || TERMINAL.contains(&state) {
            replica.note_tenants(vec![(tenant, job, false, false)]);
        } else if !ACTIVE.contains(&state) {
            replica.note_released(vec![(tenant, job, listed)]);
        }
    }
}

/// Dead letter of a change made outside the planner.
pub fn letter(status: &str, reason: &str, code: &str, now: i64) -> DeadLetter {
    DeadLetter {
        status: status.to_owned(),
        reason: reason.to_owned(),
        reason_code: code.to_owned(),
        created_at: crate::planner::outgoing::rfc3339(now),
    }
}
