//! From judgements to one atomic change per job, and from the store's replies to what is published (scheduler spec §5–§9).

use std::sync::Arc;

use cordum_wire::messages::{DispatchIdentity, JobRequest, JobStatus};
use cordum_wire::saga::{role, Role};
use cordum_wire::stored::{event, request_to_store, Context};
use cordum_wire::{put_request_fields, record_tenant, Transition, TRACE_CONTEXT};
use serde_json::Value;

use crate::draft::{set_deadline, Draft};
use crate::fairness::{contests, Claim, Turns};
use crate::intake::About;
use crate::job_config::{self, JobConfig};
use crate::matching::{Matcher, Target};
use crate::outgoing::{self, Outgoing, SUBJECT_ACCEPTED, SUBJECT_DLQ};
use crate::reply::Reply;
use crate::submit::{Item, Judgement, SubmitPlan, Verdict};
use crate::transitions;
use crate::workers::{Mode, WorkerTable};

/// What a committed change leads to.
#[derive(Clone, Debug)]
pub enum Effect {
    Dispatch {
        target: Target,
        identity: DispatchIdentity,
        constraints: Value,
        /// Why the job runs without a policy answer; empty when it has one.
        bypass: String,
    },
    End {
        status: JobStatus,
        code: String,
        reason: String,
        dead_letter: bool,
    },
    Park {
        cause: &'static str,
        pools: Vec<String>,
    },
    Hold,
}

/// One change on its way to the store.
#[derive(Debug)]
pub struct Planned {
    pub item: usize,
    pub partition: u32,
    pub packed: Vec<u8>,
    /// The state it asks for.
    pub to: &'static str,
    pub effect: Effect,
}

/// What is needed to roll a dispatch back, or to forget its routing failures once it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    pub job_id: String,
    /// Metric label.
    pub topic: String,
    /// Routing failures since the last confirmed dispatch.
    pub failures: i64,
    /// Revision of the record that names the dispatch: whoever takes the dispatch over moves on from it.
    pub rev: i64,
}

/// Result of applying the store's replies.
#[derive(Debug, Default)]
pub struct Applied {
    pub dispatches: Vec<Outgoing>,
    pub events: Vec<Outgoing>,
    /// tenant, job id, open, active: for the tenant sets.
    pub tenants: Vec<(String, String, bool, bool)>,
    /// tenant, job id of admitted jobs that somebody else moved first. Their state has to be read anew: what the reply says may
    /// be older than the admission.
    pub contested: Vec<(String, String)>,
    /// tenant, job id of all jobs that changed, but for the dispatched ones.
    pub touched: Vec<(String, String)>,
    /// tenant, job id of dead letters written.
    pub dead_letters: Vec<(String, String)>,
    /// worker id, job id.
    pub assignments: Vec<(String, String)>,
    /// Jobs whose duties are done once `events` are published, with the revision that named them.
    pub duties: Vec<(String, i64)>,
    /// Pools somebody waits for now.
    pub waiting: Vec<String>,
    /// Metric, topic, count 1 each.
    pub counts: Vec<(&'static str, String)>,
    /// job id, tenant, topic label, reason of jobs admitted without a policy answer.
    pub bypassed: Vec<(String, String, String, String)>,
    /// Seconds from arrival to commit are not measured here; arrival per dispatched job, µs.
    pub arrivals: Vec<(String, i64)>,
    /// tenant, job id of jobs that got a slot of their tenant and wait all the same.
    pub released: Vec<(String, String)>,
    /// One per dispatch, in their order.
    pub undo: Vec<Undo>,
    /// Job id and configuration of dispatches that point to it; it has to be stored before they are published.
    pub configs: Vec<(String, Arc<JobConfig>)>,
    /// Job id and W3C trace headers of dispatches that carry some.
    pub traces: Vec<(String, String)>,
}

/// Transition that creates the record of a job submitted on the bus.
pub fn creation(item: &Item, now_us: i64) -> Transition {
    let mut change = creation_of(&item.request, &item.trace_id, now_us);
    change.set_if(TRACE_CONTEXT, &item.trace_context);
    change
}

/// Transition that creates the record of a request in state PENDING.
pub(crate) fn creation_of(request: &JobRequest, trace_id: &str, now_us: i64) -> Transition {
    let mut change = Transition {
        id: request.job_id.clone(),
        from: vec![""],
        to: "PENDING",
        req: Some(request_to_store(request)),
        ..Transition::default()
    };
    put_request_fields(&mut change, request, trace_id);
    let context = Context {
        recorded: true,
        ..Context::default()
    };
    change
        .events
        .push(event(&request.job_id, now_us, "PENDING", &context));
    if let Some(deadline_ms) = request
        .budget
        .as_ref()
        .map(|budget| budget.deadline_ms)
        .filter(|ms| *ms > 0)
    {
        set_deadline(
            &mut change,
            now_us.saturating_add(deadline_ms.saturating_mul(1000)),
        );
    }
    change
}

impl SubmitPlan {
    /// Match workers and build every change of the batch. `entropy` gives four unguessable bytes per item.
    pub fn commits(&mut self, table: &mut WorkerTable, entropy: &[u8], now_us: i64) -> Vec<Planned> {
        let surroundings = self.surroundings.clone();
        let config = &surroundings.config;
        let mut matcher = Matcher::new(table, config, surroundings.replicas, now_us);
        let mut planned = Vec::with_capacity(self.items.len());
        let (contests, others) = self.contests(&mut matcher, now_us);
        for index in others {
            planned.extend(self.change(index, &mut matcher, entropy, now_us));
        }
        for (pool, claims) in contests {
            let weight_of = |tenant: &str| config.tenant_weight(tenant);
            let mut turns = Turns::new(&pool, claims, weight_of, &matcher.table().rotation);
            while let Some(index) = turns.take() {
                let change = self.change(index, &mut matcher, entropy, now_us);
                let placed = |plan: &Planned| matches!(plan.effect, Effect::Dispatch { .. });
                turns.settle(change.as_ref().is_some_and(placed));
                planned.extend(change);
            }
            turns.finish(&mut matcher.table().rotation);
        }
        planned
    }

