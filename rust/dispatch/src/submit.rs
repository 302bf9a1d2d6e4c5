//! Plan of one submit batch: decode → (reads) → policy requests → decisions → matched commits → publishes (scheduler spec §5, §29).

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use cordum_wire::messages::JobRequest;
use cordum_wire::{canonical_hash, tenant_of};

use crate::backoff::Jitter;
use crate::config::Config;
use crate::intake::{decode_request, Intake};
use crate::job_config::JobConfig;
use crate::judge::{Content, Mismatch};
use crate::record::Record;

pub use crate::judge::Judgement;

/// Routing tries before a job fails.
pub const MAX_ROUTE_FAILURES: i64 = 50;

/// What happens to one inbound message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ack,
    /// Redeliver after this many µs.
    Nak(i64),
    /// Undecodable bytes: the service applies the poison rules.
    Corrupt,
}

/// One job of the batch.
#[derive(Debug)]
pub struct Item {
    /// Position of the message it came with; `None` for a due retry.
    pub message: Option<usize>,
    pub trace_id: String,
    pub request: JobRequest,
    pub hash: String,
    pub arrived_us: i64,
    /// Prefetched record; `None` on the fast path, where the gateway's record is known to exist.
    pub record: Option<Record>,
    pub judgement: Option<Judgement>,
    /// False once the item needs nothing more.
    pub open: bool,
    /// Refused by the tenant's concurrency limit.
    pub over_limit: bool,
    pub content: Content,
    /// Effective configuration, once supplied.
    pub config: Option<Arc<JobConfig>>,
    /// Position of its scope among those asked for.
    pub(crate) scope: usize,
    needs_read: bool,
    needs_create: bool,
}

/// Inputs of a batch that do not change while it is planned.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub config: Arc<Config>,
    pub instance: String,
    pub partitions: u32,
    pub replicas: i64,
}

/// A batch of submits and due retries on its way through the pipeline.
#[derive(Debug)]
pub struct SubmitPlan {
    pub surroundings: Surroundings,
    pub items: Vec<Item>,
    pub verdicts: Vec<Verdict>,
    /// Words for the validation counters, one per refused message.
    pub invalid: Vec<&'static str>,
    pub jitter: Jitter,
    /// Snapshot of the newest answer, empty before the first.
    pub snapshot: String,
    /// Approvals that did not count.
    pub mismatches: Vec<Mismatch>,
    /// Items of the current round of policy requests, in their order.
    pub(crate) asked: Vec<usize>,
}

impl SubmitPlan {
    /// Decode messages (`delivered` = delivery count of each) and add due retries by job id.
    pub fn new(
        surroundings: Surroundings,
        messages: &[&[u8]],
        delivered: &[u64],
        due: Vec<String>,
        seed: u64,
    ) -> Self {
        let mut plan = SubmitPlan {
            surroundings,
            items: Vec::with_capacity(messages.len() + due.len()),
            verdicts: vec![Verdict::Ack; messages.len()],
            invalid: Vec::new(),
            jitter: Jitter::new(seed),
            snapshot: String::new(),
            mismatches: Vec::new(),
            asked: Vec::new(),
        };
        let mut seen = AHashSet::with_capacity(messages.len() + due.len());
        for (position, bytes) in messages.iter().enumerate() {
            plan.take_message(
                position,
                bytes,
                delivered.get(position).copied().unwrap_or(1),
                &mut seen,
            );
        }
        for job_id in due {
            if seen.insert(job_id.clone()) {
                plan.items.push(Item::due(job_id));
            }
        }
        plan
    }

    fn take_message(&mut self, position: usize, bytes: &[u8], delivered: u64, seen: &mut AHashSet<String>) {
        match decode_request(bytes) {
            Intake::Corrupt => self.verdict(position, Verdict::Corrupt),
            Intake::Invalid { reason, .. } => self.invalid.push(reason),
            Intake::Accepted { packet, body } => {
                // Duplicates inside a batch: the kept one decides, all are acknowledged.
                if !seen.insert(body.job_id.clone()) {
                    return;
                }
                let resubmit = body.labels.contains_key("cordum.bus_msg_id");
                self.items.push(Item {
                    message: Some(position),
                    trace_id: packet.trace_id,
                    hash: canonical_hash(&body),
                    arrived_us: packet.created_us,
                    needs_read: delivered > 1 || resubmit || packet.sender_id != "api-gateway",
                    needs_create: false,
                    request: body,
                    record: None,
                    judgement: None,
                    open: true,
                    over_limit: false,
                    content: Content::Omitted,
                    config: None,
                    scope: 0,
                });
            }
        }
    }

    /// Job ids whose record and request must be read before planning goes on.
    pub fn reads(&self) -> Vec<String> {
        self.items
            .iter()
            .filter(|item| item.needs_read)
            .map(|item| item.request.job_id.clone())
            .collect()
    }

