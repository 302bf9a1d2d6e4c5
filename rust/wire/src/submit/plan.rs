//! One batch through its stages: parse, claim, judge, plan.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::{json, Value};

use super::again::{submission, Again};
use super::body::{parse, Caller, Submission};
use super::limits::{Limits, CONTENT_LABEL_BYTES};
use super::outcome::Outcome;
use crate::decision::{constraints_json, decision_word, remediations_json};
use crate::json::rfc3339;
use crate::messages::{
    BatchRequest, BatchResponse, JobRequest, PolicyCheckRequest, PolicyCheckResponse, Timestamp,
};
use crate::record::{put_request_fields, TRACE_CONTEXT};
use crate::request::{config_scope, submit_packet, tenant_of, ConfigScope};
use crate::stored::{event, request_to_store, Context};
use crate::transition::{DeadLetter, Transition};

/// Sender id of what the gateway publishes.
pub const SENDER: &str = "api-gateway";

/// One item of a batch.
#[derive(Debug)]
enum Item {
    /// Still to be judged and stored.
    Open(Box<Submission>, String),
    /// Answered already.
    Answered(Outcome),
}

/// Submissions that share their network steps.
#[derive(Debug)]
pub struct Batch {
    items: Vec<Item>,
    now_us: i64,
}

/// One job to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Position in the batch.
    pub index: usize,
    /// Partition of the job.
    pub partition: u32,
    /// Packed transition of `job_create`.
    pub blob: Vec<u8>,
    /// Id of the job.
    pub job_id: String,
    /// Tenant of the job.
    pub tenant: String,
    /// Trace of the job.
    pub trace_id: String,
    /// State the job is created in.
    pub state: &'static str,
    /// Bytes of `ctx:<job id>`.
    pub context: Vec<u8>,
    /// Message id and bus packet for `sys.job.submit`; none when the job is not to be scheduled now.
    pub message: Option<(String, Vec<u8>)>,
}

/// What to write, publish and answer.
#[derive(Debug, Default)]
pub struct Plan {
    /// Jobs to create.
    pub commits: Vec<Commit>,
    /// One answer per item, in order; those of `commits` hold once the job is created.
    pub outcomes: Vec<Outcome>,
}

impl Batch {
    /// Parse every body; a bad one is answered, the others go on.
    pub fn parse<B: AsRef<[u8]>>(items: &[(B, Caller)], limits: &Limits, now_us: i64) -> Self {
        let items = items
            .iter()
            .map(
                |(body, caller)| match parse(body.as_ref(), caller, limits, now_us) {
                    Ok(submission) => Item::Open(Box::new(submission), caller.trace_id.clone()),
                    Err(refusal) => Item::Answered(Outcome::from(&refusal)),
                },
            )
            .collect();
        Batch { items, now_us }
    }

    /// A batch of one stored request, to be judged and run again.
    pub fn again(request: JobRequest, context: Vec<u8>, again: &Again, now_us: i64) -> Self {
        let submission = submission(request, context, again);
        Batch {
            items: vec![Item::Open(Box::new(submission), again.trace_id.clone())],
            now_us,
        }
    }

