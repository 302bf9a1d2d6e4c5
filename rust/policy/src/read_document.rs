//! A document's top level, rules, constraints and tenants (policy spec §2.1, §2.2, §2.4, §2.5).

use std::collections::BTreeMap;

use cordum_wire::messages::{
    BudgetConstraints, DiffConstraints, PolicyConstraints, PolicyRemediation, SandboxProfile,
    ToolchainConstraints,
};

use crate::canonical::canonical;
use crate::document::{Decision, Document, RequireHuman, Rule, Scope, Severity, TenantPolicy, Velocity};
use crate::error::Issue;
use crate::output::engine::Detectors;
use crate::output::read::read_output;
use crate::read_content::read_input_rules;
use crate::read_match::{read_match, read_mcp};
use crate::reader::{Object, Reader};
use crate::testing::read_cases;
use crate::velocity::digest;
use crate::yaml::{self, Node, Value};

pub(crate) const SEVERITIES: &[&str] = &["low", "medium", "high", "critical"];
const TIERS: &[&str] = &["global", "workflow", "job"];
const TOP: &[&str] = &[
    "version",
    "tier",
    "selector",
    "default_tenant",
    "default_decision",
    "rules",
    "input_rules",
    "output_rules",
    "output_policy",
    "input_policy",
    "tenants",
    "require_human",
    "tests",
];
const DECISIONS: &[(&str, Decision)] = &[
    ("allow", Decision::Allow),
    ("permit", Decision::Allow),
    ("deny", Decision::Deny),
    ("block", Decision::Deny),
    ("require_approval", Decision::RequireApproval),
    ("require-approval", Decision::RequireApproval),
    ("require_human", Decision::RequireApproval),
    ("allow_with_constraints", Decision::AllowWithConstraints),
    ("allow-with-constraints", Decision::AllowWithConstraints),
    ("throttle", Decision::Throttle),
];

pub(crate) fn read(source: &[u8], detectors: &Detectors) -> Result<Document, Vec<Issue>> {
    let root = yaml::parse(source).map_err(|issue| vec![issue])?;
    read_root(&root, detectors)
}

/// The document of a parsed source, whose rules may name these detectors.
pub(crate) fn read_root(root: &Node, detectors: &Detectors) -> Result<Document, Vec<Issue>> {
    if !matches!(root.value, Value::Map(_)) {
        return Err(vec![Issue::new("", "document must be a mapping")]);
    }
    let mut reader = Reader {
        detectors: detectors.clone(),
        ..Reader::default()
    };
    let document = match reader.object(root, String::new(), TOP) {
        Some(top) => read_top(&mut reader, &top),
        None => Document::default(),
    };
    reader.finish(root, document)
}

fn read_top(reader: &mut Reader, top: &Object<'_>) -> Document {
    let version = reader.text(top, "version");
    let tiers = TierContext::of_document(reader, top);
    let default_tenant = reader.text(top, "default_tenant").trim().to_owned();
    let default_decision = reader
        .one_of_or_blank(top, "default_decision", &["allow", "deny"])
        .map(|at| if at == 0 { Decision::Allow } else { Decision::Deny });
    let rules = read_rules(reader, top, &tiers);
    let input_rules = read_input_rules(reader, top, &tiers);
    let (output_policy, output_rules) = read_output(reader, top, &tiers);
    read_input_policy(reader, top);
    Document {
        version,
        scope: tiers.scope,
        default_tenant,
        default_decision,
        rules,
        input_rules,
        tenants: read_tenants(reader, top),
        require_human: read_require_human(reader, top),
        output_policy,
        output_rules,
        tests: read_cases(reader, top),
    }
}

#[derive(Clone, Default)]
struct Selector {
    workflow_id: String,
    job_id: String,
    session_id: String,
}

impl Selector {
    fn read(reader: &mut Reader, object: &Object<'_>) -> Selector {
        let known = ["workflow_id", "job_id", "session_id"];
        let Some(selector) = reader.child(object, "selector", &known) else {
            return Selector::default();
        };
        let mut key = |name| reader.text(&selector, name).trim().to_owned();
        Selector {
            workflow_id: key("workflow_id"),
            job_id: key("job_id"),
            session_id: key("session_id"),
        }
    }

    fn filled_from(self, other: &Selector) -> Selector {
        let or = |mine: String, theirs: &String| {
            if mine.is_empty() {
                theirs.clone()
            } else {
                mine
            }
        };
        Selector {
            workflow_id: or(self.workflow_id, &other.workflow_id),
            job_id: or(self.job_id, &other.job_id),
            session_id: or(self.session_id, &other.session_id),
        }
    }