    /// Supply the reads, in the order of [`SubmitPlan::reads`].
    pub fn supply(&mut self, mut rows: Vec<(Option<Record>, Option<JobRequest>)>) {
        rows.reverse();
        let mut verdicts = Vec::new();
        for item in self.items.iter_mut().filter(|item| item.needs_read) {
            item.needs_read = false;
            let (record, request) = rows.pop().unwrap_or_default();
            if let Some(verdict) = item.supply(record, request) {
                verdicts.push((item.message, verdict));
            }
        }
        for (message, verdict) in verdicts {
            self.settle(message, verdict);
        }
    }

    /// Indexes of items whose record has to be created first (submitted on the bus, not by the gateway).
    pub fn to_create(&self) -> Vec<usize> {
        self.items
            .iter()
            .enumerate()
            .filter(|(_, item)| item.open && item.needs_create)
            .map(|(i, _)| i)
            .collect()
    }

    /// Note the outcome of creating the item at `index`.
    pub fn created(&mut self, index: usize, created: bool, now_us: i64) {
        let Some(item) = self.items.get_mut(index) else {
            return;
        };
        item.needs_create = false;
        if created {
            let fields = [
                ("state", "PENDING".to_owned()),
                ("rev", "1".to_owned()),
                ("created_at", now_us.to_string()),
            ];
            item.record = Some(Record::new(
                fields.map(|(key, value)| (key.to_owned(), value)).into(),
            ));
        } else {
            item.open = false;
            let message = item.message;
            self.settle(message, Verdict::Nak(500_000));
        }
    }

    /// Jobs that need a slot of their tenant: tenant, limit, job ids.
    pub fn reservations(&self) -> Vec<(String, i64, Vec<String>)> {
        let mut wanted: AHashMap<String, (i64, Vec<String>)> = AHashMap::new();
        for item in self.items.iter().filter(|item| item.open) {
            if let Some(Judgement::Allow { constraints, .. }) = &item.judgement {
                let limit = crate::outgoing::budget_of(constraints, "maxConcurrentJobs");
                if limit > 0 {
                    let entry = wanted
                        .entry(tenant_of(&item.request).to_owned())
                        .or_insert((limit, Vec::new()));
                    entry.0 = entry.0.min(limit);
                    entry.1.push(item.request.job_id.clone());
                }
            }
        }
        wanted
            .into_iter()
            .map(|(tenant, (limit, ids))| (tenant, limit, ids))
            .collect()
    }

    /// Note which of `ids` got no slot.
    pub fn refused(&mut self, ids: &[String]) {
        for item in self
            .items
            .iter_mut()
            .filter(|item| ids.contains(&item.request.job_id))
        {
            item.over_limit = true;
        }
    }

    fn verdict(&mut self, position: usize, verdict: Verdict) {
        if let Some(slot) = self.verdicts.get_mut(position) {
            *slot = verdict;
        }
    }

    /// Set the verdict of an item's message, if it came with one.
    pub fn settle(&mut self, message: Option<usize>, verdict: Verdict) {
        if let Some(position) = message {
            self.verdict(position, verdict);
        }
    }
}

impl Item {
    fn due(job_id: String) -> Self {
        Item {
            message: None,
            trace_id: String::new(),
            request: JobRequest {
                job_id,
                ..JobRequest::default()
            },
            hash: String::new(),
            arrived_us: 0,
            record: None,
            judgement: None,
            open: true,
            over_limit: false,
            content: Content::Omitted,
            config: None,
            scope: 0,
            needs_read: true,
            needs_create: false,
        }
    }

    /// Take the stored record and request; the stored request wins. Returns a verdict when the item ends here.
    fn supply(&mut self, record: Option<Record>, request: Option<JobRequest>) -> Option<Verdict> {
        let Some(record) = record.filter(|record| !record.state().is_empty()) else {
            self.needs_create = self.message.is_some();
            self.open = self.needs_create;
            return None;
        };
        let processable = matches!(record.state(), "PENDING" | "SCHEDULED" | "RETRYING");
        let same = self.hash.is_empty()
            || record.text("req_hash").is_empty()
            || record.text("req_hash") == self.hash;
        if !processable || !same {
            self.open = false;
            return Some(Verdict::Ack);
        }
        let Some(request) = request else {
            self.open = false;
            return Some(Verdict::Nak(1_000_000));
        };
        self.hash = canonical_hash(&request);
        self.request = request;
        self.trace_id = record.text("trace_id").to_owned();
        self.record = Some(record);
        None
    }

    /// Counter of the stored record, 0 without one.
    pub fn number(&self, field: &str) -> i64 {
        self.record.as_ref().map_or(0, |record| record.number(field))
    }

    /// Field of the stored record, empty without one.
    pub fn text(&self, field: &str) -> &str {
        self.record.as_ref().map_or("", |record| record.text(field))
    }

    /// State the plan starts from.
    pub fn state(&self) -> &'static str {
        match self.record.as_ref().map_or("PENDING", Record::state) {
            "SCHEDULED" => "SCHEDULED",
            "RETRYING" => "RETRYING",
            _ => "PENDING",
        }
    }

    /// Whether the topic is a workflow gate, which no worker serves.
    pub fn is_gate(&self) -> bool {
        matches!(
            self.request.topic.as_str(),
            "sys.approval.gate" | "job.cordum.approval-gate"
        )
    }
}
