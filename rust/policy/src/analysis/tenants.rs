//! Tenant sections against the rules: lists that do nothing, and allowances that an MCP list takes back (policy spec §6.4, §6.6).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use crate::analysis::condition::{refusals, Literal, Scalar};
use crate::analysis::findings::{named, rule_json, Finding, Report, Severity};
use crate::analysis::language::{self, Search};
use crate::analysis::model::{Deadline, Judgement, Model, Sought};
use crate::analysis::solve::Solver;
use crate::analysis::witness::Witness;
use crate::document::{Decision, TenantPolicy};
use crate::glob::Glob;
use crate::mcp::fold;
use cordum_wire::messages::PolicyCheckRequest;

impl Model<'_> {
    /// Allow rules that select MCP calls which the tenant's own lists refuse.
    pub fn allowances(&self, solver: &mut Solver, deadline: Deadline, report: &mut Report) {
        let mut tenants: Vec<_> = self.policy.tenant_mcp.iter().collect();
        tenants.sort_by_key(|(name, _)| *name);
        for (rank, rule) in (0u32..).zip(&self.policy.rules) {
            let is_about_calls = !rule.matching.mcp.is_empty() && rule.decision.lets_pass();
            let Some(shape) = self.shape(rank).filter(|_| is_about_calls) else {
                continue;
            };
            let listed = shape.listed(Scalar::Tenant);
            let exceeding = [rule.id.as_str()];
            let exceeding = if rule.counted.is_some() {
                &exceeding[..]
            } else {
                &[]
            };
            for (name, lists) in &tenants {
                if deadline.is_over() {
                    return report.leave_open(
                        "mcp_allowance",
                        rule_json(rule),
                        "the time for the analysis is over",
                    );
                }
                if listed.is_some_and(|listed| !listed.contains(&*fold(name))) {
                    continue;
                }
                let mut demanded = shape.demanded();
                demanded.push(refusals(lists));
                demanded.push(vec![vec![Literal::McpCall(true)]]);
                demanded.push(vec![vec![Literal::In(
                    Scalar::Tenant,
                    Arc::new(BTreeSet::from([fold(name).into_owned()])),
                )]]);
                // Lists are found by the exact name, so the request has to carry it.
                let sought = self.seek_as(solver, &demanded, exceeding, name, |verdict| {
                    verdict.rank == Some(rank)
                });
                let Sought::Found(shown) = sought else {
                    continue;
                };
                let (witness, verdict) = *shown;
                if verdict.decision != Decision::Deny
                    || !verdict.steps.iter().any(|step| step == "tenant.mcp")
                {
                    continue;
                }
                report.add(Finding {
                    kind: "mcp_allowance",
                    severity: Severity::Warning,
                    rule: rule_json(rule),
                    by: vec![json!({"tenant": name})],
                    proof: "witness",
                    message: format!(
                        "rule {} allows MCP calls that the lists of tenant `{name}` refuse",
                        named(rule)
                    ),
                    witness: Some((&witness, &verdict)),
                });
            }
        }
    }

    /// As `seek`, for requests that name `tenant` exactly so.
    fn seek_as(
        &self,
        solver: &mut Solver,
        demanded: &[crate::analysis::condition::Clause],
        exceeding: &[&str],
        tenant: &str,
        is_it: impl Fn(&crate::analysis::model::Verdict) -> bool,
    ) -> Sought<u32> {
        let mut exact = None;
        let sought = self.seek(solver, demanded, exceeding, |witness, _| {
            let renamed = Witness::new(PolicyCheckRequest {
                tenant: tenant.to_owned(),
                ..witness.request.clone()
            });
            let Some(verdict) = self.evaluate(&renamed, exceeding) else {
                return Judgement::Unmodelled("the request does not evaluate");
            };
            if is_it(&verdict) {
                exact = Some((renamed, verdict));
                return Judgement::Accept;
            }
            match verdict
                .rank
                .and_then(|rank| Some((rank, self.refused.get(rank as usize)?.clone())))
            {
                Some((rank, clause)) => Judgement::Exclude(rank, clause),
                None => Judgement::Unmodelled("no rule decides"),
            }
        });
        match (sought, exact) {
            (Sought::Found(..), Some(shown)) => Sought::Found(Box::new(shown)),
            (other, _) => other,
        }
    }

    /// Tenant sections without any effect.
    pub fn idle_tenants(&self, tenants: &BTreeMap<String, TenantPolicy>, report: &mut Report) {
        let lists_are_read = self
            .policy
            .rules
            .iter()
            .any(|rule| rule.id.starts_with("legacy:"));
        for (name, tenant) in tenants {
            let is_reachable = !name.is_empty() && name.trim() == name;
            let lists = || tenant.deny_topics.iter().chain(&tenant.allow_topics);
            let has_lists = lists().next().is_some();
            let has_use = tenant.max_concurrent_jobs > 0
                || (is_reachable && !tenant.mcp.is_empty())
                || (is_reachable && has_lists && lists_are_read);
            if has_use {
                continue;
            }
            let message = if !is_reachable {
                format!("tenant `{name}` can never be a request's tenant: names are trimmed and not empty")
            } else if has_lists {
                format!("topic lists of tenant `{name}` do nothing, because the policy has rules, and nothing else is set")
            } else {
                format!("tenant `{name}` sets nothing that decides or limits")
            };
            let topic = lists()
                .filter_map(|pattern| Glob::new(pattern))
                .find_map(|glob| match language::find(&[&[glob]], &[]) {
                    Search::Found(topic) => Some(topic),
                    _ => None,
                })
                .unwrap_or_else(|| "job.other".to_owned());
            let witness = Witness::new(PolicyCheckRequest {
                topic,
                tenant: name.clone(),
                ..PolicyCheckRequest::default()
            });
            let verdict = self.evaluate(&witness, &[]);
            report.add(Finding {
                kind: "unused_tenant",
                severity: Severity::Warning,
                rule: json!({"id": "", "path": format!("tenants.{name}"), "decision": ""}),
                by: Vec::new(),
                proof: "structure",
                message,
                witness: verdict.as_ref().map(|verdict| (&witness, verdict)),
            });
        }
    }
}