    /// The jobs that ask for a worker, by the pools they compete for, and the positions of all others.
    fn contests(&self, matcher: &mut Matcher<'_>, now_us: i64) -> (Vec<(String, Vec<Claim>)>, Vec<usize>) {
        let (mut claims, mut others) = (Vec::new(), Vec::new());
        for (index, item) in self.items.iter().enumerate().filter(|(_, item)| item.open) {
            let route = item.asks_for_worker().then(|| matcher.pools(&item.request).ok());
            let Some(pools) = route.flatten() else {
                others.push(index);
                continue;
            };
            let claim = Claim {
                item: index,
                tenant: record_tenant(&item.request).to_owned(),
                class: item.class(now_us),
                arrived_us: item.arrival_us(),
            };
            claims.push((claim, pools));
        }
        (contests(claims), others)
    }

    fn change(
        &mut self,
        index: usize,
        matcher: &mut Matcher<'_>,
        entropy: &[u8],
        now_us: i64,
    ) -> Option<Planned> {
        let item = self.items.get_mut(index)?;
        let judgement = item.judgement.take();
        let item = &*item;
        let random = entropy
            .chunks_exact(4)
            .nth(index)
            .map_or(0, |b| b.iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte)));
        let mut draft = Draft::new(item, &self.surroundings.instance, now_us);
        let config = &self.surroundings.config;
        let effect = draft.plan(judgement, matcher, random, &mut self.jitter, config);
        Some(Planned {
            item: index,
            partition: cordum_wire::partition(&item.request.job_id, self.surroundings.partitions),
            packed: draft.change.pack(),
            to: draft.change.to,
            effect,
        })
    }

    /// Tenant set changes of the planned dispatches (tenant, job id, open, active). They belong into the same step as the commits:
    /// after the publish, a quick result could be handled by another replica before them, and the job would stay listed for ever.
    pub fn admissions(&self, planned: &[Planned]) -> Vec<(String, String, bool, bool)> {
        planned
            .iter()
            .filter(|plan| matches!(plan.effect, Effect::Dispatch { .. }))
            .filter_map(|plan| self.items.get(plan.item))
            .map(|item| {
                let tenant = record_tenant(&item.request).to_owned();
                (tenant, item.request.job_id.clone(), true, true)
            })
            .collect()
    }

    /// Turn replies (one per planned change, same order) into publishes, counts and verdicts.
    pub fn apply(
        &mut self,
        planned: Vec<Planned>,
        replies: &[Reply],
        table: &mut WorkerTable,
        now_us: i64,
    ) -> Applied {
        let mut applied = Applied::default();
        let mut conflicts = Vec::new();
        for (position, plan) in planned.into_iter().enumerate() {
            let reply = replies.get(position).cloned().unwrap_or(Reply::Failed);
            let Some(item) = self.items.get_mut(plan.item) else {
                continue;
            };
            let message = item.message;
            let verdict = match reply {
                Reply::Moved { rev, .. } => {
                    if item.gives_slot_back(&plan.effect) {
                        let tenant = record_tenant(&item.request).to_owned();
                        applied.released.push((tenant, item.request.job_id.clone()));
                    }
                    if let Effect::Dispatch { target, identity, .. } = &plan.effect {
                        let (worker, id) = (&identity.assigned_worker_id, &identity.dispatch_id);
                        if target.mode == Mode::Direct {
                            let request = &item.request;
                            table
                                .evidence
                                .dispatched(worker, &request.job_id, id, &request.topic, now_us);
                        }
                    }
                    moved(
                        &mut applied,
                        item,
                        plan.effect,
                        rev,
                        &self.surroundings.config,
                        now_us,
                    );
                    Verdict::Ack
                }
                other => {
                    if let Effect::Dispatch { target, .. } = &plan.effect {
                        table.refund(&target.worker_id);
                        let tenant = record_tenant(&item.request).to_owned();
                        applied.contested.push((tenant, item.request.job_id.clone()));
                    }
                    if is_request_conflict(&other) {
                        conflicts.push(About {
                            job_id: item.request.job_id.clone(),
                            tenant: record_tenant(&item.request).to_owned(),
                            topic: item.request.topic.clone(),
                            sender: item.sender.clone(),
                        });
                    }
                    refused(&mut applied, &other, plan.to)
                }
            };
            self.settle(message, verdict);
        }
        for about in conflicts {
            self.report("request_conflict", about);
        }
        applied
    }
}

