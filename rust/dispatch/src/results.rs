//! Plan of one result batch (scheduler spec §10).

use ahash::AHashMap;
use cordum_wire::messages::JobStatus;
use cordum_wire::ConfigScope;

use crate::backoff::Jitter;
use crate::intake::{decode_result, Intake};
use crate::outgoing::{Outgoing, SENDER};
use crate::output_effects::OutputEffects;
use crate::record::Record;
use crate::reply::Reply;
use crate::result_item::Item;
use crate::retries;
use crate::submit::{Surroundings, Verdict};
use crate::transitions;
use crate::workers::{Capacity, WorkerTable};

/// A batch of results.
#[derive(Debug)]
pub struct ResultPlan {
    pub(crate) surroundings: Surroundings,
    pub(crate) items: Vec<Item>,
    /// Results that waited for their check, not messages.
    pub(crate) is_stored: bool,
    /// Results are checked: what was not does not succeed unless its record is still as it was read.
    pub(crate) is_checked: bool,
    pub verdicts: Vec<Verdict>,
    pub invalid: Vec<&'static str>,
    /// Positions of the refused messages, in the order of `invalid`.
    pub invalid_at: Vec<usize>,
    /// Senders of results that name another worker, with that one; at most one per message.
    pub misnamed: Vec<(String, String)>,
    /// Words for the counters of results without effect that need no script call.
    pub ignored: Vec<&'static str>,
    /// Messages that repeat another of the batch, after the one they repeat.
    repeated: Vec<(usize, usize)>,
    jitter: Jitter,
}

