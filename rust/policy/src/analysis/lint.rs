//! The questions asked about a policy.

use std::collections::BTreeMap;

use crate::analysis::condition::Clause;
use crate::analysis::findings::{named, rule_json, Finding, Report, Severity};
use crate::analysis::inputs::{values_of, Inputs};
use crate::analysis::limits::MAX_PAIRS;
use crate::analysis::model::{Deadline, Judgement, Model, Sought};
use crate::analysis::reach::Reach;
use crate::analysis::side::Side;
use crate::analysis::solve::{Solved, Solver};
use crate::compile::{Policy, Source};
use crate::document::{Decision, Scope};
use crate::error::PolicyError;
use crate::merge::{merge, Merged};
use crate::rule::CompiledRule;

/// Analyse the policy that `sources` make together; the answer is JSON: snapshot, rules, input_rules, findings, undecided, omitted.
///
/// Errors: sources that do not make a policy.
pub fn analyze(sources: &[Source<'_>]) -> Result<Vec<u8>, PolicyError> {
    let policy = Policy::compile(sources)?;
    let report = analyze_policy(&policy, &merge(sources)?);
    Ok(report
        .to_json(policy.snapshot(), policy.rules.len(), policy.input_rules.len())
        .to_string()
        .into_bytes())
}

/// The findings about a policy, compiled and as its documents say it together.
fn analyze_policy(policy: &Policy, merged: &Merged) -> Report {
    let scopes: Vec<&Scope> = policy.defaults.scopes().collect();
    let mut side = Side::new(policy, merged, Vec::new(), &scopes);
    for rule in merged.input_invariants.iter().chain(&merged.input_rules) {
        side.model.vocabulary.add(values_of(rule));
    }
    let (side, model) = (&side, &side.model);
    let (mut solver, mut report) = (Solver::default(), Report::default());
    let deadline = Deadline::start();
    let mut is_live = Vec::with_capacity(policy.rules.len());
    for (rank, rule) in (0u32..).zip(&policy.rules) {
        if deadline.is_over() {
            report.leave_open(
                "shadowed_rule",
                rule_json(rule),
                "the time for the analysis is over",
            );
            is_live.push(false);
            continue;
        }
        let reach = model.reach(&mut solver, rank);
        is_live.push(matches!(reach, Reach::Decides));
        model.note_reach(&mut solver, rank, rule, reach, &mut report);
    }
    model.allowances(&mut solver, deadline, &mut report);
    model.idle_tenants(&merged.tenants, &mut report);
    Inputs::new(side).note(&mut solver, deadline, &mut report);
    // Last, because there can be many.
    model.contradictions(&mut solver, &is_live, deadline, &mut report);
    report
}

impl Model<'_> {
    fn note_reach(
        &self,
        solver: &mut Solver,
        rank: u32,
        rule: &CompiledRule,
        reach: Reach,
        report: &mut Report,
    ) {
        match reach {
            Reach::Decides => {}
            Reach::Undecided(reason) => report.leave_open("shadowed_rule", rule_json(rule), reason),
            Reach::Empty => {
                let near = self.near_miss(solver, rank);
                report.add(Finding {
                    kind: "empty_match",
                    severity: Severity::Error,
                    rule: rule_json(rule),
                    by: Vec::new(),
                    proof: "no_request",
                    message: format!(
                        "rule {} matches no request: its conditions exclude each other",
                        named(rule)
                    ),
                    witness: near.as_ref().map(|(witness, verdict)| (witness, verdict)),
                });
            }
            Reach::Covered { by, shown } => {
                let (witness, verdict) = *shown;
                let rules: Vec<&CompiledRule> = by.iter().filter_map(|rank| self.rule(*rank)).collect();
                let names: Vec<String> = rules.iter().take(5).map(|rule| named(rule)).collect();
                let more = rules.len().saturating_sub(names.len());
                let names = match more {
                    0 => names.join(", "),
                    more => format!("{} and {more} more", names.join(", ")),
                };
                let is_same = rules.iter().all(|earlier| earlier.decision == rule.decision);
                report.add(Finding {
                    kind: "shadowed_rule",
                    severity: if is_same {
                        Severity::Warning
                    } else {
                        Severity::Error
                    },
                    rule: rule_json(rule),
                    by: rules.iter().map(|rule| rule_json(rule)).collect(),
                    proof: if rules.len() == 1 {
                        "covered_by_one"
                    } else {
                        "covered_by_union"
                    },
                    message: format!(
                        "rule {} can never decide: {names} always {} first",
                        named(rule),
                        if rules.len() == 1 { "matches" } else { "match" }
                    ),
                    witness: Some((&witness, &verdict)),
                });
            }
        }
    }

    /// Pairs of rules of one tier with opposite decisions of which neither is the exception of the other: what holds for requests that
    /// both match depends on nothing but their order.
    fn contradictions(&self, solver: &mut Solver, is_live: &[bool], deadline: Deadline, report: &mut Report) {
        let takes_part = |rank: u32| {
            is_live.get(rank as usize).copied().unwrap_or(false)
                && self.is_certain(rank)
                && self.policy.groups.ordinary.contains(&rank)
        };
        let ranks: Vec<u32> = self
            .policy
            .groups
            .ordinary
            .clone()
            .filter(|rank| takes_part(*rank))
            .collect();
        let by_prefix = self.by_prefix(&ranks);
        let mut pairs = 0usize;
        for later in ranks {
            for earlier in self.relatives(later, &by_prefix) {
                pairs += 1;
                let (Some(one), Some(other)) = (self.rule(earlier), self.rule(later)) else {
                    continue;
                };
                if pairs > MAX_PAIRS || deadline.is_over() {
                    return report.leave_open(
                        "contradiction",
                        rule_json(other),
                        "too many pairs of rules to compare",
                    );
                }
                if is_opposite(one.decision, other.decision)
                    && one.scope == other.scope
                    && self.may_share(earlier, later)
                {
                    self.compare(solver, earlier, later, report);
                }
            }
        }
    }

    /// Ranks by the literal prefix of each of their patterns.
    fn by_prefix(&self, ranks: &[u32]) -> BTreeMap<String, Vec<u32>> {
        let mut map: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for rank in ranks {
            for prefix in self.prefixes(*rank) {
                map.entry(prefix).or_default().push(*rank);
            }
        }
        map
    }

    fn prefixes(&self, rank: u32) -> Vec<String> {
        let set = self
            .shape(rank)
            .and_then(|shape| shape.topics.as_ref())
            .filter(|set| !set.is_open());
        let Some(set) = set else {
            return vec![String::new()];
        };
        let prefixes = set.globs.iter().filter_map(|glob| glob.prefix());
        let mut prefixes: Vec<String> = prefixes.map(str::to_owned).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    }

    /// Earlier rules that may share a topic with `rank`, as far as literal prefixes tell.
    fn relatives(&self, rank: u32, by_prefix: &BTreeMap<String, Vec<u32>>) -> Vec<u32> {
        let mut found = Vec::new();
        for prefix in self.prefixes(rank) {
            let longer = by_prefix
                .range(prefix.clone()..)
                .take_while(|(other, _)| other.starts_with(&prefix));
            found.extend(longer.flat_map(|(_, ranks)| ranks).filter(|other| **other < rank));
            for end in (0..prefix.len()).filter(|end| prefix.is_char_boundary(*end)) {
                let shorter = prefix.get(..end).and_then(|shorter| by_prefix.get(shorter));
                found.extend(shorter.into_iter().flatten().filter(|other| **other < rank));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn may_share(&self, one: u32, other: u32) -> bool {
        let (Some(one), Some(other)) = (self.shape(one), self.shape(other)) else {
            return false;
        };
        one.may_share(other)
    }

    fn compare(&self, solver: &mut Solver, earlier: u32, later: u32, report: &mut Report) {
        let (Some(one), Some(other)) = (self.rule(earlier), self.rule(later)) else {
            return;
        };
        let (Some(first), Some(second)) = (self.shape(earlier), self.shape(later)) else {
            return;
        };
        let both: Vec<Clause> = first.demanded().into_iter().chain(second.demanded()).collect();
        let sought = self.seek(solver, &both, &[], |witness, verdict| {
            if verdict.rank == Some(earlier) && self.matches(later, witness) {
                return Judgement::Accept;
            }
            match verdict
                .rank
                .and_then(|rank| Some((rank, self.refused.get(rank as usize)?)))
            {
                Some((rank, clause)) if rank != earlier => Judgement::Exclude(rank, clause.clone()),
                _ => Judgement::Unmodelled("it depends on facts that are not modelled"),
            }
        });
        let (witness, verdict) = match sought {
            Sought::Found(shown) => *shown,
            Sought::Impossible(_) => return,
            Sought::Undecided(reason) => return report.leave_open("contradiction", rule_json(other), reason),
        };
        // An earlier rule inside the later one is an exception, which is how such policies are written.
        let demanded = first.demanded();
        let refused = second.refused();
        let outside: Vec<&Clause> = demanded.iter().chain(std::iter::once(&refused)).collect();
        match solver.solve(&outside) {
            Solved::Found(..) => {}
            Solved::Impossible => return,
            Solved::Undecided => {
                return report.leave_open("contradiction", rule_json(other), "the search reached its bound")
            }
        }
        let is_alike = first.restricts() == second.restricts();
        report.add(Finding {
            kind: "contradiction",
            severity: if is_alike {
                Severity::Warning
            } else {
                Severity::Info
            },
            rule: rule_json(other),
            by: vec![rule_json(one)],
            proof: "witness",
            message: format!(
                "rules {} and {} decide the same requests in opposite ways; only their order settles it",
                named(one),
                named(other)
            ),
            witness: Some((&witness, &verdict)),
        });
    }
}

fn is_opposite(one: Decision, other: Decision) -> bool {
    (one == Decision::Deny && other.lets_pass()) || (other == Decision::Deny && one.lets_pass())
}
