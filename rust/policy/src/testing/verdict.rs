//! One case evaluated, and what differs from what it expects.

use std::collections::BTreeMap;
use std::panic::{catch_unwind, AssertUnwindSafe};

use cordum_wire::messages::PolicyConstraints;
use prost::Message;
use serde_json::{json, Value as Json};

use crate::agents::Agent;
use crate::compile::Policy;
use crate::document::Decision;
use crate::evaluate::{Decider, Outcome};
use crate::request::Request;
use crate::testing::case::TestCase;
use crate::velocity::{Answer, Counters};
use crate::yaml::{Node, Value};

/// What was decided.
pub(super) struct Verdict {
    pub decision: Decision,
    pub rule_id: String,
    pub reason: String,
    pub constraints: Option<PolicyConstraints>,
    pub decider: Decider,
    /// Members of the expectation that do not hold.
    pub differs: Vec<&'static str>,
    /// Why the case says nothing about the policy.
    pub error: Option<String>,
}

impl Verdict {
    pub fn is_passed(&self) -> bool {
        self.differs.is_empty() && self.error.is_none()
    }
}

/// Evaluate `case` under `policy`.
pub(super) fn judge(policy: &Policy, case: &TestCase) -> Verdict {
    let agent = agent_of(policy, case);
    let mut request = match Request::decode(&case.request) {
        Ok(request) => request,
        Err(error) => return verdict(&Outcome::failed(), Some(error.to_string()), case),
    };
    request.agent = agent.as_ref();
    let unknown = case.exceeded.iter().find(|id| !is_counted(policy, id));
    let evaluated = catch_unwind(AssertUnwindSafe(|| decide(policy, &request, &case.exceeded)));
    let outcome = evaluated.unwrap_or_else(|_| Outcome::failed());
    let error = match unknown {
        Some(id) => Some(format!("exceeded: `{id}` is no velocity rule of the policy")),
        None if outcome.needs_content => Some("an input rule needs the content of this request".to_owned()),
        None => None,
    };
    verdict(&outcome, error, case)
}

/// The agent of the case, of the request's tenant unless it has another.
fn agent_of(policy: &Policy, case: &TestCase) -> Option<Agent> {
    let mut agent = case.agent.clone()?;
    if agent.tenant.is_empty() {
        let request = Request::decode(&case.request).ok()?;
        agent.tenant = policy.facts(&request).tenant.to_owned();
    }
    Some(agent)
}

fn is_counted(policy: &Policy, id: &str) -> bool {
    let mut rules = policy.rules.iter().chain(&policy.overlay);
    rules.any(|rule| rule.counted.is_some() && rule.id == id.trim())
}

/// Every count is within its limit, but for the rules named.
fn decide<'p>(policy: &'p Policy, request: &Request<'p>, exceeded: &[String]) -> Outcome<'p> {
    let mut counters = Counters::default();
    loop {
        let outcome = policy.evaluate_counted(request, &mut counters);
        // Each round answers counts that were not known before, so there are no more rounds than velocity rules.
        let needs = counters.take_needs();
        if needs.is_empty() {
            return outcome;
        }
        for need in needs {
            let is_exceeded = exceeded.iter().any(|id| id.trim() == need.rule_id);
            let answer = if is_exceeded {
                Answer::Exceeded
            } else {
                Answer::Within
            };
            counters.answer(need, answer);
        }
    }
}

fn verdict(outcome: &Outcome<'_>, error: Option<String>, case: &TestCase) -> Verdict {
    let constraints = outcome.rule.filter(|rule| rule.has_constraints);
    let mut verdict = Verdict {
        decision: outcome.decision,
        rule_id: outcome.rule_id.to_owned(),
        reason: outcome.reason.to_string(),
        constraints: constraints.and_then(|rule| PolicyConstraints::decode(rule.constraints.as_slice()).ok()),
        decider: outcome.decider,
        differs: Vec::new(),
        error,
    };
    verdict.differs = differences(&verdict, case);
    verdict
}

