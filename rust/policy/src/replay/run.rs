//! Another policy's answer to past requests (policy spec §19.3).
//!
//! Rows come newest first, segment by segment; of a job only its newest decision counts. Rows whose answer depends on something that
//! was not kept are counted as unknown, never as a change.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{catch_unwind, AssertUnwindSafe};

use ahash::{AHashMap, AHashSet, RandomState};
use serde::{Deserialize, Serialize};

use super::columns::{flags, Column, Row, Segment};
use super::scan::{decided, Compiled, Filter};
use crate::agents::{is_refusal, AGENT_LABEL};
use crate::compile::Policy;
use crate::document::Decision;
use crate::velocity::Counters;

/// Jobs one replay may look at; their hashes are what it keeps of them.
const MAX_JOBS: usize = 4_000_000;
/// Differing kinds of change that are counted apart.
const MAX_GROUPS: usize = 10_000;
/// Examples of one kind of change.
const EXAMPLES: usize = 5;

/// What to replay.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplaySpec {
    pub filter: Filter,
    /// Stop after this many jobs; 0 = all that the limits allow.
    pub max_jobs: usize,
    /// Changes listed one by one.
    pub max_changes: usize,
}

/// Numbers of one replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub total_jobs: u64,
    pub evaluated: u64,
    pub escalated: u64,
    pub relaxed: u64,
    pub unchanged: u64,
    pub errored: u64,
    /// Same decision by another rule; part of `unchanged`.
    pub other_rule: u64,
    pub unknown: Unknown,
}

/// Rows that cannot be judged again, by what is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// A counter.
    pub velocity: u64,
    /// Content.
    pub content: u64,
    /// Facts too large to keep.
    pub facts: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Change {
    job_id: String,
    topic: String,
    tenant: String,
    original_decision: &'static str,
    original_rule_id: String,
    new_decision: &'static str,
    new_rule_id: String,
    new_reason: String,
    direction: &'static str,
    time_us: i64,
}

/// One kind of change: from decision and rule to decision and rule.
#[derive(Clone, Debug, Serialize)]
struct Group {
    original_decision: &'static str,
    original_rule_id: String,
    new_decision: &'static str,
    new_rule_id: String,
    direction: &'static str,
    count: u64,
    examples: Vec<Change>,
}

#[derive(Serialize)]
struct RuleHits<'a> {
    rule_id: &'a str,
    decision: &'static str,
    count: u64,
}

/// One decision, old or new.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Verdict<'a> {
    decision: Decision,
    rule_id: &'a str,
}

/// Why a row has no answer.
enum NoAnswer {
    Velocity,
    Content,
    Facts,
    Failed,
}

/// A replay under way; memory is bounded by the limits above, not by the length of the log.
pub struct Replay {
    filter: Compiled,
    max_jobs: usize,
    max_changes: usize,
    hasher: RandomState,
    jobs: AHashSet<u64>,
    summary: Summary,
    /// Per rule, a count for each decision.
    hits: AHashMap<String, [u64; 5]>,
    groups: BTreeMap<(Decision, String, Decision, String), Group>,
    changes: Vec<Change>,
    is_cut: bool,
}

impl Replay {
    /// Errors: filters that do not compile.
    pub fn new(spec: ReplaySpec) -> Result<Replay, String> {
        let wanted = if spec.max_jobs == 0 {
            MAX_JOBS
        } else {
            spec.max_jobs
        };
        Ok(Replay {
            filter: spec.filter.compile()?,
            max_jobs: wanted.min(MAX_JOBS),
            max_changes: spec.max_changes,
            hasher: RandomState::new(),
            jobs: AHashSet::new(),
            summary: Summary::default(),
            hits: AHashMap::new(),
            groups: BTreeMap::new(),
            changes: Vec::new(),
            is_cut: false,
        })
    }

    /// Whether as many jobs were seen as were asked for.
    pub fn is_full(&self) -> bool {
        self.jobs.len() >= self.max_jobs
    }

    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Judge the rows of one segment, newest first.
    pub fn add(&mut self, policy: &Policy, segment: &Segment) {
        for number in (0..segment.len()).rev() {
            let row = segment.row(number);
            if !self.filter.accepts(&row) {
                continue;
            }
            if self.is_full() {
                self.is_cut = true;
                return;
            }
            let job = self.hasher.hash_one(row.text(Column::JobId));
            if !row.has(flags::JOBLESS) && !self.jobs.insert(job) {
                continue;
            }
            self.summary.total_jobs += 1;
            self.judge(policy, &row);
        }
    }

