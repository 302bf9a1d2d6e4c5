//! Sources → one merged policy (policy spec §8.3, §8.4, §9).

use std::collections::BTreeMap;

use ahash::AHashMap;
use sha2::{Digest, Sha256};

use crate::document::{Decision, Document, InputRule, RequireHuman, Rule, Scope, TenantPolicy};
use crate::error::{Issue, PolicyError};
use crate::limits::MAX_RULES;
use crate::output::compile::MergedOutput;
use crate::output::engine::Detectors;
use crate::output::merge::{OutputMerger, Voice};
use crate::output::scanners::compile_scanners;
use crate::testing::TestCase;
use crate::warn;

/// Where a document comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// The file or URL.
    Base,
    /// An enabled bundle of the config store.
    Bundle(String),
    /// The scanner file: no policy by itself, but what rules may name (output policy spec §5.4).
    Scanners,
}

/// One document as stored.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    pub kind: SourceKind,
    pub content: &'a [u8],
}

const INVARIANTS: &str = "secops/invariants";

impl Source<'_> {
    fn id(&self) -> &str {
        match &self.kind {
            SourceKind::Base | SourceKind::Scanners => "",
            SourceKind::Bundle(id) => id,
        }
    }

    /// Zero bytes of a base and blank bundles are no policy.
    fn is_blank(&self) -> bool {
        match self.kind {
            SourceKind::Base => self.content.is_empty(),
            SourceKind::Bundle(_) | SourceKind::Scanners => self.content.iter().all(u8::is_ascii_whitespace),
        }
    }

    /// The operator's own word: the base, or a bundle of `secops/`.
    fn is_operator(&self) -> bool {
        matches!(self.kind, SourceKind::Base) || self.is_secops()
    }

    fn voice(&self) -> Voice {
        match &self.kind {
            SourceKind::Bundle(id) if id == INVARIANTS => Voice::Invariants,
            kind if self.is_operator() => Voice::Operator {
                is_bundle: *kind != SourceKind::Base,
            },
            _ => Voice::Other,
        }
    }

    fn is_secops(&self) -> bool {
        self.id().starts_with("secops/")
    }

    fn located(&self, path: &str) -> String {
        match &self.kind {
            SourceKind::Base => path.to_owned(),
            SourceKind::Scanners => format!("scanner file: {path}"),
            SourceKind::Bundle(id) => format!("bundle {id}: {path}"),
        }
    }
}

/// Everything the sources say together.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub is_loaded: bool,
    pub snapshot: String,
    pub default_tenant: String,
    pub default_decision: Option<Decision>,
    pub scoped_defaults: AHashMap<Scope, Decision>,
    pub invariants: Vec<Rule>,
    pub rules: Vec<Rule>,
    /// Rules of `velocity/*` bundles, in bundle order (policy spec §13.2).
    pub velocity_rules: Vec<Rule>,
    pub input_invariants: Vec<InputRule>,
    pub input_rules: Vec<InputRule>,
    pub tenants: BTreeMap<String, TenantPolicy>,
    pub require_human: Option<RequireHuman>,
    pub output: MergedOutput,
    pub warnings: Vec<String>,
    /// By source, in merge order.
    pub tests: Vec<(String, Vec<TestCase>)>,
}

