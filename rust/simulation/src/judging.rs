//! Policy and slots of a batch (`scheduler/safety.py`, `store/job_sets.py`).

use cordum_wire::messages::BatchRequest;
use prost::Message;

use crate::cluster::{script, Unavailable};
use crate::command;
use crate::kernel;
use crate::planner::submit::SubmitPlan;
use crate::redis::Resp;
use crate::replica::Replica;
use crate::store;
use crate::wrong::Wrong;

/// One attempt to judge a plan. Without an answer its jobs wait.
pub async fn judge(replica: &Replica, plan: &mut SubmitPlan) {
    let world = &replica.world;
    if plan.claims_approval() {
        if let Some(answer) = kernel::evaluate(world, &[]).await {
            note_snapshot(replica, &answer);
        }
    }
    let snapshot = replica.snapshot.borrow().clone();
    plan.judge_approved(&snapshot);
    plan.mismatches.clear();
    while plan.is_undecided() {
        let batches = plan.policy_batches();
        if batches.is_empty() {
            return;
        }
        let mut found = Vec::new();
        for requests in batches {
            let bytes = BatchRequest {
                requests: requests.clone(),
            }
            .encode_to_vec();
            let requests = BatchRequest::decode(&*bytes)
                .map(|batch| batch.requests)
                .unwrap_or_default();
            found.push((requests.len(), kernel::evaluate(world, &requests).await));
        }
        let answers: Vec<(usize, Option<&[u8]>)> = found
            .iter()
            .map(|(count, answer)| (*count, answer.as_deref()))
            .collect();
        let well = plan.decide(&answers, "no answer");
        found
            .iter()
            .filter_map(|(_, answer)| answer.as_deref())
            .for_each(|answer| note_snapshot(replica, answer));
        if !well {
            plan.give_up("safety kernel gave no decision", true);
        }
    }
}

fn note_snapshot(replica: &Replica, answer: &[u8]) {
    if let Ok(answer) = cordum_wire::messages::BatchResponse::decode(answer) {
        if !answer.policy_snapshot.is_empty() {
            replica.snapshot.replace(answer.policy_snapshot);
        }
    }
}

pub async fn reserve(replica: &Replica, plan: &mut SubmitPlan) -> Result<i64, Unavailable> {
    let now = replica.now();
    let wanted = plan.reservations(now);
    if wanted.is_empty() {
        return Ok(now);
    }
    let tenants: std::collections::BTreeSet<String> =
        wanted.iter().map(|(tenant, ..)| tenant.clone()).collect();
    let mut commands = vec![command![
        "SADD",
        store::TENANTS,
        tenants.into_iter().collect::<Vec<String>>()
    ]];
    for (tenant, limit, ids) in &wanted {
        let limit = if replica.world.is(Wrong::LimitIgnored) {
            limit + 5
        } else {
            *limit
        };
        let mut args = vec![now.to_string().into_bytes(), limit.to_string().into_bytes()];
        args.extend(ids.iter().map(|id| id.clone().into_bytes()));
        commands.push(script(
            "tenant_reserve",
            &store::tenant_set("active", tenant),
            args,
        ));
    }
    let replies = replica.all(commands).await?;
    let granted: Vec<String> = replies
        .iter()
        .skip(1)
        .flat_map(|reply| reply.list().iter().map(Resp::text))
        .collect();
    let refused: Vec<String> = wanted
        .into_iter()
        .flat_map(|(_, _, ids)| ids)
        .filter(|id| !granted.contains(id))
        .collect();
    plan.refused(&refused);
    Ok(now)
}
