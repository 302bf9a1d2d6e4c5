//! Plan of one submit batch: decode → (reads) → policy requests → decisions → matched commits → publishes (scheduler spec §5, §29).

use std::sync::Arc;

use ahash::AHashMap;
use cordum_wire::messages::JobRequest;
use cordum_wire::{canonical_hash, record_tenant, TRACE_CONTEXT};

use crate::backoff::Jitter;
use crate::config::Config;
use crate::fairness;
use crate::intake::{decode_request, About, Intake};
use crate::job_config::JobConfig;
use crate::judge::{Content, Mismatch};
use crate::record::Record;
use crate::slots::Limit;

pub use crate::judge::Judgement;

/// Sender of submits whose record is known to exist.
const GATEWAY: &str = "api-gateway";
/// Report of a stored request that is not the submitted one.
const ALTERED: &str = "request_altered";

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
    /// W3C trace headers of its message; empty without any.
    pub(crate) trace_context: String,
    /// Sender of its message.
    pub(crate) sender: String,
    pub request: JobRequest,
    pub hash: String,
    pub arrived_us: i64,
    /// Prefetched record; `None` on the fast path, where the gateway's record is known to exist.
    pub record: Option<Record>,
    pub judgement: Option<Judgement>,
    /// Time the kernel took for its answer, µs; 0: it gave none.
    pub(crate) eval_us: i64,
    /// False once the item needs nothing more.
    pub open: bool,
    /// The limit on its tenant's active jobs it needs a slot under.
    pub(crate) limit: Option<Limit>,
    /// Cause word when that limit refused it.
    pub over_limit: Option<&'static str>,
    pub content: Content,
    /// Effective configuration, once supplied.
    pub config: Option<Arc<JobConfig>>,
    /// Position of its scope among those asked for.
    pub(crate) scope: usize,
    /// Its message says that a human approved it.
    claims_approval: bool,
    /// Its payload is still to be checked against the schema of its topic.
    pub(crate) unchecked: bool,
    needs_read: bool,
    /// The gateway has just taken it, and found its topic.
    pub(crate) is_fresh: bool,
    needs_create: bool,
}