    /// Items still to be judged, with their trace.
    pub(super) fn open(&self) -> impl Iterator<Item = (usize, &Submission, &str)> {
        self.items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| match item {
                Item::Open(submission, trace_id) => Some((index, submission.as_ref(), trace_id.as_str())),
                Item::Answered(_) => None,
            })
    }

    /// Items with an idempotency key: index, tenant, key, job id, request hash.
    pub fn claims(&self) -> Vec<(usize, String, String, String, String)> {
        self.open()
            .filter(|(_, submission, _)| !submission.idempotency_key.is_empty())
            .map(|(index, submission, _)| {
                (
                    index,
                    submission.request.tenant_id.clone(),
                    submission.idempotency_key.clone(),
                    submission.request.job_id.clone(),
                    submission.idempotency_hash.clone(),
                )
            })
            .collect()
    }

    /// Items whose agent the caller must own: index, tenant, agent id, principal.
    pub fn agents(&self) -> Vec<(usize, String, String, String)> {
        self.open()
            .filter_map(|(index, submission, _)| {
                let owner = submission.agent_owner.clone()?;
                let agent = submission.request.labels.get("agent_id")?.trim().to_owned();
                Some((index, submission.request.tenant_id.clone(), agent, owner))
            })
            .collect()
    }

    /// Go on under the id the item's key already stands for.
    pub fn rename(&mut self, index: usize, job_id: &str) {
        if let Some(Item::Open(submission, _)) = self.items.get_mut(index) {
            submission.rename(job_id);
        }
    }

    /// Keep the trace headers of an item's request with its job.
    pub fn trace(&mut self, index: usize, context: String) {
        if let Some(Item::Open(submission, _)) = self.items.get_mut(index) {
            submission.trace_context = context;
        }
    }

    /// Answer an item without judging it.
    pub fn answer(&mut self, index: usize, outcome: Outcome) {
        if let Some(item) = self.items.get_mut(index) {
            *item = Item::Answered(outcome);
        }
    }

    /// Items to be judged, in their order: index, tenant, job id.
    pub fn open_jobs(&self) -> Vec<(usize, String, String)> {
        self.open()
            .map(|(index, submission, _)| {
                let request = &submission.request;
                (index, tenant_of(request).to_owned(), request.job_id.clone())
            })
            .collect()
    }

    /// Scopes whose effective configuration applies to the items to be judged, in their order.
    pub fn config_scopes(&self) -> Vec<ConfigScope> {
        self.open()
            .map(|(_, submission, _)| config_scope(&submission.request))
            .collect()
    }

    /// Serialized `BatchRequest` of the open items; empty when there is none.
    /// `configs` are the effective configurations of [`Batch::config_scopes`] as policy looks at them; a missing one is empty.
    pub fn policy_request(&self, configs: &[Vec<u8>]) -> Vec<u8> {
        let requests = self
            .open()
            .enumerate()
            .map(|(position, (_, submission, _))| {
                let mut check = check_request(submission);
                check.effective_config = configs.get(position).cloned().unwrap_or_default();
                check.encode_to_vec()
            })
            .collect();
        BatchRequest { requests }.encode_to_vec()
    }

    /// Decide every open item by the kernel's answer; `None` means that it did not answer, and everything is accepted
    /// as PENDING: the scheduler holds it until the kernel speaks (README decision 29).
    pub fn plan(self, answer: Option<&[u8]>, partitions: u32) -> Plan {
        let expected = self.open().count();
        let response = answer
            .and_then(|bytes| BatchResponse::decode(bytes).ok())
            .filter(|response| response.items.len() == expected)
            .unwrap_or_default();
        let mut judged = response.items.into_iter();
        let mut plan = Plan::default();
        for (index, item) in self.items.into_iter().enumerate() {
            match item {
                Item::Answered(outcome) => plan.outcomes.push(outcome),
                Item::Open(submission, trace_id) => {
                    let decision = judged.next().filter(|item| item.code == 0).map(|item| {
                        (
                            PolicyCheckResponse::decode(item.response.as_slice()),
                            item.eval_us,
                        )
                    });
                    let job = Job {
                        index,
                        submission: *submission,
                        trace_id,
                        partitions,
                        now_us: self.now_us,
                    };
                    job.decide(decision, &mut plan);
                }
            }
        }
        plan
    }
}

type Judged = Option<(Result<PolicyCheckResponse, prost::DecodeError>, i64)>;

struct Job {
    index: usize,
    submission: Submission,
    trace_id: String,
    partitions: u32,
    now_us: i64,
}

