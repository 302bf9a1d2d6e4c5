//! The typed model of a policy document (policy spec §2). Building one validates it.

use std::collections::BTreeMap;

use cordum_wire::messages::{DecisionType, PolicyConstraints, PolicyRemediation};

use crate::error::Issue;
use crate::mcp::McpLists;
use crate::output::document::{OutputRule, OutputSettings};
use crate::testing::TestCase;

/// A decision; the order is the strictness order of policy spec §1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    Allow,
    AllowWithConstraints,
    RequireApproval,
    Throttle,
    Deny,
}

impl Decision {
    /// Every decision there is, in the order of their numbers in memory.
    pub const ALL: [Decision; 5] = [
        Decision::Allow,
        Decision::AllowWithConstraints,
        Decision::RequireApproval,
        Decision::Throttle,
        Decision::Deny,
    ];

    /// Number of the decision on the wire.
    pub fn wire(self) -> i32 {
        let value = match self {
            Decision::Allow => DecisionType::Allow,
            Decision::AllowWithConstraints => DecisionType::AllowWithConstraints,
            Decision::RequireApproval => DecisionType::RequireHuman,
            Decision::Throttle => DecisionType::Throttle,
            Decision::Deny => DecisionType::Deny,
        };
        value as i32
    }

    /// Name in HTTP and storage.
    pub fn name(self) -> &'static str {
        match self {
            Decision::Allow => "ALLOW",
            Decision::AllowWithConstraints => "ALLOW_WITH_CONSTRAINTS",
            Decision::RequireApproval => "REQUIRE_APPROVAL",
            Decision::Throttle => "THROTTLE",
            Decision::Deny => "DENY",
        }
    }

    /// The decision of that name in HTTP and storage.
    pub fn named(name: &str) -> Option<Decision> {
        Decision::ALL.into_iter().find(|decision| decision.name() == name)
    }

    /// Whether a decision lets the job go.
    pub fn lets_pass(self) -> bool {
        matches!(self, Decision::Allow | Decision::AllowWithConstraints)
    }
}

/// Whom a rule is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    #[default]
    Global,
    /// Jobs of this workflow.
    Workflow(String),
    /// The job, or else the session, of this id.
    Job(String),
}

impl Scope {
    pub fn tier(&self) -> &'static str {
        match self {
            Scope::Global => "global",
            Scope::Workflow(_) => "workflow",
            Scope::Job(_) => "job",
        }
    }
}

/// One validated document.
#[derive(Clone, Debug, Default)]
pub struct Document {
    pub version: String,
    pub scope: Scope,
    pub default_tenant: String,
    /// Allow or deny, when said.
    pub default_decision: Option<Decision>,
    pub rules: Vec<Rule>,
    pub input_rules: Vec<InputRule>,
    pub tenants: BTreeMap<String, TenantPolicy>,
    pub require_human: Option<RequireHuman>,
    pub output_policy: Option<OutputSettings>,
    pub output_rules: Vec<OutputRule>,
    /// What its author says about the merged policy; decides nothing.
    pub tests: Vec<TestCase>,
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub id: String,
    /// Where it stands in its document, as `rules[3]`.
    pub path: String,
    pub scope: Scope,
    pub matching: Match,
    pub decision: Decision,
    pub reason: String,
    /// The rule counts requests (policy spec §13).
    pub velocity: Option<Velocity>,
    pub constraints: Option<PolicyConstraints>,
    pub remediations: Vec<PolicyRemediation>,
}

impl Rule {
    /// Whether it asks the same of a request.
    pub(crate) fn is_for_same(&self, other: &Rule) -> bool {
        let asked = |rule: &Rule| format!("{:?} {:?} {:?}", rule.scope, rule.matching, rule.velocity);
        asked(self) == asked(other)
    }
}

/// How a rule counts (policy spec §13.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Velocity {
    pub max_requests: i64,
    pub window_seconds: i64,
    /// Parts joined with `:`.
    pub key: String,
    /// Names the counters of a rule without id: the start of the SHA-256 of its canonical JSON.
    pub digest: String,
}

/// Match fields as written (policy spec §2.3).
#[derive(Clone, Debug, Default)]
pub struct Match {
    pub tenants: Vec<String>,
    pub topics: Vec<String>,
    pub capabilities: Vec<String>,
    pub risk_tags: Vec<String>,
    pub requires: Vec<String>,
    pub pack_ids: Vec<String>,
    pub actor_ids: Vec<String>,
    pub actor_types: Vec<String>,
    pub agent_risk_tiers: Vec<String>,
    pub agent_data_classifications: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub label_allowlist: BTreeMap<String, Vec<String>>,
    pub label_threshold: BTreeMap<String, f64>,
    pub secrets_present: Option<bool>,
    pub predicate: Option<String>,
    pub delegation: Option<Delegation>,
    pub mcp: McpLists,
}

