//! Differences between two policies in the steps after the rules: MCP lists of tenants, velocity bundles, input rules, default tenant
//! (policy spec §6.1).
//!
//! What is written the same decides the same. Where it is not, requests are tried until one shows the difference; a difference that no
//! request showed and no proof excludes is left open.

use std::collections::BTreeSet;
use std::sync::Arc;

use cordum_wire::messages::PolicyCheckRequest;
use serde_json::{json, Value as Json};

use crate::analysis::changes::{Change, Changes};
use crate::analysis::condition::{refusals, Clause, Literal, Scalar, Shape};
use crate::analysis::diff::{Exceeded, Pair};
use crate::analysis::effect::{Decider, Effect};
use crate::analysis::limits::MAX_REFINEMENTS;
use crate::analysis::model::{Deadline, Verdict};
use crate::analysis::sample::samples;
use crate::analysis::side::Side;
use crate::analysis::solve::{Solved, Solver};
use crate::analysis::witness::Witness;
use crate::document::{Decision, InputRule};
use crate::mcp::{fold, McpLists};
use crate::rule::CompiledRule;

type Shown = Box<(Witness, Verdict, Verdict)>;

/// Answer of a search over all deciders of one policy.
enum Tried {
    Found(Shown),
    /// No request can show a difference.
    Impossible,
    Open,
}

/// One part of a policy that differs.
struct Question<'a> {
    part: &'static str,
    old: Json,
    new: Json,
    demanded: Vec<Clause>,
    exceeded: Exceeded<'a>,
}

impl<'p> Pair<'p> {
    /// Compare everything but the rules.
    pub fn compare_later_steps(&self, solver: &mut Solver, deadline: Deadline, changes: &mut Changes) {
        self.compare_tenants(solver, deadline, changes);
        self.compare_velocity(solver, deadline, changes);
        self.compare_content(solver, deadline, changes);
        self.compare_default_tenant(solver, deadline, changes);
    }

