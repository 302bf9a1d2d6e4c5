//! A compiled policy with the shapes of its rules, and the search that refines a question until the engine confirms the answer.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use serde_json::{json, Value as Json};

use crate::analysis::condition::{Clause, Scalar, Shape};
use crate::analysis::limits::{MAX_MILLISECONDS, MAX_REFINEMENTS};
use crate::analysis::solve::{Solved, Solver};
use crate::analysis::witness::{Vocabulary, Witness};
use crate::compile::Policy;
use crate::document::Decision;
use crate::evaluate::Decider;
use crate::index::Index;
use crate::mcp::{fold, McpField};
use crate::request::Request;
use crate::rule::{entry, CompiledRule};
use crate::velocity::{Answer, Counters, Need};

/// What the engine says about one request.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// Rank of the rule of step 7.
    pub rank: Option<u32>,
    /// Place of the input rule that decided.
    pub input: Option<u32>,
    pub decision: Decision,
    pub rule_id: String,
    pub reason: String,
    /// Names of the later steps that changed the result.
    pub steps: Vec<String>,
}

impl Verdict {
    pub fn to_json(&self) -> Json {
        json!({"decision": self.decision.name(), "rule_id": self.rule_id, "reason": self.reason})
    }
}

/// A policy as the analysis sees it.
pub(crate) struct Model<'p> {
    pub policy: &'p Policy,
    pub shapes: Vec<Shape>,
    /// Per rule: when it does not match.
    pub refused: Vec<Clause>,
    ranks: AHashMap<usize, u32>,
    singles: Vec<OnceLock<Index>>,
    pub vocabulary: Vocabulary,
}

/// What a search has to do with the request it found.
pub(crate) enum Judgement<K> {
    /// It is what was looked for.
    Accept,
    /// The rule `K` took it; look again where this clause holds.
    Exclude(K, Clause),
    /// The engine does not agree with the model.
    Unmodelled(&'static str),
}

/// Answer of a search.
pub(crate) enum Sought<K> {
    Found(Box<(Witness, Verdict)>),
    /// No request: what was demanded is impossible together with the refusal of these rules.
    Impossible(Vec<K>),
    Undecided(&'static str),
}

/// A bound on the time of a whole analysis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub fn start() -> Deadline {
        Deadline(Instant::now() + Duration::from_millis(MAX_MILLISECONDS))
    }

    pub fn is_over(self) -> bool {
        Instant::now() > self.0
    }
}

const SCALARS: [Scalar; 8] = [
    Scalar::Tenant,
    Scalar::Capability,
    Scalar::PackId,
    Scalar::ActorId,
    Scalar::ActorType,
    Scalar::ContentType,
    Scalar::WorkflowScope,
    Scalar::JobScope,
];

impl<'p> Model<'p> {
    pub fn new(policy: &'p Policy) -> Model<'p> {
        let default_tenant = match policy.default_tenant.trim() {
            "" => "default",
            name => name,
        };
        let mut vocabulary = Vocabulary::default();
        vocabulary.default_tenant = Some(fold(default_tenant).into_owned());
        let mut shapes = Vec::with_capacity(policy.rules.len());
        let mut ranks = AHashMap::new();
        for (rank, rule) in (0u32..).zip(&policy.rules) {
            let is_ordinary = policy.groups.ordinary.contains(&rank);
            let mut shape = Shape::new(&rule.matching, &rule.scope, &[], is_ordinary);
            if let Some(counted) = &rule.counted {
                shape.count_by(counted.key_parts());
            }
            for scalar in SCALARS {
                vocabulary.add(shape.listed(scalar).into_iter().flatten().cloned());
            }
            for lists in &rule.matching.mcp.fields {
                vocabulary.add(lists.allow.iter().chain(&lists.deny).cloned());
            }
            ranks.insert(std::ptr::from_ref(rule) as usize, rank);
            shapes.push(shape);
        }
        for (name, lists) in &policy.tenant_mcp {
            vocabulary.add([name.clone()]);
            for field in McpField::ALL {
                let known = lists.lists(field).into_iter();
                vocabulary.add(known.flat_map(|lists| lists.allow.iter().chain(&lists.deny).cloned()));
            }
        }
        Model {
            refused: shapes.iter().map(Shape::refused).collect(),
            singles: shapes.iter().map(|_| OnceLock::new()).collect(),
            policy,
            shapes,
            ranks,
            vocabulary,
        }
    }

    pub fn rule(&self, rank: u32) -> Option<&'p CompiledRule> {
        self.policy.rules.get(rank as usize)
    }

    pub fn shape(&self, rank: u32) -> Option<&Shape> {
        self.shapes.get(rank as usize)
    }

    /// Whether a match of the rule decides, whatever the counters say.
    pub fn is_certain(&self, rank: u32) -> bool {
        self.rule(rank).is_some_and(|rule| rule.counted.is_none())
            && self.shape(rank).is_some_and(|shape| !shape.is_opaque)
    }

