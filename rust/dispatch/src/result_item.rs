//! One result of a batch: the change it asks for and what follows from its commit (scheduler spec §10).

use cordum_wire::messages::{JobResult, JobStatus};
use cordum_wire::{DeadLetter, Transition};

use crate::backoff::{route_delay_us, Jitter};
use crate::commit::{completed_word, status_name};
use crate::config::Config;
use crate::evidence::to_running;
use crate::outgoing::{self, SUBJECT_ACCEPTED, SUBJECT_DLQ};
use crate::output_check::OutputCheck;
use crate::output_effects::Course;
use crate::record::Record;
use crate::results::ResultsApplied;
use crate::retries;
use crate::submit::Surroundings;
use cordum_wire::stored::{event, Context};

/// States a result may end: everything that was dispatched at least once and is not over. A job that was never dispatched
/// (PENDING, APPROVAL_REQUIRED) cannot have a genuine result.
pub(crate) const OPEN: [&str; 4] = ["DISPATCHED", "RUNNING", "SCHEDULED", "RETRYING"];

/// What a record names as the agent of a worker that has none.

#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) message: usize,
    pub(crate) trace_id: String,
    pub(crate) result: JobResult,
    pub(crate) record: Option<Record>,
    /// Time of the dispatch this result ends, where the record was read.
    dispatched_us: i64,
    pub(crate) open: bool,
    /// The state the change asks for.
    pub(crate) to: &'static str,
    pub(crate) dead_letter: bool,
    /// The saga duty the change asks for.
    pub(crate) saga: Option<&'static str>,
    /// `retry.max_retries` of the job's configuration.
    pub(crate) retry_limit: Option<i64>,
    /// Its output check, when one was made.
    pub(crate) output: Option<Box<OutputCheck>>,
    /// It stays with the job until it can be checked.
    pub(crate) is_withheld: bool,
    /// What the dead letter says, when it is not the error text.
    pub(crate) letter_reason: Option<String>,
    /// The artifact its pointer names is its tenant's.
    pub(crate) is_own_artifact: bool,
    /// Its pointer named something else, and is gone.
    pub(crate) is_pointer_dropped: bool,
}

impl Item {
    pub(crate) fn new(message: usize, trace_id: String, mut result: JobResult) -> Self {
        if result.error_code_enum == 0 {
            result.error_code_enum = outgoing::error_code_enum(&result.error_code);
        }
        if JobStatus::try_from(result.status).is_err() {
            // A status nobody knows is a failure, for everybody who hears of it.
            result.status = JobStatus::Failed as i32;
        }
        Item {
            message,
            trace_id,
            result,
            record: None,
            dispatched_us: 0,
            open: true,
            to: "",
            dead_letter: false,
            saga: None,
            retry_limit: None,
            output: None,
            is_withheld: false,
            letter_reason: None,
            is_own_artifact: false,
            is_pointer_dropped: false,
        }
    }

    pub(crate) fn status(&self) -> JobStatus {
        JobStatus::try_from(self.result.status).unwrap_or(JobStatus::Failed)
    }

    pub(crate) fn is_retryable(&self) -> bool {
        self.status() == JobStatus::FailedRetryable
    }

    pub(crate) fn needs_record(&self) -> bool {
        let status = self.status();
        matches!(
            status,
            JobStatus::FailedRetryable | JobStatus::Running | JobStatus::Denied
        )
    }

