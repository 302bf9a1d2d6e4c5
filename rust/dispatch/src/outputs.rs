//! Output checks of a result batch: one prefetch, one batch call, masked copies, then the commits (output policy spec §2).

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use cordum_wire::artifact_key;
use cordum_wire::messages::{BatchRequest, BatchResponse, JobRequest, JobResult};
use cordum_wire::output_messages::OutputCheckResponse;
use prost::bytes::Bytes;
use prost::Message;

use crate::output_check::{cut_error, Checked, Fault, OutputCheck, ReadContent};
use crate::record::Record;
use crate::result_item::Item;
use crate::results::ResultPlan;
use crate::submit::Surroundings;

/// Requests of one call (protocol spec §20.5), and bytes with room for the framing.
const CALL_MAX_ITEMS: usize = 512;
const CALL_MAX_BYTES: usize = 7 * 1024 * 1024 - 64 * 1024;
/// Codes of an item that say the kernel is not well: it could not read in time, or not at all (output policy spec §8.2).
const FAILURES: [i32; 2] = [4, 14];
/// Codes that every attempt would get: the scan was given up, or broke.
const OVER_BUDGET: i32 = 8;
const CRASHED: i32 = 13;

/// What was read about a job for its check.
#[derive(Debug, Default)]
pub struct OutputRow {
    pub record: Option<Record>,
    pub request: Option<JobRequest>,
    pub read: ReadContent,
}

impl ResultPlan {
    /// A batch of results that wait for their check: record and the stored result.
    pub fn stored(surroundings: Surroundings, results: Vec<(Record, JobResult)>, seed: u64) -> ResultPlan {
        let mut plan = ResultPlan::new(surroundings, &[], seed);
        plan.is_stored = true;
        plan.items = results
            .into_iter()
            .map(|(record, result)| {
                let mut item = Item::new(usize::MAX, record.text("trace_id").to_owned(), result);
                item.record = Some(record);
                item
            })
            .collect();
        plan
    }

    /// Artifacts that results point at instead of a result of their own: (job, key).
    pub fn artifact_reads(&self) -> Vec<(String, String)> {
        let pointed = self.items.iter().filter(|item| item.is_success());
        pointed
            .filter_map(|item| {
                let key = artifact_key(&item.result.result_ptr)?;
                Some((item.result.job_id.clone(), key.to_owned()))
            })
            .collect()
    }

    /// These artifacts are those of their jobs' tenants.
    pub fn accept_artifacts(&mut self, own: &[(String, String)]) {
        for item in &mut self.items {
            let is_own = |(job, key): &(String, String)| {
                *job == item.result.job_id && artifact_key(&item.result.result_ptr) == Some(key)
            };
            item.is_own_artifact = own.iter().any(is_own);
        }
    }

    /// Jobs whose results are to be checked, and the key of their content; empty: it is the error text.
    pub fn output_reads(&self) -> Vec<(String, String)> {
        let checked = self.items.iter().filter(|item| item.needs_check());
        let key = |item: &Item| match artifact_key(&item.result.result_ptr) {
            _ if !item.is_success() => String::new(),
            Some(key) if item.is_own_artifact => key.to_owned(),
            _ => format!("res:{}", item.result.job_id),
        };
        checked
            .map(|item| (item.result.job_id.clone(), key(item)))
            .collect()
    }

    /// Supply what was read, in the order of [`ResultPlan::output_reads`].
    pub fn supply_outputs(&mut self, mut rows: Vec<OutputRow>) {
        rows.reverse();
        self.is_checked = true;
        let is_stored = self.is_stored;
        for item in self.items.iter_mut().filter(|item| item.needs_check()) {
            let Some(row) = rows.pop() else { break };
            if !item.is_success() {
                cut_error(&mut item.result.error_message);
                let check = OutputCheck::of_error(&item.result, row.request.as_ref());
                item.output = Some(Box::new(check));
                continue;
            }
            if !is_stored {
                item.record = row.record;
            }
            let is_due = item
                .record
                .as_ref()
                .is_some_and(|record| is_stored || item.may_end(record));
            if is_due {
                let own = item.is_own_artifact;
                let check = OutputCheck::new(&item.result, row.request.as_ref(), row.read, is_stored, own);
                item.output = Some(Box::new(check));
            }
        }
    }

    /// Serialized `BatchRequest`s about the results, each with the number of its requests.
    pub fn output_batches(&self) -> Vec<(usize, Vec<u8>)> {
        let open = self.checks().filter(|check| check.checked == Checked::Asking);
        batches(open, OutputCheck::put_request)
    }

