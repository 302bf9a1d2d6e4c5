//! Can a rule decide at all? (policy spec §6.2)

use crate::analysis::condition::Clause;
use crate::analysis::model::{Judgement, Model, Sought, Verdict};
use crate::analysis::solve::{Solved, Solver};
use crate::analysis::state::State;
use crate::analysis::witness::Witness;
use crate::document::Decision;

/// What is known about one rule.
pub(crate) enum Reach {
    /// It decides this request.
    Decides,
    /// Every request it matches is decided by one of these; the request is one of them.
    Covered {
        by: Vec<u32>,
        shown: Box<(Witness, Verdict)>,
    },
    /// No request matches it.
    Empty,
    Undecided(&'static str),
}

/// A rule that took a request away.
#[derive(Clone, PartialEq)]
struct Taker {
    rank: u32,
    /// It always does; otherwise it may, and nothing is proved by it.
    is_certain: bool,
}

impl Model<'_> {
    /// Decide whether the rule at `rank` can be the one that decides.
    pub fn reach(&self, solver: &mut Solver, rank: u32) -> Reach {
        let (Some(rule), Some(shape)) = (self.rule(rank), self.shape(rank)) else {
            return Reach::Undecided("no such rule");
        };
        let demanded = shape.demanded();
        let exceeding = [rule.id.as_str()];
        let exceeding = if rule.counted.is_some() {
            &exceeding[..]
        } else {
            &[]
        };
        let mut first: Option<(Witness, Verdict)> = None;
        let sought = self.seek(solver, &demanded, exceeding, |witness, verdict| {
            if verdict.rank == Some(rank) {
                return Judgement::Accept;
            }
            if first.is_none() && (shape.is_opaque || self.matches(rank, witness)) {
                first = Some((witness.clone(), verdict.clone()));
            }
            self.taken(rank, verdict)
        });
        match (sought, first) {
            (Sought::Found(..), _) => Reach::Decides,
            (Sought::Impossible(by), _) if by.is_empty() => Reach::Empty,
            (Sought::Impossible(by), _) if by.iter().any(|taker| !taker.is_certain) => Reach::Undecided(
                "rules that depend on delegation, agents or the order of invariants may take its requests",
            ),
            (Sought::Impossible(by), Some(shown)) => Reach::Covered {
                by: by.into_iter().map(|taker| taker.rank).collect(),
                shown: Box::new(shown),
            },
            (Sought::Impossible(_), None) => Reach::Undecided("no request was confirmed by the engine"),
            (Sought::Undecided(reason), _) => Reach::Undecided(reason),
        }
    }

    fn taken(&self, rank: u32, verdict: &Verdict) -> Judgement<Taker> {
        let Some(winner) = verdict.rank else {
            return Judgement::Unmodelled("it depends on facts that are not modelled");
        };
        let Some(clause) = self.refused.get(winner as usize).filter(|_| winner < rank) else {
            return Judgement::Unmodelled("it depends on facts that are not modelled");
        };
        let taker = Taker {
            rank: winner,
            is_certain: self.is_certain(winner) && self.stands_before(winner, rank),
        };
        Judgement::Exclude(taker, clause.clone())
    }

    /// Whether an earlier rule that matches keeps the later one from deciding. An invariant that is softer does not, because of the
    /// security floor, nor does one that such an invariant may come before.
    pub fn stands_before(&self, earlier: u32, later: u32) -> bool {
        let groups = &self.policy.groups;
        if !groups.invariants.contains(&earlier) || !groups.ordinary.contains(&later) {
            return true;
        }
        let Some(rule) = self.rule(later) else {
            return false;
        };
        // A rule whose counter does not answer asks a human.
        let strictest = match rule.counted {
            Some(_) => rule.decision.max(Decision::RequireApproval),
            None => rule.decision,
        };
        (0..=earlier)
            .filter_map(|rank| self.rule(rank))
            .all(|invariant| invariant.decision >= strictest)
    }

    /// A request that the conditions of an empty rule, all but the impossible part, describe: the longest run of clauses that holds.
    pub fn near_miss(&self, solver: &mut Solver, rank: u32) -> Option<(Witness, Verdict)> {
        let (state, topic) = self.nearest(solver, &self.shape(rank)?.demanded())?;
        let witness = Witness::of_class(&state, topic, &self.vocabulary)?;
        let verdict = self.evaluate(&witness, &[])?;
        (verdict.rank != Some(rank)).then_some((witness, verdict))
    }

    /// A class in which as many of the clauses hold as can together, taken in their order.
    pub fn nearest(&self, solver: &mut Solver, demanded: &[Clause]) -> Option<(Box<State>, String)> {
        let mut kept = Vec::new();
        let mut found = None;
        for clause in demanded {
            kept.push(clause);
            match solver.solve(&kept) {
                Solved::Found(state, topic) => found = Some((state, topic)),
                _ => {
                    kept.pop();
                }
            }
        }
        match found {
            Some(found) => Some(found),
            None => match solver.solve(&[]) {
                Solved::Found(state, topic) => Some((state, topic)),
                _ => None,
            },
        }
    }
}
