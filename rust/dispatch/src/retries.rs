//! Budget of FAILED_RETRYABLE results (scheduler spec §9).

use cordum_wire::ConfigScope;
use serde_json::Value;

use crate::backoff::{route_delay_us, Jitter};
use crate::config::Config;
use crate::outgoing::budget_of;
use crate::record::Record;

/// Retries of a job nobody set a budget for.
const DEFAULT: i64 = 3;

/// Whether the workflow engine runs the job again, under a new id. A compensation carries its run's label, but the engine does
/// not know it.
pub(crate) fn owned_by_workflow(record: &Record) -> bool {
    !record.text("run_id").is_empty() && record.text("saga") != "x"
}

/// Budget of a job: policy constraint, else its topic's, else `effective` (`retry.max_retries` of its configuration), else 3.
pub(crate) fn limit(record: &Record, config: &Config, effective: Option<i64>) -> i64 {
    own_limit(record, config).or(effective).unwrap_or(DEFAULT)
}

/// Scope of the configuration that has to be read for the budget; `None` when the budget is known without.
pub fn scope(record: &Record, config: &Config) -> Option<ConfigScope> {
    if owned_by_workflow(record) || own_limit(record, config).is_some() {
        return None;
    }
    let labels: Value = serde_json::from_str(record.text("labels")).unwrap_or_default();
    let step = labels.get("step_id").and_then(Value::as_str).unwrap_or_default();
    let text = |field: &str| record.text(field).to_owned();
    Some((text("tenant"), text("team"), text("workflow_id"), step.to_owned()))
}

/// What becomes of a job whose attempt was lost without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Another attempt after this delay, µs.
    Again(i64),
    /// The workflow engine decides within its time-out.
    Engine,
    /// The budget is used up.
    Exhausted,
}

/// Decide about another attempt (scheduler spec §9).
pub fn decide(record: &Record, config: &Config, effective: Option<i64>, jitter: &mut Jitter) -> Retry {
    if owned_by_workflow(record) {
        return Retry::Engine;
    }
    if charged(record) > limit(record, config, effective) {
        return Retry::Exhausted;
    }
    Retry::Again(route_delay_us(record.number("attempts") - 1, jitter))
}

/// Attempts that count against the budget.
pub(crate) fn charged(record: &Record) -> i64 {
    record.number("attempts") - record.number("rollbacks")
}

fn own_limit(record: &Record, config: &Config) -> Option<i64> {
    let constraints: Value = serde_json::from_str(record.text("safety_constraints")).unwrap_or_default();
    match budget_of(&constraints, "maxRetries") {
        0 => config.max_retries(record.text("topic")),
        budget => Some(budget),
    }
}
