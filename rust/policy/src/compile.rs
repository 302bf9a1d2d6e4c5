//! Merged documents → an immutable policy.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use cordum_output::Engine;

use crate::content::ScopeCounts;
use crate::document::{Decision, InputRule, Match, RequireHuman, Rule, Scope, TenantPolicy};
use crate::error::PolicyError;
use crate::index::{Entry, Index};
use crate::mcp::McpLists;
use crate::merge::{merge, Merged};
pub use crate::merge::{Source, SourceKind};
use crate::output::OutputPolicy;
use crate::rule::{entry, CompiledInputRule, CompiledRule};

/// A compiled policy; share it freely, it never changes.
#[derive(Debug)]
pub struct Policy {
    pub(crate) is_loaded: bool,
    pub(crate) snapshot: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) default_tenant: String,
    /// Whether delegated calls are told from direct ones (policy spec §20.1).
    pub(crate) reads_delegation: bool,
    pub(crate) defaults: Defaults,
    /// In the order of policy spec §6.2.
    pub(crate) rules: Vec<CompiledRule>,
    pub(crate) index: Index,
    pub(crate) groups: Groups,
    /// Rules of `velocity/*` bundles (policy spec §13.2).
    pub(crate) overlay: Vec<CompiledRule>,
    pub(crate) overlay_index: Index,
    pub(crate) input_rules: Vec<CompiledInputRule>,
    pub(crate) input_index: Index,
    has_job_input_rules: bool,
    pub(crate) tenant_mcp: AHashMap<String, McpLists>,
    pub(crate) require_human: Option<RequireHuman>,
    pub(crate) output: OutputPolicy,
}

/// Ranks of the groups of policy spec §6.2.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    /// Group 1.
    pub invariants: Range<u32>,
    /// Groups 2 to 4.
    pub ordinary: Range<u32>,
    /// All.
    pub all: Range<u32>,
}

impl Groups {
    /// Whether a rule is asked after the one of `ranks` that stands in its group.
    pub fn is_later(&self, rank: u32, mut ranks: impl Iterator<Item = u32>) -> bool {
        let group = |rank: u32| (self.invariants.contains(&rank), self.ordinary.contains(&rank));
        ranks.any(|other| group(other) == group(rank) && rank > other)
    }
}

/// What holds when no rule matched (policy spec §6.3).
#[derive(Debug, Default)]
pub(crate) struct Defaults {
    by_scope: AHashMap<Scope, Decision>,
    scopes_with_rules: AHashSet<Scope>,
    global: Option<Decision>,
}

impl Defaults {
    /// Scopes that have a default of their own.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.by_scope.keys().chain(&self.scopes_with_rules)
    }

    pub fn decide(&self, job_scope: &str, workflow_scope: &str) -> Decision {
        // Most policies have no scoped part, and then no key need be built.
        if self.by_scope.is_empty() && self.scopes_with_rules.is_empty() {
            return self.global.unwrap_or(Decision::Deny);
        }
        for (key, scope) in [
            (job_scope, Scope::Job as fn(String) -> Scope),
            (workflow_scope, Scope::Workflow),
        ] {
            if key.is_empty() {
                continue;
            }
            let scope = scope(key.to_owned());
            if let Some(decision) = self.by_scope.get(&scope) {
                return *decision;
            }
            if self.scopes_with_rules.contains(&scope) {
                return Decision::Deny;
            }
        }
        self.global.unwrap_or(Decision::Deny)
    }
}

