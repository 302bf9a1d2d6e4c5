//! One change of a submit batch: from a judgement and a matched worker to a packed transition (scheduler spec §5, §6, §8, §9).

use cordum_wire::messages::{DispatchIdentity, JobStatus, PolicyCheckResponse};
use cordum_wire::{decision_word, record_tenant, DeadLetter, Transition};
use serde_json::Value;

use crate::backoff::{route_delay_us, safety_delay_us};
use crate::commit::{status_name, Effect};
use crate::matching::{Matcher, Target};
use crate::outgoing::{self, budget_of};
use crate::submit::{Item, Judgement, MAX_ROUTE_FAILURES};
use crate::workers::Mode;
use cordum_wire::stored::{event, Context};

const THROTTLE_US: i64 = 5_000_000;
const TENANT_LIMIT_US: i64 = 2_000_000;
/// Fields of a human's answer (scheduler spec §3.1).
const RESOLUTION: [&str; 11] = [
    "approval_decision",
    "approval_by",
    "approval_role",
    "approval_at",
    "approval_reason",
    "approval_note",
    "approval_policy_snapshot",
    "approval_job_hash",
    "approval_publish_status",
    "approval_publish_target",
    "approval_published_at",
];

/// Builder of one change.
pub(crate) struct Draft<'a> {
    pub(crate) item: &'a Item,
    instance: &'a str,
    pub(crate) now_us: i64,
    pub(crate) change: Transition,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(item: &'a Item, instance: &'a str, now_us: i64) -> Self {
        let mut change = Transition {
            id: item.request.job_id.clone(),
            from: vec![item.state()],
            to: item.state(),
            rev: item.record.as_ref().map(crate::record::Record::revision),
            hash: Some(item.hash.clone()),
            ..Transition::default()
        };
        if item.message.is_none() && item.text("next_attempt_at").is_empty() {
            // It was made due by a sweep: nothing in the record tells the store of the entry that has to go.
            change.retry = Some(0);
        }
        if item.text("approval_publish_status") == "pending" {
            // The approval has reached us: nobody needs to publish it again.
            change.set.insert("approval_publish_status", "published".into());
            change.set.insert("approval_published_at", now_us.to_string());
        }
        Draft {
            item,
            instance,
            now_us,
            change,
        }
    }

    pub(crate) fn plan(
        &mut self,
        judgement: Option<Judgement>,
        matcher: &mut Matcher<'_>,
        random: u32,
        jitter: &mut crate::backoff::Jitter,
        config: &crate::config::Config,
    ) -> Effect {
        let failures = self.item.number("route_failures");
        let is_over = matches!(judgement, Some(Judgement::Unfit { .. } | Judgement::Altered));
        if !is_over && failures >= MAX_ROUTE_FAILURES {
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
            Some(Judgement::Unavailable { reason, .. }) => self.unavailable(&reason, jitter),
            Some(Judgement::Bypass { reason }) => {
                self.record_no_answer(&reason);
                self.allow(Value::Null, &reason, matcher, random, jitter, config)
            }
            Some(Judgement::Altered) => self.refuse_altered(),
            Some(Judgement::Unfit { code, reason }) => self.fail(code, reason),
            Some(Judgement::Throttle { response }) => {
                self.record_decision(&response, "THROTTLE", None);
                self.park("throttle", THROTTLE_US, Vec::new(), false)
            }
            Some(Judgement::Deny { response }) => self.deny(&response),
            Some(Judgement::Approval { response }) => self.hold(&response),
            Some(Judgement::Allow {
                constraints,
                response,
            }) => {
                self.record_decision(&response, decision_word(&response), Some(&constraints));
                self.allow(constraints, "", matcher, random, jitter, config)
            }
        }
    }

    fn allow(
        &mut self,
        constraints: Value,
        bypass: &str,
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
        if let Some(cause) = self.item.over_limit {
            return self.park(cause, TENANT_LIMIT_US, Vec::new(), false);
        }
        let pools = matcher.pools(&self.item.request);
        let target = pools
            .clone()
            .and_then(|pools| matcher.pick(&self.item.request, &pools));
        match target {
            Ok(target) => self.dispatch(target, constraints, bypass, random, config),
            Err(miss) => {
                let delay = route_delay_us(self.item.number("route_failures"), jitter);
                let pools = pools.map(|pools| pools.to_vec()).unwrap_or_default();
                self.line_up(&pools, matcher, config);
                self.park(miss.cause(), delay, pools, true)
            }
        }
    }

    /// Give the job its places in the lines of its pools; one that stands there keeps the places it has.
    fn line_up(&mut self, pools: &[String], matcher: &mut Matcher<'_>, config: &crate::config::Config) {
        if pools.is_empty() || self.item.text("wait_pools") == pools.join(",") {
            return;
        }
        let tenant = record_tenant(&self.item.request);
        let (class, weight) = (self.item.class(self.now_us), config.tenant_weight(tenant));
        let lines = &mut matcher.table().lines;
        self.change.wait_at = pools
            .iter()
            .map(|pool| lines.place(pool, tenant, class, weight, self.now_us).to_string())
            .collect();
    }

    fn dispatch(
        &mut self,
        target: Target,
        constraints: Value,
        bypass: &str,
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
            self.change.del.push("failure_reason");
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
        let wait_ms = self.since_arrival_ms();
        self.event("SCHEDULED", &Context::default());
        let context = Context {
            worker_id: &assigned,
            pool: &target.pool,
            strategy: "least_loaded",
            wait_ms: Some(wait_ms),
            ..Context::default()
        };
        self.event("DISPATCHED", &context);
        let identity = DispatchIdentity {
            dispatch_id,
            attempt,
            assigned_worker_id: assigned,
        };
        Effect::Dispatch {
            target,
            identity,
            constraints,
            bypass: bypass.to_owned(),
        }
    }

    fn deny(&mut self, response: &PolicyCheckResponse) -> Effect {
        self.record_decision(response, "DENY", None);
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
            &Context {
                rule,
                reason,
                eval_ms: self.item.eval_ms(),
                error_code: code,
                error_msg: reason,
                duration_ms: Some(self.since_arrival_ms()),
                ..Context::default()
            },
        );
        self.finish(JobStatus::Denied, state, code, reason, true)
    }

    /// Whether a human may still be asked: a job that was admitted before has no way back to the question.
    pub(crate) fn may_hold(&self) -> bool {
        self.item.state() == "PENDING"
    }

    fn hold(&mut self, response: &PolicyCheckResponse) -> Effect {
        self.record_decision(response, "REQUIRE_APPROVAL", None);
        if !self.may_hold() {
            return self.refuse(
                "safety_denied",
                "safety: denied: approval is required since a policy change",
                &response.rule_id,
            );
        }
        self.change.to = "APPROVAL_REQUIRED";
        // Without the record we cannot know whether a human has answered meanwhile. With it, its revision fences this change, and
        // an approval that does not count any more (policy spec §16.3) is asked for anew.
        self.change.not_approved = self.item.record.is_none();
        let revision = self.forget_resolution();
        let pinned = self.item.text("safety_job_hash");
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
        set.insert("approval_revision", revision.to_string());
        let context = Context {
            rule: &response.rule_id,
            reason: &response.reason,
            eval_ms: self.item.eval_ms(),
            ..Context::default()
        };
        self.event("APPROVAL_REQUIRED", &context);
        Effect::Hold
    }

    /// Drop what a human said about an earlier revision; return the revision of the new question.
    fn forget_resolution(&mut self) -> i64 {
        let before = self.item.number("approval_revision");
        if !self.item.text("approval_decision").is_empty() {
            self.change.del.extend(RESOLUTION);
            for field in RESOLUTION {
                self.change.set.remove(field);
            }
        }
        before + 1
    }

    /// The stored request is not the submitted or not the approved one: it never runs, whatever the policy says of it.
    fn refuse_altered(&mut self) -> Effect {
        // The fence on the request hash would refuse this very change; the revision fences it.
        self.change.hash = None;
        if self.item.text("safety_approval_required") != "true" {
            let reason = "safety: denied: the stored request is not the submitted one";
            return self.refuse("safety_denied", reason, "");
        }
        let set = &mut self.change.set;
        set.insert("approval_status", "invalidated".into());
        set.insert("approval_actionability", "invalidated".into());
        set.insert("approval_decision", "invalidate".into());
        let reason = "safety: denied: the stored request is not the approved one";
        self.refuse("safety_denied", reason, "")
    }

    fn unavailable(&mut self, reason: &str, jitter: &mut crate::backoff::Jitter) -> Effect {
        self.record_no_answer(reason);
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
        if self.item.text("parked_at").is_empty() {
            self.change.set.insert("parked_at", self.now_us.to_string());
        }
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
            &Context {
                error_code: code,
                error_msg: reason,
                duration_ms: Some(self.since_arrival_ms()),
                ..Context::default()
            },
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

    /// Time since the job came to us, ms.
    fn since_arrival_ms(&self) -> i64 {
        let since = self
            .item
            .record
            .as_ref()
            .map_or(self.item.arrived_us, |record| record.number("created_at"));
        (self.now_us - since).max(0) / 1000
    }

    fn event(&mut self, state: &str, context: &Context<'_>) {
        self.change
            .events
            .push(event(&self.change.id, self.now_us, state, context));
    }
}

pub(crate) fn set_deadline(change: &mut Transition, at_us: i64) {
    change.deadline = Some(at_us);
    change.set.insert("deadline_unix", at_us.to_string());
}
