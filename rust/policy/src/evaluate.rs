//! Facts → decision, in the order of policy spec §6.1.

use std::borrow::Cow;

use crate::compile::Policy;
use crate::content::{Content, Finding};
use crate::document::Decision;
use crate::facts::Facts;
use crate::limits::MAX_TOPIC_BYTES;
use crate::overlay;
use crate::request::Request;
use crate::rule::{CompiledInputRule, CompiledRule};
use crate::velocity::{Counters, Standing};

pub(crate) const GATE_RULE: &str = "builtin.approval-gate";
pub(crate) const GATE_TOPICS: [&str; 2] = ["job.cordum.approval-gate", "sys.approval.gate"];

/// Findings told in a reason.
const MAX_LISTED_FINDINGS: usize = 32;

/// What was decided and why.
#[derive(Clone, Debug)]
pub struct Outcome<'p> {
    pub decision: Decision,
    pub reason: Cow<'p, str>,
    pub rule_id: &'p str,
    /// Rule of step 7, whose constraints and remediations are returned whatever follows.
    pub(crate) rule: Option<&'p CompiledRule>,
    /// An input rule has to see the content, which the request withholds: the outcome means nothing.
    pub needs_content: bool,
    /// Which later steps changed the result, in order.
    pub(crate) steps: Vec<Step<'p>>,
    pub(crate) decider: Decider,
}

/// Whose decision an outcome is; the number is the place in the policy's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decider {
    Rule(u32),
    /// A rule of a `velocity/*` bundle.
    Overlay(u32),
    InputRule(u32),
    /// A default, a gate, lists, a refusal.
    NoRule,
}

/// A step after the rules that changed the result.
#[derive(Clone, Debug)]
pub(crate) struct Step<'p> {
    pub name: &'p str,
    pub decision: Decision,
    pub reason: String,
}

impl<'p> Outcome<'p> {
    fn deny(reason: impl Into<Cow<'p, str>>) -> Self {
        Outcome {
            decision: Decision::Deny,
            reason: reason.into(),
            rule_id: "",
            rule: None,
            needs_content: false,
            steps: Vec::new(),
            decider: Decider::NoRule,
        }
    }

    /// The answer to a request that no rule is asked about.
    pub(crate) fn refused(reason: String) -> Self {
        Outcome::deny(reason)
    }

    /// The answer when evaluation itself failed.
    pub fn failed() -> Self {
        Outcome::deny("policy evaluation failed")
    }

    /// Whether constraints are part of the answer.
    pub fn has_constraints(&self) -> bool {
        self.rule.is_some_and(|rule| rule.has_constraints)
    }

    /// Index of the rule of step 7 as written, e.g. `rules[3]`.
    pub fn rule_path(&self) -> Option<&'p str> {
        self.rule.map(|rule| rule.path.as_str())
    }

    fn change(&mut self, name: &'p str, decision: Decision, reason: String) {
        self.decision = decision;
        self.decider = Decider::NoRule;
        self.reason = Cow::Owned(reason.clone());
        self.steps.push(Step {
            name,
            decision,
            reason,
        });
    }
}

/// A rule that counts for the request.
#[derive(Clone, Copy)]
struct Found<'p> {
    rule: &'p CompiledRule,
    rank: u32,
    /// Its counter answered, or it has none.
    is_available: bool,
}

impl<'p> Found<'p> {
    fn decision(&self) -> Decision {
        if self.is_available {
            self.rule.decision
        } else {
            Decision::RequireApproval
        }
    }

    fn reason(&self) -> &'p str {
        if self.is_available {
            &self.rule.reason
        } else {
            "velocity check unavailable"
        }
    }
}

impl Policy {
    /// Decide about one request.
    pub fn evaluate<'p>(&'p self, request: &Request<'p>) -> Outcome<'p> {
        self.evaluate_counted(request, &mut Counters::unavailable())
    }

