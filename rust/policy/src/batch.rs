//! Bytes in, bytes out: single requests and batches (policy spec §14.1, protocol spec §20.5).

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::agents::Agents;
use crate::compile::Policy;
use crate::error::{BatchError, RequestError};
use crate::evaluate::Outcome;
use crate::limits::MAX_BATCH_ITEMS;
use crate::request::{Fields, Request};
use crate::response::{encode, put_bytes, put_varint};
use crate::velocity::{Answer, Counters, Need};

impl Policy {
    /// Serialized `PolicyCheckRequest` → serialized `PolicyCheckResponse`.
    ///
    /// Errors: bytes that are no request, withheld content that a rule needs. Anything that goes wrong later is a DENY.
    pub fn evaluate_bytes(&self, request: &[u8]) -> Result<Vec<u8>, RequestError> {
        self.evaluate_bytes_of(request, &Agents::none())
    }

    /// The same for a request of one of these agents.
    pub fn evaluate_bytes_of(&self, request: &[u8], agents: &Agents) -> Result<Vec<u8>, RequestError> {
        let mut out = Vec::with_capacity(256);
        self.evaluate_into(request, agents, &mut out)?;
        Ok(out)
    }

    fn evaluate_into(&self, bytes: &[u8], agents: &Agents, out: &mut Vec<u8>) -> Result<(), RequestError> {
        let mut request = Request::decode(bytes)?;
        agents.attach(&mut request)?;
        let outcome =
            catch_unwind(AssertUnwindSafe(|| self.evaluate(&request))).unwrap_or_else(|_| Outcome::failed());
        if outcome.needs_content {
            return Err(RequestError::NeedsContent);
        }
        encode(&outcome, &request, &self.snapshot, out);
        Ok(())
    }

    fn put_snapshot(&self, out: &mut Vec<u8>) {
        if !self.snapshot.is_empty() {
            put_bytes(2, self.snapshot.as_bytes(), out);
        }
    }

    /// Serialized `BatchRequest` → serialized `BatchResponse`, one item per request in the same order.
    ///
    /// Errors: a batch that does not decode or has more than 512 requests. A broken request fails its own item only.
    pub fn evaluate_batch(&self, batch: &[u8]) -> Result<Vec<u8>, BatchError> {
        self.evaluate_batch_of(batch, &Agents::none())
    }

    /// The same for requests of these agents.
    pub fn evaluate_batch_of(&self, batch: &[u8], agents: &Agents) -> Result<Vec<u8>, BatchError> {
        let requests = split(batch)?;
        let mut out = Vec::with_capacity(requests.len() * 192 + self.snapshot.len() + 8);
        let (mut response, mut item) = (Vec::with_capacity(256), Vec::with_capacity(256));
        let mut before = Instant::now();
        for request in requests {
            response.clear();
            item.clear();
            let result = self.evaluate_into(request, agents, &mut response);
            let now = Instant::now();
            put_item(&result, &response, elapsed_us(before, now), &mut item);
            put_bytes(1, &item, &mut out);
            before = now;
        }
        self.put_snapshot(&mut out);
        Ok(out)
    }
}

pub(crate) fn split(batch: &[u8]) -> Result<Vec<&[u8]>, BatchError> {
    let mut requests = Vec::with_capacity(64);
    let mut fields = Fields::new(batch);
    while let Some((tag, value)) = fields.next().map_err(BatchError::Malformed)? {
        if tag != 1 {
            continue;
        }
        if requests.len() == MAX_BATCH_ITEMS {
            return Err(BatchError::TooManyItems);
        }
        requests.push(value.bytes(tag).map_err(BatchError::Malformed)?);
    }
    Ok(requests)
}

/// A batch that stops where a count is needed and goes on with the answer (policy spec §13).
#[derive(Debug)]
pub struct Evaluation {
    policy: Arc<Policy>,
    agents: Agents,
    items: Vec<Pending>,
    needs: Vec<(usize, Need)>,
}

#[derive(Debug)]
struct Pending {
    request: Vec<u8>,
    counters: Counters,
    us: u64,
    /// The finished item of the response.
    answer: Option<Vec<u8>>,
}