impl Match {
    /// Whether no field restricts anything.
    pub fn is_unconditional(&self) -> bool {
        let lists = [
            &self.tenants,
            &self.topics,
            &self.capabilities,
            &self.risk_tags,
            &self.requires,
            &self.pack_ids,
            &self.actor_ids,
            &self.actor_types,
            &self.agent_risk_tiers,
            &self.agent_data_classifications,
        ];
        lists.iter().all(|list| list.is_empty())
            && self.labels.is_empty()
            && self.label_allowlist.is_empty()
            && self.label_threshold.is_empty()
            && self.secrets_present.is_none()
            && self.predicate.is_none()
            && self.delegation.is_none()
            && self.mcp.is_empty()
    }
}

/// Delegation keys (policy spec §5.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delegation {
    pub max_depth: Option<i64>,
    pub issuers: Vec<String>,
    pub require_issuer: Option<String>,
    pub required_scope: Vec<String>,
    pub forbid_delegated: bool,
    pub delegation_required: Option<bool>,
}

impl Delegation {
    /// Whether a direct call matches. A rule that forbids delegation is about direct calls, so its other keys do not count.
    pub fn matches_direct_call(&self) -> bool {
        match self.delegation_required {
            Some(required) => !required,
            None => {
                self.forbid_delegated
                    || (self.max_depth.is_none()
                        && self.issuers.is_empty()
                        && self.require_issuer.is_none()
                        && self.required_scope.is_empty())
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct TenantPolicy {
    pub allow_topics: Vec<String>,
    pub deny_topics: Vec<String>,
    pub max_concurrent_jobs: i64,
    pub mcp: McpLists,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

#[derive(Clone, Debug, Default)]
pub struct RequireHuman {
    pub min_severity_for_deny: Option<Severity>,
    pub min_confidence_for_deny: Option<f64>,
    pub downgrade_when_prompt_only: bool,
}

#[derive(Clone, Debug)]
pub struct InputRule {
    pub id: String,
    pub path: String,
    pub scope: Scope,
    pub enabled: bool,
    pub severity: Severity,
    /// Deny or approval.
    pub decision: Decision,
    pub reason: String,
    /// Only the metadata filters are filled.
    pub matching: Match,
    pub content_types: Vec<String>,
    /// Bytes; the larger of the two size keys, 0 = no size rule.
    pub size_limit: i64,
    pub detectors: Detectors,
}

impl InputRule {
    /// Whether it asks the same of a request.
    pub(crate) fn is_for_same(&self, other: &InputRule) -> bool {
        let asked = |rule: &InputRule| {
            let InputRule {
                scope,
                matching,
                content_types,
                size_limit,
                detectors,
                ..
            } = rule;
            format!("{scope:?} {matching:?} {content_types:?} {size_limit} {detectors:?}")
        };
        asked(self) == asked(other)
    }
}

/// What an input rule looks for in the content (policy spec §7.2).
#[derive(Clone, Debug, Default)]
pub struct Detectors {
    pub scope: Option<ContentScope>,
    /// Checked on reading.
    pub patterns: Vec<String>,
    /// Without blank entries.
    pub keywords: Vec<String>,
    /// Names of `scanners` and `detectors`, trimmed and lower-case, without the names that do nothing.
    pub scanners: Vec<String>,
}

impl Detectors {
    pub fn is_empty(&self) -> bool {
        self.scope.is_none()
            && self.patterns.is_empty()
            && self.keywords.is_empty()
            && self.scanners.is_empty()
    }
}

/// `match.scope` as written (policy spec §7.3).
#[derive(Clone, Debug, Default)]
pub struct ContentScope {
    pub instruction_path: String,
    pub items_path: String,
    pub category_path: String,
    pub name_path: String,
    pub allowed_categories: BTreeMap<String, Vec<String>>,
    pub aliases: BTreeMap<String, String>,
    pub allows_missing_input: bool,
    pub allows_ambiguous: bool,
}

impl Document {
    /// Parse and validate.
    ///
    /// Errors: all of them, in document order, in the words of policy spec §3.
    pub fn parse(source: &[u8]) -> Result<Document, Vec<Issue>> {
        Document::parse_with(source, &crate::output::engine::Detectors::default())
    }

    /// The same where rules may name these detectors.
    pub(crate) fn parse_with(
        source: &[u8],
        detectors: &crate::output::engine::Detectors,
    ) -> Result<Document, Vec<Issue>> {
        crate::read_document::read(source, detectors)
    }
}
