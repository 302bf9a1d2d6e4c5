//! Workers: published SDKs on core NATS, and the ways in which they disappoint.

use std::rc::Rc;

use cordum_wire::messages::{
    BusPacket, DispatchIdentity, Handshake, Heartbeat, JobProgress, JobRequest, JobResult, JobStatus, Payload,
};
use prost::Message;

use crate::bus::{self, Stored, RESULT};
use crate::cluster::Link;
use crate::duties::packet;
use crate::plan::Run;
use crate::world::{sleep, World, MILLI, SECOND};

const BEAT: i64 = 5 * SECOND;

/// One worker.
pub struct Worker {
    pub id: String,
    pool: &'static str,
    /// Subscribes to the topic subject and announces a pattern, so that it is dispatched to by topic.
    by_topic: bool,
    active: i32,
    /// Until when it is gone.
    pub gone_until: i64,
}

fn link(index: usize) -> Link {
    100 + index as Link
}

/// Start the workers of a run.
pub fn start(world: &Rc<World>) {
    for index in 0..world.plan.workers + 1 {
        let by_topic = index == world.plan.workers;
        let pool = if by_topic { "t" } else { ["p", "q", "p"][index] };
        let worker = Worker {
            id: format!("w{index}"),
            pool,
            by_topic,
            active: 0,
            gone_until: 0,
        };
        world.workers.borrow_mut().push(worker);
        let shared = Rc::clone(world);
        let group = world.group();
        world.spawn(group, async move { beat(shared, index).await });
    }
}

async fn beat(world: Rc<World>, index: usize) {
    let delay = world.range(0, SECOND);
    sleep(&world, delay).await;
    loop {
        let (id, by_topic, payload) = {
            let workers = world.workers.borrow();
            let worker = &workers[index];
            let beat = Heartbeat {
                worker_id: worker.id.clone(),
                pool: worker.pool.into(),
                active_jobs: worker.active.max(0),
                max_parallel_jobs: 2,
                ..Heartbeat::default()
            };
            let payload = packet(&worker.id, &worker.id, Payload::Heartbeat(beat), world.now());
            (
                worker.id.clone(),
                worker.by_topic,
                (worker.gone_until <= world.now()).then_some(payload),
            )
        };
        if let Some(payload) = payload {
            if by_topic {
                let shake = Handshake {
                    component_id: id.clone(),
                    role: 3,
                    ready_topics: vec!["job.t.*".into(), "job.*".into()],
                    ..Handshake::default()
                };
                let payload = packet(&id, &id, Payload::Handshake(shake), world.now());
                bus::publish_core(&world, link(index), "sys.handshake", payload);
            }
            let now = world.now();
            world.ghost.borrow_mut().beats.insert(id, now);
            bus::publish_core(&world, link(index), "sys.heartbeat", payload);
        }
        sleep(&world, BEAT).await;
    }
}

/// A dispatch passes: the addressed worker hears it, unless it is gone.
pub fn hear(world: &Rc<World>, message: &Stored) {
    let listeners: Vec<usize> = {
        let workers = world.workers.borrow();
        (0..workers.len())
            .filter(|index| {
                let worker = &workers[*index];
                message.subject == format!("worker.{}.jobs", worker.id)
                    || (worker.by_topic && message.subject == "job.t")
            })
            .collect()
    };
    let Some(index) = listeners.first().copied() else {
        return;
    };
    let Some(Payload::JobRequest(request)) =
        BusPacket::decode(&*message.payload).ok().and_then(|p| p.payload)
    else {
        return;
    };
    if world.fault(30) {
        return;
    }
    let delay = world.latency();
    world.after(delay, move |world| {
        let gone = world.workers.borrow()[index].gone_until > world.now();
        if !gone && world.bus.reachable(world, link(index)) {
            take(world, index, request);
        }
    });
}