impl Evaluation {
    /// Start with a serialized `BatchRequest`.
    ///
    /// Errors: as [`Policy::evaluate_batch`].
    pub fn begin(policy: Arc<Policy>, batch: &[u8], agents: Agents) -> Result<Evaluation, BatchError> {
        let items = split(batch)?.into_iter().map(|request| Pending {
            request: request.to_vec(),
            counters: Counters::default(),
            us: 0,
            answer: None,
        });
        let mut evaluation = Evaluation {
            items: items.collect(),
            policy,
            agents,
            needs: Vec::new(),
        };
        evaluation.advance();
        Ok(evaluation)
    }

    /// Counts waited for, each with the place of its request in the batch.
    pub fn needs(&self) -> &[(usize, Need)] {
        &self.needs
    }

    /// Go on with one answer per need, in the order of [`Self::needs`]; a missing answer is a failed count.
    pub fn answer(&mut self, answers: &[Answer]) {
        for (at, (item, need)) in std::mem::take(&mut self.needs).into_iter().enumerate() {
            let answer = answers.get(at).copied().unwrap_or(Answer::Failed);
            if let Some(pending) = self.items.get_mut(item) {
                pending.counters.answer(need, answer);
            }
        }
        self.advance();
    }

    /// The serialized `BatchResponse`; `None` while counts are missing.
    pub fn response(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(self.items.len() * 192);
        for item in &self.items {
            put_bytes(1, item.answer.as_ref()?, &mut out);
        }
        self.policy.put_snapshot(&mut out);
        Some(out)
    }

    /// What was looked at for the first request and why, with the counts given.
    ///
    /// Errors: that request does not decode, or its agent was not looked up.
    pub fn explain(&self) -> Result<Value, RequestError> {
        let Some(first) = self.items.first() else {
            return Err(RequestError::Truncated);
        };
        let mut request = Request::decode(&first.request)?;
        self.agents.attach(&mut request)?;
        Ok(self.policy.explain_counted(&request, &mut first.counters.clone()))
    }

    fn advance(&mut self) {
        for (at, item) in self.items.iter_mut().enumerate() {
            if item.answer.is_none() {
                let needs = item.advance(&self.policy, &self.agents);
                self.needs.extend(needs.into_iter().map(|need| (at, need)));
            }
        }
    }
}

impl Pending {
    /// Evaluate with the counts known; the counts that are missing.
    fn advance(&mut self, policy: &Policy, agents: &Agents) -> Vec<Need> {
        let before = Instant::now();
        let mut response = Vec::with_capacity(256);
        let counters = &mut self.counters;
        let result = Request::decode(&self.request).and_then(|mut request| {
            agents.attach(&mut request)?;
            let outcome = catch_unwind(AssertUnwindSafe(|| policy.evaluate_counted(&request, counters)));
            if outcome.is_err() {
                // An evaluation that failed waits for nothing.
                counters.take_needs();
            }
            let outcome = outcome.unwrap_or_else(|_| Outcome::failed());
            if outcome.needs_content {
                return Err(RequestError::NeedsContent);
            }
            encode(&outcome, &request, &policy.snapshot, &mut response);
            Ok(())
        });
        self.us = self.us.saturating_add(elapsed_us(before, Instant::now()));
        let needs = self.counters.take_needs();
        if needs.is_empty() {
            let mut item = Vec::with_capacity(256);
            put_item(&result, &response, self.us, &mut item);
            self.answer = Some(item);
        }
        needs
    }
}

pub(crate) fn elapsed_us(before: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(before).as_micros()).unwrap_or(u64::MAX)
}

fn put_item(result: &Result<(), RequestError>, response: &[u8], us: u64, item: &mut Vec<u8>) {
    match result {
        Ok(()) => put_bytes(1, response, item),
        Err(error) => {
            item.extend_from_slice(&[2 << 3, error.status()]);
            put_bytes(3, error.to_string().as_bytes(), item);
        }
    }
    if us > 0 {
        item.push(4 << 3);
        put_varint(us, item);
    }
}