impl Policy {
    /// Compile sources: at most one base and any number of enabled bundles.
    ///
    /// Errors: every problem of every document; nothing is skipped. No source at all is an error too.
    pub fn compile(sources: &[Source<'_>]) -> Result<Policy, PolicyError> {
        if sources.is_empty() {
            return Err(PolicyError::NoSource);
        }
        Ok(Policy::build(merge(sources)?))
    }

    /// The policy that denies everything because none is loaded.
    pub fn empty() -> Policy {
        Policy::build(Merged::default())
    }

    /// The same policy, which tells delegated calls from direct ones when asked to; otherwise every call is direct.
    pub fn with_delegation(self, is_enabled: bool) -> Policy {
        Policy {
            reads_delegation: is_enabled,
            ..self
        }
    }

    /// The same policy; findings below this confidence are ignored in outputs where the policy says nothing.
    pub fn with_output_confidence(self, min_confidence: f64) -> Policy {
        Policy {
            output: self.output.with_default_confidence(min_confidence),
            ..self
        }
    }

    /// Delegation keys of each rule that has some and an id, for what it denies (policy spec §20.1).
    pub fn delegation_fields(&self) -> Vec<(&str, Vec<&'static str>)> {
        let rules = self
            .rules
            .iter()
            .chain(&self.overlay)
            .filter(|rule| !rule.id.is_empty());
        let fields = rules.map(|rule| {
            let keys = rule.matching.delegation.as_ref();
            (
                rule.id.as_str(),
                keys.map(|keys| keys.fields()).unwrap_or_default(),
            )
        });
        fields.filter(|(_, fields)| !fields.is_empty()).collect()
    }

    /// What the scope checks counted since this was last asked (policy spec §7.3); `None` without such rules.
    pub fn take_scope_counts(&self) -> Option<ScopeCounts> {
        let counted = self
            .input_rules
            .iter()
            .filter_map(|rule| rule.detectors.as_ref()?.take_scope_counts());
        counted.reduce(|mut sum, counts| {
            sum.add(counts);
            sum
        })
    }

    /// Whether some rule or default is of the job tier.
    pub fn reads_job_ids(&self) -> bool {
        let is_job = |scope: &Scope| matches!(scope, Scope::Job(_));
        let mut rules = self.rules.iter().chain(&self.overlay);
        self.has_job_input_rules
            || rules.any(|rule| is_job(&rule.scope))
            || self.defaults.scopes().any(is_job)
    }

    /// Whether some rule asks for facts of the agent.
    pub(crate) fn reads_agents(&self) -> bool {
        let asks = |matching: &Match| {
            !matching.agent_risk_tiers.is_empty() || !matching.agent_data_classifications.is_empty()
        };
        self.rules
            .iter()
            .chain(&self.overlay)
            .any(|rule| asks(&rule.matching))
    }

    /// Names exactly the sources this was compiled from (policy spec §9); empty when nothing is loaded.
    pub fn snapshot(&self) -> &str {
        &self.snapshot
    }

    /// What loads but probably is not meant (policy spec §3).
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Rules and input rules, the synthetic ones of tenant lists included.
    pub fn rule_count(&self) -> usize {
        self.rules.len() + self.overlay.len() + self.input_rules.len()
    }

    /// What the policy says about outputs.
    pub fn output(&self) -> &OutputPolicy {
        &self.output
    }

    /// Whether some rule counts requests.
    pub fn has_velocity(&self) -> bool {
        !self.overlay.is_empty() || self.rules.iter().any(|rule| rule.counted.is_some())
    }

    pub(crate) fn build(merged: Merged) -> Policy {
        let Merged {
            is_loaded,
            snapshot,
            warnings,
            default_tenant,
            default_decision,
            scoped_defaults,
            invariants,
            rules,
            velocity_rules,
            input_invariants,
            input_rules,
            tenants,
            require_human,
            output,
            tests: _,
        } = merged;
        let scopes_with_rules = rules.iter().map(|rule| rule.scope.clone()).collect();
        let (rules, groups) = arrange(invariants, rules, &tenants);
        let entries: Vec<Entry> = rules
            .iter()
            .map(|rule| entry(&rule.matching, &rule.scope, &[]))
            .collect();
        let overlay_entries: Vec<Entry> = velocity_rules
            .iter()
            .map(|rule| entry(&rule.matching, &rule.scope, &[]))
            .collect();
        let mut input_scopes = input_invariants
            .iter()
            .chain(&input_rules)
            .map(|rule| &rule.scope);
        let has_job_input_rules = input_scopes.any(|scope| matches!(scope, Scope::Job(_)));
        let (input_rules, input_entries) =
            compile_input(&input_invariants, &input_rules, output.detectors.engine());
        Policy {
            is_loaded,
            snapshot,
            warnings,
            default_tenant,
            reads_delegation: false,
            defaults: Defaults {
                by_scope: scoped_defaults,
                scopes_with_rules,
                global: default_decision,
            },
            index: Index::new(&entries, groups.ordinary.clone()),
            rules: rules.into_iter().map(CompiledRule::new).collect(),
            groups,
            overlay: velocity_rules.into_iter().map(CompiledRule::new).collect(),
            overlay_index: Index::new(&overlay_entries, 0..0),
            input_rules,
            has_job_input_rules,
            input_index: Index::new(&input_entries, 0..0),
            tenant_mcp: tenants
                .into_iter()
                .filter(|(_, tenant)| !tenant.mcp.is_empty())
                .map(|(name, tenant)| (name, tenant.mcp))
                .collect(),
            require_human,
            output: OutputPolicy::build(output),
        }
    }
}

fn tier_rank(scope: &Scope) -> u8 {
    match scope {
        Scope::Job(_) => 0,
        Scope::Workflow(_) => 1,
        Scope::Global => 2,
    }
}

/// Rules in the order of policy spec §6.2.
fn arrange(
    invariants: Vec<Rule>,
    mut rules: Vec<Rule>,
    tenants: &BTreeMap<String, TenantPolicy>,
) -> (Vec<Rule>, Groups) {
    if rules.is_empty() && invariants.is_empty() {
        rules = legacy_rules(tenants);
    }
    // A stable sort keeps the merged order inside each tier.
    rules.sort_by_key(|rule| tier_rank(&rule.scope));
    let (rest, blocking): (Vec<Rule>, Vec<Rule>) =
        invariants.into_iter().partition(|rule| rule.decision.lets_pass());
    let rank = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let first = rank(blocking.len());
    let second = rank(blocking.len() + rules.len());
    let mut all = blocking;
    all.extend(rules);
    all.extend(rest);
    let groups = Groups {
        invariants: 0..first,
        ordinary: first..second,
        all: 0..rank(all.len()),
    };
    (all, groups)
}

/// Rules of the tenant topic lists, for a policy without any rule (policy spec §6.4).
fn legacy_rules(tenants: &BTreeMap<String, TenantPolicy>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (name, tenant) in tenants {
        let lists = [
            ("deny", Decision::Deny, &tenant.deny_topics),
            ("allow", Decision::Allow, &tenant.allow_topics),
        ];
        for (kind, decision, patterns) in lists {
            for (at, pattern) in patterns.iter().enumerate() {
                let reason = match decision {
                    Decision::Deny => format!("topic \"{pattern}\" denied by tenant policy"),
                    _ => String::new(),
                };
                rules.push(Rule {
                    id: format!("legacy:{name}:{kind}:{}", at + 1),
                    path: format!("tenants.{name}.{kind}_topics[{at}]"),
                    scope: Scope::Global,
                    matching: Match {
                        tenants: vec![name.clone()],
                        topics: vec![pattern.clone()],
                        ..Match::default()
                    },
                    decision,
                    reason,
                    velocity: None,
                    constraints: None,
                    remediations: Vec::new(),
                });
            }
        }
    }
    rules
}

fn compile_input(
    invariants: &[InputRule],
    rules: &[InputRule],
    engine: &Arc<Engine>,
) -> (Vec<CompiledInputRule>, Vec<Entry>) {
    in_order(invariants, rules)
        .into_iter()
        .map(|(rule, is_invariant)| {
            let entry = entry(&rule.matching, &rule.scope, &rule.content_types);
            (CompiledInputRule::new(rule.clone(), is_invariant, engine), entry)
        })
        .unzip()
}

/// The enabled input rules in the order they are asked, invariants first, and whether each is one.
pub(crate) fn in_order<'r>(
    invariants: &'r [InputRule],
    rules: &'r [InputRule],
) -> Vec<(&'r InputRule, bool)> {
    let mut tiers: Vec<&InputRule> = rules.iter().collect();
    // A stable sort keeps the merged order inside each tier.
    tiers.sort_by_key(|rule| tier_rank(&rule.scope));
    let invariants = invariants.iter().map(|rule| (rule, true));
    invariants
        .chain(tiers.into_iter().map(|rule| (rule, false)))
        .filter(|(rule, _)| rule.enabled)
        .collect()
}
