//! Outcome → serialized `PolicyCheckResponse` (policy spec §6.9), same outcome, same bytes.

use crate::document::Decision;
use crate::evaluate::Outcome;
use crate::request::Request;

/// Append a varint.
#[inline]
pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Append a length-delimited field.
#[inline]
pub(crate) fn put_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag << 3 | 2);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_text(tag: u8, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        put_bytes(tag, text.as_bytes(), out);
    }
}

/// Append the response to `out`.
pub fn encode(outcome: &Outcome<'_>, request: &Request<'_>, snapshot: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&[1 << 3, outcome.decision.wire() as u8]);
    put_text(2, &outcome.reason, out);
    put_text(4, snapshot, out);
    put_text(5, outcome.rule_id, out);
    if let Some(rule) = outcome.rule.filter(|rule| rule.has_constraints) {
        put_bytes(6, &rule.constraints, out);
    }
    // A refused job never carries the flag, or it could be approved.
    if outcome.decision == Decision::RequireApproval {
        out.extend_from_slice(&[7 << 3, 1]);
        put_text(8, request.job_id, out);
    }
    if let Some(rule) = outcome.rule {
        out.extend_from_slice(&rule.remediations);
    }
    if !request.identity.is_empty() {
        let length: usize = request.identity.iter().map(|part| part.len()).sum();
        out.push(11 << 3 | 2);
        put_varint(length as u64, out);
        for part in &request.identity {
            out.extend_from_slice(part);
        }
    }
}
