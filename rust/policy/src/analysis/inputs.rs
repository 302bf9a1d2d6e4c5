//! Input rules that can never decide, and those that only hold what a later one denies (policy spec §7).
//!
//! What a rule looks for in content is compared as written; that it finds something is shown by a text made for it, on which the engine
//! evaluates the whole policy.

use crate::analysis::condition::{Clause, Scalar, Shape};
use crate::analysis::detection::{finds_all_of, never_finds};
use crate::analysis::effect::Decider;
use crate::analysis::limits::MAX_REFINEMENTS;
use crate::analysis::model::{smallest, Deadline, Verdict};
use crate::analysis::sample::samples;
use crate::analysis::side::Side;
use crate::analysis::solve::{Solved, Solver};
use crate::analysis::witness::Witness;
use crate::compile::in_order;
use crate::document::InputRule;
use crate::request::Request;
use cordum_wire::messages::PolicyCheckRequest;

const TIME_OVER: &str = "the time for the analysis is over";
const BOUND: &str = "the search reached its bound";

/// The enabled input rules of a policy, in the order they are asked.
pub(crate) struct Inputs<'s, 'p> {
    pub side: &'s Side<'p>,
    pub rules: Vec<Asked<'p>>,
}

/// One of them.
pub(crate) struct Asked<'p> {
    pub rule: &'p InputRule,
    pub is_invariant: bool,
    pub shape: Shape,
    /// Content, and the size to claim, that may make it fire.
    pub contents: Vec<(String, i64)>,
}

/// What is known about one input rule.
pub(crate) enum Reach {
    Decides,
    /// No request, or no content, makes it fire.
    Empty(&'static str),
    /// These fire before it wherever it would; on the request of `shown` it would.
    Covered(Vec<u32>, Box<(Witness, Verdict)>),
    /// The rules let pass no request that it looks at.
    NotAsked,
    Undecided(&'static str),
}

/// The same where one rule or default lets requests pass.
pub(crate) enum Under {
    Found(Box<(Witness, Verdict)>),
    Never(Vec<u32>),
    Open(&'static str),
}

/// What is looked for: a request decided by the input rule `target`, or by it as `accepts` says.
pub(crate) struct Wanted<'w> {
    pub target: u32,
    pub demanded: &'w [Clause],
    pub contents: &'w [(String, i64)],
    pub accepts: &'w dyn Fn(&Witness) -> bool,
}

impl<'s, 'p> Inputs<'s, 'p> {
    pub fn new(side: &'s Side<'p>) -> Inputs<'s, 'p> {
        let merged = side.merged;
        let rules = in_order(&merged.input_invariants, &merged.input_rules)
            .into_iter()
            .map(|(rule, is_invariant)| Asked {
                rule,
                is_invariant,
                shape: shape_of(rule),
                contents: samples(rule),
            })
            .collect();
        Inputs { side, rules }
    }

    /// What lets requests pass on to the input rules.
    pub fn passing(&self) -> impl Iterator<Item = Decider> + use<'_, 's, 'p> {
        let model = &self.side.model;
        self.side
            .deciders()
            .filter(|decider| model.effect_of(*decider).decision.lets_pass())
    }

    pub fn reach(&self, solver: &mut Solver, deadline: Deadline, rank: u32, asked: &Asked<'p>) -> Reach {
        let demanded = asked.shape.demanded();
        match solver.solve(&demanded.iter().collect::<Vec<&Clause>>()) {
            Solved::Found(..) => {}
            Solved::Impossible => return Reach::Empty("no_request"),
            Solved::Undecided => return Reach::Undecided(BOUND),
        }
        if never_finds(asked.rule) {
            return Reach::Empty("no_content");
        }
        let wanted = Wanted {
            target: rank,
            demanded: &demanded,
            contents: &asked.contents,
            accepts: &|_| true,
        };
        let (mut by, mut shown, mut open) = (Vec::new(), None, None);
        for decider in self.passing() {
            if deadline.is_over() {
                return Reach::Undecided(TIME_OVER);
            }
            match self.under(solver, decider, &wanted, &mut shown) {
                Under::Found(..) => return Reach::Decides,
                Under::Never(takers) => by.extend(takers),
                Under::Open(reason) => open = open.or(Some(reason)),
            }
        }
        by.sort_unstable();
        by.dedup();
        match (open, by.is_empty(), shown) {
            (Some(reason), ..) => Reach::Undecided(reason),
            (None, true, _) => Reach::NotAsked,
            (None, false, Some(shown)) => Reach::Covered(by, shown),
            (None, false, None) => Reach::Undecided("no request was confirmed by the engine"),
        }
    }

    /// Look for what is wanted where `decider` lets requests pass. The first request on which the wanted rule would fire, were it not for
    /// one that always fires before it, is put into `shown`.
    pub fn under(
        &self,
        solver: &mut Solver,
        decider: Decider,
        wanted: &Wanted<'_>,
        shown: &mut Option<Box<(Witness, Verdict)>>,
    ) -> Under {
        let model = &self.side.model;
        let counted = decider.rank().and_then(|rank| model.rule(rank));
        let counted = counted.filter(|rule| rule.counted.is_some());
        let exceeded: Vec<&str> = counted.map(|rule| rule.id.as_str()).into_iter().collect();
        let mut base = self.side.demanded(decider);
        base.extend(wanted.demanded.iter().cloned());
        // Input rules by rank, other rules without.
        let mut excluded: Vec<(Option<u32>, Clause)> = Vec::new();
        let mut is_certain = true;
        for _ in 0..MAX_REFINEMENTS {
            let clauses: Vec<&Clause> = base
                .iter()
                .chain(excluded.iter().map(|(_, clause)| clause))
                .collect();
            let (state, topic) = match solver.solve(&clauses) {
                Solved::Found(state, topic) => (state, topic),
                Solved::Impossible if is_certain => {
                    let takers = smallest(solver, &base, excluded);
                    return Under::Never(takers.into_iter().flatten().collect());
                }
                Solved::Impossible => return Under::Open("rules that may fire before it take its requests"),
                Solved::Undecided => return Under::Open(BOUND),
            };
            let found = Witness::of_class(&state, topic, &model.vocabulary)
                .and_then(|witness| Some((model.evaluate(&witness, &exceeded)?, witness)));
            let Some((verdict, witness)) = found else {
                return Under::Open("no concrete request could be made of the class found");
            };
            match self.side.taker(decider, &witness, &verdict, &exceeded) {
                Ok(None) => {}
                Ok(Some((taker, clause))) => {
                    is_certain &= taker.is_certain;
                    excluded.push((None, clause));
                    continue;
                }
                Err(()) => return Under::Open("it depends on facts that are not modelled"),
            }
            let taker = match self.tried(&witness, &exceeded, wanted, shown) {
                Tried::Found(shown) => return Under::Found(shown),
                Tried::Taken(taker) => taker,
                Tried::Nothing(reason) => return Under::Open(reason),
            };
            if excluded.iter().any(|(known, _)| *known == Some(taker)) {
                return Under::Open("the facts depend on each other in a way that is not modelled");
            }
            let Some(earlier) = self.asked(taker) else {
                return Under::Open("no such rule");
            };
            is_certain &= self.covers(taker, wanted.target);
            excluded.push((Some(taker), earlier.shape.refused()));
        }
        Under::Open("too many rules overlap here")
    }

    /// Evaluate the request with each content.
    fn tried(
        &self,
        witness: &Witness,
        exceeded: &[&str],
        wanted: &Wanted<'_>,
        shown: &mut Option<Box<(Witness, Verdict)>>,
    ) -> Tried {
        let (mut taker, mut is_blocked) = (None, false);
        for variant in wanted.contents.iter().map(|content| filled(witness, content)) {
            let Some(verdict) = self.side.model.evaluate(&variant, exceeded) else {
                continue;
            };
            match verdict.input {
                Some(rank) if rank == wanted.target => {
                    if (wanted.accepts)(&variant) {
                        return Tried::Found(Box::new((variant, verdict)));
                    }
                }
                Some(rank) if rank < wanted.target => {
                    if self.covers(rank, wanted.target) {
                        taker = Some(rank);
                        if shown.is_none() && self.fires(wanted.target, &variant) {
                            *shown = Some(Box::new((variant, verdict)));
                        }
                    }
                    taker = taker.or(Some(rank));
                }
                Some(_) => {}
                None => is_blocked |= !verdict.decision.lets_pass(),
            }
        }
        match taker {
            Some(rank) => Tried::Taken(rank),
            None if is_blocked => Tried::Nothing("a step between the rules and the input rules decides here"),
            None => Tried::Nothing("no content was found that makes it fire"),
        }
    }

    pub fn asked(&self, rank: u32) -> Option<&Asked<'p>> {
        self.rules.get(rank as usize)
    }

