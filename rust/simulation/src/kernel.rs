//! The safety kernel: gives each job the verdicts of its plan, in order, the last one for ever.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use cordum_wire::messages::{
    BatchItem, BatchResponse, BudgetConstraints, PolicyCheckRequest, PolicyCheckResponse, PolicyConstraints,
};
use prost::Message;

use crate::plan::Verdict;
use crate::world::{sleep, World, MILLI, SECOND};

/// State of the kernel.
#[derive(Default)]
pub struct Kernel {
    pub down_until: Cell<i64>,
    asked: RefCell<BTreeMap<String, usize>>,
    version: Cell<u32>,
}

impl Kernel {
    /// Load another policy.
    pub fn change_policy(&self) {
        self.version.set(self.version.get() + 1);
    }

    /// Name of the policy in force.
    pub fn snapshot(&self) -> String {
        format!("v{}:abc", self.version.get())
    }
}

/// `EvaluateBatch` on serialized requests; None when there is no answer in time.
pub async fn evaluate(world: &Rc<World>, requests: &[Vec<u8>]) -> Option<Vec<u8>> {
    let delay = world.latency();
    sleep(world, delay).await;
    if world.kernel.down_until.get() > world.now() || world.fault(15) {
        let wait = world.range(MILLI, 2 * SECOND);
        sleep(world, wait).await;
        return None;
    }
    let items = requests.iter().map(|request| answer(world, request)).collect();
    let policy_snapshot = world.kernel.snapshot();
    let delay = world.latency();
    sleep(world, delay).await;
    Some(
        BatchResponse {
            items,
            policy_snapshot,
        }
        .encode_to_vec(),
    )
}

fn answer(world: &Rc<World>, request: &[u8]) -> BatchItem {
    let Ok(request) = PolicyCheckRequest::decode(request) else {
        return BatchItem {
            code: 3,
            ..BatchItem::default()
        };
    };
    let Some(plan) = world.plan.jobs.iter().find(|job| job.id == request.job_id) else {
        return BatchItem {
            code: 5,
            ..BatchItem::default()
        };
    };
    let mut asked = world.kernel.asked.borrow_mut();
    let count = asked.entry(request.job_id.clone()).or_default();
    let verdict = plan.verdicts[(*count).min(plan.verdicts.len() - 1)];
    *count += 1;
    world.ghost.borrow_mut().judged(&request.job_id, verdict);
    let limits = BudgetConstraints {
        max_retries: plan.max_retries,
        max_concurrent_jobs: plan.max_concurrent,
        ..BudgetConstraints::default()
    };
    let limited = plan.max_retries > 0 || plan.max_concurrent > 0;
    let decision = match verdict {
        Verdict::Fault => {
            return BatchItem {
                code: 13,
                error: "broken".into(),
                ..BatchItem::default()
            }
        }
        Verdict::Allow if limited => 5,
        Verdict::Allow => 1,
        Verdict::Deny => 2,
        Verdict::Human => 3,
        Verdict::Throttle => 4,
    };
    let response = PolicyCheckResponse {
        decision,
        reason: "as planned".into(),
        rule_id: "r".into(),
        policy_snapshot: world.kernel.snapshot(),
        constraints: limited.then(|| PolicyConstraints {
            budgets: Some(limits),
            ..PolicyConstraints::default()
        }),
        ..PolicyCheckResponse::default()
    };
    BatchItem {
        response: response.encode_to_vec(),
        ..BatchItem::default()
    }
}
