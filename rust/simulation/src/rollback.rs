//! Dispatches whose publish failed (`scheduler/rollback.py`).

use cordum_wire::Transition;

use crate::cluster::Unavailable;
use crate::planner::backoff::{route_delay_us, Jitter};
use crate::planner::commit::Undo;
use crate::planner::outgoing::Outgoing;
use crate::replica::Replica;
use crate::store;
use crate::wrong::Wrong;

/// The change DISPATCHED → SCHEDULED of an unpublished dispatch.
pub fn rollback_change(
    replica: &Replica,
    job_id: &str,
    dispatch_id: &str,
    rev: Option<u64>,
    failures: i64,
) -> Transition {
    let now = replica.now();
    let delay = route_delay_us(failures, &mut Jitter::new(replica.seed()));
    let mut change = Transition {
        id: job_id.to_owned(),
        from: vec!["DISPATCHED"],
        to: "SCHEDULED",
        rev,
        dispatch_id: Some(dispatch_id.to_owned()),
        due: Some(0),
        retry: Some(now + delay),
        events: vec![
            format!(r#"{{"ts":{now},"state":"SCHEDULED","ctx":{{"reason":"dispatch_failed"}}}}"#).into(),
        ],
        ..Transition::default()
    };
    change.incr.extend([("rollbacks", 1), ("route_failures", 1)]);
    change.set.insert("last_cause", "dispatch_failed".into());
    change
}

pub async fn roll_back(replica: &Replica, failed: &[Outgoing], undo: &[Undo]) -> Result<(), Unavailable> {
    if failed.is_empty() {
        return Ok(());
    }
    replica.step("rollback.move").await;
    let now = replica.now();
    let commands = failed.iter().map(|outgoing| {
        let dispatch_id = outgoing.message_id.trim_start_matches("dispatch:");
        let undo = undo.iter().find(|undo| undo.job_id == outgoing.job_id);
        let fenced = !replica.world.is(Wrong::RollsBackUnfenced);
        let rev = undo.map(|undo| undo.rev as u64).filter(|_| fenced);
        let failures = undo.map_or(0, |undo| undo.failures);
        let change = rollback_change(replica, &outgoing.job_id, dispatch_id, rev, failures);
        store::apply(
            "job_move",
            store::partition(&outgoing.job_id),
            now,
            vec![change.pack()],
        )
    });
    replica.pipeline(commands.collect()).await.map(|_| ())
}
