//! The gateway's part and its callers: submitting, approving, rejecting, cancelling (`gateway/{submit,approvals,job_actions}.py`),
//! each step of which may be the last one of its process; the caller then tries again.

use std::rc::Rc;

use cordum_wire::messages::{Budget, Compensation, JobRequest};
use cordum_wire::stored::{request_from_store, request_to_store};
use cordum_wire::{canonical_hash, put_request_fields, record_tenant, submit_packet, Transition};

use crate::bus::{self, Outcome, Publish, SUBMIT};
use crate::cluster::{self, script, Link, Unavailable};
use crate::command;
use crate::duties;
use crate::malice;
use crate::plan::{JobPlan, Review, Saga};
use crate::planner::reply::Reply;
use crate::redis::Resp;
use crate::replica::{text, Fields};
use crate::results::cancel_change;
use crate::saga::WORKFLOW;
use crate::store;
use crate::submits::letter;
use crate::world::{sleep, World, SECOND};
use crate::wrong::Wrong;

const LINK: Link = 50;
const GATEWAY: &str = "api-gateway";

/// The gateway's process died under the caller, or the store did not answer.
struct Failed;

impl From<Unavailable> for Failed {
    fn from(_: Unavailable) -> Self {
        Failed
    }
}

/// Start the callers of every job.
pub fn start(world: &Rc<World>) {
    let group = world.group();
    for plan in &world.plan.jobs {
        let (shared, job) = (Rc::clone(world), plan.clone());
        world.spawn(group, async move { submit(shared, job).await });
        let (shared, job) = (Rc::clone(world), plan.clone());
        world.spawn(group, async move { review(shared, job).await });
        if let Some(at) = plan.cancel_at {
            let (shared, job) = (Rc::clone(world), plan.clone());
            world.spawn(group, async move { cancel(shared, job, at).await });
        }
        malice::start(world, plan);
    }
}

/// A boundary of the gateway's steps.
async fn step(world: &Rc<World>, name: &'static str, job: &str) -> Result<(), Failed> {
    world.ghost.borrow_mut().steps += 1;
    world.note(format_args!("gateway {name} {job}"));
    if world.fault(world.plan.kill) {
        return Err(Failed);
    }
    if world.fault(60) {
        let pause = world.range(1, 4 * SECOND);
        sleep(world, pause).await;
    }
    let here = world.plan.places.contains(&name) || world.plan.stands.contains(&name);
    if (here && world.fault(300)) || world.fault(world.plan.freeze) {
        let still = world.range(SECOND, 20 * SECOND);
        world.note(format_args!("gateway stands still for {still}"));
        sleep(world, still).await;
    }
    Ok(())
}

fn request_of(job: &JobPlan) -> JobRequest {
    let budget = Budget {
        deadline_ms: job.deadline_ms,
        ..Budget::default()
    };
    let workflow = (job.saga != Saga::None).then(|| WORKFLOW.to_owned());
    JobRequest {
        job_id: job.id.clone(),
        topic: job.topic.into(),
        tenant_id: job.tenant.into(),
        workflow_id: workflow.unwrap_or_default(),
        compensation: (job.saga == Saga::Compensable).then(Compensation::default),
        budget: (job.deadline_ms > 0).then_some(budget),
        ..JobRequest::default()
    }
}

async fn submit(world: Rc<World>, job: JobPlan) {
    sleep(&world, job.at).await;
    let request = request_of(&job);
    loop {
        let done = if job.gateway {
            through_gateway(&world, &request).await
        } else {
            on_bus(&world, &request, "somebody").await
        };
        if done.is_ok() {
            break;
        }
        let pause = world.range(SECOND / 2, 5 * SECOND);
        sleep(&world, pause).await;
    }
    world.note(format_args!("{} is submitted", job.id));
    world.ghost.borrow_mut().submitted(&job.id);
    for after in job.again {
        sleep(&world, after).await;
        // Nobody waits for the answer of a repetition.
        let _ = on_bus(&world, &request, "somebody").await;
    }
    if let Some(after) = job.altered_at {
        sleep(&world, after).await;
        let altered = JobRequest {
            topic: "job.b".into(),
            principal_id: "mallory".into(),
            ..request
        };
        let sender = if job.poses { GATEWAY } else { "somebody" };
        let _ = on_bus(&world, &altered, sender).await;
    }
}