    /// Why the result has no effect, as far as the record that was read tells.
    pub(crate) fn needless(&self) -> Option<&'static str> {
        if !self.needs_record() || self.status() == JobStatus::Denied {
            return None;
        }
        match self.record.as_ref().map_or("", Record::state) {
            "" => Some("unknown"),
            "DISPATCHED" => None,
            "RUNNING" if self.is_retryable() => None,
            // A retry is planned already, or the job runs or is over.
            _ => Some("duplicate"),
        }
    }

    /// The change this result asks for; `None` when it asks for nothing.
    pub(crate) fn change(
        &mut self,
        surroundings: &Surroundings,
        jitter: &mut Jitter,
        now_us: i64,
    ) -> Option<Transition> {
        let mut change = Transition {
            id: self.result.job_id.clone(),
            from: OPEN.to_vec(),
            ..Transition::default()
        };
        match &self.result.dispatch {
            Some(dispatch) if !dispatch.dispatch_id.is_empty() => {
                change.dispatch_id = Some(dispatch.dispatch_id.clone())
            }
            _ => change.worker_id = Some(self.result.worker_id.clone()),
        }
        let (code, reason) = (self.result.error_code.clone(), self.result.error_message.clone());
        match self.status() {
            JobStatus::Succeeded => match self.course() {
                Course::Accept => self.to = "SUCCEEDED",
                Course::Quarantine => self.quarantine(&mut change, now_us),
                Course::Withhold => return self.withhold(change),
            },
            JobStatus::Cancelled => self.to = "CANCELLED",
            JobStatus::Running => return Some(self.running(change, surroundings, now_us)),
            JobStatus::FailedRetryable => return self.retry(change, surroundings, jitter, now_us),
            JobStatus::Pending | JobStatus::Scheduled | JobStatus::Dispatched | JobStatus::Unspecified => {
                return None
            }
            JobStatus::Timeout => {
                self.dead(&mut change, "TIMEOUT", JobStatus::Timeout, &code, &reason, now_us)
            }
            JobStatus::Denied => {
                let to = self.denied(&mut change);
                self.dead(&mut change, to, JobStatus::Denied, &code, &reason, now_us);
            }
            JobStatus::Failed => self.dead(&mut change, "FAILED", JobStatus::Failed, &code, &reason, now_us),
            JobStatus::FailedFatal => self.dead(
                &mut change,
                "FAILED",
                JobStatus::FailedFatal,
                &code,
                &reason,
                now_us,
            ),
        }
        self.end(&mut change, now_us);
        Some(change)
    }

    /// The state of a job whose worker reports DENIED: only one that waits for its next dispatch has an edge to it, for any
    /// other FAILED is stored (scheduler spec §2.2 †).
    fn denied(&self, change: &mut Transition) -> &'static str {
        match self.record.as_ref() {
            Some(record) if record.state() == "SCHEDULED" => {
                let rev = record.revision();
                change.from = vec!["SCHEDULED"];
                change.rev = Some(rev);
                "DENIED"
            }
            _ => "FAILED",
        }
    }

    fn end(&mut self, change: &mut Transition, now_us: i64) {
        change.to = self.to;
        self.saga = match self.status() {
            JobStatus::Succeeded => Some("saga"),
            JobStatus::FailedFatal => Some("rollback"),
            _ => self.dead_letter.then_some("none"),
        };
        let mut after = vec!["result"];
        if self.dead_letter {
            after.push("dlq");
        }
        if self.needs_scan() {
            after.push("scan");
        }
        change.after = Some(after);
        self.put_output(change, now_us);
        self.put_artifacts(change);
        // A pointer may only name the job's own result or an artifact of its tenant; anything else is dropped (protocol
        // spec §10).
        let own = cordum_wire::result_pointer(&self.result.job_id);
        let is_copy = self
            .output
            .as_ref()
            .is_some_and(|check| check.record.redacted_ptr == self.result.result_ptr);
        if self.result.result_ptr != own && !is_copy && !self.is_own_artifact {
            self.is_pointer_dropped = !self.result.result_ptr.is_empty();
            self.result.result_ptr.clear();
        }
        change.set_if("result_ptr", &self.result.result_ptr);
        change.set.insert("worker_id", self.result.worker_id.clone());
        change
            .set
            .insert("execution_ms", self.result.execution_ms.to_string());
        change.set_if("failure_reason", &self.result.error_message);
        let context = Context {
            duration_ms: Some(self.result.execution_ms),
            error_code: &self.result.error_code,
            error_msg: &self.result.error_message,
            result_ptr: &self.result.result_ptr,
            worker_id: &self.result.worker_id,
            last_worker: true,
            ..self
                .output
                .as_deref()
                .map(OutputCheck::context)
                .unwrap_or_default()
        };
        change.events.push(event(&change.id, now_us, self.to, &context));
    }

    /// Note on the record which agent did the job (scheduler spec §10 row 6); a change that ends nothing says nothing of it.
    pub(crate) fn put_agent(&self, change: &mut Transition, config: &Config) {
        if !change.set.contains_key("execution_ms") {
            return;
        }
        // Readers take a record without one for the work of an unlinked worker.
        if let Some(agent) = config.agent_of(&self.result.worker_id) {
            change.set_if("agent_id", &agent.id);
            change.set_if("agent_name", &agent.name);
            change.set_if("agent_risk_tier", &agent.risk_tier);
        }
    }

    pub(crate) fn dead(
        &mut self,
        change: &mut Transition,
        state: &'static str,
        status: JobStatus,
        code: &str,
        reason: &str,
        now_us: i64,
    ) {
        self.to = state;
        self.dead_letter = true;
        change.dlq = Some(DeadLetter {
            status: status_name(status),
            reason: reason.to_owned(),
            reason_code: code.to_owned(),
            created_at: outgoing::rfc3339(now_us),
        });
    }

    fn running(&mut self, fence: Transition, surroundings: &Surroundings, now_us: i64) -> Transition {
        self.to = "RUNNING";
        let topic = self.record.as_ref().map_or("", |record| record.text("topic"));
        let due_us = now_us + surroundings.config.running_timeout_us(topic);
        Transition {
            dispatch_id: fence.dispatch_id,
            worker_id: fence.worker_id,
            ..to_running(fence.id, due_us, now_us)
        }
    }

    /// FAILED_RETRYABLE: another attempt within the budget, else FAILED (scheduler spec §9).
    fn retry(
        &mut self,
        mut change: Transition,
        surroundings: &Surroundings,
        jitter: &mut Jitter,
        now_us: i64,
    ) -> Option<Transition> {
        let record = self.record.take()?;
        self.dispatched_us = record.number("dispatched_at");
        let attempts = record.number("attempts");
        let limit = retries::limit(&record, &surroundings.config, self.retry_limit);
        let owned_by_workflow = retries::owned_by_workflow(&record);
        change.rev = Some(record.revision());
        if !owned_by_workflow && retries::charged(&record) > limit {
            let reason = format!("max retries exceeded (attempts={attempts}, max_retries={limit})");
            self.dead(
                &mut change,
                "FAILED",
                JobStatus::Failed,
                "max_retries_exceeded",
                &reason,
                now_us,
            );
            self.result.error_code = "max_retries_exceeded".into();
            self.result.error_message = reason;
            self.result.status = JobStatus::Failed as i32;
            self.end(&mut change, now_us);
            return Some(change);
        }
        self.to = "RETRYING";
        change.to = "RETRYING";
        change.after = Some(vec!["result"]);
        change.due = Some(if owned_by_workflow {
            now_us + surroundings.config.retrying_timeout_us()
        } else {
            0
        });
        if !owned_by_workflow {
            let at = now_us + route_delay_us(attempts - 1, jitter);
            change.retry = Some(at);
            change.set.insert("next_attempt_at", at.to_string());
            change.set.insert("last_cause", "failed_retryable".into());
        }
        let context = Context {
            error_code: &self.result.error_code,
            error_msg: &self.result.error_message,
            ..Context::default()
        };
        change
            .events
            .push(event(&change.id, now_us, "RETRYING", &context));
        Some(change)
    }

    pub(crate) fn moved(
        &self,
        applied: &mut ResultsApplied,
        state: &str,
        topic: &str,
        tenant: &str,
        surroundings: &Surroundings,
        now_us: i64,
    ) {
        let job_id = &self.result.job_id;
        let result = &self.result;
        if self.dead_letter {
            applied.dead_letters.push((tenant.to_owned(), job_id.clone()));
            let reason = self.letter_reason.as_ref().unwrap_or(&result.error_message);
            let code = &result.error_code;
            let dispatch_id = result.dispatch.as_ref().map_or("", |echo| &echo.dispatch_id);
            let letter = outgoing::own_result(job_id, self.status(), code, reason, dispatch_id);
            applied
                .events
                .push(outgoing::result(SUBJECT_DLQ, letter, &self.trace_id, now_us));
        }
        let is_quarantined = self.to == "OUTPUT_QUARANTINED";
        let mut told = result.clone();
        if is_quarantined {
            told.result_ptr.clear();
            told.artifact_ptrs.clear();
            told.result_ref = None;
            told.artifact_refs.clear();
        }
        applied
            .events
            .push(outgoing::result(SUBJECT_ACCEPTED, told, &self.trace_id, now_us));
        if state == "RETRYING" {
            applied
                .retrying
                .push((tenant.to_owned(), job_id.clone(), self.dispatched_us));
        } else {
            applied
                .tenants
                .push((tenant.to_owned(), job_id.clone(), false, false));
        }
        if is_quarantined {
            let original = self
                .output
                .as_ref()
                .map(|check| check.record.original_ptr.as_str());
            let kept = original.and_then(cordum_wire::artifact_key).map(str::to_owned);
            applied
                .outputs
                .evidence
                .push(kept.unwrap_or_else(|| format!("res:{job_id}")));
        } else if !result.result_ptr.is_empty() {
            applied.result_keys.push(format!("res:{job_id}"));
        }
        if self.is_pointer_dropped {
            applied.counts.push(("pointer", String::new()));
        }
        let label = surroundings.config.metric_topic(topic).to_owned();
        let word = match is_quarantined {
            true => "completed:quarantined",
            false => completed_word(self.status()),
        };
        applied.counts.push((word, label));
        self.note_output(applied, topic, tenant, surroundings, now_us);
    }

    /// Jobs with a saga duty keep their outbox entry until it is performed, the others until their events are published.
    pub(crate) fn note_duties(&self, applied: &mut ResultsApplied, part: &str, rev: i64) {
        let job_id = self.result.job_id.clone();
        match (self.saga, part) {
            (Some("saga"), "c") | (Some("rollback"), "c" | "m") => applied.sagas.push(job_id),
            (Some("rollback" | "none"), "x") => {
                applied.counts.push(("saga_compensation_failed", String::new()));
                applied.duties.push((job_id, rev));
            }
            // The scan stays a duty.
            _ if self.needs_scan() => {}
            _ => applied.duties.push((job_id, rev)),
        }
        if self.needs_scan() {
            applied.outputs.scans.push((self.result.job_id.clone(), rev));
        }
    }
}
