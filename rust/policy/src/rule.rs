//! A rule compiled: how the index finds it, what is left to check, and its ready-made part of the response.

use std::collections::BTreeMap;
use std::sync::Arc;

use cordum_output::Engine;
use prost::encoding::{encode_key, encode_varint, WireType};
use prost::Message;

use crate::content::CompiledDetectors;
use crate::document::{Decision, Delegation, InputRule, Match, Rule, Scope, Severity};
use crate::facts::Facts;
use crate::glob::Glob;
use crate::index::{Entry, Field};
use crate::mcp::{fold, McpField, McpLists};
use crate::predicate::Predicate;
use crate::velocity::Counted;

/// A rule ready to be evaluated.
#[derive(Debug)]
pub struct CompiledRule {
    pub id: String,
    pub path: String,
    pub scope: Scope,
    pub decision: Decision,
    pub reason: String,
    pub matching: Match,
    pub has_constraints: bool,
    pub counted: Option<Counted>,
    /// Encoded `PolicyConstraints`.
    pub(crate) constraints: Vec<u8>,
    /// Encoded `remediations` fields of the response.
    pub(crate) remediations: Vec<u8>,
    residue: Residue,
}

/// An input rule.
#[derive(Debug)]
pub struct CompiledInputRule {
    pub id: String,
    pub path: String,
    pub decision: Decision,
    pub severity: Severity,
    pub reason: String,
    pub size_limit: i64,
    pub is_invariant: bool,
    pub(crate) detectors: Option<CompiledDetectors>,
}

/// What the index cannot decide.
#[derive(Debug, Default)]
struct Residue {
    requires: Vec<String>,
    labels: BTreeMap<String, String>,
    allowlist: BTreeMap<String, Vec<String>>,
    thresholds: BTreeMap<String, f64>,
    mcp: Option<McpLists>,
    predicate: Option<Predicate>,
    delegation: Option<Delegation>,
    agent_risk_tiers: Vec<String>,
    agent_data_classifications: Vec<String>,
    is_needed: bool,
}

fn folded(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| fold(text).into_owned()).collect()
}

impl CompiledRule {
    pub(crate) fn new(rule: Rule) -> CompiledRule {
        let mut remediations = Vec::new();
        for remediation in &rule.remediations {
            encode_key(9, WireType::LengthDelimited, &mut remediations);
            encode_varint(remediation.encoded_len() as u64, &mut remediations);
            remediations.extend(remediation.encode_to_vec());
        }
        CompiledRule {
            residue: Residue::new(&rule.matching),
            counted: Counted::new(&rule),
            has_constraints: rule.constraints.is_some(),
            constraints: rule
                .constraints
                .map(|constraints| constraints.encode_to_vec())
                .unwrap_or_default(),
            remediations,
            id: rule.id,
            path: rule.path,
            scope: rule.scope,
            decision: rule.decision,
            reason: rule.reason,
            matching: rule.matching,
        }
    }

    /// Whether the rest of the match holds, for a rule the index proposed.
    #[inline]
    pub(crate) fn accepts(&self, facts: &Facts<'_, '_>) -> bool {
        !self.residue.is_needed || self.residue.holds(facts)
    }
}

impl CompiledInputRule {
    pub(crate) fn new(rule: InputRule, is_invariant: bool, engine: &Arc<Engine>) -> CompiledInputRule {
        CompiledInputRule {
            id: rule.id,
            path: rule.path,
            decision: rule.decision,
            severity: rule.severity,
            reason: rule.reason,
            size_limit: rule.size_limit,
            is_invariant,
            // A size rule does not consult its other detectors.
            detectors: CompiledDetectors::new(&rule.detectors, engine).filter(|_| rule.size_limit == 0),
        }
    }
}

impl Residue {
    fn new(matching: &Match) -> Residue {
        let mut residue = Residue {
            requires: folded(&matching.requires),
            labels: matching.labels.clone(),
            allowlist: matching
                .label_allowlist
                .iter()
                .map(|(key, values)| (key.clone(), folded(values)))
                .collect(),
            thresholds: matching.label_threshold.clone(),
            mcp: (!matching.mcp.is_empty()).then(|| matching.mcp.clone()),
            predicate: matching.predicate.as_deref().and_then(Predicate::parse),
            delegation: matching.delegation.clone(),
            agent_risk_tiers: folded(&matching.agent_risk_tiers),
            agent_data_classifications: folded(&matching.agent_data_classifications),
            is_needed: false,
        };
        residue.is_needed = residue.requires.len() > 1
            || !residue.labels.is_empty()
            || !residue.allowlist.is_empty()
            || !residue.thresholds.is_empty()
            || residue.mcp.is_some()
            || matching.reads_delegation()
            || !residue.agent_risk_tiers.is_empty()
            || !residue.agent_data_classifications.is_empty();
        residue
    }

    fn holds(&self, facts: &Facts<'_, '_>) -> bool {
        has_all(facts, &self.requires)
            && has_labels(facts, &self.labels)
            && (self.allowlist.is_empty() || leaves_allowlist(facts, &self.allowlist))
            && (self.thresholds.is_empty() || exceeds_threshold(facts, &self.thresholds))
            && self.mcp.as_ref().is_none_or(|lists| selects_call(facts, lists))
            && self
                .predicate
                .as_ref()
                .is_none_or(|predicate| predicate.holds(facts.delegation.as_ref()))
            && self
                .delegation
                .as_ref()
                .is_none_or(|keys| keys.holds(facts.delegation.as_ref()))
            && is_any_listed(agent_tier(facts), &self.agent_risk_tiers)
            && is_any_listed(agent_classes(facts), &self.agent_data_classifications)
    }
}

