//! What changes between two policies: for every pair of deciders with different effects, a request that the old policy decides by one and
//! the new policy by the other, or the proof that there is none.
//!
//! A request changes its verdict only if its deciders differ in effect. Rules that both policies have in the same order cannot be such a
//! pair by themselves: the earlier of the two matches in both policies and is asked first in both. So one of the two is a changed rule, or
//! both are defaults. Where invariants give way to stricter rules, an invariant decides together with the rule that is not stricter
//! ([`Decider::Held`]), and when such a policy changes its invariants, every pair is looked at.

use ahash::AHashSet;
use serde_json::json;

use crate::analysis::align::{align, Common};
use crate::analysis::changes::{Change, Changes};
use crate::analysis::condition::{Clause, Literal, TopicSet};
use crate::analysis::effect::Decider;
use crate::analysis::limits::{MAX_PAIRS, MAX_REFINEMENTS};
use crate::analysis::model::{Deadline, Verdict};
use crate::analysis::side::{Side, Taker};
use crate::analysis::solve::{Solved, Solver};
use crate::analysis::witness::Witness;
use crate::analysis::words::without_implied;
use crate::compile::{Policy, Source};
use crate::document::Scope;
use crate::error::PolicyError;
use crate::evaluate::{GATE_RULE, GATE_TOPICS};
use crate::glob::Glob;
use crate::merge::{merge, Merged};
use crate::rule::CompiledRule;

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
    pair.compare_later_steps(&mut solver, deadline, &mut changes);
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

