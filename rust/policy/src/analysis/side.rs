//! One of two policies under comparison: what can decide in it, and who decides instead.

use crate::analysis::condition::{Clause, Literal};
use crate::analysis::effect::{defaults, Decider};
use crate::analysis::model::{Model, Verdict};
use crate::analysis::witness::Witness;
use crate::compile::Policy;
use crate::document::{Decision, Scope};
use crate::merge::Merged;

/// Alternatives of a clause that says where an invariant gives way.
const MAX_ALTERNATIVES: usize = 32;

/// One policy with what is known about it.
pub(crate) struct Side<'p> {
    pub model: Model<'p>,
    pub merged: &'p Merged,
    is_common: Vec<bool>,
    defaults: Vec<(Decision, Option<Clause>)>,
}

/// A rule that took a request from the one that was meant to decide it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taker {
    /// None: a later step.
    pub rank: Option<u32>,
    /// It always does.
    pub is_certain: bool,
}

impl<'p> Side<'p> {
    pub fn new(policy: &'p Policy, merged: &'p Merged, is_common: Vec<bool>, scopes: &[&Scope]) -> Side<'p> {
        Side {
            model: Model::new(policy),
            merged,
            is_common,
            defaults: defaults(&policy.defaults, scopes),
        }
    }

    pub fn ranks(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.model.shapes.len()).unwrap_or(u32::MAX)
    }

    /// Everything that can decide. An invariant that gives way is told apart by the rule it would give way to.
    pub fn deciders(&self) -> impl Iterator<Item = Decider> + '_ {
        let rules = self.ranks().flat_map(move |rank| {
            let held = self.is_soft_invariant(rank);
            let first = if held {
                Decider::Held(rank, None)
            } else {
                Decider::Rule(rank)
            };
            let ordinary = self.model.policy.groups.ordinary.clone().filter(move |_| held);
            let limit = self.model.rule(rank).map(|rule| rule.decision);
            let softer = move |by: &u32| self.model.rule(*by).map(|rule| rule.decision) <= limit;
            std::iter::once(first).chain(
                ordinary
                    .filter(softer)
                    .map(move |by| Decider::Held(rank, Some(by))),
            )
        });
        let defaults = self
            .defaults
            .iter()
            .map(|(decision, _)| Decider::Default(*decision));
        rules.chain(defaults)
    }

    /// Rules that are asked before `decider`.
    pub fn before(&self, decider: Decider) -> impl Iterator<Item = u32> {
        let ordinary = self.model.policy.groups.ordinary.clone();
        let (first, second) = match decider {
            Decider::Rule(rank) => (rank, 0..0),
            Decider::Held(rank, by) => (rank, ordinary.start..by.unwrap_or(ordinary.end)),
            Decider::Default(_) => (self.ranks().end, 0..0),
        };
        (0..first).chain(second)
    }

    fn is_soft_invariant(&self, rank: u32) -> bool {
        let is_soft = self
            .model
            .rule(rank)
            .is_some_and(|rule| rule.decision != Decision::Deny);
        is_soft && self.model.policy.groups.invariants.contains(&rank)
    }

    pub fn is_changed(&self, decider: Decider) -> bool {
        let mut ranks = decider.matching();
        ranks.any(|rank| !self.is_common.get(rank as usize).copied().unwrap_or(false))
    }

    pub fn has_soft_invariant(&self) -> bool {
        let mut invariants = self.model.policy.groups.invariants.clone();
        invariants.any(|rank| self.is_soft_invariant(rank))
    }

    pub fn changes_invariants(&self) -> bool {
        let mut invariants = self.model.policy.groups.invariants.clone();
        invariants.any(|rank| self.is_changed(Decider::Rule(rank)))
    }

    pub fn demanded(&self, decider: Decider) -> Vec<Clause> {
        self.model.demanded_by(decider, &self.defaults)
    }

    /// Who decided instead of `wanted`; `Ok(None)` when `wanted` did.
    pub fn taker(
        &self,
        wanted: Decider,
        witness: &Witness,
        verdict: &Verdict,
        exceeded: &[&str],
    ) -> Result<Option<(Taker, Clause)>, ()> {
        let groups = &self.model.policy.groups;
        let [invariant, ordinary, rest] = self.model.first_of_groups(witness, exceeded);
        let decision = |rank: u32| self.model.rule(rank).map(|rule| rule.decision);
        let obstacle = match wanted {
            Decider::Held(rank, by) => differs(invariant, Some(rank)).or(differs(ordinary, by)),
            Decider::Rule(rank) if groups.invariants.contains(&rank) => differs(invariant, Some(rank)),
            Decider::Rule(rank) if groups.ordinary.contains(&rank) => {
                let is_held = |invariant: &u32| decision(*invariant) >= decision(rank);
                differs(ordinary, Some(rank)).or(invariant.filter(is_held).map(Some))
            }
            Decider::Rule(rank) => differs(invariant, None)
                .or(differs(ordinary, None))
                .or(differs(rest, Some(rank))),
            Decider::Default(_) => [invariant, ordinary, rest].into_iter().find(Option::is_some),
        };
        let Some(taker) = obstacle else {
            return if verdict.rank == wanted.rank() {
                Ok(None)
            } else {
                Err(())
            };
        };
        // No rule where one was wanted, or a later one: the request does not match as it should.
        let Some(rank) = taker.filter(|rank| !groups.is_later(*rank, wanted.matching())) else {
            return Err(());
        };
        // Its counter is the one that the other side's rule needs exceeded.
        let counts = self
            .model
            .rule(rank)
            .is_some_and(|rule| exceeded.contains(&rule.id.as_str()));
        let is_modelled = self.model.shape(rank).is_some_and(|shape| !shape.is_opaque);
        let is_certain = self.model.is_certain(rank) || (counts && is_modelled);
        let (clause, is_exact) = self.outside(rank, wanted).ok_or(())?;
        let taker = Taker {
            rank: Some(rank),
            is_certain: is_certain && is_exact,
        };
        Ok(Some((taker, clause)))
    }

    /// Where the rule at `rank` does not keep `wanted` from deciding, and whether that is said exactly. Where an earlier invariant gives
    /// way to `wanted`, a later one is not asked.
    fn outside(&self, rank: u32, wanted: Decider) -> Option<(Clause, bool)> {
        let mut clause = self.model.refused.get(rank as usize)?.clone();
        let Decider::Rule(wanted) = wanted else {
            return Some((clause, true));
        };
        if self.model.stands_before(rank, wanted) {
            return Some((clause, true));
        }
        let decision = self.model.rule(wanted)?.decision;
        for earlier in (0..rank).filter(|earlier| self.is_soft_invariant(*earlier)) {
            if self.model.rule(earlier)?.decision >= decision {
                continue;
            }
            match alternatives(&self.model.shape(earlier)?.demanded()) {
                Some(more) if self.model.is_certain(earlier) => clause.extend(more),
                _ => return Some((clause, false)),
            }
        }
        Some((clause, true))
    }
}

/// All clauses at once, as the alternatives of one; `None` when they are too many.
fn alternatives(clauses: &[Clause]) -> Option<Clause> {
    let mut all: Clause = vec![Vec::new()];
    for clause in clauses {
        if all.len().saturating_mul(clause.len()) > MAX_ALTERNATIVES {
            return None;
        }
        let grown = all.iter().flat_map(|known| {
            clause
                .iter()
                .map(|option| known.iter().chain(option).cloned().collect::<Vec<Literal>>())
        });
        all = grown.collect();
    }
    Some(all)
}

/// What was found where something else was wanted.
fn differs(found: Option<u32>, wanted: Option<u32>) -> Option<Option<u32>> {
    (found != wanted).then_some(found)
}