impl Job {
    fn decide(self, judged: Judged, plan: &mut Plan) {
        let Some((decoded, eval_us)) = judged else {
            return self.accept(plan);
        };
        // An answer that does not decode is a decision outside the table.
        let response = decoded.unwrap_or_default();
        let word = decision_word(&response);
        match word {
            "ALLOW" | "ALLOW_WITH_CONSTRAINTS" => self.accept(plan),
            "THROTTLE" => plan.outcomes.push(Outcome::throttled(&response.reason)),
            "REQUIRE_APPROVAL" => self.hold(&response, eval_us, plan),
            _ => self.deny(&response, eval_us, plan),
        }
    }

    fn job_id(&self) -> &str {
        &self.submission.request.job_id
    }

    fn accept(self, plan: &mut Plan) {
        let outcome = Outcome::accepted(self.job_id(), &self.trace_id);
        let mut change = self.creation("PENDING");
        let context = Context {
            recorded: true,
            ..Context::default()
        };
        self.event(&mut change, "PENDING", &context);
        self.finish(change, true, outcome, plan);
    }

    fn hold(self, response: &PolicyCheckResponse, eval_us: i64, plan: &mut Plan) {
        let outcome = Outcome::held(self.job_id(), &self.trace_id, &response.reason);
        let mut change = self.creation("APPROVAL_REQUIRED");
        self.record(&mut change, response, "REQUIRE_APPROVAL");
        let hash = change.set.get("req_hash").cloned().unwrap_or_default();
        change.set.insert("safety_job_hash", hash);
        change.set.insert("safety_approval_required", "true".into());
        change.set.insert("safety_approval_ref", self.job_id().to_owned());
        change.set.insert("approval_status", "pending".into());
        change.set.insert("approval_actionability", "actionable".into());
        change.set.insert("approval_revision", "1".into());
        self.event(&mut change, "APPROVAL_REQUIRED", &judged_by(response, eval_us));
        self.finish(change, false, outcome, plan);
    }

    fn deny(self, response: &PolicyCheckResponse, eval_us: i64, plan: &mut Plan) {
        let outcome = Outcome::denied(self.job_id(), &self.trace_id, &response.reason);
        let mut change = self.creation("DENIED");
        self.record(&mut change, response, "DENY");
        let reason = format!("safety: denied: {}", response.reason);
        change.set.insert("failure_reason", reason.clone());
        let context = Context {
            error_code: "policy_denied",
            error_msg: &reason,
            duration_ms: Some(0),
            ..judged_by(response, eval_us)
        };
        self.event(&mut change, "DENIED", &context);
        change.dlq = Some(DeadLetter {
            status: "JOB_STATUS_DENIED".into(),
            reason,
            reason_code: "policy_denied".into(),
            created_at: rfc3339(&Timestamp::from_micros(
                self.now_us.div_euclid(1_000_000) * 1_000_000,
            )),
        });
        self.finish(change, false, outcome, plan);
    }

    fn creation(&self, state: &'static str) -> Transition {
        let request = &self.submission.request;
        let mut change = Transition {
            id: request.job_id.clone(),
            from: vec![""],
            to: state,
            req: Some(request_to_store(request)),
            ..Transition::default()
        };
        put_request_fields(&mut change, request, &self.trace_id);
        change.set_if(TRACE_CONTEXT, &self.submission.trace_context);
        change
            .set
            .insert("submitted_by", self.submission.submitted_by.clone());
        let deadline_ms = request.budget.as_ref().map_or(0, |budget| budget.deadline_ms);
        if deadline_ms > 0 && state != "DENIED" {
            let deadline = self.now_us.saturating_add(deadline_ms.saturating_mul(1000));
            change.deadline = Some(deadline);
            change.set.insert("deadline_unix", deadline.to_string());
        }
        change
    }

    fn event(&self, change: &mut Transition, state: &str, context: &Context<'_>) {
        change
            .events
            .push(event(self.job_id(), self.now_us, state, context));
    }