    /// Decide with what `counters` knows; when it lacks a count it says so afterwards and the outcome means nothing.
    pub fn evaluate_counted<'p>(&'p self, request: &Request<'p>, counters: &mut Counters) -> Outcome<'p> {
        if let Some(refused) = self.refuse(request) {
            return refused;
        }
        let facts = self.facts(request);
        match facts.agent_refusal() {
            Some(reason) => Outcome::refused(reason),
            None => self.decide(&facts, counters),
        }
    }

    /// What `request` becomes under this policy.
    pub(crate) fn facts<'r, 'a>(&'r self, request: &'r Request<'a>) -> Facts<'r, 'a> {
        Facts::new(request, &self.default_tenant, self.reads_delegation)
    }

    /// Steps 2 to 4.
    pub(crate) fn refuse(&self, request: &Request<'_>) -> Option<Outcome<'static>> {
        let topic = request.topic.trim();
        if !self.is_loaded {
            return Some(Outcome::deny("no policy loaded — fail-closed"));
        }
        if topic.is_empty() {
            return Some(Outcome::deny("missing topic"));
        }
        // One that is too long is denied and not an error, which whoever holds a job would ask about again for ever.
        let is_known = topic.starts_with("job.") || topic == "sys.approval.gate";
        if !is_known || topic.len() > MAX_TOPIC_BYTES {
            return Some(Outcome::deny("unsupported topic"));
        }
        None
    }

    /// Steps 7 to 13.
    pub(crate) fn decide<'p>(&'p self, facts: &Facts<'_, '_>, counters: &mut Counters) -> Outcome<'p> {
        let mut outcome = self.apply_rules(facts, counters);
        self.apply_gate(facts, &mut outcome);
        self.apply_velocity(facts, counters, &mut outcome);
        if counters.is_waiting() {
            return Outcome::failed();
        }
        self.apply_tenant_mcp(facts, &mut outcome);
        if outcome.decision == Decision::Allow && outcome.has_constraints() {
            outcome.decision = Decision::AllowWithConstraints;
        }
        if let Some(reason) = overlay::refusal(facts.request.effective_config, facts) {
            outcome.change("effective_config", Decision::Deny, reason);
        }
        if outcome.decision.lets_pass() {
            self.apply_input_rules(facts, &mut outcome);
        }
        if outcome.decision.lets_pass() {
            outcome.reason = Cow::Borrowed("");
        }
        outcome
    }

    /// First matching rule with the security floor (policy spec §6.2), else the default (§6.3).
    fn apply_rules<'p>(&'p self, facts: &Facts<'_, '_>, counters: &mut Counters) -> Outcome<'p> {
        let Some(found) = self.first_rule(facts, counters) else {
            let (decision, reason) = self.default_verdict(facts);
            return Outcome {
                decision,
                ..Outcome::deny(reason)
            };
        };
        Outcome {
            decision: found.decision(),
            reason: Cow::Borrowed(found.reason()),
            rule_id: &found.rule.id,
            rule: Some(found.rule),
            needs_content: false,
            steps: Vec::new(),
            decider: Decider::Rule(found.rank),
        }
    }

    /// The default that holds for the request, and its reason (policy spec §6.3).
    pub(crate) fn default_verdict(&self, facts: &Facts<'_, '_>) -> (Decision, &'static str) {
        let decision = self.defaults.decide(facts.job_scope, facts.workflow_scope);
        let reason = match decision {
            Decision::Allow => "no matching rule — default policy: allow",
            _ => "no matching rule — default policy: deny",
        };
        (decision, reason)
    }

    fn first_rule(&self, facts: &Facts<'_, '_>, counters: &mut Counters) -> Option<Found<'_>> {
        let selection = self.index.select(facts);
        let mut find = |range| {
            let mut is_available = true;
            let rank = selection.first(range, |rank| {
                let Some(rule) = self.rules.get(rank as usize).filter(|rule| rule.accepts(facts)) else {
                    return false;
                };
                let Some(counted) = &rule.counted else {
                    return true;
                };
                let standing = counted.standing(&rule.id, facts, counters);
                is_available = standing != Standing::Unavailable;
                standing != Standing::NotExceeded
            })?;
            let rule = self.rules.get(rank as usize)?;
            Some(Found {
                rule,
                rank,
                is_available,
            })
        };
        let found = find(self.groups.all.clone())?;
        let is_softer_invariant =
            self.groups.invariants.contains(&found.rank) && found.decision() != Decision::Deny;
        if is_softer_invariant {
            // An invariant must not turn an explicit deny into something approvable.
            if let Some(ordinary) = find(self.groups.ordinary.clone()) {
                if ordinary.decision() > found.decision() {
                    return Some(ordinary);
                }
            }
        }
        Some(found)
    }

    /// Gate topics always ask a human, unless a rule denies (policy spec §6.5).
    fn apply_gate<'p>(&'p self, facts: &Facts<'_, '_>, outcome: &mut Outcome<'p>) {
        let is_denied_by_rule = outcome.rule.is_some() && outcome.decision == Decision::Deny;
        if GATE_TOPICS.contains(&facts.topic) && !is_denied_by_rule {
            outcome.rule_id = GATE_RULE;
            outcome.change(
                GATE_RULE,
                Decision::RequireApproval,
                "workflow approval gate".to_owned(),
            );
        }
    }

    /// Rules of `velocity/*` bundles, which can only make the decision stricter (policy spec §13.2).
    fn apply_velocity<'p>(
        &'p self,
        facts: &Facts<'_, '_>,
        counters: &mut Counters,
        outcome: &mut Outcome<'p>,
    ) {
        let is_settled = outcome.decision == Decision::Deny || GATE_TOPICS.contains(&facts.topic);
        if self.overlay.is_empty() || is_settled || counters.is_waiting() {
            return;
        }
        let count = u32::try_from(self.overlay.len()).unwrap_or(u32::MAX);
        let mut strictest: Option<Found<'_>> = None;
        self.overlay_index.select(facts).first(0..count, |rank| {
            let Some(rule) = self.overlay.get(rank as usize).filter(|rule| rule.accepts(facts)) else {
                return false;
            };
            let Some(counted) = &rule.counted else {
                return false;
            };
            let found = match counted.standing(&rule.id, facts, counters) {
                Standing::Exceeded => Found {
                    rule,
                    rank,
                    is_available: true,
                },
                Standing::Unavailable => Found {
                    rule,
                    rank,
                    is_available: false,
                },
                Standing::NotExceeded | Standing::Waiting => return false,
            };
            if strictest.is_none_or(|other| found.decision() > other.decision()) {
                strictest = Some(found);
            }
            false
        });
        if let Some(found) = strictest.filter(|found| found.decision() > outcome.decision) {
            outcome.rule_id = &found.rule.id;
            outcome.change(&found.rule.id, found.decision(), found.reason().to_owned());
            outcome.decider = Decider::Overlay(found.rank);
        }
    }

    /// Policy spec §6.6.
    fn apply_tenant_mcp<'p>(&'p self, facts: &Facts<'_, '_>, outcome: &mut Outcome<'p>) {
        if !facts.mcp.is_present() {
            return;
        }
        let lists = self.tenant_mcp.get(facts.tenant);
        if let Some(refusal) = lists.and_then(|lists| lists.refusal(&facts.mcp)) {
            outcome.change("tenant.mcp", Decision::Deny, refusal.reason(&facts.mcp));
        }
    }

    /// First input rule that fires (policy spec §7).
    fn apply_input_rules<'p>(&'p self, facts: &Facts<'_, '_>, outcome: &mut Outcome<'p>) {
        if self.input_rules.is_empty() {
            return;
        }
        let count = u32::try_from(self.input_rules.len()).unwrap_or(u32::MAX);
        let content = Content::of(facts.request);
        let mut findings = Vec::new();
        let fired = self.input_index.select(facts).first(0..count, |rank| {
            let Some(rule) = self.input_rules.get(rank as usize) else {
                return false;
            };
            match rule.fires(facts, &content) {
                Firing::No => false,
                Firing::Yes(found) => {
                    findings = found;
                    true
                }
                Firing::Unknown => {
                    outcome.needs_content = true;
                    true
                }
            }
        });
        let Some((rank, rule)) = fired.and_then(|rank| Some((rank, self.input_rules.get(rank as usize)?)))
        else {
            return;
        };
        outcome.rule_id = &rule.id;
        let decision = self.downgraded(rule, facts, &findings);
        outcome.change(&rule.id, decision, rule.verdict(&findings));
        outcome.decider = Decider::InputRule(rank);
    }

    /// Whether the input rule at `rank`, taken alone, fires.
    pub(crate) fn input_rule_fires(&self, rank: u32, request: &Request<'_>) -> bool {
        let (facts, content) = (self.facts(request), Content::of(request));
        let fires = |place: u32| {
            let rule = self.input_rules.get(place as usize);
            rule.is_some_and(|rule| matches!(rule.fires(&facts, &content), Firing::Yes(_)))
        };
        let selection = self.input_index.select(&facts);
        selection.first(rank..rank.saturating_add(1), fires).is_some()
    }

    /// A weak content denial becomes an approval (policy spec §7.4).
    fn downgraded(&self, rule: &CompiledInputRule, facts: &Facts<'_, '_>, findings: &[Finding]) -> Decision {
        let Some(human) = self.require_human.as_ref() else {
            return rule.decision;
        };
        let is_weak = human.min_severity_for_deny.is_some_and(|least| {
            rule.severity < least || findings.iter().filter_map(|f| f.severity).any(|s| s < least)
        });
        let is_unsure = human.min_confidence_for_deny.is_some_and(|least| {
            let mut confidences = findings.iter().map(|finding| finding.confidence);
            confidences.any(|confidence| confidence > 0.0 && confidence < least)
        });
        let is_prompt_only = human.downgrade_when_prompt_only
            && facts.is_prompt_only
            && facts.request.label("_action.descriptor_json").is_none();
        if rule.decision == Decision::Deny && !rule.is_invariant && (is_weak || is_unsure || is_prompt_only) {
            Decision::RequireApproval
        } else {
            rule.decision
        }
    }
}

