//! Clauses → a class of requests that satisfies them all, or the proof that there is none.

use std::sync::Arc;

use ahash::AHashMap;

use crate::analysis::condition::{Clause, Literal, TopicSet};
use crate::analysis::language::{self, Search};
use crate::analysis::limits::MAX_SOLVER_STEPS;
use crate::analysis::state::State;
use crate::glob::Glob;
use crate::topics::EDGE_TOPIC;

/// Answer of the solver.
#[derive(Debug)]
pub(crate) enum Solved {
    /// A class and a topic of it.
    Found(Box<State>, String),
    Impossible,
    Undecided,
}

type Key = (Vec<usize>, Vec<usize>);

/// Remembers topic searches; good for the lifetime of the shapes it is asked about.
#[derive(Debug, Default)]
pub(crate) struct Solver {
    topics: AHashMap<Key, Search>,
    steps: usize,
    is_incomplete: bool,
}

fn address(set: &Arc<TopicSet>) -> usize {
    Arc::as_ptr(set) as usize
}

impl Solver {
    /// Satisfy every clause.
    pub fn solve(&mut self, clauses: &[&Clause]) -> Solved {
        self.steps = 0;
        self.is_incomplete = false;
        for is_edge in [false, true] {
            if is_edge && !may_be_edge(clauses) {
                continue;
            }
            if let Some((state, topic)) = self.descend(&State::new(is_edge), clauses) {
                return Solved::Found(Box::new(state), topic);
            }
        }
        if self.is_incomplete {
            Solved::Undecided
        } else {
            Solved::Impossible
        }
    }

    fn descend(&mut self, state: &State, open: &[&Clause]) -> Option<(State, String)> {
        self.steps += 1;
        if self.steps > MAX_SOLVER_STEPS {
            self.is_incomplete = true;
            return None;
        }
        let Some((at, branches)) = self.narrowest(state, open)? else {
            return self.finish(state);
        };
        let rest: Vec<&Clause> = (open.iter().enumerate())
            .filter_map(|(other, clause)| (other != at).then_some(*clause))
            .collect();
        branches
            .into_iter()
            .find_map(|branch| self.descend(&branch, &rest))
    }

    fn finish(&mut self, state: &State) -> Option<(State, String)> {
        match self.topic(state) {
            Search::Found(topic) => Some((state.clone(), topic)),
            Search::Empty => None,
            Search::Undecided => {
                self.is_incomplete = true;
                None
            }
        }
    }

    /// The clause with the fewest alternatives left; `None` when one has none, an inner `None` when no clause is open.
    #[allow(clippy::type_complexity, reason = "used once, and each part is said above")]
    fn narrowest(&mut self, state: &State, open: &[&Clause]) -> Option<Option<(usize, Vec<State>)>> {
        let mut best: Option<(usize, Vec<State>)> = None;
        for (at, clause) in open.iter().enumerate() {
            let branches: Vec<State> = clause
                .iter()
                .filter_map(|option| self.extended(state, option))
                .collect();
            if branches.is_empty() {
                return None;
            }
            if branches.len() == 1 {
                return Some(Some((at, branches)));
            }
            if best
                .as_ref()
                .is_none_or(|(_, known)| branches.len() < known.len())
            {
                best = Some((at, branches));
            }
        }
        Some(best)
    }

    fn extended(&mut self, state: &State, option: &[Literal]) -> Option<State> {
        let mut next = state.clone();
        let mut asks_topic = false;
        for literal in option {
            if !next.add(literal) {
                return None;
            }
            asks_topic |= matches!(literal, Literal::Topic(_) | Literal::NotTopic(_));
        }
        if asks_topic && self.topic(&next) == Search::Empty {
            return None;
        }
        Some(next)
    }

    fn topic(&mut self, state: &State) -> Search {
        if state.is_edge {
            return Search::Found(EDGE_TOPIC.to_owned());
        }
        let addresses = |sets: &[Arc<TopicSet>]| {
            let mut all: Vec<usize> = sets.iter().map(address).collect();
            all.sort_unstable();
            all
        };
        let key = (addresses(&state.topics), addresses(&state.not_topics));
        if let Some(known) = self.topics.get(&key) {
            return known.clone();
        }
        let wanted: Vec<&[Glob]> = state.topics.iter().map(|set| set.globs.as_slice()).collect();
        let edge = Glob::new(EDGE_TOPIC);
        let unwanted: Vec<&Glob> = (state.not_topics.iter().flat_map(|set| &set.globs))
            .chain(&edge)
            .collect();
        let found = language::find(&wanted, &unwanted);
        self.topics.insert(key, found.clone());
        found
    }
}

/// The edge topic has rules of its own; most questions demand a topic set that does not take it.
fn may_be_edge(clauses: &[&Clause]) -> bool {
    clauses.iter().all(|clause| {
        clause.iter().any(|option| {
            option.iter().all(|literal| match literal {
                Literal::Topic(set) => set.takes_edge,
                Literal::NotTopic(set) => !set.takes_edge,
                _ => true,
            })
        })
    })
}
