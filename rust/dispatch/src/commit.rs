//! From judgements to one atomic change per job, and from the store's replies to what is published (scheduler spec §5–§9).

use cordum_wire::messages::{DispatchIdentity, JobStatus, PolicyCheckResponse};
use cordum_wire::{
    decision_word, put_request_fields, record_tenant, remediations_json, DeadLetter, Transition,
};
use serde_json::{json, Value};

use crate::backoff::{route_delay_us, safety_delay_us};
use crate::event::{event, Context, Decision};
use crate::matching::{Matcher, Target};
use crate::outgoing::{self, budget_of, Outgoing, SUBJECT_ACCEPTED, SUBJECT_DLQ};
use crate::reply::Reply;
use crate::submit::{Item, Judgement, SubmitPlan, Verdict, MAX_ROUTE_FAILURES};
use crate::workers::{Mode, WorkerTable};

const THROTTLE_US: i64 = 5_000_000;
const TENANT_LIMIT_US: i64 = 2_000_000;

/// What a committed change leads to.
#[derive(Clone, Debug)]
pub enum Effect {
    Dispatch {
        target: Target,
        identity: DispatchIdentity,
        constraints: Value,
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
    pub effect: Effect,
}

/// Result of applying the store's replies.
#[derive(Debug, Default)]
pub struct Applied {
    pub dispatches: Vec<Outgoing>,
    pub events: Vec<Outgoing>,
    /// tenant, job id, open, active: for the tenant sets.
    pub tenants: Vec<(String, String, bool, bool)>,
    /// tenant, job id of dead letters written.
    pub dead_letters: Vec<(String, String)>,
    /// worker id, job id.
    pub assignments: Vec<(String, String)>,
    /// Jobs whose duties are done once `events` are published.
    pub duties: Vec<String>,
    /// Pools somebody waits for now.
    pub waiting: Vec<String>,
    /// Metric, topic, count 1 each.
    pub counts: Vec<(&'static str, String)>,
    /// Seconds from arrival to commit are not measured here; arrival per dispatched job, µs.
    pub arrivals: Vec<(String, i64)>,
}

/// Transition that creates the record of a job submitted on the bus.
pub fn creation(item: &Item, now_us: i64) -> Transition {
    let mut change = Transition {
        id: item.request.job_id.clone(),
        from: vec![""],
        to: "PENDING",
        req: Some(cordum_wire::json::request_to_json(&item.request)),
        ..Transition::default()
    };
    put_request_fields(&mut change, &item.request, &item.trace_id);
    let meta = item.request.meta.as_ref();
    change.events.push(
        json!({"ts": now_us, "state": "PENDING", "ctx": {
            "topic": item.request.topic,
            "actor_id": meta.map_or("", |meta| meta.actor_id.as_str()),
            "capabilities": meta.map(|meta| vec![meta.capability.as_str()]).unwrap_or_default(),
            "risk_tags": meta.map(|meta| meta.risk_tags.clone()).unwrap_or_default(),
        }})
        .to_string(),
    );
    if let Some(deadline_ms) = item
        .request
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
        let mut matcher = Matcher::new(table, &surroundings.config, surroundings.replicas, now_us);
        let mut planned = Vec::with_capacity(self.items.len());
        for index in 0..self.items.len() {
            let Some(item) = self.items.get_mut(index).filter(|item| item.open) else {
                continue;
            };
            let judgement = item.judgement.take();
            let item = &*item;
            let random = entropy
                .chunks_exact(4)
                .nth(index)
                .map_or(0, |b| b.iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte)));
            let mut draft = Draft::new(item, &surroundings.instance, now_us);
            let effect = draft.plan(
                judgement,
                &mut matcher,
                random,
                &mut self.jitter,
                &surroundings.config,
            );
            planned.push(Planned {
                item: index,
                partition: cordum_wire::partition(&item.request.job_id, surroundings.partitions),
                packed: draft.change.pack(),
                effect,
            });
        }
        planned
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
        for (position, plan) in planned.into_iter().enumerate() {
            let reply = replies.get(position).cloned().unwrap_or(Reply::Failed);
            let Some(item) = self.items.get_mut(plan.item) else {
                continue;
            };
            let message = item.message;
            let verdict = match reply {
                Reply::Moved { .. } => {
                    moved(&mut applied, item, plan.effect, &self.surroundings.config, now_us);
                    Verdict::Ack
                }
                other => {
                    if let Effect::Dispatch { target, .. } = &plan.effect {
                        table.refund(&target.worker_id);
                        applied.tenants.extend(taken_back(item, &other));
                    }
                    refused(&mut applied, &other)
                }
            };
            self.settle(message, verdict);
        }
        applied
    }
}

