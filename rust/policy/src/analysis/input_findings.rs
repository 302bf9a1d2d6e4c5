//! What is reported about input rules.

use serde_json::{json, Value as Json};

use crate::analysis::condition::Clause;
use crate::analysis::detection::finds_all_of;
use crate::analysis::findings::{rule_json, Finding, Report, Severity};
use crate::analysis::inputs::{Asked, Inputs, Reach, Under, Wanted};
use crate::analysis::limits::MAX_PAIRS;
use crate::analysis::model::{Deadline, Verdict};
use crate::analysis::sample::together;
use crate::analysis::solve::{Solved, Solver};
use crate::analysis::witness::Witness;
use crate::document::{Decision, InputRule};

impl<'p> Inputs<'_, 'p> {
    /// Report what there is to say about the rules.
    pub fn note(&self, solver: &mut Solver, deadline: Deadline, report: &mut Report) {
        let Some(first) = self.rules.first() else {
            return;
        };
        if self.passing().next().is_none() {
            return report.leave_open(
                "shadowed_rule",
                written(first.rule),
                "nothing in this policy lets a request pass, so no input rule is asked; analyse it together with the rest",
            );
        }
        let mut is_live = Vec::with_capacity(self.rules.len());
        for (rank, asked) in (0u32..).zip(&self.rules) {
            let reach = self.reach(solver, deadline, rank, asked);
            is_live.push(matches!(reach, Reach::Decides));
            self.note_reach(solver, asked, reach, report);
        }
        self.note_softer(solver, deadline, &is_live, report);
    }

    fn note_reach(&self, solver: &mut Solver, asked: &Asked<'p>, reach: Reach, report: &mut Report) {
        let rule = asked.rule;
        match reach {
            Reach::Decides => {}
            Reach::Undecided(reason) => report.leave_open("shadowed_rule", written(rule), reason),
            Reach::Empty(proof) => {
                let near = self.near(solver, asked);
                let message = match proof {
                    "no_content" => format!(
                        "input rule {} never fires: what it looks for is in no content",
                        named(rule)
                    ),
                    _ => format!(
                        "input rule {} looks at no request: its conditions exclude each other",
                        named(rule)
                    ),
                };
                report.add(Finding {
                    kind: "empty_match",
                    severity: Severity::Error,
                    rule: written(rule),
                    by: Vec::new(),
                    proof,
                    message,
                    witness: near.as_ref().map(|(witness, verdict)| (witness, verdict)),
                });
            }
            Reach::NotAsked => {
                let near = self.near(solver, asked);
                let winner = near
                    .as_ref()
                    .and_then(|(_, verdict)| self.side.model.rule(verdict.rank?));
                report.add(Finding {
                    kind: "shadowed_rule",
                    // It does no harm where everything is denied anyway.
                    severity: Severity::Warning,
                    rule: written(rule),
                    by: winner.map(rule_json).into_iter().collect(),
                    proof: "no_request_passes",
                    message: format!(
                        "input rule {} can never decide: the rules let pass no request that it looks at",
                        named(rule)
                    ),
                    witness: near.as_ref().map(|(witness, verdict)| (witness, verdict)),
                });
            }
            Reach::Covered(by, shown) => self.note_covered(rule, &by, &shown, report),
        }
    }

    fn note_covered(&self, rule: &InputRule, by: &[u32], shown: &(Witness, Verdict), report: &mut Report) {
        let earlier: Vec<&InputRule> = by
            .iter()
            .filter_map(|rank| Some(self.asked(*rank)?.rule))
            .collect();
        let names: Vec<String> = earlier.iter().take(5).map(|rule| named(rule)).collect();
        let names = match earlier.len().saturating_sub(names.len()) {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        };
        let is_same = earlier.iter().all(|one| one.decision == rule.decision);
        let is_one = earlier.len() == 1;
        report.add(Finding {
            kind: "shadowed_rule",
            severity: if is_same {
                Severity::Warning
            } else {
                Severity::Error
            },
            rule: written(rule),
            by: earlier.iter().map(|rule| written(rule)).collect(),
            proof: if is_one {
                "covered_by_one"
            } else {
                "covered_by_union"
            },
            message: format!(
                "input rule {} can never decide: {names} always {} first",
                named(rule),
                if is_one { "fires" } else { "fire" }
            ),
            witness: Some((&shown.0, &shown.1)),
        });
    }

    /// Pairs of which the first asks for a person and the second denies, where content makes both fire and neither is the exception of
    /// the other: what the second was to deny is only held.
    fn note_softer(&self, solver: &mut Solver, deadline: Deadline, is_live: &[bool], report: &mut Report) {
        let live = |rank: &u32| is_live.get(*rank as usize).copied().unwrap_or(false);
        let ranks: Vec<u32> = (0..u32::try_from(self.rules.len()).unwrap_or(u32::MAX))
            .filter(live)
            .collect();
        let mut pairs = 0usize;
        for later in &ranks {
            let Some(denying) = self
                .asked(*later)
                .filter(|asked| asked.rule.decision == Decision::Deny)
            else {
                continue;
            };
            for earlier in ranks.iter().take_while(|rank| *rank < later) {
                let Some(softer) = self.asked(*earlier) else {
                    continue;
                };
                let is_pair = softer.rule.decision != Decision::Deny
                    && softer.rule.scope == denying.rule.scope
                    && softer.is_invariant == denying.is_invariant
                    && softer.shape.may_share(&denying.shape);
                pairs += 1;
                if pairs > MAX_PAIRS || deadline.is_over() {
                    let reason = "too many pairs of rules to compare";
                    return report.leave_open("contradiction", written(denying.rule), reason);
                }
                if is_pair {
                    self.compare(solver, (*earlier, softer), (*later, denying), report);
                }
            }
        }
    }

    fn compare(
        &self,
        solver: &mut Solver,
        (earlier, softer): (u32, &Asked<'p>),
        (later, denying): (u32, &Asked<'p>),
        report: &mut Report,
    ) {
        let own = softer.shape.demanded();
        let refused = denying.shape.refused();
        let outside: Vec<&Clause> = own.iter().chain(std::iter::once(&refused)).collect();
        let is_inside = matches!(solver.solve(&outside), Solved::Impossible);
        if is_inside && finds_all_of(denying.rule, softer.rule) {
            return;
        }
        let both: Vec<Clause> = own.iter().cloned().chain(denying.shape.demanded()).collect();
        if matches!(
            solver.solve(&both.iter().collect::<Vec<&Clause>>()),
            Solved::Impossible
        ) {
            return;
        }
        let accepts = |witness: &Witness| self.fires(later, witness);
        let singles: Vec<(String, i64)> = softer.contents.iter().chain(&denying.contents).cloned().collect();
        let pairs = together(&softer.contents, &denying.contents);
        let mut reason = None;
        for (severity, contents) in [(Severity::Warning, singles), (Severity::Info, pairs)] {
            let wanted = Wanted {
                target: earlier,
                demanded: &both,
                contents: &contents,
                accepts: &accepts,
            };
            for decider in self.passing() {
                match self.under(solver, decider, &wanted, &mut None) {
                    Under::Found(shown) => {
                        return report.add(Finding {
                            kind: "contradiction",
                            severity,
                            rule: written(denying.rule),
                            by: vec![written(softer.rule)],
                            proof: "witness",
                            message: format!(
                                "input rule {} holds for a person what input rule {} would deny; only their order settles it",
                                named(softer.rule),
                                named(denying.rule)
                            ),
                            witness: Some((&shown.0, &shown.1)),
                        });
                    }
                    Under::Never(_) => {}
                    Under::Open(_) => reason = Some("no content was found that makes both fire"),
                }
            }
        }
        if let Some(reason) = reason {
            report.leave_open("contradiction", written(denying.rule), reason);
        }
    }
}

fn written(rule: &InputRule) -> Json {
    json!({"id": rule.id, "path": rule.path, "decision": rule.decision.name()})
}

fn named(rule: &InputRule) -> String {
    if rule.id.is_empty() {
        format!("`{}`", rule.path)
    } else {
        format!("`{}` ({})", rule.id, rule.path)
    }
}
