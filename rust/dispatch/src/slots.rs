//! Limits on the active jobs of a tenant: by policy and by licence (scheduler spec §5 step 13).

use std::collections::BTreeMap;

use cordum_wire::record_tenant;

use crate::outgoing::budget_of;
use crate::submit::{Item, Judgement, SubmitPlan, MAX_ROUTE_FAILURES};

/// The limit that holds for one job, and the cause word of a job it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) jobs: i64,
    pub(crate) cause: &'static str,
}

/// Class, arrival, job id.
type Place = (u8, i64, String);

impl SubmitPlan {
    /// Jobs that need a slot of their tenant: tenant, limit, job ids in the order in which slots are given, lowest limit first.
    ///
    /// Slots are kept under the record's tenant: whoever ends the job knows no other.
    pub fn reservations(&mut self, now_us: i64) -> Vec<(String, i64, Vec<String>)> {
        let licensed = self.surroundings.config.max_concurrent_jobs;
        let mut wanted: BTreeMap<(String, i64), Vec<Place>> = BTreeMap::new();
        for item in self.items.iter_mut().filter(|item| item.open) {
            item.limit = item.limit_under(licensed);
            if let Some(limit) = item.limit {
                let place = (item.class(now_us), item.arrival_us(), item.request.job_id.clone());
                let tenant = record_tenant(&item.request).to_owned();
                wanted.entry((tenant, limit.jobs)).or_default().push(place);
            }
        }
        wanted
            .into_iter()
            .map(|((tenant, limit), mut jobs)| {
                jobs.sort_unstable();
                (tenant, limit, jobs.into_iter().map(|(_, _, id)| id).collect())
            })
            .collect()
    }

    /// Note which of `ids` got no slot.
    pub fn refused(&mut self, ids: &[String]) {
        let refused = |item: &&mut Item| ids.contains(&item.request.job_id);
        for item in self.items.iter_mut().filter(refused) {
            item.over_limit = item.limit.map(|limit| limit.cause);
        }
    }
}

impl Item {
    /// The limit this job has to find a slot under; `None` when it asks for no worker or nothing limits its tenant.
    fn limit_under(&self, licensed: i64) -> Option<Limit> {
        let asked = match &self.judgement {
            Some(Judgement::Allow { constraints, .. }) => budget_of(constraints, "maxConcurrentJobs"),
            Some(Judgement::Bypass { .. }) => 0,
            _ => return None,
        };
        if self.is_gate() || self.number("route_failures") >= MAX_ROUTE_FAILURES {
            return None;
        }
        let by_policy = (asked > 0).then_some(Limit {
            jobs: asked,
            cause: "tenant_limit",
        });
        let by_licence = (licensed > 0).then_some(Limit {
            jobs: licensed,
            cause: "tier_limit_exceeded",
        });
        // Of equal limits the policy's is named.
        [by_policy, by_licence]
            .into_iter()
            .flatten()
            .min_by_key(|limit| limit.jobs)
    }
}
