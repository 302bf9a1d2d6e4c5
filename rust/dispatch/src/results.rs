//! Plan of one result batch (scheduler spec §10).

use ahash::AHashMap;
use cordum_wire::messages::{JobResult, JobStatus};
use cordum_wire::{DeadLetter, Transition};
use serde_json::Value;

use crate::backoff::{route_delay_us, Jitter};
use crate::commit::{completed_word, status_name};
use crate::event::{event, Context};
use crate::intake::{decode_result, Intake};
use crate::outgoing::{self, budget_of, Outgoing, SENDER, SUBJECT_ACCEPTED, SUBJECT_DLQ};
use crate::record::Record;
use crate::reply::Reply;
use crate::submit::{Surroundings, Verdict};
use crate::workers::{Capacity, WorkerTable};

/// States a result may end: everything that was dispatched at least once and is not over. A job that was never dispatched
/// (PENDING, APPROVAL_REQUIRED) cannot have a genuine result.
const OPEN: [&str; 4] = ["DISPATCHED", "RUNNING", "SCHEDULED", "RETRYING"];

#[derive(Debug)]
struct Item {
    message: usize,
    trace_id: String,
    result: JobResult,
    record: Option<Record>,
    open: bool,
    /// The state the change asks for.
    to: &'static str,
    dead_letter: bool,
}

/// A batch of results.
#[derive(Debug)]
pub struct ResultPlan {
    surroundings: Surroundings,
    items: Vec<Item>,
    pub verdicts: Vec<Verdict>,
    pub invalid: Vec<&'static str>,
    jitter: Jitter,
}

/// What follows from the store's replies.
#[derive(Debug, Default)]
pub struct ResultsApplied {
    pub events: Vec<Outgoing>,
    /// tenant, job id, open, active.
    pub tenants: Vec<(String, String, bool, bool)>,
    /// tenant, job id of dead letters written.
    pub dead_letters: Vec<(String, String)>,
    pub duties: Vec<String>,
    /// Keys of worker results that now get the data TTL.
    pub result_keys: Vec<String>,
    pub capacity: Vec<Capacity>,
    pub counts: Vec<(&'static str, String)>,
}

impl ResultPlan {
    /// Decode a batch of messages.
    pub fn new(surroundings: Surroundings, messages: &[&[u8]], seed: u64) -> Self {
        let mut plan = ResultPlan {
            surroundings,
            items: Vec::with_capacity(messages.len()),
            verdicts: vec![Verdict::Ack; messages.len()],
            invalid: Vec::new(),
            jitter: Jitter::new(seed),
        };
        let mut seen: AHashMap<String, (String, String)> = AHashMap::with_capacity(messages.len());
        for (position, bytes) in messages.iter().enumerate() {
            let (packet, body) = match decode_result(bytes) {
                Intake::Accepted { packet, body } => (packet, body),
                Intake::Invalid { reason, .. } => {
                    plan.invalid.push(reason);
                    continue;
                }
                Intake::Corrupt => {
                    plan.verdict(position, Verdict::Corrupt);
                    continue;
                }
            };
            // Control-plane senders repeat outcomes for outside observers; those are already committed.
            if matches!(
                packet.sender_id.as_str(),
                "api-gateway" | "workflow-engine" | SENDER
            ) {
                continue;
            }
            let fence = (
                body.worker_id.clone(),
                body.dispatch
                    .as_ref()
                    .map_or(String::new(), |d| d.dispatch_id.clone()),
            );
            match seen.get(&body.job_id) {
                Some(first) if *first == fence => continue,
                Some(_) => plan.verdict(position, Verdict::Nak(500_000)),
                None => {
                    seen.insert(body.job_id.clone(), fence);
                    plan.items.push(Item::new(position, packet.trace_id, body));
                }
            }
        }
        plan
    }

    /// Jobs whose record is needed: retryable failures.
    pub fn reads(&self) -> Vec<String> {
        self.items
            .iter()
            .filter(|item| item.is_retryable())
            .map(|item| item.result.job_id.clone())
            .collect()
    }

    /// Supply the records, in the order of [`ResultPlan::reads`].
    pub fn supply(&mut self, mut records: Vec<Option<Record>>) {
        records.reverse();
        for item in self.items.iter_mut().filter(|item| item.is_retryable()) {
            item.record = records.pop().flatten();
        }
    }

    /// Changes of the batch: (partition, packed).
    pub fn commits(&mut self, now_us: i64) -> Vec<(u32, Vec<u8>)> {
        let mut changes = Vec::with_capacity(self.items.len());
        for item in &mut self.items {
            let Some(change) = item.change(&self.surroundings, &mut self.jitter, now_us) else {
                item.open = false;
                continue;
            };
            changes.push((
                cordum_wire::partition(&change.id, self.surroundings.partitions),
                change.pack(),
            ));
        }
        changes
    }