    /// The engine's decision; counts of `exceeding` rules are exceeded, all others are not.
    pub fn evaluate(&self, witness: &Witness, exceeding: &[&str]) -> Option<Verdict> {
        let request = Request::decode(&witness.bytes).ok()?;
        let mut counters = Counters::default();
        for _ in 0..=self.policy.rules.len() {
            let outcome = self.policy.evaluate_counted(&request, &mut counters);
            let needs = counters.take_needs();
            if needs.is_empty() {
                let rank = outcome
                    .rule
                    .and_then(|rule| self.ranks.get(&(std::ptr::from_ref(rule) as usize)).copied());
                return Some(Verdict {
                    rank,
                    input: match outcome.decider {
                        Decider::InputRule(place) => Some(place),
                        _ => None,
                    },
                    decision: outcome.decision,
                    rule_id: outcome.rule_id.to_owned(),
                    reason: outcome.reason.to_string(),
                    steps: outcome.steps.iter().map(|step| step.name.to_owned()).collect(),
                });
            }
            for need in needs {
                let answer = answer(&need, exceeding);
                counters.answer(need, answer);
            }
        }
        None
    }

    /// The first rule of each group that counts for the request: of the invariants, of the ordinary rules, of the rest.
    pub fn first_of_groups(&self, witness: &Witness, exceeding: &[&str]) -> [Option<u32>; 3] {
        let Ok(request) = Request::decode(&witness.bytes) else {
            return [None; 3];
        };
        let facts = self.policy.facts(&request);
        let selection = self.policy.index.select(&facts);
        let groups = &self.policy.groups;
        let rest = groups.ordinary.end..groups.all.end;
        [groups.invariants.clone(), groups.ordinary.clone(), rest].map(|range| {
            selection.first(range, |rank| {
                let Some(rule) = self.rule(rank).filter(|rule| rule.accepts(&facts)) else {
                    return false;
                };
                let is_exceeded = || exceeding.contains(&rule.id.as_str());
                let counted = rule.counted.as_ref();
                counted.is_none_or(|counted| is_exceeded() && counted.counts(&facts))
            })
        })
    }

    /// Whether the engine's own test of this one rule holds for the request.
    pub fn matches(&self, rank: u32, witness: &Witness) -> bool {
        let (Some(rule), Some(single)) = (self.rule(rank), self.singles.get(rank as usize)) else {
            return false;
        };
        let Ok(request) = Request::decode(&witness.bytes) else {
            return false;
        };
        let edge_range = if self.policy.groups.ordinary.contains(&rank) {
            0..1
        } else {
            0..0
        };
        let index = single.get_or_init(|| Index::new(&[entry(&rule.matching, &rule.scope, &[])], edge_range));
        let facts = self.policy.facts(&request);
        index
            .select(&facts)
            .first(0..1, |_| rule.accepts(&facts))
            .is_some()
    }

    /// Look for a request that satisfies `demanded`, asking `judge` about each and excluding what it names, until one is accepted or none
    /// is left.
    pub fn seek<K: Clone + PartialEq>(
        &self,
        solver: &mut Solver,
        demanded: &[Clause],
        exceeding: &[&str],
        mut judge: impl FnMut(&Witness, &Verdict) -> Judgement<K>,
    ) -> Sought<K> {
        let mut excluded: Vec<(K, Clause)> = Vec::new();
        for _ in 0..MAX_REFINEMENTS {
            let clauses: Vec<&Clause> = demanded
                .iter()
                .chain(excluded.iter().map(|(_, clause)| clause))
                .collect();
            let (state, topic) = match solver.solve(&clauses) {
                Solved::Found(state, topic) => (state, topic),
                Solved::Impossible => return Sought::Impossible(smallest(solver, demanded, excluded)),
                Solved::Undecided => return Sought::Undecided("the search reached its bound"),
            };
            let witness = Witness::of_class(&state, topic, &self.vocabulary);
            let Some((witness, verdict)) = witness.and_then(|witness| {
                let verdict = self.evaluate(&witness, exceeding)?;
                Some((witness, verdict))
            }) else {
                return Sought::Undecided("no concrete request could be made of the class found");
            };
            match judge(&witness, &verdict) {
                Judgement::Accept => return Sought::Found(Box::new((witness, verdict))),
                Judgement::Unmodelled(reason) => return Sought::Undecided(reason),
                Judgement::Exclude(key, _) if excluded.iter().any(|(known, _)| *known == key) => {
                    return Sought::Undecided("the facts depend on each other in a way that is not modelled");
                }
                Judgement::Exclude(key, clause) => excluded.push((key, clause)),
            }
        }
        Sought::Undecided("too many rules overlap here")
    }
}

fn answer(need: &Need, exceeding: &[&str]) -> Answer {
    if exceeding.contains(&need.rule_id.as_str()) {
        Answer::Exceeded
    } else {
        Answer::Within
    }
}

/// The exclusions without which the class would not be empty.
pub(crate) fn smallest<K>(
    solver: &mut Solver,
    demanded: &[Clause],
    mut excluded: Vec<(K, Clause)>,
) -> Vec<K> {
    let mut at = excluded.len();
    while at > 0 && excluded.len() > 1 {
        at -= 1;
        let kept = excluded.iter().enumerate().filter(|(other, _)| *other != at);
        let clauses: Vec<&Clause> = demanded
            .iter()
            .chain(kept.map(|(_, (_, clause))| clause))
            .collect();
        if matches!(solver.solve(&clauses), Solved::Impossible) {
            excluded.remove(at);
        }
    }
    excluded.into_iter().map(|(key, _)| key).collect()
}