/// Parse, validate and merge.
///
/// Errors: of all documents together; one broken document refuses them all.
pub(crate) fn merge(sources: &[Source<'_>]) -> Result<Merged, PolicyError> {
    let filled = sources.iter().filter(|source| !source.is_blank());
    let (files, mut ordered): (Vec<&Source<'_>>, Vec<&Source<'_>>) =
        filled.partition(|source| source.kind == SourceKind::Scanners);
    let detectors = detectors(&files)?;
    ordered.sort_by(|a, b| a.id().as_bytes().cmp(b.id().as_bytes()));
    let mut issues = Vec::new();
    let mut documents = Vec::new();
    for source in &ordered {
        match read(source, &detectors) {
            Ok(document) => documents.push((*source, document)),
            Err(found) => issues.extend(found),
        }
    }
    let rules: usize = documents
        .iter()
        .map(|(_, document)| document.rules.len() + document.input_rules.len() + document.output_rules.len())
        .sum();
    if rules > MAX_RULES {
        issues.push(Issue::new("rules", format!("more than {MAX_RULES} rules")));
    }
    if !issues.is_empty() {
        return Err(PolicyError::Invalid(issues));
    }
    let mut merger = Merger::default();
    for (source, document) in documents {
        merger.add(source, document);
    }
    let mut merged = merger.merged;
    merged.output = MergedOutput {
        detectors,
        ..merger.output.merged()
    };
    merged.rules = in_order(merged.rules, merger.behind);
    merged.input_rules = in_order(merged.input_rules, merger.input_behind);
    merged.is_loaded = !ordered.is_empty();
    merged.snapshot = snapshot(&ordered, &files, &merger.version);
    warn::inert_tenant_lists(&mut merged);
    Ok(merged)
}

/// The built-in detectors and those of the scanner file.
fn detectors(files: &[&Source<'_>]) -> Result<Detectors, PolicyError> {
    let Some(file) = files.last() else {
        return Ok(Detectors::default());
    };
    let located = |issue: Issue| Issue {
        path: file.located(&issue.path),
        ..issue
    };
    compile_scanners(file.content)
        .map(Detectors::of)
        .map_err(|issues| PolicyError::Invalid(issues.into_iter().map(located).collect()))
}

fn read(source: &Source<'_>, detectors: &Detectors) -> Result<Document, Vec<Issue>> {
    let in_bundle = |issue: Issue| match &source.kind {
        SourceKind::Base | SourceKind::Scanners => issue,
        SourceKind::Bundle(id) => issue.in_bundle(id),
    };
    let mut document = Document::parse_with(source.content, detectors)
        .map_err(|issues| issues.into_iter().map(in_bundle).collect::<Vec<_>>())?;
    let mut issues = Vec::new();
    if source.id().starts_with("velocity/") {
        let plain = document.rules.iter().filter(|rule| rule.velocity.is_none());
        issues.extend(plain.map(|rule| Issue::new(rule.path.clone(), "missing field \"velocity\"")));
    }
    for rule in &mut document.rules {
        rule.path = source.located(&rule.path);
    }
    for rule in &mut document.input_rules {
        rule.path = source.located(&rule.path);
    }
    for rule in &mut document.output_rules {
        rule.path = source.located(&rule.path);
    }
    if issues.is_empty() {
        Ok(document)
    } else {
        Err(issues.into_iter().map(in_bundle).collect())
    }
}

#[derive(Default)]
struct Merger {
    merged: Merged,
    output: OutputMerger,
    version: String,
    sources: usize,
    /// Number of the source that put the rule of an id where it stands, and the place: rules of one document never replace each other.
    rule_ids: AHashMap<String, (usize, usize)>,
    input_rule_ids: AHashMap<String, (usize, usize)>,
    /// Rules that lost their place to a stricter one of the same id and stay right behind it, by place.
    behind: BTreeMap<usize, Vec<Rule>>,
    input_behind: BTreeMap<usize, Vec<InputRule>>,
}

impl Merger {
    fn add(&mut self, source: &Source<'_>, document: Document) {
        self.sources += 1;
        if source.kind == SourceKind::Base {
            self.version = document.version.trim().to_owned();
        }
        warn::of_document(&document, &|path| source.located(path), &mut self.merged.warnings);
        self.add_defaults(source, &document);
        if !document.tests.is_empty() {
            let name = if source.kind == SourceKind::Base {
                "base"
            } else {
                source.id()
            };
            self.merged.tests.push((name.to_owned(), document.tests));
        }
        let settings = document.output_policy;
        self.output.add(source.voice(), settings, document.output_rules);
        if source.id() == INVARIANTS {
            self.merged.invariants = document.rules;
            self.merged.input_invariants = document.input_rules;
        } else if source.id().starts_with("velocity/") {
            self.merged.velocity_rules.extend(document.rules);
            self.add_input_rules(source, document.input_rules);
        } else {
            self.add_rules(source, document.rules);
            self.add_input_rules(source, document.input_rules);
        }
        for (name, tenant) in document.tenants {
            add_tenant(self.merged.tenants.entry(name).or_default(), tenant);
        }
        if source.is_operator() && self.merged.require_human.is_none() {
            self.merged.require_human = document.require_human;
        }
    }

    fn add_defaults(&mut self, source: &Source<'_>, document: &Document) {
        let mut ignored = |key: &str| {
            let path = source.located(key);
            self.merged.warnings.push(format!(
                "{path}: ignored, only the base and secops bundles set it"
            ));
        };
        if !document.default_tenant.is_empty() {
            if !source.is_operator() {
                ignored("default_tenant");
            } else if self.merged.default_tenant.is_empty() {
                self.merged.default_tenant.clone_from(&document.default_tenant);
            }
        }
        let Some(decision) = document.default_decision else {
            return;
        };
        if document.scope != Scope::Global {
            self.merged
                .scoped_defaults
                .entry(document.scope.clone())
                .or_insert(decision);
        } else if !source.is_operator() {
            ignored("default_decision");
        } else if self.merged.default_decision.is_none() {
            self.merged.default_decision = Some(decision);
        }
    }

    /// A rule of a secops bundle replaces an earlier one of its id. One of another source takes the place of a softer or equal one where that
    /// frees nothing (policy spec §8.3, §25.2): it denies, or asks the same of requests, because a wider one would go before stricter rules
    /// that follow. Unless it was a plain allow the other stays behind, for the requests that only it restricts.
    fn add_rules(&mut self, source: &Source<'_>, rules: Vec<Rule>) {
        for rule in rules {
            let earlier = self
                .rule_ids
                .get(&rule.id)
                .filter(|(from, _)| *from < self.sources && !rule.id.is_empty());
            let place = earlier.and_then(|(_, at)| Some((*at, self.merged.rules.get_mut(*at)?)));
            if let Some((at, place)) = place {
                if source.is_secops() {
                    self.behind.remove(&at);
                    *place = rule;
                    self.rule_ids.insert(place.id.clone(), (self.sources, at));
                    continue;
                }
                if rule.decision >= place.decision
                    && (rule.decision == Decision::Deny || rule.is_for_same(place))
                {
                    let replaced = std::mem::replace(place, rule);
                    self.rule_ids.insert(place.id.clone(), (self.sources, at));
                    if replaced.decision != Decision::Allow || replaced.constraints.is_some() {
                        self.behind.entry(at).or_default().insert(0, replaced);
                    }
                    continue;
                }
                self.merged.warnings.push(warn::kept(&rule.path, &rule.id));
            }
            self.rule_ids
                .entry(rule.id.clone())
                .or_insert((self.sources, self.merged.rules.len()));
            self.merged.rules.push(rule);
        }
    }

    fn add_input_rules(&mut self, source: &Source<'_>, rules: Vec<InputRule>) {
        for rule in rules {
            let earlier = self
                .input_rule_ids
                .get(&rule.id)
                .filter(|(from, _)| *from < self.sources && !rule.id.is_empty());
            let place = earlier.and_then(|(_, at)| Some((*at, self.merged.input_rules.get_mut(*at)?)));
            if let Some((at, place)) = place {
                if source.is_secops() {
                    self.input_behind.remove(&at);
                    *place = rule;
                    self.input_rule_ids.insert(place.id.clone(), (self.sources, at));
                    continue;
                }
                // A disabled rule restricts nothing, so it may not take the place of one that does.
                let is_as_strict = rule.decision == Decision::Deny
                    || (rule.decision >= place.decision && rule.is_for_same(place));
                if is_as_strict && rule.enabled {
                    let replaced = std::mem::replace(place, rule);
                    self.input_rule_ids.insert(place.id.clone(), (self.sources, at));
                    self.input_behind.entry(at).or_default().insert(0, replaced);
                    continue;
                }
                self.merged.warnings.push(warn::kept(&rule.path, &rule.id));
            }
            self.input_rule_ids
                .entry(rule.id.clone())
                .or_insert((self.sources, self.merged.input_rules.len()));
            self.merged.input_rules.push(rule);
        }
    }
}

/// Rules with those that stand right behind some of them.
fn in_order<R>(rules: Vec<R>, mut behind: BTreeMap<usize, Vec<R>>) -> Vec<R> {
    if behind.is_empty() {
        return rules;
    }
    let placed = rules.into_iter().enumerate();
    placed
        .flat_map(|(at, rule)| std::iter::once(rule).chain(behind.remove(&at).unwrap_or_default()))
        .collect()
}

fn add_tenant(tenant: &mut TenantPolicy, added: TenantPolicy) {
    tenant.allow_topics.extend(added.allow_topics);
    tenant.deny_topics.extend(added.deny_topics);
    tenant.mcp.extend(&added.mcp);
    tenant.max_concurrent_jobs = match (tenant.max_concurrent_jobs, added.max_concurrent_jobs) {
        (0, limit) | (limit, 0) => limit,
        (one, other) => one.min(other),
    };
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The string that names exactly these sources (policy spec §9).
fn snapshot(ordered: &[&Source<'_>], files: &[&Source<'_>], version: &str) -> String {
    let mut parts = Vec::new();
    let mut bundles = Sha256::new();
    let mut has_bundles = false;
    for source in ordered {
        match &source.kind {
            SourceKind::Base => {
                let hash = hex(&Sha256::digest(source.content));
                parts.push(if version.is_empty() {
                    hash
                } else {
                    format!("{version}:{hash}")
                });
            }
            SourceKind::Scanners => {}
            SourceKind::Bundle(id) => {
                has_bundles = true;
                bundles.update(id.as_bytes());
                bundles.update([0]);
                bundles.update(source.content);
            }
        }
    }
    if has_bundles {
        parts.push(format!("cfg:{}", hex(&bundles.finalize())));
    }
    if let Some(file) = files.last().filter(|_| !parts.is_empty()) {
        parts.push(format!("scanners:{}", hex(&Sha256::digest(file.content))));
    }
    parts.join("|")
}
