//! Which rules were looked at, and why each did or did not match (policy spec §17.3).

use serde_json::{json, Value};

use crate::compile::Policy;
use crate::document::{Decision, Scope};
use crate::evaluate::Outcome;
use crate::facts::Facts;
use crate::glob::Glob;
use crate::limits::MAX_EXPLAINED_RULES;
use crate::mcp::{fold, McpField, McpLists};
use crate::predicate::Predicate;
use crate::request::Request;
use crate::rule::{
    agent_classes, agent_tier, exceeds_threshold, has_all, has_labels, leaves_allowlist, selects_call,
    CompiledRule,
};
use crate::topics::EDGE_TOPIC;
use crate::velocity::{Counters, Standing};

impl Policy {
    /// The decision with its `evaluation_path`.
    pub fn explain(&self, request: &Request<'_>) -> Value {
        self.explain_counted(request, &mut Counters::unavailable())
    }

    /// The same with counts that are known.
    pub fn explain_counted(&self, request: &Request<'_>, counters: &mut Counters) -> Value {
        if let Some(refused) = self.refuse(request) {
            return self.explanation(&refused, Vec::new());
        }
        let facts = self.facts(request);
        if let Some(reason) = facts.agent_refusal() {
            return self.explanation(&Outcome::refused(reason), Vec::new());
        }
        let outcome = self.decide(&facts, counters);
        let mut path = self.rule_elements(&facts, &outcome, counters);
        if outcome.rule.is_none() {
            let (decision, reason) = self.default_verdict(&facts);
            path.push(step_element("default", decision, reason));
        }
        for step in &outcome.steps {
            path.push(step_element(step.name, step.decision, &step.reason));
        }
        self.explanation(&outcome, path)
    }

    fn explanation(&self, outcome: &Outcome<'_>, path: Vec<Value>) -> Value {
        json!({
            "decision": outcome.decision.name(),
            "reason": outcome.reason,
            "rule_id": outcome.rule_id,
            "policy_snapshot": self.snapshot,
            "evaluation_path": path,
        })
    }

    /// Candidates in order up to the rule that decided.
    fn rule_elements(
        &self,
        facts: &Facts<'_, '_>,
        outcome: &Outcome<'_>,
        counters: &mut Counters,
    ) -> Vec<Value> {
        let mut elements = Vec::new();
        for (rank, rule) in (0u32..).zip(&self.rules) {
            let is_edge_limited = facts.topic == EDGE_TOPIC && self.groups.ordinary.contains(&rank);
            if !is_candidate(rule, facts, is_edge_limited) {
                continue;
            }
            if elements.len() == MAX_EXPLAINED_RULES {
                break;
            }
            elements.push(rule_element(rule, facts, counters));
            if outcome.rule.is_some_and(|winner| std::ptr::eq(winner, rule)) {
                break;
            }
        }
        elements
    }
}

fn is_candidate(rule: &CompiledRule, facts: &Facts<'_, '_>, is_edge_limited: bool) -> bool {
    let in_scope = match &rule.scope {
        Scope::Global => true,
        Scope::Workflow(id) => id == facts.workflow_scope,
        Scope::Job(id) => id == facts.job_scope,
    };
    let lists_edge = || {
        let mut topics = rule.matching.topics.iter();
        topics.any(|topic| topic.trim() == EDGE_TOPIC)
    };
    in_scope && (!is_edge_limited || lists_edge())
}

fn step_element(name: &str, decision: Decision, reason: &str) -> Value {
    json!({"rule_id": name, "rule_name": "", "decision": decision_name(decision), "reason": reason,
           "matched": true, "conditions": []})
}

fn decision_name(decision: Decision) -> String {
    decision.name().to_ascii_lowercase()
}

fn rule_element(rule: &CompiledRule, facts: &Facts<'_, '_>, counters: &mut Counters) -> Value {
    let mut conditions = conditions(rule, facts);
    if let Some(counted) = &rule.counted {
        let standing = counted.standing(&rule.id, facts, counters);
        conditions.push(Condition {
            field: "velocity",
            operator: "velocity",
            expected: counted.to_json(),
            actual: json!(standing.name()),
            passed: matches!(standing, Standing::Exceeded | Standing::Unavailable),
        });
    }
    let matched = conditions.iter().all(|condition| condition.passed);
    json!({
        "rule_id": rule.id,
        "rule_name": "",
        "decision": decision_name(rule.decision),
        "reason": rule.reason,
        "matched": matched,
        "conditions": conditions.into_iter().map(Condition::into_json).collect::<Vec<_>>(),
    })
}

struct Condition {
    field: &'static str,
    operator: &'static str,
    expected: Value,
    actual: Value,
    passed: bool,
}

impl Condition {
    fn into_json(self) -> Value {
        json!({"field": self.field, "operator": self.operator, "expected": self.expected,
               "actual": self.actual, "passed": self.passed})
    }
}