fn take(world: &Rc<World>, index: usize, request: JobRequest) {
    let identity = request.dispatch.clone().unwrap_or_default();
    let plan = world.plan.jobs.iter().find(|job| job.id == request.job_id);
    let Some(plan) = plan else {
        return;
    };
    world.note(format_args!("w{index} takes {}", identity.dispatch_id));
    let run = {
        let mut ghost = world.ghost.borrow_mut();
        let count = ghost.ran(&request.job_id, &identity.dispatch_id, index);
        plan.runs.get(count).copied().unwrap_or(Run::Succeed)
    };
    let run = if world.stormy() { run } else { calm(run) };
    world.workers.borrow_mut()[index].active += 1;
    let work = match run {
        Run::Slow => world.range(26 * SECOND, 60 * SECOND),
        _ => world.range(world.plan.work.0, world.plan.work.1),
    };
    let done = Report {
        job: request.job_id.clone(),
        index,
        identity,
        echoes: plan.echoes,
    };
    match run {
        Run::Silent => {}
        Run::Fail => done.send(world, JobStatus::Failed, work),
        Run::Retryable => done.send(world, JobStatus::FailedRetryable, work),
        Run::Fatal => done.send(world, JobStatus::FailedFatal, work),
        Run::Succeed | Run::Slow => done.send(world, JobStatus::Succeeded, work),
        Run::Stutter => {
            done.send(world, JobStatus::FailedRetryable, work);
            let later = work + world.range(0, 20 * MILLI);
            done.send(world, JobStatus::FailedRetryable, later);
        }
        Run::Twice => {
            done.send(world, JobStatus::Succeeded, work);
            let later = work + world.range(0, 20 * SECOND);
            done.send(world, JobStatus::Succeeded, later);
        }
        Run::Foreign => {
            let other = Report {
                index: index + 1,
                echoes: false,
                ..done.clone()
            };
            other.send(world, JobStatus::Failed, work / 2);
            done.send(world, JobStatus::Succeeded, work);
        }
        Run::Forged => {
            let mut identity = done.identity.clone();
            identity.dispatch_id = format!("{}:0:deadbeef", done.job);
            let forged = Report {
                identity,
                echoes: true,
                ..done.clone()
            };
            forged.send(world, JobStatus::Failed, work / 2);
            done.send(world, JobStatus::Succeeded, work);
        }
        Run::Talkative => {
            done.send(world, JobStatus::Running, work / 3);
            let progress = JobProgress {
                job_id: done.job.clone(),
                ..JobProgress::default()
            };
            let payload = packet(&done.job, "w", Payload::JobProgress(progress), world.now());
            let from = link(index);
            world.after(work / 2, move |world| {
                bus::publish_core(world, from, "sys.job.progress", payload)
            });
            done.send(world, JobStatus::Succeeded, work);
        }
    }
    world.after(work, move |world| world.workers.borrow_mut()[index].active -= 1);
}

/// Once the storm is over workers answer, so that every job can end.
fn calm(run: Run) -> Run {
    match run {
        Run::Silent | Run::Slow => Run::Succeed,
        other => other,
    }
}

#[derive(Clone)]
struct Report {
    job: String,
    index: usize,
    identity: DispatchIdentity,
    echoes: bool,
}

impl Report {
    fn send(&self, world: &Rc<World>, status: JobStatus, delay: i64) {
        let worker = format!("w{}", self.index);
        let genuine = !self.identity.dispatch_id.ends_with(":0:deadbeef");
        if genuine {
            world
                .ghost
                .borrow_mut()
                .reported(&self.identity.dispatch_id, self.index, status);
        }
        let failed = matches!(
            status,
            JobStatus::Failed | JobStatus::FailedRetryable | JobStatus::FailedFatal
        );
        let result = JobResult {
            job_id: self.job.clone(),
            status: status as i32,
            worker_id: worker.clone(),
            error_code: if failed { "broken".into() } else { String::new() },
            execution_ms: delay / MILLI,
            dispatch: self.echoes.then(|| self.identity.clone()),
            ..JobResult::default()
        };
        let payload = packet(&self.job, &worker, Payload::JobResult(result), world.now());
        bus::publish_unconfirmed(world, link(self.index), RESULT, payload, delay);
    }
}