    /// Scope for the tier at `tier` in [`TIERS`]; `None` when its key is missing.
    fn scope(self, tier: usize) -> Option<Scope> {
        match tier {
            1 => (!self.workflow_id.is_empty()).then_some(Scope::Workflow(self.workflow_id)),
            2 => {
                let key = if self.job_id.is_empty() {
                    self.session_id
                } else {
                    self.job_id
                };
                (!key.is_empty()).then_some(Scope::Job(key))
            }
            _ => Some(Scope::Global),
        }
    }
}

/// What rules inherit from their document.
pub(crate) struct TierContext {
    tier: usize,
    selector: Selector,
    scope: Scope,
    is_broken: bool,
}

impl TierContext {
    fn of_document(reader: &mut Reader, top: &Object<'_>) -> TierContext {
        let tier = reader.one_of_or_blank(top, "tier", TIERS).unwrap_or(0);
        let selector = Selector::read(reader, top);
        let scope = selector.clone().scope(tier);
        if scope.is_none() {
            report_selector(reader, "policy", tier);
        }
        TierContext {
            tier,
            selector,
            is_broken: scope.is_none(),
            scope: scope.unwrap_or_default(),
        }
    }

    /// Scope of a rule.
    pub fn of_rule(&self, reader: &mut Reader, rule: &Object<'_>) -> Scope {
        let own_tier = reader.one_of_or_blank(rule, "tier", TIERS);
        let tier = own_tier.unwrap_or(self.tier);
        let selector = Selector::read(reader, rule).filled_from(&self.selector);
        let scope = selector.scope(tier);
        // The document's own error says it once for all rules that inherit.
        if scope.is_none() && !(own_tier.is_none() && self.is_broken) {
            report_selector(reader, &rule.path, tier);
        }
        scope.unwrap_or_default()
    }
}

fn report_selector(reader: &mut Reader, path: &str, tier: usize) {
    let tier = TIERS.get(tier).copied().unwrap_or_default();
    reader.report(path, format!("selector is required for {tier} tier"));
}

fn read_rules(reader: &mut Reader, top: &Object<'_>, tiers: &TierContext) -> Vec<Rule> {
    let known = [
        "id",
        "tier",
        "selector",
        "match",
        "decision",
        "reason",
        "velocity",
        "constraints",
        "remediations",
    ];
    let mut rules = Vec::new();
    for (node, path) in reader.items(top, "rules") {
        if let Some(rule) = reader.object(node, path, &known) {
            rules.push(read_rule(reader, &rule, tiers));
        }
    }
    rules
}

fn read_rule(reader: &mut Reader, rule: &Object<'_>, tiers: &TierContext) -> Rule {
    Rule {
        id: reader.text(rule, "id").trim().to_owned(),
        path: rule.path.clone(),
        scope: tiers.of_rule(reader, rule),
        matching: read_match(reader, rule),
        decision: read_decision(reader, rule).unwrap_or(Decision::Deny),
        reason: reader.text(rule, "reason"),
        velocity: read_velocity(reader, rule),
        constraints: read_constraints(reader, rule),
        remediations: read_remediations(reader, rule),
    }
}

/// A decision under any of its names.
pub(crate) fn read_decision(reader: &mut Reader, object: &Object<'_>) -> Option<Decision> {
    let names: Vec<&str> = DECISIONS.iter().map(|(name, _)| *name).collect();
    let at = reader.one_of(object, "decision", &names)?;
    DECISIONS.get(at).map(|(_, decision)| *decision)
}

/// Names of the statistics beside the counters in Redis.
const RESERVED_VELOCITY_IDS: [&str; 2] = ["hits", "index"];

/// Twelve hex digits (policy spec §13.1).
const DIGEST_BYTES: usize = 6;

