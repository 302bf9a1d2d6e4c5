//! What a checked result asks for and what follows from its commit (output policy spec §2.2–§2.9).

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use cordum_wire::messages::JobProgress;
use cordum_wire::messages::{JobStatus, Payload};
use cordum_wire::Transition;
use prost::Message;

use crate::outgoing::{self, Outgoing};
use crate::output_check::{Checked, OutputCheck, MASKED};
use crate::record::Record;
use crate::result_item::{Item, OPEN};
use crate::results::ResultsApplied;
use crate::submit::Surroundings;
use cordum_wire::stored::Context;

/// Where every quarantine and redaction is told.
pub const SUBJECT_AUDIT: &str = "sys.audit.output_policy";
const QUARANTINED: &str = "output_quarantined";
const OVER_BUDGET: &str = "output check error — fail-closed: scan budget exceeded";
const TRUNCATED: &str = "output larger than scan limit";
/// Duties a record may name.
const DUTIES: [&str; 7] = ["result", "dlq", "cancel", "saga", "rollback", "check", "scan"];

/// One check that counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Noted {
    pub tenant: String,
    pub job_id: String,
    /// Metric label.
    pub topic: String,
    /// Upper case; empty: let pass without an answer or without being asked.
    pub decision: String,
    pub rule_id: String,
    pub duration_ms: i64,
    pub eval_us: i64,
    /// Detector and severity.
    pub findings: Vec<(String, String)>,
}

/// Effects of the checks of a batch.
#[derive(Clone, Debug, Default)]
pub struct OutputEffects {
    /// Core messages, best effort.
    pub audits: Vec<Outgoing>,
    /// Jobs whose content is to be scanned, with their revision.
    pub scans: Vec<(String, i64)>,
    /// Jobs whose result waits for another check.
    pub withheld: Vec<String>,
    /// Keys of results kept as evidence.
    pub evidence: Vec<String>,
    pub noted: Vec<Noted>,
}

/// What happens to a successful result.
pub(crate) enum Course {
    Accept,
    Quarantine,
    Withhold,
}

impl Item {
    pub(crate) fn is_success(&self) -> bool {
        self.status() == JobStatus::Succeeded
    }

    /// Whether something of this result is checked: what a job returns, or the error text of one that failed.
    pub(crate) fn needs_check(&self) -> bool {
        match self.status() {
            JobStatus::Succeeded => true,
            JobStatus::Unspecified
            | JobStatus::Pending
            | JobStatus::Scheduled
            | JobStatus::Dispatched
            | JobStatus::Running => false,
            _ => !self.result.error_message.is_empty(),
        }
    }

    /// Replace the error text of a job that failed by what may be read of it.
    pub(crate) fn mask_error(&mut self) {
        let check = self.output.as_ref().filter(|check| check.request.failed);
        if let Some(text) = check.and_then(|check| check.shown_error()) {
            self.result.error_message = text.to_owned();
        }
    }

    /// Whether this result may end the job, as far as its record tells; the commit decides.
    pub(crate) fn may_end(&self, record: &Record) -> bool {
        let dispatch = self.result.dispatch.as_ref();
        let echoed = dispatch.map_or("", |dispatch| dispatch.dispatch_id.as_str());
        let is_direct = record.text("dispatch_subject").starts_with("worker.");
        let is_sender = match echoed {
            "" => !is_direct || record.text("worker_id") == self.result.worker_id,
            echoed => record.text("dispatch_id") == echoed,
        };
        OPEN.contains(&record.state()) && record.text("withheld").is_empty() && is_sender
    }

    pub(crate) fn course(&mut self) -> Course {
        let Some(check) = &mut self.output else {
            return Course::Accept;
        };
        match check.checked {
            Checked::Truncated => check.quarantine(TRUNCATED),
            Checked::OverBudget => check.quarantine(OVER_BUDGET),
            _ => {}
        }
        match check.checked {
            Checked::Quarantined => Course::Quarantine,
            Checked::Asking | Checked::Unanswered(_) | Checked::Postponed | Checked::Redact(_) => {
                Course::Withhold
            }
            Checked::Skipped
            | Checked::Allowed
            | Checked::Redacted(_)
            | Checked::FailedOpen
            | Checked::OverBudget
            | Checked::Truncated => Course::Accept,
        }
    }

    /// Dead-letter the job with the reason of the check. Nothing of the result is told.
    pub(crate) fn quarantine(&mut self, change: &mut Transition, now_us: i64) {
        let reason = self
            .output
            .as_ref()
            .map_or("", |check| check.record.reason.as_str());
        let reason = if reason.is_empty() {
            "output quarantined by policy".to_owned()
        } else {
            reason.to_owned()
        };
        let told = format!("{QUARANTINED}: {reason}");
        self.dead(
            change,
            "OUTPUT_QUARANTINED",
            JobStatus::Denied,
            QUARANTINED,
            &told,
            now_us,
        );
        self.result.status = JobStatus::Denied as i32;
        self.result.error_code = QUARANTINED.to_owned();
        self.result.error_code_enum = 0;
        self.result.error_message = reason;
        self.letter_reason = Some(told);
    }

