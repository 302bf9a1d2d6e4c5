//! What changes between two policies: for every pair of deciders with different effects, a request that the old policy decides by one and
//! the new policy by the other, or the proof that there is none.
//!
//! A request changes its verdict only if its deciders differ in effect. Rules that both policies have in the same order cannot be such a
//! pair by themselves: the earlier of the two matches in both policies and is asked first in both. So one of the two is a changed rule, a
//! default, or, where invariants may give way to stricter rules, an invariant.

use serde_json::json;

use crate::analysis::align::{align, Common};
use crate::analysis::changes::{Change, Changes};
use crate::analysis::condition::{Clause, Literal, TopicSet};
use crate::analysis::effect::{defaults, Decider};
use crate::analysis::limits::{MAX_PAIRS, MAX_REFINEMENTS};
use crate::analysis::model::{Deadline, Model, Verdict};
use crate::analysis::solve::{Solved, Solver};
use crate::analysis::witness::Witness;
use crate::compile::{Policy, Source};
use crate::document::{Decision, Scope};
use crate::error::PolicyError;
use crate::evaluate::{GATE_RULE, GATE_TOPICS};
use crate::glob::Glob;
use crate::merge::{merge, Merged};

/// Compare the policies that two lists of sources make; the answer is JSON: `equivalent` (null when it is not decided), `old`, `new`
/// (snapshots), `changes`, `undecided`, `omitted`. No source at all is the policy that denies everything.
///
/// Errors: sources that do not make a policy.
pub fn diff(old: &[Source<'_>], new: &[Source<'_>]) -> Result<Vec<u8>, PolicyError> {
    let (before, after) = (compiled(old)?, compiled(new)?);
    let mut changes = Changes::default();
    let pair = Pair::new((&before.0, &before.1), (&after.0, &after.1));
    let mut solver = Solver::default();
    let deadline = Deadline::start();
    pair.compare_rules(&mut solver, deadline, &mut changes);
    Ok(changes
        .to_json(before.0.snapshot(), after.0.snapshot())
        .to_string()
        .into_bytes())
}

fn compiled(sources: &[Source<'_>]) -> Result<(Policy, Merged), PolicyError> {
    if sources.is_empty() {
        return Ok((Policy::empty(), Merged::default()));
    }
    Ok((Policy::compile(sources)?, merge(sources)?))
}

/// One policy with what is known about it.
pub(crate) struct Side<'p> {
    pub model: Model<'p>,
    pub merged: &'p Merged,
    is_common: Vec<bool>,
    defaults: Vec<(Decision, Option<Clause>)>,
}

/// Two policies.
pub(crate) struct Pair<'p> {
    pub old: Side<'p>,
    pub new: Side<'p>,
    /// Some invariant gives way to stricter rules, so that the order of rules does not tell who decides.
    has_soft_invariant: bool,
    gate: Clause,
}

/// A rule that took a request from the one that was meant to decide it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Taker {
    is_old: bool,
    rank: Option<u32>,
    /// It always does.
    is_certain: bool,
}

/// Answer of a search for a request whose verdict changes.
pub(crate) enum Search<'a> {
    Found(Box<(Witness, Verdict, Verdict)>),
    Impossible,
    Undecided(&'a str),
}

/// Which counters are exceeded, by rule id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exceeded<'a> {
    pub old: Vec<&'a str>,
    pub new: Vec<&'a str>,
}