/// Whether an input rule fires.
enum Firing {
    No,
    Yes(Vec<Finding>),
    /// That depends on the content, which is withheld.
    Unknown,
}

impl CompiledInputRule {
    /// For a rule whose metadata filters hold (policy spec §7.2).
    fn fires(&self, facts: &Facts<'_, '_>, content: &Content<'_>) -> Firing {
        if self.size_limit > 0 {
            return match facts.input_size {
                0 if facts.is_content_withheld => Firing::Unknown,
                size if size > self.size_limit => {
                    Firing::Yes(vec![Finding::plain("input size exceeds policy limit")])
                }
                _ => Firing::No,
            };
        }
        let Some(detectors) = &self.detectors else {
            return Firing::Yes(Vec::new());
        };
        if facts.is_content_withheld {
            return Firing::Unknown;
        }
        if content.is_empty() {
            return detectors
                .without_content()
                .map_or(Firing::No, |finding| Firing::Yes(vec![finding]));
        }
        let findings = detectors.findings(content);
        if findings.is_empty() {
            Firing::No
        } else {
            Firing::Yes(findings)
        }
    }

    /// The reason of a rule that fired.
    fn verdict(&self, findings: &[Finding]) -> String {
        let is_named = !self.reason.is_empty();
        if is_named && findings.is_empty() {
            return self.reason.clone();
        }
        let head = if is_named {
            self.reason.as_str()
        } else {
            "input content flagged"
        };
        let listed: Vec<&str> = findings
            .iter()
            .take(MAX_LISTED_FINDINGS)
            .map(|f| f.text.as_ref())
            .collect();
        match (listed.is_empty(), findings.len().saturating_sub(listed.len())) {
            (true, _) => head.to_owned(),
            (false, 0) => format!("{head}: {}", listed.join(", ")),
            (false, more) => format!("{head}: {} and {more} more", listed.join(", ")),
        }
    }
}