/// One of the values is in the folded list; an empty list lists everything.
fn is_any_listed<'a>(mut values: impl Iterator<Item = &'a str>, list: &[String]) -> bool {
    list.is_empty()
        || values.any(|value| {
            let value = fold(value);
            !value.is_empty() && list.iter().any(|entry| *entry == *value)
        })
}

/// Risk tier of the agent, if one is known.
pub(crate) fn agent_tier<'r>(facts: &'r Facts<'_, '_>) -> impl Iterator<Item = &'r str> {
    facts
        .request
        .agent
        .into_iter()
        .map(|agent| agent.risk_tier.as_str())
}

/// What kinds of data the agent handles, if it is known.
pub(crate) fn agent_classes<'r>(facts: &'r Facts<'_, '_>) -> impl Iterator<Item = &'r str> {
    let agent = facts.request.agent.into_iter();
    agent
        .flat_map(|agent| &agent.data_classifications)
        .map(String::as_str)
}

/// Every one of the folded `names` is among the request's requirements.
pub(crate) fn has_all(facts: &Facts<'_, '_>, names: &[String]) -> bool {
    names.iter().all(|name| {
        let mut required = facts.request.requires.iter();
        !name.is_empty() && required.any(|given| *fold(given) == **name)
    })
}

/// Every listed label has exactly that value; no labels at all never match (policy spec §5.3).
pub(crate) fn has_labels(facts: &Facts<'_, '_>, labels: &BTreeMap<String, String>) -> bool {
    labels.is_empty()
        || (!facts.request.labels.is_empty()
            && labels
                .iter()
                .all(|(key, value)| facts.request.label(key).unwrap_or("") == value))
}

/// Some listed label is present with a value that is not in its folded list.
pub(crate) fn leaves_allowlist(facts: &Facts<'_, '_>, allowlist: &BTreeMap<String, Vec<String>>) -> bool {
    allowlist.iter().any(|(key, allowed)| {
        facts.request.label(key).is_some_and(|value| {
            let value = fold(value);
            // An empty value equals nothing, not even a blank entry.
            value.is_empty() || !allowed.iter().any(|entry| *entry == *value)
        })
    })
}

/// Some listed label is a decimal number above its threshold.
pub(crate) fn exceeds_threshold(facts: &Facts<'_, '_>, thresholds: &BTreeMap<String, f64>) -> bool {
    thresholds.iter().any(|(key, threshold)| {
        let value = facts.request.label(key).and_then(decimal);
        value.is_some_and(|value| value > *threshold)
    })
}

pub(crate) fn decimal(text: &str) -> Option<f64> {
    let text = text.trim();
    let is_plain = text
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    is_plain.then(|| text.parse().ok()).flatten()
}

/// The request is an MCP request and the lists select it.
pub(crate) fn selects_call(facts: &Facts<'_, '_>, lists: &McpLists) -> bool {
    facts.mcp.is_present() && lists.refusal(&facts.mcp).is_none()
}

/// How the index finds a rule with this match in this scope.
pub(crate) fn entry(matching: &Match, scope: &Scope, content_types: &[String]) -> Entry {
    let mut entry = Entry {
        topics: matching
            .topics
            .iter()
            .filter_map(|pattern| Glob::new(pattern))
            .collect(),
        fields: Vec::new(),
    };
    match scope {
        Scope::Global => {}
        Scope::Workflow(id) => entry.fields.push((Field::WorkflowScope, vec![id.clone()])),
        Scope::Job(id) => entry.fields.push((Field::JobScope, vec![id.clone()])),
    }
    let lists = [
        (Field::Tenant, &matching.tenants[..]),
        (Field::Capability, &matching.capabilities),
        (Field::RiskTag, &matching.risk_tags),
        (Field::PackId, &matching.pack_ids),
        (Field::ActorId, &matching.actor_ids),
        (Field::ActorType, &matching.actor_types),
        (Field::ContentType, content_types),
    ];
    for (field, list) in lists {
        if !list.is_empty() {
            entry.fields.push((field, folded(list)));
        }
    }
    // All of them are needed, so any one of them finds the rule; the residue checks the others.
    entry.fields.extend(
        matching
            .requires
            .first()
            .map(|name| (Field::Requirement, folded(std::slice::from_ref(name)))),
    );
    add_label_fields(matching, &mut entry);
    if let Some(expected) = matching.secrets_present {
        entry.fields.push((Field::Secrets, vec![expected.to_string()]));
    }
    add_mcp_fields(&matching.mcp, &mut entry);
    entry
}

fn add_label_fields(matching: &Match, entry: &mut Entry) {
    let pair = matching.labels.iter().find(|(_, value)| !value.is_empty());
    entry
        .fields
        .extend(pair.map(|(key, value)| (Field::Label, vec![format!("{key}\0{value}")])));
    let mut keys = |field, keys: Vec<String>| {
        if !keys.is_empty() {
            entry.fields.push((field, keys));
        }
    };
    keys(
        Field::AllowlistLabel,
        matching.label_allowlist.keys().cloned().collect(),
    );
    keys(
        Field::ThresholdLabel,
        matching.label_threshold.keys().cloned().collect(),
    );
}

fn add_mcp_fields(lists: &McpLists, entry: &mut Entry) {
    if lists.is_empty() {
        return;
    }
    entry.fields.push((Field::McpRequest, vec!["true".to_owned()]));
    for field in McpField::ALL {
        let allow = lists
            .lists(field)
            .map(|lists| lists.allow.clone())
            .unwrap_or_default();
        if !allow.is_empty() {
            entry.fields.push((Field::Mcp(field as u8), allow));
        }
    }
}
