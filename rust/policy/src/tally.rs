//! What a serialized `BatchResponse` decided, counted without decoding its items into objects (policy spec §21).

use crate::error::RequestError;
use crate::request::{FieldValue, Fields};

/// Values of `DecisionType` that are counted apart; anything else counts as 0.
const DECISIONS: usize = 6;
/// Reason of a denial that no rule gave (policy spec §6.3).
const DEFAULT_REASON: &str = "no matching rule — default policy:";

/// Counts of one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Items per `DecisionType` number.
    pub decisions: [u64; DECISIONS],
    /// Items no rule named: allowed, denied.
    pub defaults: [u64; 2],
    /// Items without a decision (their `code` is not 0).
    pub failed: u64,
    /// The first decisions that were no plain allow.
    pub held: Vec<Held>,
}

/// A decision that was no plain allow, as the log tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub job_id: String,
    pub tenant: String,
    pub topic: String,
    /// `DecisionType` number.
    pub decision: u64,
    pub rule_id: String,
    /// Time of the evaluation in microseconds.
    pub us: u64,
}

/// What a response says.
#[derive(Default)]
struct Said<'a> {
    decision: u64,
    rule_id: &'a [u8],
    is_default: bool,
}

/// Count a serialized `BatchResponse` to the serialized `BatchRequest`; `held_max` bounds what is listed.
///
/// Errors: bytes that are no batch of ours.
pub fn tally(requests: &[u8], response: &[u8], held_max: usize) -> Result<Tally, RequestError> {
    let mut tally = Tally::default();
    let (mut asked, mut answered) = (Fields::new(requests), Fields::new(response));
    while let Some(item) = next_entry(&mut answered)? {
        let request = next_entry(&mut asked)?.unwrap_or_default();
        let (mut said, mut us) = (None, 0);
        let mut fields = Fields::new(item);
        while let Some((tag, value)) = fields.next()? {
            match (tag, value) {
                (1, FieldValue::Bytes(bytes)) => said = Some(bytes),
                (4, FieldValue::Number(number)) => us = number,
                _ => {}
            }
        }
        match said {
            Some(said) => tally.count(request, said, us, held_max)?,
            None => tally.failed += 1,
        }
    }
    Ok(tally)
}

/// The same for one request and its response.
///
/// Errors: bytes that are no response of ours.
pub fn tally_one(request: &[u8], response: &[u8], us: u64) -> Result<Tally, RequestError> {
    let mut tally = Tally::default();
    tally.count(request, response, us, 1)?;
    Ok(tally)
}

/// Next entry of the list that both kinds of batch have as field 1.
fn next_entry<'a>(fields: &mut Fields<'a>) -> Result<Option<&'a [u8]>, RequestError> {
    while let Some((tag, value)) = fields.next()? {
        if tag == 1 {
            return value.bytes(tag).map(Some);
        }
    }
    Ok(None)
}

impl Tally {
    fn count(
        &mut self,
        request: &[u8],
        response: &[u8],
        us: u64,
        held_max: usize,
    ) -> Result<(), RequestError> {
        let said = read(response)?;
        let known = usize::try_from(said.decision).unwrap_or(0);
        match self.decisions.get_mut(known) {
            Some(count) => *count += 1,
            None => self.decisions[0] += 1,
        }
        // An allow carries no reason; without a rule's id nothing but the default gives it, nameless rules aside.
        let has_rule = !said.rule_id.is_empty();
        if said.decision == 1 && !has_rule {
            self.defaults[0] += 1;
        } else if said.decision == 2 && said.is_default && !has_rule {
            self.defaults[1] += 1;
        }
        if said.decision != 1 && self.held.len() < held_max {
            self.held.push(held(request, &said, us)?);
        }
        Ok(())
    }
}

fn read(response: &[u8]) -> Result<Said<'_>, RequestError> {
    let mut said = Said::default();
    let mut fields = Fields::new(response);
    while let Some((tag, value)) = fields.next()? {
        match (tag, value) {
            (1, FieldValue::Number(number)) => said.decision = number,
            (2, FieldValue::Bytes(reason)) => said.is_default = reason.starts_with(DEFAULT_REASON.as_bytes()),
            (5, FieldValue::Bytes(rule)) => said.rule_id = rule,
            _ => {}
        }
    }
    Ok(said)
}

fn held(request: &[u8], said: &Said<'_>, us: u64) -> Result<Held, RequestError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut held = Held {
        decision: said.decision,
        rule_id: text(said.rule_id),
        us,
        ..Held::default()
    };
    let mut fields = Fields::new(request);
    while let Some((tag, value)) = fields.next()? {
        match (tag, value) {
            (1, FieldValue::Bytes(bytes)) => held.job_id = text(bytes),
            (2, FieldValue::Bytes(bytes)) => held.topic = text(bytes),
            (3, FieldValue::Bytes(bytes)) => held.tenant = text(bytes),
            _ => {}
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{Policy, Source, SourceKind};
    use crate::response::put_bytes;

    const POLICY: &[u8] = b"default_decision: deny\nrules:\n\
        - {id: a, match: {topics: [job.a]}, decision: allow}\n\
        - {id: h, match: {topics: [job.h]}, decision: require_approval}\n\
        - {id: t, match: {topics: [job.t]}, decision: throttle}\n\
        - {id: d, match: {topics: [job.d]}, decision: deny}\n";

    fn respond(policy: &[u8], topics: &[&str]) -> (Vec<u8>, Vec<u8>) {
        let source = Source {
            kind: SourceKind::Base,
            content: policy,
        };
        let compiled = Policy::compile(&[source]).expect("compiles");
        let mut batch = Vec::new();
        for topic in topics {
            let mut request = Vec::new();
            put_bytes(2, topic.as_bytes(), &mut request);
            put_bytes(1, &request, &mut batch);
        }
        let response = compiled.evaluate_batch(&batch).expect("evaluates");
        (batch, response)
    }

    #[test]
    fn every_decision_is_counted_and_what_was_held_is_listed_up_to_the_bound() {
        let (batch, response) = respond(
            POLICY,
            &["job.a", "job.h", "job.t", "job.d", "job.other", "job.a"],
        );
        let found = tally(&batch, &response, 3).expect("counts");
        assert_eq!(found.decisions, [0, 2, 2, 1, 1, 0]);
        assert_eq!((found.defaults, found.failed), ([0, 1], 0));
        let told: Vec<_> = found
            .held
            .iter()
            .map(|held| (held.topic.as_str(), held.decision))
            .collect();
        assert_eq!(told, [("job.h", 3), ("job.t", 4), ("job.d", 2)]);
        assert_eq!(found.held.first().map(|held| held.rule_id.as_str()), Some("h"));
    }

    #[test]
    fn a_default_allow_and_a_broken_item_are_counted_apart() {
        let (batch, mut response) = respond(b"default_decision: allow\n", &["job.a"]);
        put_bytes(1, &[2 << 3, 3], &mut response);
        let found = tally(&batch, &response, 9).expect("counts");
        assert_eq!((found.decisions[1], found.defaults, found.failed), (1, [1, 0], 1));
        assert_eq!(found.held, []);
    }

    #[test]
    fn bytes_that_are_no_response_are_refused() {
        assert!(tally(&[], &[0xff, 0xff], 1).is_err());
        assert!(tally(&[], &[0x0a, 0x05, 0x0a], 1).is_err());
    }
}
