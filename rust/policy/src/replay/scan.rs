//! Decisions that pass a filter, newest first, as JSON (policy spec §19.5).

use serde::{Deserialize, Serialize};

use super::columns::{flags, Column, Row, Segment};
use crate::document::Decision;
use crate::glob::Glob;

/// What is asked for; empty texts and absent times mean any. Times are µs since the epoch, the end exclusive.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    pub since_us: Option<i64>,
    pub until_us: Option<i64>,
    /// A topic or topic glob.
    pub topic: String,
    pub rule_id: String,
    /// A decision's name, e.g. `REQUIRE_APPROVAL`.
    pub decision: String,
    pub agent_id: String,
    /// Only decisions about jobs.
    pub jobs_only: bool,
}

/// A filter ready to use.
#[derive(Debug)]
pub struct Compiled {
    filter: Filter,
    topic: Option<Glob>,
    decision: Option<Decision>,
}

impl Filter {
    /// Errors: a topic that is no glob, an unknown decision.
    pub fn compile(self) -> Result<Compiled, String> {
        let topic = match self.topic.as_str() {
            "" => None,
            text => Some(Glob::new(text).ok_or_else(|| format!("topic: `{text}` is not a topic pattern"))?),
        };
        let decision = match self.decision.as_str() {
            "" => None,
            text => Some(named(text).ok_or_else(|| format!("decision: `{text}` is not a decision"))?),
        };
        Ok(Compiled {
            filter: self,
            topic,
            decision,
        })
    }
}

impl Compiled {
    pub fn accepts(&self, row: &Row<'_>) -> bool {
        let (filter, time) = (&self.filter, row.time_us());
        filter.since_us.is_none_or(|since| time >= since)
            && filter.until_us.is_none_or(|until| time < until)
            && !(filter.jobs_only && row.has(flags::JOBLESS))
            && self
                .decision
                .is_none_or(|wanted| row.number(Column::Decision) == wanted.wire() as u32)
            && (filter.rule_id.is_empty() || row.text(Column::Rule) == filter.rule_id)
            && (filter.agent_id.is_empty() || row.label("agent_id") == Some(&filter.agent_id))
            && self
                .topic
                .as_ref()
                .is_none_or(|glob| glob.matches(row.text(Column::Topic).trim()))
    }
}

fn named(name: &str) -> Option<Decision> {
    Decision::named(name)
}

/// The decision of a row; `None` for a number this version does not know.
pub fn decided(row: &Row<'_>) -> Option<Decision> {
    let number = row.number(Column::Decision);
    Decision::ALL
        .into_iter()
        .find(|decision| decision.wire() as u32 == number)
}

/// One decision as listed.
#[derive(Debug, Serialize)]
struct Item<'s> {
    /// Index of the segment as given, and row in it.
    segment: usize,
    row: usize,
    job_id: &'s str,
    topic: &'s str,
    tenant: &'s str,
    rule_id: &'s str,
    decision: &'static str,
    reason: &'s str,
    /// Serialized `PolicyConstraints` in hex.
    constraints: String,
    agent_id: &'s str,
    snapshot: &'s str,
    time_us: i64,
    approval_required: bool,
}

/// Decoded segments, newest first; the rows of each are read from its end. `before` limits the rows of the first segment. Stops after
/// `limit` rows.
pub fn scan(segments: &[Segment], filter: &Compiled, before: Option<usize>, limit: usize) -> Vec<u8> {
    let mut items = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let end = before
            .filter(|_| index == 0)
            .unwrap_or(usize::MAX)
            .min(segment.len());
        for number in (0..end).rev() {
            if items.len() >= limit {
                break;
            }
            let row = segment.row(number);
            if filter.accepts(&row) {
                items.push(item(index, number, row));
            }
        }
    }
    serde_json::to_vec(&items).unwrap_or_default()
}

fn item(segment: usize, number: usize, row: Row<'_>) -> Item<'_> {
    let hex = row
        .blob(Column::Constraints)
        .iter()
        .map(|byte| format!("{byte:02x}"));
    Item {
        segment,
        row: number,
        job_id: row.text(Column::JobId),
        topic: row.text(Column::Topic),
        tenant: row.text(Column::Tenant),
        rule_id: row.text(Column::Rule),
        decision: decided(&row).map_or("", Decision::name),
        reason: row.text(Column::Reason),
        constraints: hex.collect(),
        agent_id: row.label("agent_id").unwrap_or(""),
        snapshot: row.text(Column::Snapshot),
        time_us: row.time_us(),
        approval_required: row.has(flags::APPROVAL),
    }
}