/// Two policies.
pub(crate) struct Pair<'p> {
    pub old: Side<'p>,
    pub new: Side<'p>,
    /// Invariants that give way to stricter rules changed, so that the order of rules does not tell who decides.
    is_reordered: bool,
    gate: Clause,
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
        let has_soft = before.has_soft_invariant() || after.has_soft_invariant();
        Pair {
            is_reordered: has_soft && (before.changes_invariants() || after.changes_invariants()),
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
        let mut known = AHashSet::new();
        for old in self.old.deciders() {
            for new in self.counterparts(old) {
                let names = (old.rank(), new.rank());
                let is_known = names.0.is_some() && names.1.is_some() && known.contains(&names);
                if is_known
                    || self.old.model.effect_of(old) == self.new.model.effect_of(new)
                    || !self.may_share(old, new)
                {
                    continue;
                }
                asked += 1;
                if asked > MAX_PAIRS || deadline.is_over() {
                    return changes.leave_open("rules", "there are too many differences to look at all");
                }
                if self.compare(solver, deadline, old, new, changes) {
                    known.insert(names);
                }
            }
        }
    }

    /// New deciders that may decide a request of `old` with another effect.
    fn counterparts(&self, old: Decider) -> Vec<Decider> {
        let is_free = self.is_reordered || self.old.is_changed(old);
        let may_differ = |new: &Decider| {
            is_free
                || self.new.is_changed(*new)
                || (matches!(old, Decider::Default(_)) && matches!(new, Decider::Default(_)))
        };
        self.new.deciders().filter(may_differ).collect()
    }

    fn may_share(&self, old: Decider, new: Decider) -> bool {
        let shape = |side: &Side<'p>, decider: Decider| {
            decider.rank().and_then(|rank| side.model.shape(rank).cloned())
        };
        match (shape(&self.old, old), shape(&self.new, new)) {
            (Some(one), Some(other)) => one.may_share(&other),
            _ => true,
        }
    }

    /// Whether the two decide some request with different effects, and which.
    fn compare(
        &self,
        solver: &mut Solver,
        deadline: Deadline,
        old: Decider,
        new: Decider,
        changes: &mut Changes,
    ) -> bool {
        let demanded: Vec<Clause> = self
            .old
            .demanded(old)
            .into_iter()
            .chain(self.new.demanded(new))
            .collect();
        let exceeded = self.exceeded(old, new);
        match self.seek(solver, &demanded, &exceeded, old, new) {
            Search::Impossible => false,
            Search::Undecided(reason) => {
                let (old, new) = (self.old.model.decider_json(old), self.new.model.decider_json(new));
                changes.leave_open_between("rules", old, new, reason);
                false
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
                true
            }
        }
    }

    /// The counters that have to be exceeded for these two to decide: their own, and the same counter of the other policy.
    pub fn exceeded(&self, old: Decider, new: Decider) -> Exceeded<'p> {
        let counted = |side: &Side<'p>, decider: Decider| {
            let rule = decider.rank().and_then(|rank| side.model.rule(rank));
            rule.filter(|rule| rule.counted.is_some())
        };
        let mut exceeded = Exceeded::default();
        for rule in [counted(&self.old, old), counted(&self.new, new)]
            .into_iter()
            .flatten()
        {
            let more = self.exceeded_rule(rule);
            exceeded.old.extend(more.old);
            exceeded.new.extend(more.new);
        }
        exceeded
    }

    /// The same for one rule.
    pub fn exceeded_rule(&self, rule: &'p CompiledRule) -> Exceeded<'p> {
        let known = |side: &Side<'p>| -> Vec<&'p str> {
            let mut rules = side.model.policy.rules.iter().chain(&side.model.policy.overlay);
            let is_known = rules.any(|other| other.id == rule.id && other.counted == rule.counted);
            is_known.then_some(rule.id.as_str()).into_iter().collect()
        };
        Exceeded {
            old: known(&self.old),
            new: known(&self.new),
        }
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
        let mut excluded: Vec<(bool, Taker, Clause)> = Vec::new();
        for _ in 0..MAX_REFINEMENTS {
            let clauses: Vec<&Clause> = demanded
                .iter()
                .chain(excluded.iter().map(|(_, _, clause)| clause))
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
            let takers = [
                (true, self.old.taker(old, &witness, &before, &exceeded.old)),
                (false, self.new.taker(new, &witness, &after, &exceeded.new)),
            ];
            let mut is_decided = true;
            for (is_old, taker) in takers {
                match taker {
                    Ok(None) => {}
                    Ok(Some((taker, clause))) => {
                        is_decided = false;
                        if excluded
                            .iter()
                            .any(|(other, known, _)| *other == is_old && *known == taker)
                        {
                            return Search::Undecided(
                                "the facts depend on each other in a way that is not modelled",
                            );
                        }
                        excluded.push((is_old, taker, clause));
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
            let taker = Taker {
                rank: None,
                is_certain: leveller.1,
            };
            if excluded.iter().any(|(_, known, _)| known.rank.is_none()) {
                return Search::Undecided("later steps decide the same for both");
            }
            excluded.push((true, taker, leveller.0));
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
        let parts = without_implied(solver, parts);
        let words: Vec<String> = parts.into_iter().map(|part| part.words).collect();
        let mut except: Vec<Exception> = Vec::new();
        for (policy, side, decider) in [("old", &self.old, old), ("new", &self.new, new)] {
            for rank in side.before(decider) {
                let (Some(rule), Some(shape)) = (side.model.rule(rank), side.model.shape(rank)) else {
                    continue;
                };
                let own = shape.demanded();
                let clauses: Vec<&Clause> = demanded.iter().chain(&own).collect();
                if deadline.is_over() || matches!(solver.solve(&clauses), Solved::Impossible) {
                    continue;
                }
                let exception = Exception {
                    rule: if rule.id.is_empty() { &rule.path } else { &rule.id },
                    policy,
                    conditions: (shape.parts().into_iter())
                        .map(|part| part.words)
                        .filter(|text| !words.contains(text))
                        .collect(),
                };
                match except.iter_mut().find(|known| known.is_same(&exception)) {
                    Some(known) => known.policy = "both",
                    None => except.push(exception),
                }
            }
        }
        let listed: Vec<_> = except.iter().take(MAX_EXCEPT).map(Exception::to_json).collect();
        json!({
            "conditions": words,
            "except": listed,
            "except_more": except.len().saturating_sub(MAX_EXCEPT),
        })
    }
}

/// A rule that takes requests out of a class.
struct Exception<'a> {
    rule: &'a str,
    /// The policy it stands in: old, new, both.
    policy: &'static str,
    /// What it asks beyond the class.
    conditions: Vec<String>,
}

impl Exception<'_> {
    fn is_same(&self, other: &Exception<'_>) -> bool {
        self.rule == other.rule && self.conditions == other.conditions
    }

    fn to_json(&self) -> serde_json::Value {
        json!({"rule": self.rule, "policy": self.policy, "conditions": self.conditions})
    }
}

/// Rules named as taking requests out of a class; the rest are counted.
const MAX_EXCEPT: usize = 20;

/// No request is left; that is a proof when rules that always decide suffice for it.
fn proved(solver: &mut Solver, demanded: &[Clause], excluded: &[(bool, Taker, Clause)]) -> Search<'static> {
    let certain = excluded.iter().filter(|(_, taker, _)| taker.is_certain);
    let clauses: Vec<&Clause> = demanded
        .iter()
        .chain(certain.map(|(_, _, clause)| clause))
        .collect();
    match solver.solve(&clauses) {
        Solved::Impossible => Search::Impossible,
        _ => Search::Undecided(
            "rules that depend on delegation, agents, counts or the order of invariants overlap here",
        ),
    }
}