    /// Take the answers to [`ResultPlan::output_batches`]; `None`: there was none, because of `reason`. Tells whether the kernel
    /// is well.
    pub fn output_answers(&mut self, answers: &[(usize, Option<&[u8]>)], reason: &str) -> bool {
        let (mut words, is_well) = unpacked(answers, reason);
        words.reverse();
        let mut open = self.checks_mut();
        for check in open.by_ref().filter(|check| check.checked == Checked::Asking) {
            let (word, eval_us) = words
                .pop()
                .unwrap_or((Err(Fault::NoAnswer(reason.to_owned())), 0));
            check.eval_us = eval_us;
            check.answer(word);
            if matches!(check.checked, Checked::Redact(_)) && check.is_without_content() {
                check.checked = Checked::Redacted(String::new());
            }
        }
        drop(open);
        is_well
    }

    /// Contents that need a masked copy, with the spans: (content, spans), and how to hand the copies back.
    pub fn make_copies(&mut self, redact: impl Fn(&[u8], &[(usize, usize)]) -> Option<Vec<u8>>) {
        for check in self.checks_mut() {
            if let (Checked::Redact(spans), Some(content)) = (&check.checked, &check.content) {
                let copy = redact(content, spans);
                check.put_copy(copy);
            }
        }
    }

    /// Copies to be stored: (key, bytes).
    pub fn copies(&self) -> Vec<(&str, &[u8])> {
        let copies = self.checks().filter_map(|check| check.copy.as_ref());
        copies
            .map(|(key, copy)| (key.as_str(), copy.as_slice()))
            .collect()
    }

    /// Serialized `BatchRequest`s about the copies.
    pub fn copy_batches(&self) -> Vec<(usize, Vec<u8>)> {
        let copied = self.checks().filter(|check| check.copy.is_some());
        batches(copied, OutputCheck::put_copy_request)
    }

    /// Take the answers to [`ResultPlan::copy_batches`]; the keys of copies that nobody may use, and whether the kernel is well.
    pub fn copy_answers(&mut self, answers: &[(usize, Option<&[u8]>)], reason: &str) -> (Vec<String>, bool) {
        let (mut words, is_well) = unpacked(answers, reason);
        words.reverse();
        let mut useless = Vec::new();
        for check in self.checks_mut().filter(|check| check.copy.is_some()) {
            let (word, eval_us) = words
                .pop()
                .unwrap_or((Err(Fault::NoAnswer(reason.to_owned())), 0));
            check.eval_us = check.eval_us.saturating_add(eval_us);
            check.copy_answer(word);
            if check.checked == Checked::Quarantined {
                useless.extend(check.copy.take().map(|(key, _)| key));
            }
        }
        (useless, is_well)
    }

    /// Tenants of results without an answer.
    pub fn unanswered(&self) -> Vec<String> {
        let open = self.checks().filter(|check| {
            matches!(
                check.checked,
                Checked::Unanswered(_) | Checked::OverBudget | Checked::Truncated
            )
        });
        let mut tenants: Vec<String> = open.map(|check| check.request.tenant.clone()).collect();
        tenants.sort();
        tenants.dedup();
        tenants
    }

    /// Let the results of these tenants pass without an answer; their content is scanned later.
    pub fn fail_open(&mut self, tenants: &[String]) {
        for check in self.checks_mut() {
            if !tenants.contains(&check.request.tenant) {
                continue;
            }
            match check.checked {
                Checked::Unanswered(_) | Checked::OverBudget => {
                    check.checked = Checked::FailedOpen;
                    let has_parts = !check.is_empty() || !check.request.artifact_ptrs.is_empty();
                    check.needs_scan = !check.request.failed && has_parts;
                }
                Checked::Truncated => check.checked = Checked::Allowed,
                _ => {}
            }
        }
    }

    /// Let error texts pass that nobody checked: no rule asks for errors.
    pub fn pass_errors(&mut self) {
        for check in self.checks_mut().filter(|check| check.request.failed) {
            if matches!(check.checked, Checked::Unanswered(_)) {
                check.checked = Checked::FailedOpen;
            }
        }
    }

    /// Metric labels of the results under check, each with their number.
    pub fn output_topics(&self) -> Vec<(String, usize)> {
        self.topics(self.checks())
    }

    /// The same of those with a masked copy.
    pub fn copy_topics(&self) -> Vec<(String, usize)> {
        self.topics(self.checks().filter(|check| check.copy.is_some()))
    }