/// Every field the rule restricts, tested on its own.
fn conditions(rule: &CompiledRule, facts: &Facts<'_, '_>) -> Vec<Condition> {
    let mut found = list_conditions(rule, facts);
    found.extend(label_conditions(rule, facts));
    let matching = &rule.matching;
    if let Some(expected) = matching.secrets_present {
        found.push(Condition {
            field: "secrets_present",
            operator: "equals",
            expected: json!(expected),
            actual: json!(facts.has_secrets),
            passed: expected == facts.has_secrets,
        });
    }
    if let Some(predicate) = &matching.predicate {
        found.push(Condition {
            field: "predicate",
            operator: "predicate",
            expected: json!(predicate),
            actual: delegated(facts),
            passed: Predicate::parse(predicate).is_some_and(|parsed| parsed.holds(facts.delegation.as_ref())),
        });
    }
    if let Some(delegation) = &matching.delegation {
        found.push(Condition {
            field: "delegation",
            operator: "delegation",
            expected: json!({
                "max_depth": delegation.max_depth,
                "issuers": delegation.issuers,
                "require_issuer": delegation.require_issuer,
                "required_scope": delegation.required_scope,
                "forbid_delegated": delegation.forbid_delegated,
                "delegation_required": delegation.delegation_required,
            }),
            actual: delegated(facts),
            passed: delegation.holds(facts.delegation.as_ref()),
        });
    }
    if !matching.mcp.is_empty() {
        let named = McpField::ALL.map(|field| (field.name().to_owned(), json!(facts.mcp.value(field))));
        found.push(Condition {
            field: "mcp",
            operator: "mcp",
            expected: listed(&matching.mcp),
            actual: Value::Object(named.into_iter().collect()),
            passed: selects_call(facts, &matching.mcp),
        });
    }
    found
}

/// The lists that say something, by their keys.
fn listed(mcp: &McpLists) -> Value {
    let mut shown = serde_json::Map::new();
    for field in McpField::ALL {
        let ((allow, deny), Some(lists)) = (field.list_keys(), mcp.lists(field)) else {
            continue;
        };
        for (key, list) in [(allow, &lists.allow), (deny, &lists.deny)] {
            if !list.is_empty() {
                shown.insert(key.to_owned(), json!(list));
            }
        }
    }
    Value::Object(shown)
}

/// How the call was delegated; null for a direct one.
fn delegated(facts: &Facts<'_, '_>) -> Value {
    facts.delegation.as_ref().map_or(Value::Null, |call| {
        json!({"depth": call.depth, "issuer": call.issuer, "issuer_chain": call.chain, "scope": call.scope})
    })
}

fn list_conditions(rule: &CompiledRule, facts: &Facts<'_, '_>) -> Vec<Condition> {
    let matching = &rule.matching;
    let request = facts.request;
    let one = |value| vec![value];
    let lists: [(&'static str, &'static str, &[String], Vec<&str>); 9] = [
        ("tenants", "in", &matching.tenants, one(facts.tenant)),
        (
            "capabilities",
            "in",
            &matching.capabilities,
            one(request.capability),
        ),
        (
            "risk_tags",
            "any_of",
            &matching.risk_tags,
            request.risk_tags.to_vec(),
        ),
        (
            "requires",
            "all_of",
            &matching.requires,
            request.requires.to_vec(),
        ),
        ("pack_ids", "in", &matching.pack_ids, one(request.pack_id)),
        ("actor_ids", "in", &matching.actor_ids, one(facts.actor_id)),
        ("actor_types", "in", &matching.actor_types, one(facts.actor_type)),
        (
            "agent_risk_tiers",
            "in",
            &matching.agent_risk_tiers,
            agent_tier(facts).collect(),
        ),
        (
            "agent_data_classifications",
            "any_of",
            &matching.agent_data_classifications,
            agent_classes(facts).collect(),
        ),
    ];
    let mut found = Vec::new();
    if !matching.topics.is_empty() {
        let globs = matching.topics.iter().filter_map(|pattern| Glob::new(pattern));
        found.push(Condition {
            field: "topics",
            operator: "glob",
            expected: json!(matching.topics),
            actual: json!(facts.topic),
            passed: globs.into_iter().any(|glob| glob.matches(facts.topic)),
        });
    }
    for (field, operator, expected, actual) in lists {
        if expected.is_empty() {
            continue;
        }
        let folded: Vec<String> = expected.iter().map(|text| fold(text).into_owned()).collect();
        let passed = if operator == "all_of" {
            has_all(facts, &folded)
        } else {
            actual.iter().any(|value| {
                let value = fold(value);
                !value.is_empty() && folded.iter().any(|text| *text == *value)
            })
        };
        found.push(Condition {
            field,
            operator,
            expected: json!(expected),
            actual: json!(actual),
            passed,
        });
    }
    found
}

fn label_conditions(rule: &CompiledRule, facts: &Facts<'_, '_>) -> Vec<Condition> {
    let matching = &rule.matching;
    let mut found = Vec::new();
    // Values of labels may be private: only those the rule names are shown, and only whether they are there.
    let presence = |keys: &mut dyn Iterator<Item = &String>| -> Value {
        json!(keys
            .filter(|key| facts.request.label(key).is_some())
            .collect::<Vec<_>>())
    };
    if !matching.labels.is_empty() {
        found.push(Condition {
            field: "labels",
            operator: "equals",
            expected: json!(matching.labels),
            actual: presence(&mut matching.labels.keys()),
            passed: has_labels(facts, &matching.labels),
        });
    }
    if !matching.label_allowlist.is_empty() {
        let folded = matching
            .label_allowlist
            .iter()
            .map(|(key, values)| {
                let values = values.iter().map(|text| fold(text).into_owned()).collect();
                (key.clone(), values)
            })
            .collect();
        found.push(Condition {
            field: "label_allowlist",
            operator: "not_in_allowlist",
            expected: json!(matching.label_allowlist),
            actual: presence(&mut matching.label_allowlist.keys()),
            passed: leaves_allowlist(facts, &folded),
        });
    }
    if !matching.label_threshold.is_empty() {
        found.push(Condition {
            field: "label_threshold",
            operator: "greater_than",
            expected: json!(matching.label_threshold),
            actual: presence(&mut matching.label_threshold.keys()),
            passed: exceeds_threshold(facts, &matching.label_threshold),
        });
    }
    found
}
