//! The result pipeline (`scheduler/result_pipeline.py`) and what is heard on the bus (`scheduler/cancel.py`).

use std::rc::Rc;

use cordum_wire::Transition;

use crate::bus::{Answer, Delivery};
use crate::cluster::Unavailable;
use crate::duties;
use crate::planner::record::Record;
use crate::planner::reply::Reply;
use crate::planner::results::ResultPlan;
use crate::replica::{answers, Replica};
use crate::saga;
use crate::store;
use crate::submits::{apply_groups, publish_events};
use crate::world::{sleep, SECOND};

/// One batch of `sys.job.result`.
pub async fn handle(replica: &Rc<Replica>, batch: &[Delivery]) -> Result<Vec<Answer>, Unavailable> {
    let messages: Vec<&[u8]> = batch.iter().map(|delivery| &*delivery.payload).collect();
    let mut plan = ResultPlan::new(replica.surroundings(), &messages, replica.seed());
    replica.step("result.read").await;
    let ids = plan.reads();
    if !ids.is_empty() {
        let records = replica.records(&ids).await?;
        plan.supply(
            records
                .into_iter()
                .map(|fields| fields.map(Record::new))
                .collect(),
        );
        let scopes = plan.retry_scopes();
        plan.supply_retry_limits(vec![None; scopes.len()]);
    }
    let now = replica.now();
    let changes = plan.commits(now);
    if !changes.is_empty() {
        let mut order: Vec<usize> = (0..changes.len()).collect();
        order.sort_by_key(|index| changes[*index].0);
        let sorted: Vec<(u32, Vec<u8>)> = order.iter().map(|index| changes[*index].clone()).collect();
        replica.step("result.commit").await;
        let found = apply_groups(replica, "result_commit", &sorted, now).await?;
        let mut replies = vec![Reply::Failed; changes.len()];
        for (index, reply) in order.into_iter().zip(found) {
            replies[index] = reply;
        }
        let applied = plan.apply(&replies, &mut replica.table.borrow_mut(), now);
        replica.note_tenants(applied.tenants);
        replica.note_released(applied.retrying);
        replica.note_dead_letters(applied.dead_letters);
        replica.note_capacity(applied.capacity);
        replica.step("result.publish").await;
        if !applied.events.is_empty() {
            let failed = publish_events(replica, applied.events, applied.duties).await;
            replica.step("result.done").await;
            let sagas = applied.sagas.into_iter().filter(|id| !failed.contains(id));
            saga::note(replica, sagas.collect());
        }
    }
    replica.step("result.answer").await;
    Ok(answers(&plan.verdicts))
}

/// Cancel in the store; core NATS does not redeliver, so a failure is tried again here.
pub async fn on_cancel(replica: Rc<Replica>, job_id: String) {
    for _ in 0..3 {
        let now = replica.now();
        let change = cancel_change(&job_id, "cancelled", vec!["result"], now);
        replica.step("cancel.move").await;
        match replica.change(&change).await {
            Err(Unavailable) => sleep(&replica.world, SECOND).await,
            Ok(Reply::Moved { tenant, .. }) => {
                replica.note_tenants(vec![(tenant, job_id.clone(), false, false)]);
                // What fails is found by the sweep.
                let _ = duties::perform(&replica, &[job_id]).await;
                return;
            }
            Ok(_) => return,
        }
    }
}

/// The change that cancels a job.
pub fn cancel_change(job_id: &str, reason: &str, after: Vec<&'static str>, now: i64) -> Transition {
    let mut change = Transition {
        id: job_id.to_owned(),
        from: vec![
            "PENDING",
            "APPROVAL_REQUIRED",
            "SCHEDULED",
            "DISPATCHED",
            "RUNNING",
            "RETRYING",
        ],
        to: "CANCELLED",
        after: Some(after),
        events: vec![format!(r#"{{"ts":{now},"state":"CANCELLED"}}"#).into()],
        ..Transition::default()
    };
    change.set.insert("failure_reason", reason.to_owned());
    change
}

/// Progress is evidence that a dispatched job runs.
pub async fn on_progress(replica: Rc<Replica>, job_id: String) {
    let now = replica.now();
    let change = running_change(&job_id, None, now, &replica);
    replica.step("progress.move").await;
    let call = store::apply("job_move", store::partition(&job_id), now, vec![change.pack()]);
    // Progress that is lost is only evidence lost.
    let _ = replica.execute(call).await;
}

/// The change DISPATCHED → RUNNING.
pub fn running_change(job_id: &str, rev: Option<u64>, now: i64, replica: &Replica) -> Transition {
    Transition {
        id: job_id.to_owned(),
        from: vec!["DISPATCHED"],
        to: "RUNNING",
        rev,
        due: Some(now + replica.config.running_timeout_us("")),
        events: vec![format!(r#"{{"ts":{now},"state":"RUNNING"}}"#).into()],
        ..Transition::default()
    }
}