impl<'p> Side<'p> {
    fn new(policy: &'p Policy, merged: &'p Merged, is_common: Vec<bool>, scopes: &[&Scope]) -> Side<'p> {
        Side {
            model: Model::new(policy),
            merged,
            is_common,
            defaults: defaults(&policy.defaults, scopes),
        }
    }

    fn is_common(&self, rank: u32) -> bool {
        self.is_common.get(rank as usize).copied().unwrap_or(false)
    }

    pub fn ranks(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.model.shapes.len()).unwrap_or(u32::MAX)
    }

    fn rules(&self) -> impl Iterator<Item = Decider> + '_ {
        self.ranks().map(Decider::Rule)
    }

    fn default_deciders(&self) -> impl Iterator<Item = Decider> + '_ {
        self.defaults.iter().map(|(decision, _)| Decider::Default(*decision))
    }

    pub fn deciders(&self) -> impl Iterator<Item = Decider> + '_ {
        self.rules().chain(self.default_deciders())
    }

    fn is_invariant(&self, decider: Decider) -> bool {
        matches!(decider, Decider::Rule(rank) if self.model.policy.groups.invariants.contains(&rank))
    }

    fn is_changed(&self, decider: Decider) -> bool {
        matches!(decider, Decider::Rule(rank) if !self.is_common(rank))
    }

    pub fn demanded(&self, decider: Decider) -> Vec<Clause> {
        self.model.demanded_by(decider, &self.defaults)
    }

    /// Who decided instead of `wanted`; `Ok(None)` when `wanted` did.
    fn taker(
        &self,
        wanted: Decider,
        verdict: &Verdict,
        exceeded: &[&str],
        is_old: bool,
    ) -> Result<Option<(Taker, Clause)>, ()> {
        let (wanted_rank, rank) = match (wanted, verdict.rank) {
            (Decider::Rule(wanted), rank) if rank == Some(wanted) => return Ok(None),
            (Decider::Default(_), None) => return Ok(None),
            (Decider::Rule(wanted), Some(rank)) => (Some(wanted), rank),
            (Decider::Default(_), Some(rank)) => (None, rank),
            (Decider::Rule(_), None) => return Err(()),
        };
        let Some(clause) = self.model.refused.get(rank as usize) else {
            return Err(());
        };
        let is_earlier = wanted_rank.is_none_or(|wanted| rank < wanted);
        if !is_earlier && !self.is_invariant(wanted) {
            return Err(());
        }
        let stands = wanted_rank.is_none_or(|wanted| self.model.stands_before(rank, wanted));
        // Its counter is the one that the other side's rule needs exceeded.
        let counts = self.model.rule(rank).is_some_and(|rule| exceeded.contains(&rule.id.as_str()));
        let is_modelled = self.model.shape(rank).is_some_and(|shape| !shape.is_opaque);
        let is_certain = is_earlier && stands && (self.model.is_certain(rank) || (counts && is_modelled));
        Ok(Some((
            Taker {
                is_old,
                rank: Some(rank),
                is_certain,
            },
            clause.clone(),
        )))
    }
}

