//! Time-outs, deadlines, orphans, repair of tenant sets and approvals (`scheduler/reconciler.py`, `scheduler/repair.py`,
//! `scheduler/approval_repair.py`).

use std::rc::Rc;

use cordum_wire::Transition;

use crate::approvals;
use crate::cluster::{script, Unavailable};
use crate::command;
use crate::duties;
use crate::planner::reply::Reply;
use crate::redis::Resp;
use crate::replica::{text, Fields, Replica, SCAN};
use crate::results::running_change;
use crate::store;
use crate::submits::letter;
use crate::world::{sleep, SECOND};
use crate::wrong::Wrong;

const ORPHAN_AGE: i64 = 120 * SECOND;
const PUBLISH_AGE: i64 = 10 * SECOND;
const REPAIR_AGE: i64 = 60 * SECOND;
const DUE: [&str; 3] = ["DISPATCHED", "RUNNING", "RETRYING"];
const ACTIVE: [&str; 3] = ["SCHEDULED", "DISPATCHED", "RUNNING"];
const OPEN: [&str; 6] = [
    "PENDING",
    "APPROVAL_REQUIRED",
    "SCHEDULED",
    "DISPATCHED",
    "RUNNING",
    "RETRYING",
];

/// Tick for ever.
pub async fn run(replica: Rc<Replica>) {
    let start = replica.world.range(0, SCAN);
    sleep(&replica.world, start).await;
    loop {
        // What fails is tried at the next tick.
        let _ = tick(&replica).await;
        sleep(&replica.world, SCAN).await;
    }
}

async fn lead(replica: &Replica) -> Result<bool, Unavailable> {
    let ttl_ms = 2 * SCAN / 1000;
    let args = vec![
        replica.instance.clone().into_bytes(),
        ttl_ms.to_string().into_bytes(),
    ];
    if replica
        .execute(script("lock_renew", store::LEADER_LOCK, args))
        .await?
        == Resp::Int(1)
    {
        return Ok(true);
    }
    let taken = replica
        .execute(command![
            "SET",
            store::LEADER_LOCK,
            replica.instance,
            "NX",
            "PX",
            ttl_ms
        ])
        .await?;
    Ok(taken.is_some())
}

async fn tick(replica: &Rc<Replica>) -> Result<(), Unavailable> {
    replica.leading.set(false);
    replica.leading.set(lead(replica).await?);
    if !replica.leading.get() {
        return Ok(());
    }
    replica.step("tick.overdue").await;
    let (jobs, strays): (Vec<_>, Vec<_>) = overdue(replica, "due")
        .await?
        .into_iter()
        .partition(|(_, record)| DUE.contains(&text(record, "state")));
    if !strays.is_empty() {
        drop_due(replica, strays.into_iter().map(|(id, _)| id)).await?;
    }
    for (id, record) in confirmed(replica, jobs).await? {
        expire(replica, &id, &record).await?;
    }
    for (id, record) in overdue(replica, "deadline").await? {
        // A dispatch meanwhile gave it another deadline.
        let deadline: i64 = text(&record, "deadline_unix").parse().unwrap_or(i64::MAX);
        if deadline > replica.now() {
            continue;
        }
        time_out(replica, &id, &record, "timeout: deadline expired").await?;
    }
    approvals::sweep(replica).await?;
    replay_orphans(replica).await?;
    repair_tenants(replica).await?;
    publish_pending(replica).await
}

async fn overdue(replica: &Replica, name: &str) -> Result<Vec<(String, Fields)>, Unavailable> {
    let ids = replica.overdue(name, replica.now(), 200).await?;
    if !ids.is_empty() {
        replica.step("tick.read").await;
    }
    let records = replica.records(&ids).await?;
    Ok(ids
        .into_iter()
        .zip(records)
        .filter_map(|(id, record)| Some((id, record?)))
        .collect())
}

/// Remove time-outs of jobs that have none any more.
async fn drop_due(replica: &Replica, ids: impl Iterator<Item = String>) -> Result<(), Unavailable> {
    let commands = store::by_partition(ids).into_iter().map(|(number, ids)| {
        let key = store::schedule(&store::tag_of(number), "due");
        let args = ids.into_iter().map(String::into_bytes).collect();
        script("due_drop", &key, args)
    });
    replica.step("tick.drop").await;
    replica.all(commands.collect()).await.map(|_| ())
}

/// Leave out dispatches whose publish is not confirmed, for settling decides about them, and jobs that were given another
/// time-out before their record was read.
async fn confirmed(
    replica: &Replica,
    jobs: Vec<(String, Fields)>,
) -> Result<Vec<(String, Fields)>, Unavailable> {
    if replica.world.is(Wrong::TimesOutUnconfirmed) {
        return Ok(jobs);
    }
    let now = replica.now();
    let score = |id: &str, name| command!["ZSCORE", store::schedule(&store::tag(id), name), id];
    let scores = jobs
        .iter()
        .flat_map(|(id, _)| [score(id, "disp"), score(id, "due")]);
    let replies = replica.all(scores.collect()).await?;
    let is_due = |due: &Resp| due.text().parse().is_ok_and(|at: f64| at as i64 <= now);
    Ok(jobs
        .into_iter()
        .zip(replies.chunks_exact(2))
        .filter(|(_, scores)| scores[0] == Resp::Nil && is_due(&scores[1]))
        .map(|(job, _)| job)
        .collect())
}