    fn compare_tenants(&self, solver: &mut Solver, deadline: Deadline, changes: &mut Changes) {
        let lists = |side: &Side<'p>, name: &str| {
            side.model
                .policy
                .tenant_mcp
                .get(name)
                .cloned()
                .unwrap_or_default()
        };
        let names: BTreeSet<&String> = [&self.old, &self.new]
            .into_iter()
            .flat_map(|side| side.model.policy.tenant_mcp.keys())
            .filter(|name| !name.is_empty() && name.trim() == name.as_str())
            .collect();
        for name in names {
            let (before, after) = (lists(&self.old, name), lists(&self.new, name));
            for (refusing, other) in [(&after, &before), (&before, &after)] {
                let question = Question {
                    part: "tenant_mcp",
                    old: json!({"id": name, "path": format!("tenants.{name}.mcp")}),
                    new: json!({"id": name, "path": format!("tenants.{name}.mcp")}),
                    demanded: refused_by_one(refusing, other, name),
                    exceeded: Exceeded::default(),
                };
                let exact = |witness: &Witness| {
                    vec![Witness::new(PolicyCheckRequest {
                        tenant: name.clone(),
                        ..witness.request.clone()
                    })]
                };
                if before != after {
                    let passes = |effect: Effect<'_>| effect.decision != Decision::Deny;
                    let tried = self.try_all(solver, deadline, &self.old, &question, passes, exact);
                    report(tried, question, changes);
                }
            }
        }
    }

    fn compare_velocity(&self, solver: &mut Solver, deadline: Deadline, changes: &mut Changes) {
        let identity = |rule: &CompiledRule| {
            let counted = rule.counted.as_ref();
            format!(
                "{:?} {:?} {:?} {counted:?} {:?}",
                rule.id, rule.scope, rule.decision, rule.matching
            )
        };
        let identities = |side: &Side<'p>| {
            side.model
                .policy
                .overlay
                .iter()
                .map(identity)
                .collect::<BTreeSet<String>>()
        };
        let (before, after) = (identities(&self.old), identities(&self.new));
        for (is_old, side, known) in [(true, &self.old, &after), (false, &self.new, &before)] {
            for rule in &side.model.policy.overlay {
                let Some(counted) = rule.counted.as_ref().filter(|_| !known.contains(&identity(rule))) else {
                    continue;
                };
                let mut shape = Shape::new(&rule.matching, &rule.scope, &[], false);
                shape.count_by(counted.key_parts());
                let (old, new) = sides(is_old, crate::analysis::findings::rule_json(rule));
                let question = Question {
                    part: "velocity",
                    old,
                    new,
                    demanded: shape.demanded(),
                    exceeded: self.exceeded_rule(rule),
                };
                let softer = |effect: Effect<'_>| effect.decision < rule.decision;
                let tried = self.try_all(solver, deadline, &self.old, &question, softer, |witness| {
                    vec![witness.clone()]
                });
                report(tried, question, changes);
            }
        }
    }

    fn compare_content(&self, solver: &mut Solver, deadline: Deadline, changes: &mut Changes) {
        let enabled = |side: &Side<'p>| -> Vec<(bool, &'p InputRule)> {
            let invariants = side.merged.input_invariants.iter().map(|rule| (true, rule));
            let rules = invariants.chain(side.merged.input_rules.iter().map(|rule| (false, rule)));
            rules.filter(|(_, rule)| rule.enabled).collect()
        };
        let identity = |(is_invariant, rule): &(bool, &InputRule)| {
            let InputRule {
                scope,
                severity,
                decision,
                matching,
                content_types,
                size_limit,
                detectors,
                ..
            } = rule;
            format!("{is_invariant} {scope:?} {severity:?} {decision:?} {matching:?} {content_types:?} {size_limit} {detectors:?}")
        };
        let (before, after) = (enabled(&self.old), enabled(&self.new));
        let old_ids: Vec<String> = before.iter().map(identity).collect();
        let new_ids: Vec<String> = after.iter().map(identity).collect();
        let human = |side: &Side<'p>| format!("{:?}", side.merged.require_human);
        let is_same_human = human(&self.old) == human(&self.new);
        if is_same_human && old_ids == new_ids {
            return;
        }
        // The same rules in another order may still fire one before the other.
        let is_reordered = old_ids.len() == new_ids.len() && old_ids.iter().all(|id| new_ids.contains(id));
        for (is_old, rules, known) in [(true, &before, &new_ids), (false, &after, &old_ids)] {
            for entry in rules {
                let is_changed = !known.contains(&identity(entry)) || is_reordered;
                let is_downgraded = !is_same_human && !entry.0 && entry.1.decision == Decision::Deny;
                if is_changed || is_downgraded {
                    self.compare_input_rule(solver, deadline, is_old, entry.1, changes);
                }
            }
        }
    }

    fn compare_input_rule(
        &self,
        solver: &mut Solver,
        deadline: Deadline,
        is_old: bool,
        rule: &InputRule,
        changes: &mut Changes,
    ) {
        let shape = Shape::new(&rule.matching, &rule.scope, &rule.content_types, false);
        let written = json!({"id": rule.id, "path": rule.path, "decision": rule.decision.name()});
        let (old, new) = sides(is_old, written);
        let question = Question {
            part: "input_rules",
            old,
            new,
            demanded: shape.demanded(),
            exceeded: Exceeded::default(),
        };
        let contents = samples(rule);
        let with_content = |witness: &Witness| {
            let filled = contents.iter().map(|(text, size)| {
                Witness::new(PolicyCheckRequest {
                    input_content: text.clone().into_bytes(),
                    input_size_bytes: *size,
                    ..witness.request.clone()
                })
            });
            filled.collect()
        };
        let passes = |effect: Effect<'_>| effect.decision.lets_pass();
        let tried = self.try_all(solver, deadline, &self.old, &question, passes, with_content);
        report(tried, question, changes);
    }

    /// A request without tenant belongs to another one now. Only rules that list exactly one of the two can tell.
    fn compare_default_tenant(&self, solver: &mut Solver, deadline: Deadline, changes: &mut Changes) {
        let name = |side: &Side<'p>| match side.merged.default_tenant.trim() {
            "" => "default".to_owned(),
            name => name.to_owned(),
        };
        let (before, after) = (name(&self.old), name(&self.new));
        if before == after {
            return;
        }
        let mut is_open = false;
        for (side, own, other) in [(&self.old, &before, &after), (&self.new, &after, &before)] {
            let lists = |name: &String| side.model.policy.tenant_mcp.get(name);
            is_open |= lists(own) != lists(other);
            for rank in side.ranks() {
                let listed = side
                    .model
                    .shape(rank)
                    .and_then(|shape| shape.listed(Scalar::Tenant));
                let tells =
                    listed.is_some_and(|list| list.contains(&*fold(own)) != list.contains(&*fold(other)));
                if !tells {
                    continue;
                }
                let question = Question {
                    part: "default_tenant",
                    old: json!({"id": before, "path": "default_tenant"}),
                    new: json!({"id": after, "path": "default_tenant"}),
                    demanded: Vec::new(),
                    exceeded: Exceeded::default(),
                };
                let nameless = |witness: &Witness| {
                    vec![Witness::new(PolicyCheckRequest {
                        tenant: String::new(),
                        ..witness.request.clone()
                    })]
                };
                match self.try_one(solver, side, Decider::Rule(rank), &question, &nameless) {
                    Tried::Found(shown) => return report(Tried::Found(shown), question, changes),
                    Tried::Impossible => {}
                    Tried::Open => is_open = true,
                }
                if deadline.is_over() {
                    break;
                }
            }
        }
        if is_open {
            changes.leave_open(
                "default_tenant",
                "no request was found that shows what the other default tenant changes",
            );
        }
    }

    /// Try the question under every decider of `side` whose effect is `due`.
    fn try_all(
        &self,
        solver: &mut Solver,
        deadline: Deadline,
        side: &Side<'p>,
        question: &Question<'_>,
        due: impl Fn(Effect<'_>) -> bool,
        variants: impl Fn(&Witness) -> Vec<Witness>,
    ) -> Tried {
        let mut is_open = false;
        for decider in side
            .deciders()
            .filter(|decider| due(side.model.effect_of(*decider)))
        {
            if deadline.is_over() {
                return Tried::Open;
            }
            match self.try_one(solver, side, decider, question, &variants) {
                Tried::Impossible => {}
                Tried::Open => is_open = true,
                found @ Tried::Found(_) => return found,
            }
        }
        if is_open {
            Tried::Open
        } else {
            Tried::Impossible
        }
    }

    /// Try the question where `decider` decides.
    fn try_one(
        &self,
        solver: &mut Solver,
        side: &Side<'p>,
        decider: Decider,
        question: &Question<'_>,
        variants: &dyn Fn(&Witness) -> Vec<Witness>,
    ) -> Tried {
        let is_old = std::ptr::eq(side, &raw const self.old);
        let exceeded = if is_old {
            &question.exceeded.old
        } else {
            &question.exceeded.new
        };
        let mut clauses: Vec<Clause> = side.demanded(decider);
        clauses.extend(question.demanded.iter().cloned());
        let mut is_certain = true;
        for _ in 0..MAX_REFINEMENTS {
            let asked: Vec<&Clause> = clauses.iter().collect();
            let (state, topic) = match solver.solve(&asked) {
                Solved::Found(state, topic) => (state, topic),
                Solved::Impossible if is_certain => return Tried::Impossible,
                Solved::Impossible | Solved::Undecided => return Tried::Open,
            };
            let Some(witness) = Witness::of_class(&state, topic, &side.model.vocabulary) else {
                return Tried::Open;
            };
            let Some(verdict) = side.model.evaluate(&witness, exceeded) else {
                return Tried::Open;
            };
            match side.taker(decider, &witness, &verdict, exceeded) {
                Ok(Some((taker, clause))) => {
                    is_certain &= taker.is_certain;
                    clauses.push(clause);
                    continue;
                }
                Ok(None) => {}
                Err(()) => return Tried::Open,
            }
            for variant in variants(&witness) {
                let Some((before, after)) = self.verdicts(&variant, &question.exceeded) else {
                    continue;
                };
                if self.old.model.effect(&before) != self.new.model.effect(&after) {
                    return Tried::Found(Box::new((variant, before, after)));
                }
            }
            return Tried::Open;
        }
        Tried::Open
    }
}