impl<'p> Pair<'p> {
    pub fn new(old: (&'p Policy, &'p Merged), new: (&'p Policy, &'p Merged)) -> Pair<'p> {
        let Common {
            old: common_old,
            new: common_new,
        } = align(old.0, new.0);
        let scopes: Vec<&Scope> = old.0.defaults.scopes().chain(new.0.defaults.scopes()).collect();
        let mut before = Side::new(old.0, old.1, common_old, &scopes);
        let mut after = Side::new(new.0, new.1, common_new, &scopes);
        before.model.vocabulary.add_all(&after.model.vocabulary);
        after.model.vocabulary.add_all(&before.model.vocabulary);
        let is_soft = |policy: &Policy| {
            let invariants = policy.groups.invariants.clone();
            let mut rules = invariants.filter_map(|rank| policy.rules.get(rank as usize));
            rules.any(|rule| rule.decision != Decision::Deny)
        };
        Pair {
            has_soft_invariant: is_soft(old.0) || is_soft(new.0),
            gate: vec![vec![Literal::NotTopic(std::sync::Arc::new(TopicSet {
                globs: GATE_TOPICS.iter().filter_map(|topic| Glob::new(topic)).collect(),
                takes_edge: false,
            }))]],
            old: before,
            new: after,
        }
    }

    fn compare_rules(&self, solver: &mut Solver, deadline: Deadline, changes: &mut Changes) {
        let mut asked = 0usize;
        for old in self.old.deciders() {
            for new in self.counterparts(old) {
                if self.old.model.effect_of(old) == self.new.model.effect_of(new) || !self.may_share(old, new) {
                    continue;
                }
                asked += 1;
                if asked > MAX_PAIRS || deadline.is_over() {
                    return changes.leave_open("rules", "there are too many differences to look at all");
                }
                self.compare(solver, deadline, old, new, changes);
            }
        }
    }

    /// New deciders that may decide a request of `old` with another effect.
    fn counterparts(&self, old: Decider) -> Vec<Decider> {
        let is_free = self.old.is_changed(old) || (self.has_soft_invariant && self.old.is_invariant(old));
        let may_differ = |new: &Decider| {
            is_free
                || self.new.is_changed(*new)
                || (self.has_soft_invariant && self.new.is_invariant(*new))
                || (matches!(old, Decider::Default(_)) && matches!(new, Decider::Default(_)))
        };
        self.new.deciders().filter(may_differ).collect()
    }

    fn may_share(&self, old: Decider, new: Decider) -> bool {
        let (Decider::Rule(one), Decider::Rule(other)) = (old, new) else {
            return true;
        };
        match (self.old.model.shape(one), self.new.model.shape(other)) {
            (Some(one), Some(other)) => one.may_share(other),
            _ => false,
        }
    }

    fn compare(&self, solver: &mut Solver, deadline: Deadline, old: Decider, new: Decider, changes: &mut Changes) {
        let demanded: Vec<Clause> = self.old.demanded(old).into_iter().chain(self.new.demanded(new)).collect();
        let exceeded = self.exceeded(old, new);
        match self.seek(solver, &demanded, &exceeded, old, new) {
            Search::Impossible => {}
            Search::Undecided(reason) => {
                changes.leave_open_between(self.old.model.decider_json(old), self.new.model.decider_json(new), reason);
            }
            Search::Found(shown) => {
                let (witness, before, after) = *shown;
                changes.add(Change {
                    part: "rules",
                    old: self.old.model.decider_json(old),
                    new: self.new.model.decider_json(new),
                    class: Some(self.class(solver, deadline, old, new, &demanded)),
                    witness: &witness,
                    before: &before,
                    after: &after,
                    exceeded: &exceeded,
                });
            }
        }
    }

    /// The counters that have to be exceeded for these two to decide: their own, and the same counter of the other policy.
    pub fn exceeded(&self, old: Decider, new: Decider) -> Exceeded<'p> {
        let counted = |side: &Side<'p>, decider| match decider {
            Decider::Rule(rank) => side.model.rule(rank).filter(|rule| rule.counted.is_some()),
            Decider::Default(_) => None,
        };
        let mut exceeded = Exceeded::default();
        for rule in [counted(&self.old, old), counted(&self.new, new)].into_iter().flatten() {
            for (side, list) in [(&self.old, &mut exceeded.old), (&self.new, &mut exceeded.new)] {
                let rules = || side.model.policy.rules.iter().chain(&side.model.policy.overlay);
                let is_same = |other: &&crate::rule::CompiledRule| other.id == rule.id && other.counted == rule.counted;
                if rules().any(|other| is_same(&other)) && !list.contains(&rule.id.as_str()) {
                    list.push(rule.id.as_str());
                }
            }
        }
        exceeded
    }

    /// Look for a request that `old` and `new` decide, with different effects.
    fn seek(
        &self,
        solver: &mut Solver,
        demanded: &[Clause],
        exceeded: &Exceeded<'_>,
        old: Decider,
        new: Decider,
    ) -> Search<'static> {
        let mut excluded: Vec<(Taker, Clause)> = Vec::new();
        for _ in 0..MAX_REFINEMENTS {
            let clauses: Vec<&Clause> = demanded
                .iter()
                .chain(excluded.iter().map(|(_, clause)| clause))
                .collect();
            let (state, topic) = match solver.solve(&clauses) {
                Solved::Found(state, topic) => (state, topic),
                Solved::Undecided => return Search::Undecided("the search reached its bound"),
                Solved::Impossible => return proved(solver, demanded, &excluded),
            };
            let Some(witness) = Witness::of_class(&state, topic, &self.old.model.vocabulary) else {
                return Search::Undecided("no concrete request could be made of the class found");
            };
            let Some((before, after)) = self.verdicts(&witness, exceeded) else {
                return Search::Undecided("the request does not evaluate");
            };
            let takers = [self.old.taker(old, &before, &exceeded.old, true), self.new.taker(new, &after, &exceeded.new, false)];
            let mut is_decided = true;
            for taker in takers {
                match taker {
                    Ok(None) => {}
                    Ok(Some((taker, clause))) => {
                        is_decided = false;
                        if excluded.iter().any(|(known, _)| *known == taker) {
                            return Search::Undecided("the facts depend on each other in a way that is not modelled");
                        }
                        excluded.push((taker, clause));
                    }
                    Err(()) => return Search::Undecided("it depends on facts that are not modelled"),
                }
            }
            if !is_decided {
                continue;
            }
            if self.old.model.effect(&before) != self.new.model.effect(&after) {
                return Search::Found(Box::new((witness, before, after)));
            }
            // The later steps made both the same.
            let leveller = self.leveller(&before, &after);
            let taker = Taker { is_old: true, rank: None, is_certain: leveller.1 };
            if excluded.iter().any(|(known, _)| known.rank.is_none()) {
                return Search::Undecided("later steps decide the same for both");
            }
            excluded.push((taker, leveller.0));
        }
        Search::Undecided("too many rules overlap here")
    }

    /// Where the step that made two verdicts the same does not apply, and whether it always makes them the same where it does.
    fn leveller(&self, before: &Verdict, after: &Verdict) -> (Clause, bool) {
        let both = |name: &str| {
            before.steps.iter().any(|step| step == name) && after.steps.iter().any(|step| step == name)
        };
        if both("tenant.mcp") {
            return (vec![vec![Literal::McpCall(false)]], false);
        }
        (self.gate.clone(), both(GATE_RULE))
    }

    /// What both policies say about one request.
    pub fn verdicts(&self, witness: &Witness, exceeded: &Exceeded<'_>) -> Option<(Verdict, Verdict)> {
        let before = self.old.model.evaluate(witness, &exceeded.old)?;
        let after = self.new.model.evaluate(witness, &exceeded.new)?;
        Some((before, after))
    }

    /// The class in words, and the rules that take requests out of it.
    fn class(
        &self,
        solver: &mut Solver,
        deadline: Deadline,
        old: Decider,
        new: Decider,
        demanded: &[Clause],
    ) -> serde_json::Value {
        let mut parts = self.old.model.parts_of(old);
        for part in self.new.model.parts_of(new) {
            if !parts.iter().any(|known| known.words == part.words) {
                parts.push(part);
            }
        }
        let parts = crate::analysis::words::without_implied(solver, parts);
        let words: Vec<String> = parts.into_iter().map(|part| part.words).collect();
        let mut except: Vec<String> = Vec::new();
        let mut more = 0usize;
        for (side, decider) in [(&self.old, old), (&self.new, new)] {
            let end = match decider {
                Decider::Rule(rank) => rank,
                Decider::Default(_) => side.ranks().end,
            };
            for rank in 0..end {
                let (Some(rule), Some(shape)) = (side.model.rule(rank), side.model.shape(rank)) else {
                    continue;
                };
                let name = if rule.id.is_empty() { &rule.path } else { &rule.id };
                if except.contains(name) || deadline.is_over() {
                    continue;
                }
                let own = shape.demanded();
                let clauses: Vec<&Clause> = demanded.iter().chain(&own).collect();
                if matches!(solver.solve(&clauses), Solved::Impossible) {
                    continue;
                }
                if except.len() < MAX_EXCEPT {
                    except.push(name.clone());
                } else {
                    more += 1;
                }
            }
        }
        json!({"conditions": words, "except": except, "except_more": more})
    }
}

/// Rules named as taking requests out of a class; the rest are counted.
const MAX_EXCEPT: usize = 20;

/// No request is left; that is a proof when rules that always decide suffice for it.
fn proved(solver: &mut Solver, demanded: &[Clause], excluded: &[(Taker, Clause)]) -> Search<'static> {
    let certain = excluded.iter().filter(|(taker, _)| taker.is_certain);
    let clauses: Vec<&Clause> = demanded.iter().chain(certain.map(|(_, clause)| clause)).collect();
    match solver.solve(&clauses) {
        Solved::Impossible => Search::Impossible,
        _ => Search::Undecided("rules that depend on delegation, agents, counts or the order of invariants overlap here"),
    }
}