    /// Apply the replies, in the order of [`ResultPlan::commits`].
    pub fn apply(&mut self, replies: &[Reply], table: &mut WorkerTable, now_us: i64) -> ResultsApplied {
        let mut applied = ResultsApplied::default();
        let mut verdicts = Vec::new();
        for (item, reply) in self.items.iter().filter(|item| item.open).zip(replies) {
            match reply {
                Reply::Moved {
                    state, topic, tenant, ..
                } => {
                    item.moved(&mut applied, state, topic, tenant, &self.surroundings, now_us);
                    applied
                        .capacity
                        .extend(table.finished(&item.result.worker_id, self.surroundings.replicas));
                }
                Reply::Conflict { why, state } | Reply::Ignored { why, state } => {
                    let kind = if state.is_empty() { "unknown" } else { why.as_str() };
                    applied.counts.push(("ignored", kind.to_owned()));
                    if why == "rev" {
                        verdicts.push((item.message, Verdict::Nak(500_000)));
                    }
                }
                Reply::Failed => verdicts.push((item.message, Verdict::Nak(1_000_000))),
            }
        }
        for (message, verdict) in verdicts {
            self.verdict(message, verdict);
        }
        applied
    }

    fn verdict(&mut self, position: usize, verdict: Verdict) {
        if let Some(slot) = self.verdicts.get_mut(position) {
            *slot = verdict;
        }
    }
}

impl Item {
    fn new(message: usize, trace_id: String, mut result: JobResult) -> Self {
        if result.error_code_enum == 0 {
            result.error_code_enum = outgoing::error_code_enum(&result.error_code);
        }
        Item {
            message,
            trace_id,
            result,
            record: None,
            open: true,
            to: "",
            dead_letter: false,
        }
    }

    fn status(&self) -> JobStatus {
        JobStatus::try_from(self.result.status).unwrap_or(JobStatus::Failed)
    }

    fn is_retryable(&self) -> bool {
        self.status() == JobStatus::FailedRetryable
    }

    /// The change this result asks for; `None` when it asks for nothing.
    fn change(
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
            JobStatus::Succeeded => self.to = "SUCCEEDED",
            JobStatus::Cancelled => self.to = "CANCELLED",
            JobStatus::Running => {
                self.running(&mut change, surroundings, now_us);
                return Some(change);
            }
            JobStatus::FailedRetryable => return self.retry(change, surroundings, jitter, now_us),
            JobStatus::Pending | JobStatus::Scheduled | JobStatus::Dispatched | JobStatus::Unspecified => {
                return None
            }
            JobStatus::Timeout => {
                self.dead(&mut change, "TIMEOUT", JobStatus::Timeout, &code, &reason, now_us)
            }
            // No edge from an active state to DENIED: FAILED is stored (scheduler spec §2.2 †).
            JobStatus::Denied => self.dead(&mut change, "FAILED", JobStatus::Denied, &code, &reason, now_us),
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

    fn end(&mut self, change: &mut Transition, now_us: i64) {
        change.to = self.to;
        change.after = Some(if self.dead_letter {
            vec!["result", "dlq"]
        } else {
            vec!["result"]
        });
        // A pointer may only name the job's own result; anything else is dropped (protocol spec §10).
        if !self.result.result_ptr.is_empty()
            && self.result.result_ptr != format!("redis://res:{}", self.result.job_id)
        {
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
            ..Context::default()
        };
        change.events.push(event(now_us, self.to, Some(context)));
    }

    fn dead(
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

    fn running(&mut self, change: &mut Transition, surroundings: &Surroundings, now_us: i64) {
        self.to = "RUNNING";
        change.from = vec!["DISPATCHED"];
        change.to = "RUNNING";
        change.due = Some(now_us + surroundings.config.running_timeout_us(""));
        change.events.push(event(now_us, "RUNNING", None));
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
        let attempts = record.number("attempts");
        let constraints: Value =
            serde_json::from_str(record.text("safety_constraints")).unwrap_or(Value::Null);
        let limit = match budget_of(&constraints, "maxRetries") {
            0 => surroundings.config.max_retries(record.text("topic")),
            budget => budget,
        };
        let owned_by_workflow = !record.text("run_id").is_empty();
        change.rev = Some(record.revision());
        if !owned_by_workflow && attempts - record.number("rollbacks") > limit {
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
        change.due = Some(0);
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
        change.events.push(event(now_us, "RETRYING", Some(context)));
        Some(change)
    }

    fn moved(
        &self,
        applied: &mut ResultsApplied,
        state: &str,
        topic: &str,
        tenant: &str,
        surroundings: &Surroundings,
        now_us: i64,
    ) {
        let job_id = &self.result.job_id;
        if state == "RUNNING" {
            return;
        }
        let result = &self.result;
        if self.dead_letter {
            applied.dead_letters.push((tenant.to_owned(), job_id.clone()));
            applied.events.push(outgoing::result(
                SUBJECT_DLQ,
                result.clone(),
                &self.trace_id,
                now_us,
            ));
        }
        applied.events.push(outgoing::result(
            SUBJECT_ACCEPTED,
            result.clone(),
            &self.trace_id,
            now_us,
        ));
        applied.duties.push(job_id.clone());
        applied
            .tenants
            .push((tenant.to_owned(), job_id.clone(), state == "RETRYING", false));
        if !result.result_ptr.is_empty() {
            applied.result_keys.push(format!("res:{job_id}"));
        }
        let label = surroundings.config.metric_topic(topic).to_owned();
        applied.counts.push((completed_word(self.status()), label));
    }
}