fn differences(got: &Verdict, case: &TestCase) -> Vec<&'static str> {
    let expect = &case.expect;
    let flat = flattened(got.constraints.as_ref());
    let is_other = |(path, wanted): (&String, &Json)| flat.get(path.as_str()) != Some(wanted);
    let checks = [
        ("decision", expect.decision != got.decision),
        (
            "rule_id",
            expect.rule_id.as_ref().is_some_and(|id| *id != got.rule_id),
        ),
        (
            "reason_contains",
            expect
                .reason_contains
                .as_ref()
                .is_some_and(|part| !got.reason.contains(part)),
        ),
        ("constraints", expect.constraints.iter().any(is_other)),
    ];
    let differing = checks.into_iter().filter(|(_, differs)| *differs);
    differing.map(|(name, _)| name).collect()
}

/// Leaves of written constraints by path.
pub(super) fn leaves(path: &str, node: &Node, found: &mut BTreeMap<String, Json>) {
    let value = match &node.value {
        Value::Map(entries) => {
            for (key, child) in entries {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                leaves(&path, child, found);
            }
            return;
        }
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        // Reading found that it is whole.
        Value::Float(value) => json!(*value as i64),
        Value::Str(text) => json!(text),
        Value::List(items) => {
            let texts = items.iter().filter_map(|item| match &item.value {
                Value::Str(text) => Some(text.as_str()),
                _ => None,
            });
            json!(texts.collect::<Vec<_>>())
        }
        Value::Null => return,
    };
    found.insert(path.to_owned(), value);
}

/// Every leaf of constraints by path, also those that say nothing.
fn flattened(constraints: Option<&PolicyConstraints>) -> BTreeMap<&'static str, Json> {
    let constraints = constraints.cloned().unwrap_or_default();
    let budgets = constraints.budgets.unwrap_or_default();
    let sandbox = constraints.sandbox.unwrap_or_default();
    let toolchain = constraints.toolchain.unwrap_or_default();
    let diff = constraints.diff.unwrap_or_default();
    BTreeMap::from([
        ("budgets.max_runtime_ms", json!(budgets.max_runtime_ms)),
        ("budgets.max_retries", json!(budgets.max_retries)),
        ("budgets.max_artifact_bytes", json!(budgets.max_artifact_bytes)),
        ("budgets.max_concurrent_jobs", json!(budgets.max_concurrent_jobs)),
        ("sandbox.isolated", json!(sandbox.isolated)),
        ("sandbox.network_allowlist", json!(sandbox.network_allowlist)),
        ("sandbox.fs_read_only", json!(sandbox.fs_read_only)),
        ("sandbox.fs_read_write", json!(sandbox.fs_read_write)),
        ("toolchain.allowed_tools", json!(toolchain.allowed_tools)),
        ("toolchain.allowed_commands", json!(toolchain.allowed_commands)),
        ("diff.max_files", json!(diff.max_files)),
        ("diff.max_lines", json!(diff.max_lines)),
        ("diff.deny_path_globs", json!(diff.deny_path_globs)),
        ("redaction_level", json!(constraints.redaction_level)),
    ])
}

/// The leaves that say something, nested as they are written; null without any.
pub(super) fn constraints_json(constraints: Option<&PolicyConstraints>) -> Json {
    let said = flattened(constraints).into_iter().filter(|(_, value)| {
        *value != json!(0) && *value != json!(false) && *value != json!("") && *value != json!([])
    });
    nested(said)
}

/// Values by path → one tree; null for none.
pub(super) fn nested<'a>(leaves: impl Iterator<Item = (&'a str, Json)>) -> Json {
    let mut tree = serde_json::Map::new();
    for (path, value) in leaves {
        match path.split_once('.') {
            None => {
                tree.insert(path.to_owned(), value);
            }
            Some((group, leaf)) => {
                let entry = tree.entry(group).or_insert_with(|| json!({}));
                if let Some(members) = entry.as_object_mut() {
                    members.insert(leaf.to_owned(), value);
                }
            }
        }
    }
    if tree.is_empty() {
        Json::Null
    } else {
        Json::Object(tree)
    }
}
