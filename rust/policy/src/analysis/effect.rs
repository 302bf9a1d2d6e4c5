//! What decides a request in the rules step, and what a decision does to a job.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{json, Value as Json};

use crate::analysis::condition::{Clause, Literal, Scalar};
use crate::analysis::findings::rule_json;
use crate::analysis::model::{Model, Verdict};
use crate::analysis::words::Part;
use crate::compile::Defaults;
use crate::document::{Decision, Scope};

/// Combinations of scoped defaults told apart; beyond that they are taken together, which proves less.
const MAX_SCOPES: usize = 4_096;

/// What decided: a rule, or no rule and the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decider {
    Rule(u32),
    /// An invariant that stricter rules go before; the first rule that matches, if there is one, is not stricter (policy spec §6.2).
    Held(u32, Option<u32>),
    Default(Decision),
}

impl Decider {
    /// Rank of the rule.
    pub fn rank(self) -> Option<u32> {
        match self {
            Decider::Rule(rank) | Decider::Held(rank, _) => Some(rank),
            Decider::Default(_) => None,
        }
    }

    /// Ranks of the rules that have to match.
    pub fn matching(self) -> impl Iterator<Item = u32> {
        let held_by = match self {
            Decider::Held(_, by) => by,
            _ => None,
        };
        self.rank().into_iter().chain(held_by)
    }
}

/// What a decision means for a job; reasons and names are not part of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effect<'p> {
    pub decision: Decision,
    constraints: &'p [u8],
}

impl PartialEq for Effect<'_> {
    /// Constraints count where the job runs, at once or when a human approves.
    fn eq(&self, other: &Self) -> bool {
        let runs = self.decision.lets_pass() || self.decision == Decision::RequireApproval;
        self.decision == other.decision && (!runs || self.constraints == other.constraints)
    }
}

impl<'p> Model<'p> {
    /// What the decider alone decides, before the later steps.
    pub fn effect_of(&self, decider: Decider) -> Effect<'p> {
        match decider {
            Decider::Default(decision) => Effect {
                decision,
                constraints: &[],
            },
            Decider::Rule(rank) | Decider::Held(rank, _) => self.rule(rank).map_or(
                Effect {
                    decision: Decision::Deny,
                    constraints: &[],
                },
                |rule| Effect {
                    decision: match rule.decision {
                        Decision::Allow if rule.has_constraints => Decision::AllowWithConstraints,
                        decision => decision,
                    },
                    constraints: &rule.constraints,
                },
            ),
        }
    }

    /// What the policy as a whole decided.
    pub fn effect(&self, verdict: &Verdict) -> Effect<'p> {
        let rule = verdict.rank.and_then(|rank| self.rule(rank));
        Effect {
            decision: verdict.decision,
            constraints: rule.map_or(&[], |rule| &rule.constraints),
        }
    }

    /// What has to hold where `decider` decides, as far as it says so itself.
    pub fn demanded_by(&self, decider: Decider, defaults: &[(Decision, Option<Clause>)]) -> Vec<Clause> {
        if let Decider::Default(decision) = decider {
            let known = defaults.iter().find(|(other, _)| *other == decision);
            return known.and_then(|(_, clause)| clause.clone()).into_iter().collect();
        }
        let shapes = decider.matching().filter_map(|rank| self.shape(rank));
        shapes.flat_map(|shape| shape.demanded()).collect()
    }

    /// The same in words.
    pub fn parts_of(&self, decider: Decider) -> Vec<Part> {
        let shapes = decider.matching().filter_map(|rank| self.shape(rank));
        shapes.flat_map(|shape| shape.parts()).collect()
    }

    /// The decider as reports name it.
    pub fn decider_json(&self, decider: Decider) -> Json {
        match decider {
            Decider::Rule(rank) | Decider::Held(rank, _) => self.rule(rank).map_or(Json::Null, rule_json),
            Decider::Default(decision) => json!({"id": "", "path": "default", "decision": decision.name()}),
        }
    }
}

/// Decisions a policy takes where no rule matches, each with the scopes it is for.
pub(crate) fn defaults(of: &Defaults, scopes: &[&Scope]) -> Vec<(Decision, Option<Clause>)> {
    let mut jobs = BTreeSet::new();
    let mut workflows = BTreeSet::new();
    for scope in scopes {
        match scope {
            Scope::Global => {}
            Scope::Job(id) => drop(jobs.insert(id.clone())),
            Scope::Workflow(id) => drop(workflows.insert(id.clone())),
        }
    }
    if (jobs.len() + 1).saturating_mul(workflows.len() + 1) > MAX_SCOPES {
        return vec![(Decision::Allow, None), (Decision::Deny, None)];
    }
    let (jobs, workflows) = (Arc::new(jobs), Arc::new(workflows));
    let mut found: Vec<(Decision, Clause)> = Vec::new();
    for job in std::iter::once(None).chain(jobs.iter().map(Some)) {
        for workflow in std::iter::once(None).chain(workflows.iter().map(Some)) {
            let text = |id: Option<&String>| id.cloned().unwrap_or_default();
            let decision = of.decide(&text(job), &text(workflow));
            let literals = [
                literal(Scalar::JobScope, job, &jobs),
                literal(Scalar::WorkflowScope, workflow, &workflows),
            ];
            let alternative: Vec<Literal> = literals.into_iter().flatten().collect();
            match found.iter_mut().find(|(known, _)| *known == decision) {
                Some((_, clause)) => clause.push(alternative),
                None => found.push((decision, vec![alternative])),
            }
        }
    }
    found
        .into_iter()
        .map(|(decision, clause)| (decision, Some(clause)))
        .collect()
}

fn literal(scalar: Scalar, id: Option<&String>, all: &Arc<BTreeSet<String>>) -> Option<Literal> {
    match id {
        Some(id) => Some(Literal::In(scalar, Arc::new(BTreeSet::from([id.clone()])))),
        None if all.is_empty() => None,
        None => Some(Literal::NotIn(scalar, Arc::clone(all))),
    }
}