fn read_velocity(reader: &mut Reader, rule: &Object<'_>) -> Option<Velocity> {
    let keys = ["max_requests", "window_seconds", "key"];
    let velocity = reader.child(rule, "velocity", &keys)?;
    let id = reader.text(rule, "id");
    if RESERVED_VELOCITY_IDS.contains(&id.trim()) {
        reader.report(
            rule.at("id"),
            format!("\"{}\" is reserved in rules with velocity", id.trim()),
        );
    }
    for key in keys {
        let is_absent = velocity
            .node
            .get(key)
            .is_none_or(|node| matches!(node.value, Value::Null));
        if is_absent {
            reader.report(velocity.path.clone(), format!("missing field \"{key}\""));
        }
    }
    let max_requests = reader.integer(&velocity, "max_requests", 1, i64::MAX);
    let window_seconds = reader.integer(&velocity, "window_seconds", 1, 86_400);
    let key = reader.string(&velocity, "key");
    if let Some(key) = &key {
        check_velocity_key(reader, &velocity, key);
    }
    Some(Velocity {
        max_requests: max_requests?,
        window_seconds: window_seconds?,
        key: key?,
        digest: if id.trim().is_empty() {
            digest(&canonical(rule.node), DIGEST_BYTES)
        } else {
            String::new()
        },
    })
}

fn check_velocity_key(reader: &mut Reader, velocity: &Object<'_>, key: &str) {
    if key.trim().is_empty() {
        reader.report(velocity.at("key"), "must not be empty");
    }
}

fn count(reader: &mut Reader, object: &Object<'_>, key: &str) -> i64 {
    reader.integer(object, key, 0, i64::MAX).unwrap_or(0)
}

fn small_count(reader: &mut Reader, object: &Object<'_>, key: &str) -> i32 {
    let value = reader.integer(object, key, 0, i64::from(i32::MAX));
    value.and_then(|value| i32::try_from(value).ok()).unwrap_or(0)
}

fn is_blank(list: &[String]) -> bool {
    list.iter().all(|text| text.trim().is_empty())
}

/// Constraints of a rule; `None` when every leaf is zero, false, blank or empty.
pub(crate) fn read_constraints(reader: &mut Reader, rule: &Object<'_>) -> Option<PolicyConstraints> {
    let known = [
        "budgets",
        "sandbox",
        "toolchain",
        "diff",
        "redaction_level",
        "max_output_bytes",
        "allowed_destinations",
        "redact_patterns",
    ];
    let constraints = reader.child(rule, "constraints", &known)?;
    let wire = PolicyConstraints {
        budgets: read_budgets(reader, &constraints),
        sandbox: read_sandbox(reader, &constraints),
        toolchain: read_toolchain(reader, &constraints),
        diff: read_diff(reader, &constraints),
        redaction_level: reader.text(&constraints, "redaction_level"),
    };
    let max_output_bytes = reader
        .integer(&constraints, "max_output_bytes", 0, 16_777_216)
        .unwrap_or(0);
    let destinations = reader.strings(&constraints, "allowed_destinations");
    let redact = reader.strings(&constraints, "redact_patterns");
    let has_unsent = max_output_bytes > 0 || !is_blank(&destinations) || !is_blank(&redact);
    (has_unsent || wire != PolicyConstraints::default()).then_some(wire)
}

fn read_budgets(reader: &mut Reader, constraints: &Object<'_>) -> Option<BudgetConstraints> {
    let known = [
        "max_runtime_ms",
        "max_retries",
        "max_artifact_bytes",
        "max_concurrent_jobs",
    ];
    let object = reader.child(constraints, "budgets", &known)?;
    let budgets = BudgetConstraints {
        max_runtime_ms: count(reader, &object, "max_runtime_ms"),
        max_retries: small_count(reader, &object, "max_retries"),
        max_artifact_bytes: count(reader, &object, "max_artifact_bytes"),
        max_concurrent_jobs: small_count(reader, &object, "max_concurrent_jobs"),
    };
    (budgets != BudgetConstraints::default()).then_some(budgets)
}

fn read_sandbox(reader: &mut Reader, constraints: &Object<'_>) -> Option<SandboxProfile> {
    let known = ["isolated", "network_allowlist", "fs_read_only", "fs_read_write"];
    let object = reader.child(constraints, "sandbox", &known)?;
    let sandbox = SandboxProfile {
        isolated: reader.boolean(&object, "isolated").unwrap_or(false),
        network_allowlist: reader.strings(&object, "network_allowlist"),
        fs_read_only: reader.strings(&object, "fs_read_only"),
        fs_read_write: reader.strings(&object, "fs_read_write"),
    };
    let is_empty = !sandbox.isolated
        && is_blank(&sandbox.network_allowlist)
        && is_blank(&sandbox.fs_read_only)
        && is_blank(&sandbox.fs_read_write);
    (!is_empty).then_some(sandbox)
}

