//! Checksums inside tokens.

use crate::definition::{Candidate, Verdict};
use crate::sample::base62;

/// GitHub and npm: the last six characters are the CRC32 of the thirty before, in base 62. Longer bodies have none.
pub(crate) fn crc32_base62(candidate: &Candidate<'_>) -> Verdict {
    let text = candidate.text();
    let body = text
        .iter()
        .position(|byte| *byte == b'_')
        .and_then(|at| text.get(at.saturating_add(1)..));
    match body {
        Some(body) if body.len() == 36 => {
            let (value, check) = body.split_at(30);
            match crc_matches(value, check) {
                true => Verdict::Score(0.99),
                false => Verdict::Reject,
            }
        }
        Some(body) if body.len() > 36 => Verdict::Score(0.7),
        _ => Verdict::Reject,
    }
}

pub(crate) fn crc_matches(value: &[u8], check: &[u8]) -> bool {
    base62(crc32fast::hash(value), 6).as_bytes() == check
}

/// Whether the last six characters are the base-62 CRC32 of those between the last `_` and them.
pub(crate) fn ends_with_crc(value: &[u8]) -> bool {
    let body = value
        .iter()
        .rposition(|byte| *byte == b'_')
        .map_or(0, |at| at.saturating_add(1));
    let body = value.get(body..).unwrap_or_default();
    let Some(at) = body.len().checked_sub(6).filter(|at| *at > 0) else {
        return false;
    };
    let (value, check) = body.split_at(at);
    crc_matches(value, check)
}