    fn topics<'a>(&self, checks: impl Iterator<Item = &'a OutputCheck>) -> Vec<(String, usize)> {
        let mut topics: Vec<(String, usize)> = Vec::new();
        for check in checks {
            let label = self.surroundings.config.metric_topic(&check.request.topic);
            match topics.iter_mut().find(|(known, _)| known == label) {
                Some((_, count)) => *count += 1,
                None => topics.push((label.to_owned(), 1)),
            }
        }
        topics
    }

    /// Milliseconds the checks took together, for the records.
    pub fn output_duration(&mut self, duration_ms: i64) {
        for check in self.checks_mut() {
            check.record.check_duration_ms = duration_ms;
        }
    }

    fn checks(&self) -> impl Iterator<Item = &OutputCheck> {
        self.items.iter().filter_map(|item| item.output.as_deref())
    }

    fn checks_mut(&mut self) -> impl Iterator<Item = &mut OutputCheck> {
        self.items
            .iter_mut()
            .filter_map(|item| item.output.as_deref_mut())
    }
}

/// `BatchRequest`s within the bounds of a call, each with the number of its requests.
fn batches<'a>(
    checks: impl Iterator<Item = &'a OutputCheck>,
    put: impl Fn(&OutputCheck, &mut Vec<u8>),
) -> Vec<(usize, Vec<u8>)> {
    let mut batches: Vec<(usize, Vec<u8>)> = Vec::new();
    for check in checks {
        let Some((count, batch)) = batches.last_mut().filter(|(count, _)| *count < CALL_MAX_ITEMS) else {
            let mut batch = Vec::new();
            put(check, &mut batch);
            batches.push((1, batch));
            continue;
        };
        let before = batch.len();
        put(check, batch);
        *count += 1;
        if batch.len() > CALL_MAX_BYTES {
            *count -= 1;
            let next = batch.split_off(before);
            batches.push((1, next));
        }
    }
    batches
}

type Word = (Result<OutputCheckResponse, Fault>, i64);

/// One word per request, and whether the kernel is well: an undecodable answer is a failure of the call, and so is content that
/// the kernel cannot read.
fn unpacked(answers: &[(usize, Option<&[u8]>)], reason: &str) -> (Vec<Word>, bool) {
    let (mut words, mut is_well) = (Vec::new(), true);
    for (count, answer) in answers {
        let response = answer.map(BatchResponse::decode);
        match response {
            Some(Ok(response)) if response.items.len() == *count => {
                is_well &= !response.items.iter().any(|item| FAILURES.contains(&item.code));
                words.extend(response.items.iter().map(|item| {
                    let word = match item.code {
                        0 => OutputCheckResponse::decode(item.response.as_slice()).map_err(|_| {
                            Fault::NoAnswer("safety kernel gave an undecodable answer".to_owned())
                        }),
                        OVER_BUDGET => Err(Fault::OverBudget),
                        CRASHED => Err(Fault::Crashed),
                        code => Err(Fault::NoAnswer(format!(
                            "safety kernel: code {code} {}",
                            item.error
                        ))),
                    };
                    (word, item.eval_us)
                }));
            }
            other => {
                is_well &= other.is_none();
                let why = if other.is_some() {
                    "safety kernel gave an undecodable answer"
                } else {
                    reason
                };
                words.extend((0..*count).map(|_| (Err(Fault::NoAnswer(why.to_owned())), 0)));
            }
        }
    }
    (words, is_well)
}

/// The result kept in a record, `None` when it does not decode.
pub fn stored_result(kept: &str) -> Option<JobResult> {
    let bytes = STANDARD.decode(kept).ok()?;
    JobResult::decode(bytes.as_slice()).ok()
}

/// The request of a later scan of a job's result: the content along with it, or by pointer.
pub fn scan_request(request: &JobRequest, result: &JobResult, content: &[u8], size: i64) -> Vec<u8> {
    let read = ReadContent {
        head: Bytes::copy_from_slice(content),
        size,
    };
    let mut batch = Vec::new();
    // Whose an artifact is was asked when its result was accepted.
    let is_own_artifact = artifact_key(&result.result_ptr).is_some();
    OutputCheck::new(result, Some(request), read, true, is_own_artifact).put_request(&mut batch);
    let one = BatchRequest::decode(batch.as_slice()).unwrap_or_default();
    one.requests.into_iter().next().unwrap_or_default()
}
