//! Saga duties (`scheduler/saga.py`): compensations are remembered, runs are rolled back. What that leads to is left out.

use std::rc::Rc;

use crate::cluster::Unavailable;
use crate::command;
use crate::replica::{text, Replica};
use crate::store;
use crate::world::World;

/// The workflow of all jobs that have one.
pub const WORKFLOW: &str = "flow";

const DUTIES: [&str; 2] = ["saga", "rollback"];

/// Where it is written that a duty is done.
fn list(duty: &str) -> String {
    format!("{duty}:{{{WORKFLOW}}}")
}

/// Whether a duty of a job is done.
pub fn is_done(world: &World, duty: &str, job: &str) -> bool {
    let key = list(duty);
    let found = world.cluster.database(world.now(), &key).has(&key, job);
    found || !DUTIES.contains(&duty)
}

/// Perform the saga duties of jobs whose outcome is published; what fails is left to the sweep of duties.
pub fn note(replica: &Rc<Replica>, ids: Vec<String>) {
    if !ids.is_empty() {
        let own = Rc::clone(replica);
        replica.world.spawn(replica.group, async move {
            let _ = perform(&own, &ids).await;
        });
    }
}

async fn perform(replica: &Rc<Replica>, ids: &[String]) -> Result<(), Unavailable> {
    replica.step("saga.read").await;
    let records = replica.records(ids).await?;
    let mut done = Vec::new();
    for (id, record) in ids.iter().zip(&records) {
        let Some(record) = record else {
            continue;
        };
        let duties = text(record, "after")
            .split(',')
            .filter(|duty| DUTIES.contains(duty));
        let pushes: Vec<_> = duties.map(|duty| command!["SADD", list(duty), id]).collect();
        if !pushes.is_empty() {
            replica.all(pushes).await?;
            done.push((id.clone(), text(record, "rev").parse().unwrap_or(0)));
        }
    }
    replica.step("saga.clear").await;
    replica
        .all(store::duties_done(&done, "result,dlq,saga,rollback"))
        .await
        .map(|_| ())
}