async fn through_gateway(world: &Rc<World>, request: &JobRequest) -> Result<(), Failed> {
    step(world, "submit.create", &request.job_id).await?;
    let now = world.now();
    let mut change = Transition {
        id: request.job_id.clone(),
        from: vec![""],
        to: "PENDING",
        req: Some(request_to_store(request)),
        events: vec![format!(r#"{{"ts":{now},"state":"PENDING"}}"#).into()],
        ..Transition::default()
    };
    put_request_fields(&mut change, request, &request.job_id);
    let deadline_ms = request.budget.as_ref().map_or(0, |budget| budget.deadline_ms);
    if deadline_ms > 0 {
        change.deadline = Some(now + deadline_ms * 1000);
    }
    let tenant = record_tenant(request).to_owned();
    let mut commands = vec![store::apply(
        "job_create",
        store::partition(&change.id),
        now,
        vec![change.pack()],
    )];
    commands.extend(store::tenant_commands(&[(
        tenant,
        change.id.clone(),
        now,
        true,
        false,
    )]));
    let replies = cluster::pipeline(world, LINK, commands).await?;
    match store::replies_of(&replies[0], 1).first() {
        Some(Reply::Moved { .. }) => {}
        // A replay of what is stored already: answered, not published again.
        Some(Reply::Conflict { .. } | Reply::Ignored { .. }) => return Ok(()),
        _ => return Err(Failed),
    }
    step(world, "submit.publish", &request.job_id).await?;
    let packet = submit_packet(request.clone(), &request.job_id, GATEWAY, now);
    // A failure leaves it PENDING for the replayer.
    bus::publish(
        world,
        LINK,
        vec![submit_message(&request.job_id, "", packet)],
        true,
    )
    .await;
    Ok(())
}

fn submit_message(job: &str, label: &str, packet: Vec<u8>) -> Publish {
    let id = if label.is_empty() {
        format!("jobreq:{job}")
    } else {
        format!("jobreq:{SUBMIT}:{label}")
    };
    Publish {
        subject: SUBMIT.into(),
        id,
        payload: packet.into(),
    }
}

async fn on_bus(world: &Rc<World>, request: &JobRequest, sender: &str) -> Result<(), Failed> {
    step(world, "bus.submit", &request.job_id).await?;
    let packet = submit_packet(request.clone(), &request.job_id, sender, world.now());
    // Callers on the bus number their messages or do not.
    let message = Publish {
        id: String::new(),
        ..submit_message(&request.job_id, "", packet)
    };
    match bus::publish(world, LINK, vec![message], false).await.as_slice() {
        [Outcome::Ok] => Ok(()),
        _ => Err(Failed),
    }
}

async fn record_of(world: &Rc<World>, id: &str) -> Result<Option<Fields>, Failed> {
    let reply = cluster::execute(world, LINK, command!["HGETALL", store::meta(id)]).await?;
    Ok(store::fields(id, &reply))
}

async fn change(world: &Rc<World>, transition: &Transition) -> Result<Reply, Failed> {
    let call = store::apply(
        "job_move",
        store::partition(&transition.id),
        world.now(),
        vec![transition.pack()],
    );
    let reply = cluster::execute(world, LINK, call).await?;
    Ok(reply.list().first().map_or(Reply::Failed, store::reply_of))
}

/// Look after a job now and then until it needs no human any more. Where a fail-over may take a decision back, the job shows up
/// among those that wait once more, and the human decides again.
async fn review(world: Rc<World>, job: JobPlan) {
    sleep(&world, job.review_at).await;
    loop {
        // A failure is tried again at the next look.
        let _ = decide(&world, &job).await;
        if world.ghost.borrow().ended(&job.id) && !world.plan.failover {
            return;
        }
        sleep(&world, world.plan.looks_every * SECOND).await;
    }
}

async fn decide(world: &Rc<World>, job: &JobPlan) -> Result<(), Failed> {
    let Some(record) = record_of(world, &job.id).await? else {
        return Ok(());
    };
    if text(&record, "state") != "APPROVAL_REQUIRED" || !text(&record, "approval_decision").is_empty() {
        return Ok(());
    }
    step(world, "approval.lock", &job.id).await?;
    let lock = store::job_lock(&job.id);
    let taken = cluster::execute(
        world,
        LINK,
        command!["SET", lock, "token", "NX", "PX", 10_000_i64],
    )
    .await?;
    if !taken.is_some() {
        return Ok(());
    }
    let done = match job.review {
        Review::Approve => approve(world, job).await,
        Review::Reject => reject(world, job).await,
    };
    // A lock that is not given back ends by its time to live.
    let _ = cluster::execute(
        world,
        LINK,
        script("lock_release", &lock, vec![b"token".to_vec()]),
    )
    .await;
    done
}

fn resolution(change: &mut Transition, record: &Fields, decision: &str, status: &str) {
    let revision: i64 = text(record, "approval_revision").parse().unwrap_or(1);
    for (name, value) in [
        ("approval_by", "ann"),
        ("approval_status", status),
        ("approval_actionability", "resolved"),
        ("approval_decision", decision),
    ] {
        change.set.insert(name, value.to_owned());
    }
    change.set.insert("approval_revision", (revision + 1).to_string());
}

async fn approve(world: &Rc<World>, job: &JobPlan) -> Result<(), Failed> {
    let Some(record) = record_of(world, &job.id).await? else {
        return Ok(());
    };
    let reply = cluster::execute(world, LINK, command!["GET", store::request(&job.id)]).await?;
    let Resp::Bulk(stored) = reply else {
        return Ok(());
    };
    let Ok(mut request) = request_from_store(&job.id, &stored) else {
        return Ok(());
    };
    if text(&record, "state") != "APPROVAL_REQUIRED"
        || canonical_hash(&request) != text(&record, "safety_job_hash")
    {
        return Ok(());
    }
    let rev: i64 = text(&record, "rev").parse().unwrap_or(0);
    world.ghost.borrow_mut().looked_at(&job.id, rev);
    step(world, "approval.approve", &job.id).await?;
    let snapshot = world.kernel.snapshot();
    let now = world.now();
    let label = format!("approval:{}", job.id);
    for (name, value) in [
        ("approval_granted", "true"),
        ("approval_snapshot", snapshot.as_str()),
        ("cordum.bus_msg_id", label.as_str()),
    ] {
        request.labels.insert(name.into(), value.into());
    }
    let fenced = !world.is(Wrong::ApprovesUnfenced);
    let mut transition = Transition {
        id: job.id.clone(),
        from: if fenced {
            vec!["APPROVAL_REQUIRED"]
        } else {
            vec!["APPROVAL_REQUIRED", "DENIED", "CANCELLED", "TIMEOUT"]
        },
        rev: text(&record, "rev").parse().ok().filter(|_| fenced),
        to: "PENDING",
        req: Some(request_to_store(&request)),
        events: vec![format!(r#"{{"ts":{now},"state":"PENDING"}}"#).into()],
        ..Transition::default()
    };
    resolution(&mut transition, &record, "approve", "approved");
    for (name, value) in [
        ("safety_snapshot", snapshot.as_str()),
        ("approval_publish_status", "pending"),
        ("approval_publish_target", "submit"),
    ] {
        transition.set.insert(name, value.to_owned());
    }
    if let Reply::Moved { .. } = change(world, &transition).await? {
        step(world, "approval.publish", &job.id).await?;
        let packet = submit_packet(request, &job.id, GATEWAY, now);
        bus::publish(world, LINK, vec![submit_message(&job.id, &label, packet)], false).await;
    }
    Ok(())
}

async fn reject(world: &Rc<World>, job: &JobPlan) -> Result<(), Failed> {
    let Some(record) = record_of(world, &job.id).await? else {
        return Ok(());
    };
    step(world, "approval.reject", &job.id).await?;
    let now = world.now();
    let mut transition = Transition {
        id: job.id.clone(),
        from: vec!["APPROVAL_REQUIRED"],
        rev: text(&record, "rev").parse().ok(),
        to: "DENIED",
        after: Some(vec!["result", "dlq"]),
        dlq: Some(letter("JOB_STATUS_DENIED", "no", "approval_rejected", now)),
        events: vec![format!(r#"{{"ts":{now},"state":"DENIED"}}"#).into()],
        ..Transition::default()
    };
    resolution(&mut transition, &record, "reject", "rejected");
    transition.set.insert("failure_reason", "no".into());
    if let Reply::Moved { rev, .. } = change(world, &transition).await? {
        finish(world, &job.id, rev, &[bus::ACCEPTED, bus::DLQ]).await?;
    }
    Ok(())
}

/// Publish the outcome of a job that ended here, update the tenant's sets, clear the outbox when all went out.
async fn finish(world: &Rc<World>, id: &str, rev: i64, subjects: &[&str]) -> Result<(), Failed> {
    step(world, "finish.sets", id).await?;
    let Some(record) = record_of(world, id).await? else {
        return Ok(());
    };
    let tenant = record.get("tenant").map_or("default", String::as_str).to_owned();
    let sets = store::tenant_commands(&[(tenant, id.to_owned(), world.now(), false, false)]);
    cluster::pipeline(world, LINK, sets).await?;
    step(world, "finish.publish", id).await?;
    let messages = subjects
        .iter()
        .map(|subject| duties::outcome(subject, id, &record, "", "", world.now()));
    let outcomes = bus::publish(world, LINK, messages.collect(), true).await;
    if outcomes.iter().all(|outcome| *outcome == Outcome::Ok) {
        step(world, "finish.clear", id).await?;
        cluster::pipeline(world, LINK, store::clear_after(&[(id.to_owned(), Some(rev))])).await?;
    }
    Ok(())
}

async fn cancel(world: Rc<World>, job: JobPlan, at: i64) {
    sleep(&world, job.at + at).await;
    if world.chance(200) {
        // On the bus: heard by one scheduler or by none.
        let cancel = cordum_wire::messages::JobCancel {
            job_id: job.id.clone(),
            ..Default::default()
        };
        let payload = duties::packet(
            &job.id,
            "somebody",
            cordum_wire::messages::Payload::JobCancel(cancel),
            world.now(),
        );
        return bus::publish_core(&world, LINK, "sys.job.cancel", payload);
    }
    // A caller who hears of a failure may try again or not: this one does not.
    let _ = cancel_once(&world, &job).await;
}

async fn cancel_once(world: &Rc<World>, job: &JobPlan) -> Result<(), Failed> {
    step(world, "cancel.move", &job.id).await?;
    let transition = cancel_change(
        &job.id,
        "cancelled via api",
        vec!["result", "cancel"],
        world.now(),
    );
    if let Reply::Moved { rev, .. } = change(world, &transition).await? {
        finish(world, &job.id, rev, &[bus::ACCEPTED]).await?;
    }
    Ok(())
}