    /// Decision record on the hash and in the decision list (scheduler spec §3.4, policy spec §16.1).
    fn record(&self, change: &mut Transition, response: &PolicyCheckResponse, word: &'static str) {
        let constraints = response
            .constraints
            .as_ref()
            .map_or(Value::Null, constraints_json);
        let remediations = match response.remediations.as_slice() {
            [] => Value::Null,
            list => remediations_json(list),
        };
        let held = word == "REQUIRE_APPROVAL";
        let mut entry = json!({
            "decision": word, "reason": response.reason, "rule_id": response.rule_id,
            "policy_snapshot": response.policy_snapshot, "constraints": constraints, "remediations": remediations,
            "approval_required": held, "approval_ref": if held { self.job_id() } else { "" },
            "job_hash": change.set.get("req_hash"), "checked_at": self.now_us,
        });
        if let (true, Some(map)) = (held, entry.as_object_mut()) {
            map.insert("approval_status".into(), "pending".into());
            map.insert("actionability".into(), "actionable".into());
            map.insert("approval_revision".into(), 1.into());
        }
        change.decision = Some(entry.to_string());
        change.decision_key = Some(format!(
            "{word}|{}|{}|{}",
            response.rule_id, response.policy_snapshot, response.reason
        ));
        change.set.insert("safety_decision", word.to_owned());
        change.set.insert("safety_checked_at", self.now_us.to_string());
        change.set_if("safety_reason", &response.reason);
        change.set_if("safety_rule_id", &response.rule_id);
        change.set_if("safety_snapshot", &response.policy_snapshot);
        if !constraints.is_null() {
            change.set.insert("safety_constraints", constraints.to_string());
        }
        if !remediations.is_null() {
            change.set.insert("safety_remediations", remediations.to_string());
        }
    }

    fn finish(self, change: Transition, publish: bool, outcome: Outcome, plan: &mut Plan) {
        let request = self.submission.request;
        let job_id = request.job_id.clone();
        let tenant = tenant_of(&request).to_owned();
        let message = publish.then(|| {
            let packet = submit_packet(request, &self.trace_id, SENDER, self.now_us);
            (format!("jobreq:{job_id}"), packet)
        });
        plan.commits.push(Commit {
            index: self.index,
            partition: crate::partition(&job_id, self.partitions),
            blob: change.pack(),
            job_id,
            tenant,
            trace_id: self.trace_id,
            state: change.to,
            context: self.submission.context,
            message,
        });
        plan.outcomes.push(outcome);
    }
}

fn judged_by(response: &PolicyCheckResponse, eval_us: i64) -> Context<'_> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds of one evaluation are far below 2^53"
    )]
    let eval_ms = eval_us as f64 / 1000.0;
    Context {
        rule: &response.rule_id,
        reason: &response.reason,
        eval_ms: Some(eval_ms),
        ..Context::default()
    }
}

/// The check request of a submission. Content labels exist only here, never in the job.
fn check_request(submission: &Submission) -> PolicyCheckRequest {
    let request = &submission.request;
    let mut labels: BTreeMap<String, String> = request.labels.clone();
    labels.insert("_content.prompt".into(), clip(&submission.prompt).to_owned());
    if submission.context.len() <= CONTENT_LABEL_BYTES {
        if let Ok(payload) = std::str::from_utf8(&submission.context) {
            labels.insert("_content.payload_json".into(), payload.to_owned());
        }
    }
    PolicyCheckRequest {
        job_id: request.job_id.clone(),
        topic: request.topic.clone(),
        tenant: tenant_of(request).to_owned(),
        priority: request.priority,
        budget: request.budget.clone(),
        principal_id: request.principal_id.clone(),
        labels,
        memory_id: request.memory_id.clone(),
        meta: request.meta.clone(),
        input_size_bytes: i64::try_from(submission.context.len()).unwrap_or(i64::MAX),
        ..PolicyCheckRequest::default()
    }
}

/// The longest prefix of `text` that fits a content label.
fn clip(text: &str) -> &str {
    let end = (0..=CONTENT_LABEL_BYTES.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}