impl Item {
    fn asks_for_worker(&self) -> bool {
        let admitted = matches!(
            self.judgement,
            Some(Judgement::Allow { .. } | Judgement::Bypass { .. })
        );
        admitted && self.over_limit.is_none() && !self.is_gate()
    }

    /// A slot reserved for a job that waits again would keep others of its tenant waiting. A job that was SCHEDULED before has
    /// a slot of its own.
    fn gives_slot_back(&self, effect: &Effect) -> bool {
        let reserved = self.limit.is_some() && self.over_limit.is_none();
        reserved && self.state() != "SCHEDULED" && matches!(effect, Effect::Park { .. })
    }
}

fn refused(applied: &mut Applied, reply: &Reply, to: &str) -> Verdict {
    match reply {
        Reply::Conflict { why, state } | Reply::Ignored { why, state } => {
            applied.counts.push(("conflict", why.clone()));
            applied.counts.extend(transitions::forbidden(why, state, to));
            match why.as_str() {
                _ if state.is_empty() => Verdict::Nak(1_000_000),
                "rev" | "attempt" if !is_settled(state) => Verdict::Nak(500_000),
                _ => Verdict::Ack,
            }
        }
        _ => Verdict::Nak(1_000_000),
    }
}

fn is_request_conflict(reply: &Reply) -> bool {
    matches!(reply, Reply::Conflict { why, .. } if why == "request_hash")
}

fn is_settled(state: &str) -> bool {
    !matches!(state, "PENDING" | "SCHEDULED" | "RETRYING")
}

/// A job that was moved: what is told of it.
struct Moved<'a> {
    applied: &'a mut Applied,
    job_id: String,
    tenant: String,
    /// Metric label.
    topic: String,
    rev: i64,
    now_us: i64,
}

fn moved(
    applied: &mut Applied,
    item: &mut Item,
    effect: Effect,
    rev: i64,
    config: &crate::config::Config,
    now_us: i64,
) {
    let topic = config.metric_topic(&item.request.topic).to_owned();
    if item.is_new() {
        applied.counts.push(("received", topic.clone()));
    }
    let moved = Moved {
        job_id: item.request.job_id.clone(),
        tenant: record_tenant(&item.request).to_owned(),
        topic,
        rev,
        now_us,
        applied,
    };
    if !matches!(effect, Effect::Dispatch { .. }) {
        let who = (moved.tenant.clone(), moved.job_id.clone());
        moved.applied.touched.push(who);
    }
    match effect {
        Effect::Dispatch {
            target,
            identity,
            constraints,
            bypass,
        } => moved.dispatched(item, target, identity, &constraints, bypass),
        Effect::End {
            status,
            code,
            reason,
            dead_letter,
        } => moved.ended(item, status, &code, &reason, dead_letter),
        Effect::Park { cause, pools } => {
            moved.applied.waiting.extend(pools);
            moved.applied.counts.push((cause, moved.topic));
        }
        Effect::Hold => moved.applied.counts.push(("held", moved.topic)),
    }
}