/// Something a submit claimed that must not be taken silently (scheduler spec §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `request_conflict`: another request under the id of a stored job; `request_altered`: the stored request is not the one
    /// that was submitted; `approval_claim`: an approval nobody gave; `tenant_mismatch`: two tenants in one request.
    pub kind: &'static str,
    pub about: About,
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
    /// Positions of the refused messages, in the order of `invalid`.
    pub invalid_at: Vec<usize>,
    pub jitter: Jitter,
    /// Snapshot of the newest answer, empty before the first.
    pub snapshot: String,
    /// Approvals that did not count.
    pub mismatches: Vec<Mismatch>,
    /// Forged or conflicting submits.
    pub reports: Vec<Report>,
    /// Ended jobs submitted again whose dead-letter event is still owed.
    pub owed: Vec<String>,
    /// Due entries of jobs that wait for nothing.
    pub strays: Vec<String>,
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
            invalid_at: Vec::new(),
            jitter: Jitter::new(seed),
            snapshot: String::new(),
            mismatches: Vec::new(),
            reports: Vec::new(),
            owed: Vec::new(),
            strays: Vec::new(),
            asked: Vec::new(),
        };
        let mut seen = AHashMap::with_capacity(messages.len() + due.len());
        for (position, bytes) in messages.iter().enumerate() {
            plan.take_message(
                position,
                bytes,
                delivered.get(position).copied().unwrap_or(1),
                &mut seen,
            );
        }
        for job_id in due {
            if seen.insert(job_id.clone(), plan.items.len()).is_none() {
                plan.items.push(Item::due(job_id));
            }
        }
        plan
    }

    fn take_message(
        &mut self,
        position: usize,
        bytes: &[u8],
        delivered: u64,
        seen: &mut AHashMap<String, usize>,
    ) {
        match decode_request(bytes) {
            Intake::Corrupt => self.verdict(position, Verdict::Corrupt),
            Intake::Invalid { reason, about, .. } => {
                self.invalid.push(reason);
                self.invalid_at.push(position);
                if let Some(about) = about.filter(|_| reason == "tenant_mismatch") {
                    self.report(reason, *about);
                }
            }
            Intake::Accepted { packet, body } => {
                let hash = canonical_hash(&body);
                if let Some(first) = seen.get(&body.job_id) {
                    // Duplicates inside a batch: the kept one decides, all are acknowledged.
                    if self.items.get(*first).is_some_and(|kept| kept.hash != hash) {
                        self.report("request_conflict", about(&body, &packet.sender_id));
                    }
                    return;
                }
                seen.insert(body.job_id.clone(), self.items.len());
                let claims_approval = claims_approval(&body);
                let resubmit = claims_approval || body.labels.contains_key("cordum.bus_msg_id");
                let is_fresh = delivered <= 1 && !resubmit && packet.sender_id == GATEWAY;
                self.items.push(Item {
                    message: Some(position),
                    needs_read: !is_fresh,
                    is_fresh,
                    claims_approval,
                    trace_id: packet.trace_id,
                    sender: packet.sender_id,
                    hash,
                    arrived_us: packet.created_us,
                    ..Item::empty(body)
                });
            }
        }
    }

    /// Keep the trace headers of the message at a position with its job.
    pub fn trace(&mut self, position: usize, context: String) {
        let mut items = self.items.iter_mut();
        if let Some(item) = items.find(|item| item.message == Some(position)) {
            item.trace_context = context;
        }
    }

    pub(crate) fn report(&mut self, kind: &'static str, about: About) {
        self.reports.push(Report { kind, about });
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
    pub fn supply(&mut self, mut rows: Vec<(Option<Record>, Option<JobRequest>)>, now_us: i64) {
        rows.reverse();
        for index in 0..self.items.len() {
            let Some(item) = self.items.get_mut(index).filter(|item| item.needs_read) else {
                continue;
            };
            item.needs_read = false;
            let (record, request) = rows.pop().unwrap_or_default();
            let sender = std::mem::take(&mut item.sender);
            let claimed = about(&item.request, &sender);
            let job_id = item.request.job_id.clone();
            let found = item.supply(record, request, now_us);
            let stored = about(&item.request, &sender);
            let message = item.message;
            for kind in found.reports.into_iter().flatten() {
                let about = if kind == ALTERED { &stored } else { &claimed };
                self.report(kind, about.clone());
            }
            if found.owes {
                self.owed.push(job_id.clone());
            }
            if found.stray {
                self.strays.push(job_id);
            }
            if let Some(verdict) = found.verdict {
                self.settle(message, verdict);
            }
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

/// What the stored record of an item told.
#[derive(Default)]
struct Found {
    /// Set when the item ends here.
    verdict: Option<Verdict>,
    reports: [Option<&'static str>; 2],
    owes: bool,
    stray: bool,
}

fn about(request: &JobRequest, sender: &str) -> About {
    About {
        job_id: request.job_id.clone(),
        tenant: record_tenant(request).to_owned(),
        topic: request.topic.clone(),
        sender: sender.to_owned(),
    }
}

fn claims_approval(request: &JobRequest) -> bool {
    let label = request.labels.get("approval_granted");
    label.is_some_and(|label| label.eq_ignore_ascii_case("true"))
}

impl Item {
    fn empty(request: JobRequest) -> Self {
        Item {
            message: None,
            trace_id: String::new(),
            trace_context: String::new(),
            sender: String::new(),
            request,
            hash: String::new(),
            arrived_us: 0,
            record: None,
            judgement: None,
            eval_us: 0,
            open: true,
            limit: None,
            over_limit: None,
            content: Content::Omitted,
            config: None,
            scope: 0,
            claims_approval: false,
            unchecked: false,
            needs_read: true,
            is_fresh: false,
            needs_create: false,
        }
    }

    fn due(job_id: String) -> Self {
        Item::empty(JobRequest {
            job_id,
            ..JobRequest::default()
        })
    }

    /// Take the stored record and request; the stored request wins (table of scheduler spec §4).
    fn supply(&mut self, record: Option<Record>, request: Option<JobRequest>, now_us: i64) -> Found {
        let mut found = Found::default();
        let Some(record) = record.filter(|record| !record.state().is_empty()) else {
            self.needs_create = self.message.is_some();
            self.open = self.needs_create;
            found.stray = !self.open;
            return found;
        };
        let stored_hash = record.text("req_hash");
        let differs = !self.hash.is_empty() && !stored_hash.is_empty() && stored_hash != self.hash;
        let unapproved = self.claims_approval && record.text("approval_decision") != "approve";
        let waiting = matches!(
            record.state(),
            "PENDING" | "SCHEDULED" | "RETRYING" | "APPROVAL_REQUIRED"
        );
        found.reports = [
            differs.then_some("request_conflict"),
            (unapproved && waiting).then_some("approval_claim"),
        ];
        let processable = match record.state() {
            "PENDING" | "SCHEDULED" => true,
            // Another attempt comes when it is due, and not at all from here when a workflow owns the job.
            "RETRYING" => {
                let at_us = record.number("next_attempt_at");
                self.message.is_none() || (at_us > 0 && at_us <= now_us)
            }
            _ => false,
        };
        if !processable || differs {
            self.open = false;
            found.owes = self.message.is_some()
                && matches!(record.state(), "DENIED" | "FAILED")
                && record.text("after").split(',').any(|duty| duty == "dlq");
            found.stray = self.message.is_none();
            found.verdict = Some(Verdict::Ack);
            return found;
        }
        let Some(request) = request else {
            self.open = false;
            found.verdict = Some(Verdict::Nak(1_000_000));
            return found;
        };
        self.hash = canonical_hash(&request);
        if !stored_hash.is_empty() && stored_hash != self.hash {
            // Whoever wrote it did not submit it: no policy is asked and no human's word counts.
            self.judgement = Some(Judgement::Altered);
            found.reports[0] = Some(ALTERED);
        }
        self.request = request;
        self.trace_id = record.text("trace_id").to_owned();
        self.record = Some(record);
        found
    }

    /// W3C trace headers of its dispatch: those of its message, else those its record came with (scheduler spec §8).
    pub(crate) fn traced(&self) -> &str {
        match self.trace_context.as_str() {
            "" => self.text(TRACE_CONTEXT),
            own => own,
        }
    }

    /// Priority class among its tenant's jobs, 0 first; parking raises it (scheduler spec §32).
    pub fn class(&self, now_us: i64) -> u8 {
        let parked_at = self.number("parked_at");
        let parked_us = if parked_at > 0 { now_us - parked_at } else { 0 };
        fairness::class(self.request.priority, parked_us)
    }

    /// Time the kernel took for its answer, ms.
    pub(crate) fn eval_ms(&self) -> Option<f64> {
        (self.eval_us > 0).then_some(self.eval_us as f64 / 1000.0)
    }

    /// When the job came to us, µs.
    pub fn arrival_us(&self) -> i64 {
        match self.number("created_at") {
            0 => self.arrived_us,
            created_at => created_at,
        }
    }

    /// Whether this message is the first this job came with: duplicates and retries are not new.
    pub(crate) fn is_new(&self) -> bool {
        let untouched = self.number("attempts") == 0 && self.text("last_cause").is_empty();
        self.message.is_some() && untouched
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