fn refused(applied: &mut Applied, reply: &Reply) -> Verdict {
    match reply {
        Reply::Conflict { why, state } | Reply::Ignored { why, state } => {
            applied.counts.push(("conflict", why.clone()));
            match why.as_str() {
                _ if state.is_empty() => Verdict::Nak(1_000_000),
                "rev" | "attempt" if !is_settled(state) => Verdict::Nak(500_000),
                _ => Verdict::Ack,
            }
        }
        _ => Verdict::Nak(1_000_000),
    }
}

/// Tenant set change of a job somebody else moved first: its admission is replaced by what its state says.
fn taken_back(item: &Item, reply: &Reply) -> Option<(String, String, bool, bool)> {
    let (Reply::Conflict { state, .. } | Reply::Ignored { state, .. }) = reply else {
        return None;
    };
    let active = matches!(state.as_str(), "SCHEDULED" | "DISPATCHED" | "RUNNING");
    let open = active || matches!(state.as_str(), "PENDING" | "APPROVAL_REQUIRED" | "RETRYING");
    let tenant = record_tenant(&item.request).to_owned();
    (!active).then(|| (tenant, item.request.job_id.clone(), open, active))
}

fn is_settled(state: &str) -> bool {
    !matches!(state, "PENDING" | "SCHEDULED" | "RETRYING")
}