/// What follows from the store's replies.
#[derive(Debug, Default)]
pub struct ResultsApplied {
    pub events: Vec<Outgoing>,
    /// tenant, job id, open, active.
    pub tenants: Vec<(String, String, bool, bool)>,
    /// tenant, job id, time of the dispatch that ended, µs: jobs that wait for another attempt and give their slot back.
    pub retrying: Vec<(String, String, i64)>,
    /// tenant, job id of all jobs that changed.
    pub touched: Vec<(String, String)>,
    /// tenant, job id of dead letters written.
    pub dead_letters: Vec<(String, String)>,
    /// Jobs whose duties are done once `events` are published, with the revision that named them.
    pub duties: Vec<(String, i64)>,
    /// Jobs whose saga has to be looked after, before their duties are done.
    pub sagas: Vec<String>,
    /// Keys of worker results that now get the data TTL.
    pub result_keys: Vec<String>,
    pub capacity: Vec<Capacity>,
    pub counts: Vec<(&'static str, String)>,
    /// What the output policy did.
    pub outputs: OutputEffects,
}

impl ResultPlan {
    /// Decode a batch of messages.
    pub fn new(surroundings: Surroundings, messages: &[&[u8]], seed: u64) -> Self {
        let mut plan = ResultPlan {
            surroundings,
            items: Vec::with_capacity(messages.len()),
            is_stored: false,
            is_checked: false,
            verdicts: vec![Verdict::Ack; messages.len()],
            invalid: Vec::new(),
            invalid_at: Vec::new(),
            misnamed: Vec::new(),
            ignored: Vec::new(),
            repeated: Vec::new(),
            jitter: Jitter::new(seed),
        };
        let mut seen: AHashMap<String, (String, String, usize)> = AHashMap::with_capacity(messages.len());
        for (position, bytes) in messages.iter().enumerate() {
            let (packet, body) = match decode_result(bytes) {
                Intake::Accepted { packet, body } => (packet, body),
                Intake::Invalid { reason, .. } => {
                    plan.invalid.push(reason);
                    plan.invalid_at.push(position);
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
            if packet.sender_id != body.worker_id {
                plan.misnamed
                    .push((packet.sender_id.clone(), body.worker_id.clone()));
            }
            let fence = (
                body.worker_id.clone(),
                body.dispatch
                    .as_ref()
                    .map_or(String::new(), |d| d.dispatch_id.clone()),
            );
            let item = Item::new(position, packet.trace_id, body);
            match seen.get(&item.result.job_id) {
                Some((worker, dispatch, kept)) => {
                    let same_run = fence == (worker.clone(), dispatch.clone());
                    plan.join(*kept, item, same_run);
                }
                None => {
                    let (worker, dispatch) = fence;
                    seen.insert(item.result.job_id.clone(), (worker, dispatch, plan.items.len()));
                    plan.items.push(item);
                }
            }
        }
        plan
    }

    /// A further result of a job in this batch: a repetition is acknowledged with the first, evidence of running gives way to
    /// what came of it, anything else waits until the first is committed.
    fn join(&mut self, kept: usize, item: Item, same_run: bool) {
        let Some(first) = self.items.get_mut(kept) else {
            return;
        };
        if same_run && first.status() == item.status() {
            self.repeated.push((first.message, item.message));
            return;
        }
        if same_run && item.status() == JobStatus::Running {
            return;
        }
        if same_run && first.status() == JobStatus::Running {
            *first = item;
            return;
        }
        self.verdict(item.message, Verdict::Nak(500_000));
    }

    /// Jobs whose record is needed: retryable failures and reports that a job runs.
    pub fn reads(&self) -> Vec<String> {
        self.items
            .iter()
            .filter(|item| item.needs_record())
            .map(|item| item.result.job_id.clone())
            .collect()
    }

    /// Supply the records, in the order of [`ResultPlan::reads`].
    pub fn supply(&mut self, mut records: Vec<Option<Record>>) {
        records.reverse();
        for item in self.items.iter_mut().filter(|item| item.needs_record()) {
            item.record = records.pop().flatten();
        }
    }

    /// Scopes whose configuration may hold the retry budget of a job.
    pub fn retry_scopes(&self) -> Vec<ConfigScope> {
        let config = &self.surroundings.config;
        self.retried()
            .filter_map(|item| retries::scope(item.record.as_ref()?, config))
            .collect()
    }

    /// Supply `retry.max_retries`, in the order of [`ResultPlan::retry_scopes`].
    pub fn supply_retry_limits(&mut self, mut limits: Vec<Option<i64>>) {
        limits.reverse();
        let config = &self.surroundings.config;
        let asking = |item: &&mut Item| {
            let record = item.record.as_ref().filter(|_| item.is_retryable());
            record.is_some_and(|record| retries::scope(record, config).is_some())
        };
        for item in self.items.iter_mut().filter(asking) {
            item.retry_limit = limits.pop().flatten();
        }
    }

    fn retried(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|item| item.is_retryable())
    }

    /// Changes of the batch: (partition, packed).
    pub fn commits(&mut self, now_us: i64) -> Vec<(u32, Vec<u8>)> {
        let mut changes = Vec::with_capacity(self.items.len());
        for item in &mut self.items {
            if let Some(word) = item.needless() {
                self.ignored.push(word);
                item.open = false;
                continue;
            }
            item.mask_error();
            let Some(mut change) = item.change(&self.surroundings, &mut self.jitter, now_us) else {
                item.open = false;
                continue;
            };
            change.saga = item.saga;
            item.put_agent(&mut change, &self.surroundings.config);
            if self.is_checked && item.is_success() && item.output.is_none() {
                // It was left out because it ends nothing; should that be different by now, it is checked first.
                change.rev = Some(item.record.as_ref().map_or(0, Record::revision));
            }
            if self.is_stored {
                change.rev = item.record.as_ref().map(Record::revision);
                change.settles = true;
            }
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
                    state,
                    rev,
                    topic,
                    tenant,
                    saga,
                    ..
                } => {
                    let (worker, job) = (&item.result.worker_id, &item.result.job_id);
                    table.evidence.ended(worker, job);
                    applied.touched.push((tenant.clone(), job.clone()));
                    if item.is_withheld {
                        let replicas = self.surroundings.replicas;
                        applied.capacity.extend(table.finished(worker, replicas));
                        applied.outputs.withheld.push(job.clone());
                        continue;
                    }
                    if state == "RUNNING" {
                        continue;
                    }
                    item.moved(&mut applied, state, topic, tenant, &self.surroundings, now_us);
                    item.note_duties(&mut applied, saga, *rev);
                    // The slot of one that waited was free before.
                    if !self.is_stored {
                        let replicas = self.surroundings.replicas;
                        applied.capacity.extend(table.finished(worker, replicas));
                    }
                }
                Reply::Conflict { why, state } | Reply::Ignored { why, state } => {
                    let kind = if state.is_empty() { "unknown" } else { why.as_str() };
                    applied.counts.push(("ignored", kind.to_owned()));
                    if matches!(state.as_str(), "TIMEOUT" | "CANCELLED") {
                        // The worker wrote it after the job had ended: nobody else gives it a TTL.
                        applied.result_keys.push(format!("res:{}", item.result.job_id));
                    }
                    applied.counts.extend(transitions::forbidden(why, state, item.to));
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
        let repetitions = self.repeated.iter().filter(|(first, _)| *first == position);
        for position in repetitions.map(|(_, again)| *again).chain([position]) {
            if let Some(slot) = self.verdicts.get_mut(position) {
                *slot = verdict;
            }
        }
    }
}
