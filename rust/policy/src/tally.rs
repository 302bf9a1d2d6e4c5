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
    /// Positions of the first items that were not plainly allowed.
    pub held: Vec<usize>,
}

/// Count a serialized `BatchResponse`; `held_max` bounds the positions that are listed.
///
/// Errors: bytes that are no response of ours.
pub fn tally(response: &[u8], held_max: usize) -> Result<Tally, RequestError> {
    let mut tally = Tally::default();
    let mut fields = Fields::new(response);
    let mut position = 0;
    while let Some((tag, value)) = fields.next()? {
        if tag != 1 {
            continue;
        }
        let decision = count_item(value.bytes(tag)?, &mut tally)?;
        if decision != Some(1) && tally.held.len() < held_max {
            tally.held.push(position);
        }
        position += 1;
    }
    Ok(tally)
}

fn count_item(item: &[u8], tally: &mut Tally) -> Result<Option<u64>, RequestError> {
    let mut fields = Fields::new(item);
    while let Some((tag, value)) = fields.next()? {
        if tag == 1 {
            return count_response(value.bytes(tag)?, tally).map(Some);
        }
    }
    tally.failed += 1;
    Ok(None)
}

fn count_response(response: &[u8], tally: &mut Tally) -> Result<u64, RequestError> {
    let (mut decision, mut is_default, mut has_rule) = (0, false, false);
    let mut fields = Fields::new(response);
    while let Some((tag, value)) = fields.next()? {
        match (tag, value) {
            (1, FieldValue::Number(number)) => decision = number,
            (2, FieldValue::Bytes(reason)) => is_default = reason.starts_with(DEFAULT_REASON.as_bytes()),
            (5, FieldValue::Bytes(rule)) => has_rule = !rule.is_empty(),
            _ => {}
        }
    }
    let known = usize::try_from(decision).unwrap_or(0);
    if let Some(count) = tally.decisions.get_mut(known) {
        *count += 1;
    } else {
        tally.decisions[0] += 1;
    }
    // An allow carries no reason; without a rule's id nothing but the default gives it, nameless rules aside.
    if decision == 1 && !has_rule {
        tally.defaults[0] += 1;
    } else if decision == 2 && is_default && !has_rule {
        tally.defaults[1] += 1;
    }
    Ok(decision)
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

    fn respond(policy: &[u8], topics: &[&str]) -> Vec<u8> {
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
        compiled.evaluate_batch(&batch).expect("evaluates")
    }

    #[test]
    fn every_decision_is_counted_and_what_was_held_is_listed_up_to_the_bound() {
        let response = respond(
            POLICY,
            &["job.a", "job.h", "job.t", "job.d", "job.other", "job.a"],
        );
        let found = tally(&response, 3).expect("counts");
        assert_eq!(found.decisions, [0, 2, 2, 1, 1, 0]);
        assert_eq!((found.defaults, found.failed), ([0, 1], 0));
        assert_eq!(found.held, [1, 2, 3]);
    }

    #[test]
    fn a_default_allow_and_a_broken_item_are_counted_apart() {
        let mut response = respond(b"default_decision: allow\n", &["job.a"]);
        put_bytes(1, &[2 << 3, 3], &mut response);
        let found = tally(&response, 9).expect("counts");
        assert_eq!((found.decisions[1], found.defaults, found.failed), (1, [1, 0], 1));
        assert_eq!(found.held, [1]);
    }

    #[test]
    fn bytes_that_are_no_response_are_refused() {
        assert!(tally(&[0xff, 0xff], 1).is_err());
        assert!(tally(&[0x0a, 0x05, 0x0a], 1).is_err());
    }
}