/// Calls of one tenant that the first lists refuse and the others do not.
fn refused_by_one(refusing: &McpLists, other: &McpLists, name: &str) -> Vec<Clause> {
    let tenant = Arc::new(BTreeSet::from([fold(name).into_owned()]));
    let mut demanded = vec![
        vec![vec![Literal::McpCall(true)]],
        vec![vec![Literal::In(Scalar::Tenant, tenant)]],
        refusals(refusing),
    ];
    for alternative in refusals(other) {
        demanded.extend(alternative.into_iter().filter_map(|literal| match literal {
            Literal::In(scalar, list) => Some(vec![vec![Literal::NotIn(scalar, list)]]),
            Literal::NotIn(scalar, list) => Some(vec![vec![Literal::In(scalar, list)]]),
            _ => None,
        }));
    }
    demanded
}

fn sides(is_old: bool, written: Json) -> (Json, Json) {
    if is_old {
        (written, Json::Null)
    } else {
        (Json::Null, written)
    }
}

fn report(tried: Tried, question: Question<'_>, changes: &mut Changes) {
    match tried {
        Tried::Impossible => {}
        Tried::Open => changes.leave_open_between(
            question.part,
            question.old,
            question.new,
            "it is written differently, and neither a request nor a proof was found",
        ),
        Tried::Found(shown) => {
            let (witness, before, after) = *shown;
            changes.add(Change {
                part: question.part,
                old: question.old,
                new: question.new,
                class: None,
                witness: &witness,
                before: &before,
                after: &after,
                exceeded: &question.exceeded,
            });
        }
    }
}