async fn expire(replica: &Rc<Replica>, id: &str, record: &Fields) -> Result<(), Unavailable> {
    match text(record, "state") {
        "DISPATCHED" if is_alive(replica, record) => {
            let rev = text(record, "rev").parse().ok();
            replica.step("tick.running").await;
            replica
                .change(&running_change(id, rev, replica.now(), replica))
                .await
                .map(|_| ())
        }
        "DISPATCHED" => time_out(replica, id, record, "timeout: dispatched exceeded").await,
        "RUNNING" => time_out(replica, id, record, "timeout: running exceeded").await,
        _ => Ok(()),
    }
}

fn is_alive(replica: &Replica, record: &Fields) -> bool {
    let now = replica.now();
    let mut table = replica.table.borrow_mut();
    let worker = text(record, "worker_id");
    if worker.is_empty() {
        return table.pool_alive(text(record, "pool"), now, &replica.config);
    }
    table
        .get(worker)
        .is_some_and(|worker| worker.alive(&replica.config, now))
}

async fn time_out(replica: &Rc<Replica>, id: &str, record: &Fields, reason: &str) -> Result<(), Unavailable> {
    let state = text(record, "state");
    let Some(from) = OPEN.iter().find(|open| **open == state) else {
        return Ok(());
    };
    let now = replica.now();
    let mut change = Transition {
        id: id.to_owned(),
        from: vec![*from],
        to: "TIMEOUT",
        rev: text(record, "rev").parse().ok(),
        after: Some(vec!["result", "dlq", "cancel"]),
        dlq: Some(letter("JOB_STATUS_TIMEOUT", reason, "timeout", now)),
        events: vec![format!(r#"{{"ts":{now},"state":"TIMEOUT"}}"#).into()],
        ..Transition::default()
    };
    change.set.insert("failure_reason", reason.to_owned());
    replica.step("tick.timeout").await;
    if let Reply::Moved { tenant, .. } = replica.change(&change).await? {
        replica.note_tenants(vec![(tenant, id.to_owned(), false, false)]);
        duties::perform(replica, &[id.to_owned()]).await?;
    }
    Ok(())
}

async fn replay_orphans(replica: &Rc<Replica>) -> Result<(), Unavailable> {
    if replica.world.is(Wrong::NoOrphans) {
        return Ok(());
    }
    for state in ["pending", "scheduled"] {
        let ids = replica
            .overdue(&format!("index:{state}"), replica.now() - ORPHAN_AGE, 200)
            .await?;
        feed_unparked(replica, ids, "").await?;
    }
    Ok(())
}

/// Feed jobs whose approval is stored but whose submit never arrived.
async fn publish_pending(replica: &Rc<Replica>) -> Result<(), Unavailable> {
    let ids = replica
        .overdue("index:pending", replica.now() - PUBLISH_AGE, 32)
        .await?;
    feed_unparked(replica, ids, "pending").await
}

async fn feed_unparked(replica: &Rc<Replica>, ids: Vec<String>, status: &str) -> Result<(), Unavailable> {
    if ids.is_empty() {
        return Ok(());
    }
    let rows = replica
        .columns(&ids, &["next_attempt_at", "approval_publish_status"])
        .await?;
    let lost: Vec<String> = ids
        .into_iter()
        .zip(rows)
        .filter(|(_, row)| row[0].is_empty() && (status.is_empty() || row[1] == status))
        .map(|(id, _)| id)
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    replica.step("tick.feed").await;
    let now = replica.now();
    let commands = store::by_partition(lost).into_iter().map(|(number, ids)| {
        let mut command = command!["ZADD", store::schedule(&store::tag_of(number), "retry")];
        for id in ids {
            command.extend(command![now, id]);
        }
        command
    });
    replica.all(commands.collect()).await.map(|_| ())
}

/// Remove members of tenant sets that no longer belong.
async fn repair_tenants(replica: &Rc<Replica>) -> Result<(), Unavailable> {
    if replica.world.is(Wrong::NoTenantRepair) {
        return Ok(());
    }
    let tenants = replica.execute(command!["SMEMBERS", store::TENANTS]).await?;
    for tenant in tenants.list().iter().map(Resp::text) {
        for (name, belonging) in [("active", &ACTIVE[..]), ("open", &OPEN[..])] {
            let key = store::tenant_set(name, &tenant);
            let before = replica.now() - REPAIR_AGE;
            let command = command!["ZRANGEBYSCORE", key, "-inf", before, "LIMIT", 0_i64, 500_i64];
            let ids: Vec<String> = replica
                .execute(command)
                .await?
                .list()
                .iter()
                .map(Resp::text)
                .collect();
            if ids.is_empty() {
                continue;
            }
            let states = replica.columns(&ids, &["state"]).await?;
            let stale: Vec<String> = ids
                .into_iter()
                .zip(states)
                .filter(|(_, row)| !belonging.contains(&row[0].as_str()))
                .map(|(id, _)| id)
                .collect();
            if !stale.is_empty() {
                replica.step("tick.repair").await;
                replica.execute(command!["ZREM", key, stale]).await?;
            }
        }
    }
    Ok(())
}
