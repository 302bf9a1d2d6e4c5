//! Held jobs stay bound to the policy and the request of today (`scheduler/approval_repair.py`).

use std::rc::Rc;

use cordum_wire::messages::{BatchResponse, JobRequest, PolicyCheckResponse};
use cordum_wire::stored::request_from_store;
use cordum_wire::{canonical_hash, Transition};
use prost::Message;

use crate::cluster::{script, Unavailable};
use crate::command;
use crate::duties;
use crate::kernel;
use crate::planner::judge::{policy_request, Content};
use crate::planner::reply::Reply;
use crate::redis::Resp;
use crate::replica::{text, Fields, Replica};
use crate::store;
use crate::submits::letter;
use crate::world::{sleep, MILLI};

const WINDOW: i64 = 8;
const LOCK_MS: i64 = 10_000;
const GATE: &str = "sys.approval.gate";
const STILL_HELD: [i32; 4] = [1, 3, 4, 5];

/// One pass of the leader over the jobs that wait for a human.
pub async fn sweep(replica: &Rc<Replica>) -> Result<(), Unavailable> {
    let current = ask(replica, &[]).await.map(|answer| answer.policy_snapshot);
    let commands = store::tags().into_iter().map(|tag| {
        let key = store::index(&tag, "APPROVAL_REQUIRED");
        command!["ZRANGE", key, 0_i64, WINDOW - 1]
    });
    let replies = replica.all(commands.collect()).await?;
    let ids: Vec<String> = replies
        .iter()
        .flat_map(|reply| reply.list().iter().map(Resp::text))
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    replica.step("approvals.read").await;
    let records = replica.records(&ids).await?;
    let gets = ids.iter().map(|id| command!["GET", store::request(id)]);
    let requests = replica.all(gets.collect()).await?;
    for ((id, record), request) in ids.into_iter().zip(records).zip(requests) {
        let (Some(record), Resp::Bulk(stored)) = (record, request) else {
            continue;
        };
        if text(&record, "state") != "APPROVAL_REQUIRED" {
            continue;
        }
        let pinned = text(&record, "safety_job_hash");
        let Some(request) = request_from_store(&id, &stored)
            .ok()
            .filter(|request| pinned.is_empty() || canonical_hash(request) == pinned)
        else {
            deny(replica, &id, &record, "the request changed since it was held").await?;
            continue;
        };
        let old = current
            .as_ref()
            .is_some_and(|current| is_stale(&record, &request, current));
        if old {
            judge_again(replica, &id, &record, &request).await?;
        }
    }
    Ok(())
}

async fn ask(replica: &Replica, requests: &[Vec<u8>]) -> Option<BatchResponse> {
    let answer = kernel::evaluate(&replica.world, requests).await?;
    BatchResponse::decode(&*answer).ok()
}

fn is_stale(record: &Fields, request: &JobRequest, current: &str) -> bool {
    let stored = text(record, "safety_snapshot");
    !stored.is_empty() && !current.is_empty() && request.topic != GATE && stored != current
}

async fn judge_again(
    replica: &Rc<Replica>,
    id: &str,
    record: &Fields,
    request: &JobRequest,
) -> Result<(), Unavailable> {
    let check = policy_request(request, &Content::Omitted, &[]).encode_to_vec();
    let Some(answer) = ask(replica, &[check]).await else {
        return Ok(());
    };
    let Some(item) = answer.items.first().filter(|item| item.code == 0) else {
        return Ok(());
    };
    let response = PolicyCheckResponse::decode(&*item.response).unwrap_or_default();
    if !STILL_HELD.contains(&response.decision) {
        return deny(replica, id, record, &response.reason).await;
    }
    let revision: i64 = text(record, "approval_revision").parse().unwrap_or(1);
    let mut change = Transition {
        to: "APPROVAL_REQUIRED",
        events: vec![event(replica, "APPROVAL_REQUIRED").into()],
        ..fence(id, record)
    };
    change.set_if("safety_snapshot", &response.policy_snapshot);
    change.set.insert("approval_revision", (revision + 1).to_string());
    apply(replica, id, &change).await.map(|_| ())
}

async fn deny(replica: &Rc<Replica>, id: &str, record: &Fields, reason: &str) -> Result<(), Unavailable> {
    let reason = format!("safety: denied: {reason}");
    let mut change = Transition {
        to: "DENIED",
        after: Some(vec!["result", "dlq"]),
        dlq: Some(letter(
            "JOB_STATUS_DENIED",
            &reason,
            "safety_denied",
            replica.now(),
        )),
        events: vec![event(replica, "DENIED").into()],
        ..fence(id, record)
    };
    change.set.insert("approval_decision", "invalidate".into());
    change.set.insert("failure_reason", reason);
    if apply(replica, id, &change).await? {
        duties::perform(replica, &[id.to_owned()]).await?;
    }
    Ok(())
}

fn event(replica: &Replica, state: &str) -> String {
    format!(r#"{{"ts":{},"state":"{state}"}}"#, replica.now())
}

fn fence(id: &str, record: &Fields) -> Transition {
    Transition {
        id: id.to_owned(),
        from: vec!["APPROVAL_REQUIRED"],
        rev: text(record, "rev").parse().ok(),
        ..Transition::default()
    }
}

/// Apply under the job's lock unless somebody keeps it; tell whether the job moved.
async fn apply(replica: &Rc<Replica>, id: &str, change: &Transition) -> Result<bool, Unavailable> {
    let lock = store::job_lock(id);
    for _ in 0..4 {
        let take = command!["SET", lock, replica.instance, "NX", "PX", LOCK_MS];
        if replica.execute(take).await?.is_some() {
            replica.step("approvals.move").await;
            let reply = replica.change(change).await;
            let token = replica.instance.clone().into_bytes();
            // A lock that is not given back ends by its time to live.
            let _ = replica.execute(script("lock_release", &lock, vec![token])).await;
            return reply.map(|reply| matches!(reply, Reply::Moved { .. }));
        }
        sleep(&replica.world, 500 * MILLI).await;
    }
    Ok(false)
}