    /// Keep the result with the job and check it again later; `None`: it is kept already.
    pub(crate) fn withhold(&mut self, mut change: Transition) -> Option<Transition> {
        let record = self.record.as_ref()?;
        if !record.text("withheld").is_empty() {
            return None;
        }
        let state = OPEN.into_iter().find(|state| *state == record.state())?;
        change.from = vec![state];
        change.to = state;
        change.rev = Some(record.revision());
        let named = |duty: &&str| record.text("after").split(',').any(|word| word == *duty);
        let mut after: Vec<&'static str> = DUTIES.into_iter().filter(|duty| named(duty)).collect();
        after.push("check");
        change.after = Some(after);
        // No time-out fires for it, and nothing dispatches it again.
        change.due = Some(0);
        change.deadline = Some(0);
        change.retry = Some(0);
        change.disp = Some(0);
        let kept = STANDARD.encode(self.result.encode_to_vec());
        change.set.insert("pending_result", kept);
        change.set.insert("withheld", "1".into());
        self.to = state;
        self.is_withheld = true;
        Some(change)
    }

    /// Record, duties and pointer of a checked result, before the rest of its change is made.
    pub(crate) fn put_output(&mut self, change: &mut Transition, now_us: i64) {
        let Some(check) = &mut self.output else { return };
        if let (Checked::Redacted(pointer), false) = (&check.checked, check.request.failed) {
            check.record.original_ptr.clone_from(&self.result.result_ptr);
            self.result.result_ptr.clone_from(pointer);
            // Another name of the original.
            self.result.result_ref = None;
            if !self.result.error_message.is_empty() {
                self.result.error_message = MASKED.to_owned();
            }
        }
        if check.checked == Checked::Quarantined && !check.request.failed {
            check.record.original_ptr.clone_from(&self.result.result_ptr);
        }
        // Of a job that failed the record says what was masked, if anything was.
        let is_kept = !check.request.failed || check.error_text.is_some();
        if is_kept && !check.record.decision.is_empty() {
            check.record.checked_at = now_us;
            change.output = Some(check.record.to_json());
        }
    }

    /// Name the artifacts of a result that passed without an answer: the scan that follows looks at them too.
    pub(crate) fn put_artifacts(&self, change: &mut Transition) {
        let is_unseen = self
            .output
            .as_ref()
            .is_some_and(|check| check.checked == Checked::FailedOpen && check.needs_scan);
        if is_unseen && !self.result.artifact_ptrs.is_empty() {
            change
                .set
                .insert("scan_artifacts", self.result.artifact_ptrs.join("\n"));
        }
    }

    /// Whether a scan of the content has to follow.
    pub(crate) fn needs_scan(&self) -> bool {
        self.to == "SUCCEEDED" && self.output.as_ref().is_some_and(|check| check.needs_scan)
    }

    pub(crate) fn note_output(
        &self,
        applied: &mut ResultsApplied,
        topic: &str,
        tenant: &str,
        surroundings: &Surroundings,
        now_us: i64,
    ) {
        let Some(check) = &self.output else { return };
        if check.request.failed && check.error_text.is_none() {
            return;
        }
        let label = surroundings.config.metric_topic(topic).to_owned();
        let effects = &mut applied.outputs;
        if matches!(check.record.decision, "QUARANTINE" | "REDACT") {
            effects.audits.push(audit(check, topic, &self.trace_id, now_us));
        }
        let findings = check.record.findings.iter();
        effects.noted.push(Noted {
            tenant: tenant.to_owned(),
            job_id: self.result.job_id.clone(),
            topic: label,
            decision: match check.record.decision {
                // Its job is not quarantined.
                "QUARANTINE" if check.request.failed => "DENY",
                decision => decision,
            }
            .to_owned(),
            rule_id: check.record.rule_id.clone(),
            duration_ms: check.record.check_duration_ms,
            eval_us: check.eval_us,
            findings: findings
                .map(|finding| (finding.matched_pattern.clone(), finding.severity.clone()))
                .collect(),
        });
    }
}

impl OutputCheck {
    /// What the job's event tells of the check.
    pub(crate) fn context(&self) -> Context<'_> {
        if matches!(self.record.decision, "" | "ALLOW") {
            return Context::default();
        }
        Context {
            rule: &self.record.rule_id,
            reason: &self.record.reason,
            findings: Some(self.record.findings.len()),
            scanner: self
                .record
                .findings
                .first()
                .map_or("", |one| one.scanner.as_str()),
            ..Context::default()
        }
    }
}

fn audit(check: &OutputCheck, topic: &str, trace_id: &str, now_us: i64) -> Outgoing {
    let job_id = &check.request.job_id;
    let status = match check.record.decision {
        "REDACT" => JobStatus::Succeeded,
        _ => JobStatus::Denied,
    };
    let progress = JobProgress {
        job_id: job_id.clone(),
        step_id: "output_policy".to_owned(),
        percent: 100,
        message: format!("{} (topic={topic})", check.record.reason),
        status: status as i32,
        ..JobProgress::default()
    };
    outgoing::told(
        SUBJECT_AUDIT,
        job_id,
        Payload::JobProgress(progress),
        trace_id,
        now_us,
    )
}