    fn judge(&mut self, policy: &Policy, row: &Row<'_>) {
        let answer = decided(row).ok_or(NoAnswer::Failed).and_then(|before| {
            let old = Verdict {
                decision: before,
                rule_id: row.text(Column::Rule),
            };
            Ok((old, answer(policy, row, &old)?))
        });
        let (old, (new, reason)) = match answer {
            Ok(verdicts) => verdicts,
            Err(missing) => {
                let counter = match missing {
                    NoAnswer::Velocity => &mut self.summary.unknown.velocity,
                    NoAnswer::Content => &mut self.summary.unknown.content,
                    NoAnswer::Facts => &mut self.summary.unknown.facts,
                    NoAnswer::Failed => &mut self.summary.errored,
                };
                *counter += 1;
                return;
            }
        };
        self.summary.evaluated += 1;
        self.count_hit(new);
        let direction = match new.decision.cmp(&old.decision) {
            std::cmp::Ordering::Equal => {
                self.summary.unchanged += 1;
                self.summary.other_rule += u64::from(new.rule_id != old.rule_id);
                return;
            }
            std::cmp::Ordering::Greater => {
                self.summary.escalated += 1;
                "escalated"
            }
            std::cmp::Ordering::Less => {
                self.summary.relaxed += 1;
                "relaxed"
            }
        };
        self.note_change(row, old, new, &reason, direction);
    }

    fn count_hit(&mut self, new: Verdict<'_>) {
        // Most rows hit a rule that was hit before; the outer look-up needs no copy of its id.
        if let Some(counts) = self.hits.get_mut(new.rule_id) {
            if let Some(count) = counts.get_mut(new.decision as usize) {
                *count += 1;
            }
        } else if self.hits.len() < MAX_GROUPS {
            let mut counts = [0; 5];
            if let Some(count) = counts.get_mut(new.decision as usize) {
                *count = 1;
            }
            self.hits.insert(new.rule_id.to_owned(), counts);
        }
    }

    fn note_change(
        &mut self,
        row: &Row<'_>,
        old: Verdict<'_>,
        new: Verdict<'_>,
        reason: &str,
        direction: &'static str,
    ) {
        let change = || Change {
            job_id: row.text(Column::JobId).to_owned(),
            topic: row.text(Column::Topic).to_owned(),
            tenant: row.text(Column::Tenant).to_owned(),
            original_decision: old.decision.name(),
            original_rule_id: old.rule_id.to_owned(),
            new_decision: new.decision.name(),
            new_rule_id: new.rule_id.to_owned(),
            new_reason: reason.to_owned(),
            direction,
            time_us: row.time_us(),
        };
        if self.changes.len() < self.max_changes {
            self.changes.push(change());
        }
        let key = (
            old.decision,
            old.rule_id.to_owned(),
            new.decision,
            new.rule_id.to_owned(),
        );
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            return;
        }
        let group = self.groups.entry(key).or_insert_with(|| Group {
            original_decision: old.decision.name(),
            original_rule_id: old.rule_id.to_owned(),
            new_decision: new.decision.name(),
            new_rule_id: new.rule_id.to_owned(),
            direction,
            count: 0,
            examples: Vec::new(),
        });
        group.count += 1;
        if group.examples.len() < EXAMPLES {
            group.examples.push(change());
        }
    }

    /// The result as JSON: `summary`, `rule_hits`, `groups` (most frequent first), `changes`, `is_cut`.
    pub fn result(&self) -> Vec<u8> {
        let mut hits: Vec<_> = self
            .hits
            .iter()
            .flat_map(|(rule_id, counts)| {
                let counts = counts.iter().zip(Decision::ALL).filter(|(count, _)| **count > 0);
                counts.map(move |(count, decision)| RuleHits {
                    rule_id,
                    decision: decision.name(),
                    count: *count,
                })
            })
            .collect();
        hits.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.rule_id.cmp(b.rule_id)));
        let mut groups: Vec<_> = self.groups.values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        let body = serde_json::json!({
            "summary": self.summary,
            "rule_hits": hits,
            "groups": groups,
            "changes": self.changes,
            "is_cut": self.is_cut,
        });
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

/// What the policy answers now, with its reason.
fn answer<'p>(
    policy: &'p Policy,
    row: &Row<'p>,
    old: &Verdict<'_>,
) -> Result<(Verdict<'p>, Cow<'p, str>), NoAnswer> {
    if row.has(flags::PARTIAL) {
        return Err(NoAnswer::Facts);
    }
    let request = row.request();
    // What was known of the agent is not kept.
    let has_agent = row.label(AGENT_LABEL).is_some_and(|id| !id.trim().is_empty());
    let was_refused = old.rule_id.is_empty() && is_refusal(row.text(Column::Reason));
    if has_agent && (was_refused || policy.reads_agents()) {
        return Err(NoAnswer::Facts);
    }
    let mut counters = Counters::default();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        policy.evaluate_counted(&request, &mut counters)
    }))
    .map_err(|_| NoAnswer::Failed)?;
    if counters.is_waiting() {
        return Err(NoAnswer::Velocity); // the counter of that time is gone
    }
    if outcome.needs_content {
        return Err(NoAnswer::Content);
    }
    let verdict = Verdict {
        decision: outcome.decision,
        rule_id: outcome.rule_id,
    };
    Ok((verdict, outcome.reason))
}