impl Moved<'_> {
    fn dispatched(
        self,
        item: &mut Item,
        target: Target,
        identity: DispatchIdentity,
        constraints: &Value,
        bypass: String,
    ) {
        let applied = self.applied;
        applied.undo.push(Undo {
            job_id: self.job_id.clone(),
            topic: self.topic.clone(),
            failures: item.number("route_failures"),
            rev: self.rev,
        });
        let mut request = std::mem::take(&mut item.request);
        outgoing::apply_constraints(&mut request, constraints);
        if let Some(config) = item.config.as_ref() {
            if job_config::attach(&mut request, &config.worker) {
                applied.configs.push((self.job_id.clone(), Arc::clone(config)));
            }
        }
        if !bypass.is_empty() {
            outgoing::mark_bypass(&mut request, &bypass);
            let who = (self.job_id.clone(), self.tenant, self.topic.clone(), bypass);
            applied.bypassed.push(who);
        }
        if !item.traced().is_empty() {
            let traced = (self.job_id.clone(), item.traced().to_owned());
            applied.traces.push(traced);
        }
        if target.mode == Mode::Direct {
            applied.assignments.push((target.worker_id, self.job_id));
        }
        let out = outgoing::dispatch(request, &item.trace_id, identity, &target.subject, self.now_us);
        applied.dispatches.push(out);
        applied.arrivals.push((self.topic.clone(), item.arrived_us));
        applied.counts.push(("dispatched", self.topic));
    }

    fn ended(self, item: &Item, status: JobStatus, code: &str, reason: &str, dead_letter: bool) {
        let applied = self.applied;
        let result = outgoing::own_result(&self.job_id, status, code, reason, "");
        let mut tell = |subject, result| {
            let event = outgoing::result(subject, result, &item.trace_id, self.now_us);
            applied.events.push(event);
        };
        if dead_letter {
            tell(SUBJECT_DLQ, result.clone());
            applied
                .dead_letters
                .push((self.tenant.clone(), self.job_id.clone()));
        }
        tell(SUBJECT_ACCEPTED, result);
        applied
            .tenants
            .push((self.tenant, self.job_id.clone(), false, false));
        applied.duties.push((self.job_id, self.rev));
        if status == JobStatus::Denied {
            applied.counts.push(("denied", self.topic.clone()));
        }
        if dead_letter && role(&item.request) == Role::Compensation {
            applied.counts.push(("saga_compensation_failed", String::new()));
        }
        applied.counts.push((completed_word(status), self.topic));
    }
}

/// Label value of `cordum_jobs_completed_total{status}`, prefixed to keep the count names apart.
pub fn completed_word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Succeeded => "completed:succeeded",
        JobStatus::Denied => "completed:denied",
        JobStatus::Timeout => "completed:timeout",
        JobStatus::Cancelled => "completed:cancelled",
        JobStatus::FailedRetryable => "completed:failed_retryable",
        _ => "completed:failed",
    }
}

/// Enum name of a status, e.g. `JOB_STATUS_FAILED`.
pub fn status_name(status: JobStatus) -> String {
    let word = match status {
        JobStatus::Unspecified => "UNSPECIFIED",
        JobStatus::Pending => "PENDING",
        JobStatus::Scheduled => "SCHEDULED",
        JobStatus::Dispatched => "DISPATCHED",
        JobStatus::Running => "RUNNING",
        JobStatus::Succeeded => "SUCCEEDED",
        JobStatus::Failed => "FAILED",
        JobStatus::Cancelled => "CANCELLED",
        JobStatus::Denied => "DENIED",
        JobStatus::Timeout => "TIMEOUT",
        JobStatus::FailedRetryable => "FAILED_RETRYABLE",
        JobStatus::FailedFatal => "FAILED_FATAL",
    };
    format!("JOB_STATUS_{word}")
}
