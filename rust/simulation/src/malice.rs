//! Somebody who means ill: he reports results of jobs he does not have, and changes stored requests.

use std::rc::Rc;

use cordum_wire::messages::{JobRequest, JobResult, JobStatus, Payload};
use cordum_wire::stored::{request_from_store, request_to_store};

use crate::bus::{self, RESULT};
use crate::cluster::Link;
use crate::duties::packet;
use crate::plan::JobPlan;
use crate::store;
use crate::world::World;

/// His name.
pub const MALLORY: &str = "mallory";
const LINK: Link = 60;

/// What he plans for a job.
pub fn start(world: &Rc<World>, plan: &JobPlan) {
    if let Some(after) = plan.forged_at {
        let job = plan.id.clone();
        world.after(plan.at + after, move |world| forge(world, &job));
    }
    if let Some(after) = plan.tampered_at {
        let job = plan.id.clone();
        world.after(plan.at + after, move |world| tamper(world, &job));
    }
}

fn forge(world: &Rc<World>, job: &str) {
    world.note(format_args!("a result of {job} is forged"));
    world.ghost.borrow_mut().forged(job);
    let result = JobResult {
        job_id: job.to_owned(),
        status: JobStatus::Succeeded as i32,
        worker_id: MALLORY.into(),
        execution_ms: 1,
        ..JobResult::default()
    };
    let payload = packet(job, MALLORY, Payload::JobResult(result), world.now());
    bus::publish_unconfirmed(world, LINK, RESULT, payload, 0);
}

/// The request is another one at once, and nothing else is.
fn tamper(world: &Rc<World>, job: &str) {
    let changed = world
        .cluster
        .overwrite(world.now(), &store::request(job), |stored| {
            let request = request_from_store(job, stored).unwrap_or_default();
            request_to_store(&JobRequest {
                principal_id: MALLORY.into(),
                ..request
            })
        });
    if changed {
        world.note(format_args!("the request of {job} is tampered with"));
        world.ghost.borrow_mut().tampered(job);
    }
}
