//! Settling dispatches whose publish was never confirmed (`scheduler/settling.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use cordum_wire::messages::DispatchIdentity;
use cordum_wire::{canonical_hash, Transition};

use crate::bus::{self, Outcome};
use crate::cluster::Unavailable;
use crate::command;
use crate::duties;
use crate::planner::outgoing;
use crate::planner::reply::Reply;
use crate::redis::Resp;
use crate::replica::{text, Fields, Replica};
use crate::rollback::rollback_change;
use crate::store;
use crate::submits::{messages, stored_request, PUBLISH_WITHIN};
use crate::world::{sleep, MILLI, SECOND};
use crate::wrong::Wrong;

const AGE: i64 = 10 * SECOND;
/// Clocks may differ by less than this.
const MARGIN: i64 = 10 * SECOND;
const EVERY: i64 = 2_500 * MILLI;

/// Settle, and on the leading replica perform duties, for ever.
pub async fn run(replica: Rc<Replica>) {
    loop {
        // What fails is tried at the next round.
        let _ = round(&replica).await;
        sleep(&replica.world, EVERY).await;
    }
}

async fn round(replica: &Rc<Replica>) -> Result<(), Unavailable> {
    if replica.world.is(Wrong::NoSettling) {
        return duties::sweep(replica).await;
    }
    sweep(replica).await?;
    if replica.leading.get() && !replica.world.is(Wrong::NoDutySweep) {
        duties::sweep(replica).await?;
    }
    Ok(())
}

async fn sweep(replica: &Rc<Replica>) -> Result<(), Unavailable> {
    if !replica.world.bus.reachable(&replica.world, replica.link()) {
        return Ok(());
    }
    let age = if replica.world.is(Wrong::SettlesAtOnce) {
        0
    } else {
        AGE
    };
    let ids = replica.overdue("disp", replica.now() - age, 50).await?;
    if ids.is_empty() {
        return Ok(());
    }
    replica.step("settle.read").await;
    let records = replica.records(&ids).await?;
    let mut mine: BTreeMap<String, Vec<(String, Fields)>> = BTreeMap::new();
    for (id, record) in ids.into_iter().zip(records) {
        let Some(record) = record else {
            continue;
        };
        if text(&record, "state") != "DISPATCHED" {
            replica
                .all(store::confirm(&[(id, text(&record, "dispatch_id").to_owned())]))
                .await?;
        } else if text(&record, "dispatched_by") == replica.instance
            || (replica.leading.get() && is_gone(replica, text(&record, "dispatched_by")).await?)
        {
            mine.entry(text(&record, "dispatch_subject").to_owned())
                .or_default()
                .push((id, record));
        }
    }
    for (subject, group) in mine {
        settle(replica, &subject, group).await?;
    }
    Ok(())
}

async fn is_gone(replica: &Replica, instance: &str) -> Result<bool, Unavailable> {
    Ok(replica
        .execute(command!["EXISTS", store::instance(instance)])
        .await?
        == Resp::Int(0))
}

async fn settle(
    replica: &Rc<Replica>,
    subject: &str,
    group: Vec<(String, Fields)>,
) -> Result<(), Unavailable> {
    let at = |record: &Fields| text(record, "dispatched_at").parse().unwrap_or(0_i64);
    let since = group.iter().map(|(_, record)| at(record)).min().unwrap_or(0) - MARGIN;
    let name = |record: &Fields| format!("dispatch:{}", text(record, "dispatch_id"));
    let wanted: BTreeSet<String> = group.iter().map(|(_, record)| name(record)).collect();
    replica.step("settle.find").await;
    let Ok(found) = bus::find(&replica.world, replica.link(), subject, since, wanted).await else {
        return Ok(());
    };
    let blind = replica.world.is(Wrong::SettlesBlindly);
    for (id, record) in group {
        replica.step("settle.act").await;
        if found.contains(&name(&record)) && !blind {
            replica.note_confirmed(vec![(id, text(&record, "dispatch_id").to_owned())]);
        } else if text(&record, "dispatched_by") == replica.instance {
            take_back(replica, &id, &record).await?;
        } else {
            publish(replica, &id, &record).await?;
        }
    }
    Ok(())
}

/// Roll an unpublished dispatch back.
async fn take_back(replica: &Replica, id: &str, record: &Fields) -> Result<(), Unavailable> {
    let failures = text(record, "route_failures").parse().unwrap_or(0);
    let rev = text(record, "rev").parse().ok();
    let change = rollback_change(replica, id, text(record, "dispatch_id"), rev, failures);
    replica.change(&change).await.map(|_| ())
}

/// Publish the dispatch a crashed replica had committed: the same attempt, under the same id.
async fn publish(replica: &Rc<Replica>, id: &str, record: &Fields) -> Result<(), Unavailable> {
    let reply = replica.execute(command!["GET", store::request(id)]).await?;
    let Some(mut request) = stored_request(id, &reply) else {
        return Ok(());
    };
    if canonical_hash(&request) != text(record, "req_hash") {
        // Nobody has it yet: the submit pipeline refuses what was changed after it was judged.
        return take_back(replica, id, record).await;
    }
    let since = replica.world.now();
    if !replica.world.is(Wrong::SettlesUnclaimed) {
        replica.step("settle.take").await;
        if !matches!(
            replica.change(&taken_over(replica, id, record)).await?,
            Reply::Moved { .. }
        ) {
            return Ok(());
        }
    }
    let constraints = serde_json::from_str(text(record, "safety_constraints")).unwrap_or_default();
    outgoing::apply_constraints(&mut request, &constraints);
    let subject = text(record, "dispatch_subject");
    let worker = if subject.starts_with("worker.") {
        text(record, "worker_id")
    } else {
        ""
    };
    let identity = DispatchIdentity {
        dispatch_id: text(record, "dispatch_id").to_owned(),
        attempt: text(record, "attempts").parse().unwrap_or(0),
        assigned_worker_id: worker.to_owned(),
    };
    let out = outgoing::dispatch(
        request,
        text(record, "trace_id"),
        identity,
        subject,
        replica.now(),
    );
    replica.step("settle.publish").await;
    if replica.world.now() - since > PUBLISH_WITHIN {
        return Ok(());
    }
    let outcomes = bus::publish(&replica.world, replica.link(), messages(&[out]), false).await;
    if outcomes == [Outcome::Ok] {
        replica.step("settle.confirm").await;
        replica.note_confirmed(vec![(id.to_owned(), text(record, "dispatch_id").to_owned())]);
    }
    Ok(())
}

/// The change that makes an unconfirmed dispatch ours; the state stays.
fn taken_over(replica: &Replica, id: &str, record: &Fields) -> Transition {
    let mut change = Transition {
        id: id.to_owned(),
        from: vec!["DISPATCHED"],
        to: "DISPATCHED",
        rev: text(record, "rev").parse().ok(),
        dispatch_id: Some(text(record, "dispatch_id").to_owned()),
        disp: Some(replica.now()),
        ..Transition::default()
    };
    change.set.insert("dispatched_by", replica.instance.clone());
    change
}