fn read_toolchain(reader: &mut Reader, constraints: &Object<'_>) -> Option<ToolchainConstraints> {
    let object = reader.child(constraints, "toolchain", &["allowed_tools", "allowed_commands"])?;
    let toolchain = ToolchainConstraints {
        allowed_tools: reader.strings(&object, "allowed_tools"),
        allowed_commands: reader.strings(&object, "allowed_commands"),
    };
    let is_empty = is_blank(&toolchain.allowed_tools) && is_blank(&toolchain.allowed_commands);
    (!is_empty).then_some(toolchain)
}

fn read_diff(reader: &mut Reader, constraints: &Object<'_>) -> Option<DiffConstraints> {
    let known = ["max_files", "max_lines", "deny_path_globs"];
    let object = reader.child(constraints, "diff", &known)?;
    let diff = DiffConstraints {
        max_files: small_count(reader, &object, "max_files"),
        max_lines: small_count(reader, &object, "max_lines"),
        deny_path_globs: reader.strings(&object, "deny_path_globs"),
    };
    let is_empty = diff.max_files == 0 && diff.max_lines == 0 && is_blank(&diff.deny_path_globs);
    (!is_empty).then_some(diff)
}

fn read_remediations(reader: &mut Reader, rule: &Object<'_>) -> Vec<PolicyRemediation> {
    let known = [
        "id",
        "title",
        "summary",
        "replacement_topic",
        "replacement_capability",
        "add_labels",
        "remove_labels",
    ];
    let mut remediations = Vec::new();
    for (node, path) in reader.items(rule, "remediations") {
        let Some(object) = reader.object(node, path, &known) else {
            continue;
        };
        let mut text = |key| reader.string(&object, key).unwrap_or_default();
        remediations.push(PolicyRemediation {
            id: text("id"),
            title: text("title"),
            summary: text("summary"),
            replacement_topic: text("replacement_topic"),
            replacement_capability: text("replacement_capability"),
            add_labels: reader.string_map(&object, "add_labels"),
            remove_labels: reader.strings(&object, "remove_labels"),
        });
    }
    remediations
}

fn read_input_policy(reader: &mut Reader, top: &Object<'_>) {
    let known = ["enabled", "fail_mode", "max_scan_bytes"];
    if let Some(object) = reader.child(top, "input_policy", &known) {
        reader.boolean(&object, "enabled");
        reader.one_of_or_blank(&object, "fail_mode", &["open", "closed"]);
        reader.integer(&object, "max_scan_bytes", i64::MIN, i64::MAX);
    }
}

fn read_tenants(reader: &mut Reader, top: &Object<'_>) -> BTreeMap<String, TenantPolicy> {
    let known = [
        "allow_topics",
        "deny_topics",
        "allowed_repo_hosts",
        "denied_repo_hosts",
        "max_concurrent_jobs",
        "mcp",
    ];
    let mut tenants = BTreeMap::new();
    for (name, node, path) in reader.entries(top, "tenants") {
        let Some(object) = reader.object(node, path, &known) else {
            continue;
        };
        reader.strings(&object, "allowed_repo_hosts");
        reader.strings(&object, "denied_repo_hosts");
        let tenant = TenantPolicy {
            allow_topics: reader.globs(&object, "allow_topics"),
            deny_topics: reader.globs(&object, "deny_topics"),
            max_concurrent_jobs: count(reader, &object, "max_concurrent_jobs"),
            mcp: read_mcp(reader, &object),
        };
        tenants.insert(name, tenant);
    }
    tenants
}

fn read_require_human(reader: &mut Reader, top: &Object<'_>) -> Option<RequireHuman> {
    let known = [
        "min_severity_for_deny",
        "min_confidence_for_deny",
        "downgrade_when_prompt_only",
    ];
    let object = reader.child(top, "require_human", &known)?;
    Some(RequireHuman {
        min_severity_for_deny: read_severity(reader, &object, "min_severity_for_deny"),
        min_confidence_for_deny: reader.number(&object, "min_confidence_for_deny"),
        downgrade_when_prompt_only: reader
            .boolean(&object, "downgrade_when_prompt_only")
            .unwrap_or(false),
    })
}

pub(crate) fn read_severity(reader: &mut Reader, object: &Object<'_>, key: &str) -> Option<Severity> {
    let all = [
        Severity::Low,
        Severity::Medium,
        Severity::High,
        Severity::Critical,
    ];
    let at = reader.one_of(object, key, SEVERITIES)?;
    all.get(at).copied()
}