    /// Whether the engine's own test of this one rule holds.
    pub fn fires(&self, rank: u32, witness: &Witness) -> bool {
        let policy = self.side.model.policy;
        Request::decode(&witness.bytes).is_ok_and(|request| policy.input_rule_fires(rank, &request))
    }

    /// Whether one fires on every content the other fires on, where both look at the request.
    fn covers(&self, one: u32, other: u32) -> bool {
        match (self.asked(one), self.asked(other)) {
            (Some(one), Some(other)) => finds_all_of(one.rule, other.rule),
            _ => false,
        }
    }

    /// A request that the rule's conditions describe as far as they can hold, with content made for it.
    pub fn near(&self, solver: &mut Solver, asked: &Asked<'p>) -> Option<(Witness, Verdict)> {
        let model = &self.side.model;
        let (state, topic) = model.nearest(solver, &asked.shape.demanded())?;
        let witness = Witness::of_class(&state, topic, &model.vocabulary)?;
        // The last one has content, if any has.
        let witness = filled(&witness, asked.contents.last()?);
        let verdict = model.evaluate(&witness, &[])?;
        Some((witness, verdict))
    }
}

/// Answer of one request with several contents.
enum Tried {
    Found(Box<(Witness, Verdict)>),
    /// An earlier input rule fired.
    Taken(u32),
    Nothing(&'static str),
}

/// The conditions of a rule on the request, without its content.
pub(crate) fn shape_of(rule: &InputRule) -> Shape {
    Shape::new(&rule.matching, &rule.scope, &rule.content_types, false)
}

/// Values that the conditions of input rules name.
pub(crate) fn values_of(rule: &InputRule) -> Vec<String> {
    let shape = shape_of(rule);
    let scalars = [Scalar::Tenant, Scalar::Capability, Scalar::ContentType];
    let scoped = [Scalar::WorkflowScope, Scalar::JobScope];
    let listed = scalars
        .into_iter()
        .chain(scoped)
        .filter_map(|scalar| shape.listed(scalar));
    listed.flatten().cloned().collect()
}

fn filled(witness: &Witness, (text, size): &(String, i64)) -> Witness {
    Witness::new(PolicyCheckRequest {
        input_content: text.clone().into_bytes(),
        input_size_bytes: *size,
        ..witness.request.clone()
    })
}