fn moved(
    applied: &mut Applied,
    item: &mut Item,
    effect: Effect,
    config: &crate::config::Config,
    now_us: i64,
) {
    let job_id = item.request.job_id.clone();
    let tenant = record_tenant(&item.request).to_owned();
    let topic = config.metric_topic(&item.request.topic).to_owned();
    if item.record.is_none() || item.state() == "PENDING" && item.number("route_failures") == 0 {
        applied.counts.push(("received", topic.clone()));
    }
    match effect {
        Effect::Dispatch {
            target,
            identity,
            constraints,
        } => {
            let mut request = std::mem::take(&mut item.request);
            outgoing::apply_constraints(&mut request, &constraints);
            if target.mode == Mode::Direct {
                applied.assignments.push((target.worker_id, job_id.clone()));
            }
            applied.dispatches.push(outgoing::dispatch(
                request,
                &item.trace_id,
                identity,
                &target.subject,
                now_us,
            ));
            applied.arrivals.push((topic.clone(), item.arrived_us));
            applied.counts.push(("dispatched", topic));
        }
        Effect::End {
            status,
            code,
            reason,
            dead_letter,
        } => {
            let result = outgoing::own_result(&job_id, status, &code, &reason, "");
            if dead_letter {
                applied.dead_letters.push((tenant.clone(), job_id.clone()));
                applied.events.push(outgoing::result(
                    SUBJECT_DLQ,
                    result.clone(),
                    &item.trace_id,
                    now_us,
                ));
            }
            applied
                .events
                .push(outgoing::result(SUBJECT_ACCEPTED, result, &item.trace_id, now_us));
            applied.tenants.push((tenant, job_id.clone(), false, false));
            applied.duties.push(job_id);
            if status == JobStatus::Denied {
                applied.counts.push(("denied", topic.clone()));
            }
            applied.counts.push((completed_word(status), topic));
        }
        Effect::Park { cause, pools } => {
            applied.waiting.extend(pools);
            applied.counts.push((cause, topic));
        }
        Effect::Hold => applied.counts.push(("held", topic)),
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

/// Builder of one change.
struct Draft<'a> {
    item: &'a Item,
    instance: &'a str,
    now_us: i64,
    change: Transition,
}

impl<'a> Draft<'a> {
    fn new(item: &'a Item, instance: &'a str, now_us: i64) -> Self {
        let change = Transition {
            id: item.request.job_id.clone(),
            from: vec![item.state()],
            to: item.state(),
            rev: item.record.as_ref().map(crate::record::Record::revision),
            hash: Some(item.hash.clone()),
            ..Transition::default()
        };
        Draft {
            item,
            instance,
            now_us,
            change,
        }
    }

    fn plan(
        &mut self,
        judgement: Option<Judgement>,
        matcher: &mut Matcher<'_>,
        random: u32,
        jitter: &mut crate::backoff::Jitter,
        config: &crate::config::Config,
    ) -> Effect {
        let failures = self.item.number("route_failures");
        if failures >= MAX_ROUTE_FAILURES {
            let last = self
                .item
                .record
                .as_ref()
                .map_or("", |record| record.text("last_cause"))
                .to_owned();
            let reason = format!("max scheduling retries exceeded (attempts={failures}, last={last})");
            return self.fail("max_scheduling_retries", &reason);
        }
        match judgement {
            None => self.unavailable("safety kernel gave no answer", jitter),
            Some(Judgement::Unavailable { reason }) => self.unavailable(&reason, jitter),
            Some(Judgement::Throttle { response }) => {
                self.record_decision(&response, "THROTTLE");
                self.park("throttle", THROTTLE_US, Vec::new(), false)
            }
            Some(Judgement::Deny { response }) => self.deny(&response),
            Some(Judgement::Approval { response }) => self.hold(&response),
            Some(Judgement::Allow {
                constraints,
                response,
            }) => {
                if let Some(response) = response {
                    self.record_decision(&response, decision_word(&response));
                }
                self.allow(constraints, matcher, random, jitter, config)
            }
        }
    }

    fn allow(
        &mut self,
        constraints: Value,
        matcher: &mut Matcher<'_>,
        random: u32,
        jitter: &mut crate::backoff::Jitter,
        config: &crate::config::Config,
    ) -> Effect {
        if self.item.is_gate() {
            return self.end(JobStatus::Succeeded, "SUCCEEDED", "", "", false);
        }
        let attempts = self.item.number("attempts");
        let budget = budget_of(&constraints, "maxRetries");
        if budget > 0 && attempts - self.item.number("rollbacks") > budget {
            return self.fail(
                "max_retries_exceeded",
                &format!("max retries exceeded (attempts={attempts}, max_retries={budget})"),
            );
        }
        if self.item.over_limit {
            return self.park("tenant_limit", TENANT_LIMIT_US, Vec::new(), false);
        }
        let pools = matcher.pools(&self.item.request);
        let target = pools
            .clone()
            .and_then(|pools| matcher.pick(&self.item.request, &pools));
        match target {
            Ok(target) => self.dispatch(target, constraints, random, config),
            Err(miss) => {
                let delay = route_delay_us(self.item.number("route_failures"), jitter);
                self.park(miss.cause(), delay, pools.unwrap_or_default(), true)
            }
        }
    }

    fn dispatch(
        &mut self,
        target: Target,
        constraints: Value,
        random: u32,
        config: &crate::config::Config,
    ) -> Effect {
        let attempt = self.item.number("attempts").unsigned_abs() + 1;
        let dispatch_id = format!("{}:{attempt}:{random:08x}", self.item.request.job_id);
        let assigned = if target.mode == Mode::Direct {
            target.worker_id.clone()
        } else {
            String::new()
        };
        self.change.to = "DISPATCHED";
        self.change.attempt = Some(attempt);
        self.change.incr.insert("attempts", 1);
        self.change.disp = Some(self.now_us);
        self.change.due = Some(self.now_us + config.dispatch_timeout_us());
        let set = &mut self.change.set;
        set.insert("dispatch_id", dispatch_id.clone());
        set.insert("dispatch_subject", target.subject.clone());
        set.insert("dispatched_at", self.now_us.to_string());
        set.insert("dispatched_by", self.instance.to_owned());
        set.insert("pool", target.pool.clone());
        if assigned.is_empty() {
            self.change.del.push("worker_id");
        } else {
            set.insert("worker_id", assigned.clone());
        }
        if self.item.record.is_some() {
            self.change
                .del
                .extend(["route_failures", "safety_defers", "failure_reason"]);
        }
        let own = self
            .item
            .request
            .budget
            .as_ref()
            .map_or(0, |budget| budget.deadline_ms);
        let limit = budget_of(&constraints, "maxRuntimeMs");
        let deadline_ms = [own, limit].into_iter().filter(|ms| *ms > 0).min();
        if let Some(deadline_ms) = deadline_ms {
            set_deadline(
                &mut self.change,
                self.now_us.saturating_add(deadline_ms.saturating_mul(1000)),
            );
        }
        let since = self
            .item
            .record
            .as_ref()
            .map_or(self.item.arrived_us, |record| record.number("created_at"));
        let wait_ms = (self.now_us - since).max(0) / 1000;
        self.event("SCHEDULED", None);
        let context = Context {
            worker_id: &assigned,
            pool: &target.pool,
            strategy: "least_loaded",
            wait_ms: Some(wait_ms),
            ..Context::default()
        };
        self.event("DISPATCHED", Some(context));
        let identity = DispatchIdentity {
            dispatch_id,
            attempt,
            assigned_worker_id: assigned,
        };
        Effect::Dispatch {
            target,
            identity,
            constraints,
        }
    }

    fn deny(&mut self, response: &PolicyCheckResponse) -> Effect {
        self.record_decision(response, "DENY");
        let code = if response.decision == 2 {
            "safety_denied"
        } else {
            "safety_unknown"
        };
        let reason = format!("safety: denied: {}", response.reason);
        self.refuse(code, &reason, &response.rule_id)
    }

    fn refuse(&mut self, code: &'static str, reason: &str, rule: &str) -> Effect {
        // RETRYING has no edge to DENIED (scheduler spec §2.2 †): FAILED is stored, the dead letter keeps the requested status.
        let state = if self.item.state() == "RETRYING" {
            "FAILED"
        } else {
            "DENIED"
        };
        self.event(
            state,
            Some(Context {
                rule,
                reason,
                error_code: code,
                ..Context::default()
            }),
        );
        self.finish(JobStatus::Denied, state, code, reason, true)
    }

    fn hold(&mut self, response: &PolicyCheckResponse) -> Effect {
        self.record_decision(response, "REQUIRE_APPROVAL");
        if self.item.state() != "PENDING" {
            return self.refuse(
                "safety_denied",
                "safety: denied: approval is required since a policy change",
                &response.rule_id,
            );
        }
        self.change.to = "APPROVAL_REQUIRED";
        self.change.not_approved = true;
        let pinned = self
            .item
            .record
            .as_ref()
            .map_or("", |record| record.text("safety_job_hash"));
        let hash = if pinned.is_empty() {
            &self.item.hash
        } else {
            pinned
        };
        let set = &mut self.change.set;
        set.insert("safety_job_hash", hash.to_owned());
        set.insert("safety_approval_required", "true".into());
        set.insert("safety_approval_ref", self.item.request.job_id.clone());
        set.insert("approval_status", "pending".into());
        set.insert("approval_actionability", "actionable".into());
        set.insert("approval_revision", "1".into());
        let context = Context {
            rule: &response.rule_id,
            reason: &response.reason,
            ..Context::default()
        };
        self.event("APPROVAL_REQUIRED", Some(context));
        Effect::Hold
    }

    fn unavailable(&mut self, reason: &str, jitter: &mut crate::backoff::Jitter) -> Effect {
        self.change.set.insert("safety_decision", "UNAVAILABLE".into());
        self.change.set.insert("safety_reason", reason.to_owned());
        self.change.incr.insert("safety_defers", 1);
        let delay = safety_delay_us(self.item.number("safety_defers"), jitter);
        self.park("safety_unavailable", delay, Vec::new(), false)
    }

    fn park(
        &mut self,
        cause: &'static str,
        delay_us: i64,
        pools: Vec<String>,
        route_failure: bool,
    ) -> Effect {
        // A job woken early, because its pool had room for somebody, keeps its place: no failure is counted.
        let planned = self.item.number("next_attempt_at");
        let early = route_failure && planned > self.now_us;
        let at = if early { planned } else { self.now_us + delay_us };
        let route_failure = route_failure && !early;
        self.change.retry = Some(at);
        self.change.wait.clone_from(&pools);
        self.change.set.insert("next_attempt_at", at.to_string());
        self.change.set.insert("last_cause", cause.to_owned());
        if route_failure {
            self.change.incr.insert("route_failures", 1);
        }
        Effect::Park { cause, pools }
    }

    fn fail(&mut self, code: &'static str, reason: &str) -> Effect {
        self.end(JobStatus::Failed, "FAILED", code, reason, true)
    }

    fn end(
        &mut self,
        status: JobStatus,
        state: &'static str,
        code: &'static str,
        reason: &str,
        dead_letter: bool,
    ) -> Effect {
        self.event(
            state,
            Some(Context {
                error_code: code,
                error_msg: reason,
                ..Context::default()
            }),
        );
        self.finish(status, state, code, reason, dead_letter)
    }

    fn finish(
        &mut self,
        status: JobStatus,
        state: &'static str,
        code: &'static str,
        reason: &str,
        dead_letter: bool,
    ) -> Effect {
        self.change.to = state;
        self.change.after = Some(if dead_letter {
            vec!["result", "dlq"]
        } else {
            vec!["result"]
        });
        if !reason.is_empty() {
            self.change.set.insert("failure_reason", reason.to_owned());
        }
        if dead_letter {
            self.change.dlq = Some(DeadLetter {
                status: status_name(status),
                reason: reason.to_owned(),
                reason_code: code.to_owned(),
                created_at: outgoing::rfc3339(self.now_us),
            });
        }
        Effect::End {
            status,
            code: code.to_owned(),
            reason: reason.to_owned(),
            dead_letter,
        }
    }

    fn event(&mut self, state: &str, context: Option<Context<'_>>) {
        self.change.events.push(event(self.now_us, state, context));
    }

    /// Decision record on the hash and in the decision list (scheduler spec §3.4, policy spec §16.1).
    fn record_decision(&mut self, response: &PolicyCheckResponse, word: &'static str) {
        let constraints = response
            .constraints
            .as_ref()
            .map_or(Value::Null, cordum_wire::constraints_json);
        let remediations = match response.remediations.as_slice() {
            [] => Value::Null,
            list => remediations_json(list),
        };
        let now = self.now_us;
        let entry = Decision {
            decision: word,
            reason: &response.reason,
            rule_id: &response.rule_id,
            policy_snapshot: &response.policy_snapshot,
            constraints: &constraints,
            remediations: &remediations,
            approval_required: response.approval_required,
            approval_ref: &response.approval_ref,
            job_hash: &self.item.hash,
            checked_at: now,
        };
        self.change.decision = Some(entry.to_json());
        self.change.decision_key = Some(format!(
            "{word}|{}|{}|{}",
            response.rule_id, response.policy_snapshot, response.reason
        ));
        self.change.set.insert("safety_decision", word.to_owned());
        self.change.set.insert("safety_checked_at", now.to_string());
        self.change.set_if("safety_reason", &response.reason);
        self.change.set_if("safety_rule_id", &response.rule_id);
        self.change.set_if("safety_snapshot", &response.policy_snapshot);
        if !constraints.is_null() {
            self.change
                .set
                .insert("safety_constraints", constraints.to_string());
        }
        if !remediations.is_null() {
            self.change
                .set
                .insert("safety_remediations", remediations.to_string());
        }
        if response.reason.is_empty() && self.item.record.is_some() {
            self.change.del.push("safety_reason");
        }
    }
}

fn set_deadline(change: &mut Transition, at_us: i64) {
    change.deadline = Some(at_us);
    change.set.insert("deadline_unix", at_us.to_string());
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
