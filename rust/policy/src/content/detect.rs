//! The detectors of one input rule, compiled (policy spec §7.2).

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use cordum_output::{Engine, Hit, Mask, ScanOptions};
use memchr::memmem::Finder;
use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use super::scope::ScopeCheck;
use super::scope_tally::ScopeCounts;
use super::{Content, Finding};
use crate::document::{Detectors, Severity};
use crate::limits::MAX_REGEX_BYTES;

/// Up to here, patterns and keywords are searched one by one: each search has its own literal acceleration.
const ONE_BY_ONE_MAX: usize = 8;

/// All alternatives of a rule; any finding makes it fire.
#[derive(Debug)]
pub struct CompiledDetectors {
    scope: Option<ScopeCheck>,
    patterns: Patterns,
    keywords: Keywords,
    scanners: Vec<(String, Option<Mask>)>,
    engine: Arc<Engine>,
}

#[derive(Debug)]
enum Patterns {
    Few(Vec<Regex>),
    Many(RegexSet),
    /// Could not be built together: counts as found.
    Broken,
}

#[derive(Debug)]
enum Keywords {
    Few(Vec<(String, Finder<'static>)>),
    Many(Vec<String>, Box<AhoCorasick>),
    Broken,
}

impl CompiledDetectors {
    /// `None`: the rule looks at no content.
    pub fn new(detectors: &Detectors, engine: &Arc<Engine>) -> Option<CompiledDetectors> {
        if detectors.is_empty() {
            return None;
        }
        Some(CompiledDetectors {
            scope: detectors.scope.as_ref().map(ScopeCheck::new),
            patterns: Patterns::new(&detectors.patterns),
            keywords: Keywords::new(&detectors.keywords),
            scanners: detectors
                .scanners
                .iter()
                .map(|name| (name.clone(), engine.scanner(name)))
                .collect(),
            engine: Arc::clone(engine),
        })
    }

    /// What a rule says without content: only `scope` may object.
    pub fn without_content(&self) -> Option<Finding> {
        self.scope.as_ref().and_then(ScopeCheck::without_content)
    }

    /// What its scope check counted since this was last asked; `None` without one.
    pub fn take_scope_counts(&self) -> Option<ScopeCounts> {
        self.scope.as_ref().map(ScopeCheck::take_counts)
    }

    /// Everything found; all detectors are consulted.
    pub fn findings(&self, content: &Content<'_>) -> Vec<Finding> {
        let mut found = Vec::new();
        if let Some(scope) = &self.scope {
            scope.check(content, &mut found);
        }
        self.patterns.search(content, &mut found);
        self.keywords.search(content, &mut found);
        for (name, scanner) in &self.scanners {
            match scanner {
                Some(mask) => scan(&self.engine, content, mask, &mut found),
                None => found.push(Finding::plain(format!("scanner \"{name}\" unavailable"))),
            }
        }
        found
    }
}

/// The first place of each detector, in order of place.
fn scan(engine: &Engine, content: &Content<'_>, mask: &Mask, found: &mut Vec<Finding>) {
    let result = engine.scan(content.text().as_bytes(), mask, &ScanOptions::default());
    if result.is_over_budget {
        found.push(Finding::plain("input content takes too long to scan"));
    }
    let mut seen = Mask::new();
    for hit in &result.hits {
        if !seen.contains(hit.detector) {
            seen.insert(hit.detector);
            found.extend(scanned(engine, hit));
        }
    }
}

fn scanned(engine: &Engine, hit: &Hit) -> Option<Finding> {
    let severity = match hit.severity {
        cordum_output::Severity::Critical => Severity::Critical,
        cordum_output::Severity::High => Severity::High,
        cordum_output::Severity::Medium => Severity::Medium,
        cordum_output::Severity::Low | cordum_output::Severity::Info => Severity::Low,
    };
    Some(Finding {
        text: engine.detector(hit.detector)?.detail.clone(),
        severity: Some(severity),
        confidence: hit.confidence.into(),
    })
}

impl Patterns {
    fn new(patterns: &[String]) -> Patterns {
        if patterns.len() <= ONE_BY_ONE_MAX {
            let built: Result<Vec<_>, _> = patterns
                .iter()
                .map(|pattern| RegexBuilder::new(pattern).size_limit(MAX_REGEX_BYTES).build())
                .collect();
            return built.map_or(Patterns::Broken, Patterns::Few);
        }
        RegexSetBuilder::new(patterns)
            .size_limit(MAX_REGEX_BYTES.saturating_mul(patterns.len()))
            .build()
            .map_or(Patterns::Broken, Patterns::Many)
    }

    fn search(&self, content: &Content<'_>, found: &mut Vec<Finding>) {
        let count = match self {
            Patterns::Few(patterns) => patterns
                .iter()
                .filter(|pattern| pattern.is_match(content.text()))
                .count(),
            Patterns::Many(set) => set.matches(content.text()).iter().count(),
            Patterns::Broken => 1,
        };
        for _ in 0..count {
            found.push(Finding::plain("input content matched pattern"));
        }
    }
}

impl Keywords {
    fn new(keywords: &[String]) -> Keywords {
        let lower: Vec<String> = keywords.iter().map(|keyword| keyword.to_lowercase()).collect();
        if keywords.len() <= ONE_BY_ONE_MAX {
            let finders = lower.iter().map(|keyword| Finder::new(keyword).into_owned());
            return Keywords::Few(keywords.iter().cloned().zip(finders).collect());
        }
        AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&lower)
            .map_or(Keywords::Broken, |automaton| {
                Keywords::Many(keywords.to_vec(), Box::new(automaton))
            })
    }

    fn search(&self, content: &Content<'_>, found: &mut Vec<Finding>) {
        let mut report = |keyword: &str| found.push(Finding::plain(format!("keyword matched: {keyword}")));
        match self {
            Keywords::Few(keywords) => {
                if keywords.is_empty() {
                    return;
                }
                let lower = content.lower().as_bytes();
                let hits = keywords.iter().filter(|(_, finder)| finder.find(lower).is_some());
                hits.for_each(|(keyword, _)| report(keyword));
            }
            Keywords::Many(keywords, automaton) => {
                let mut is_found = vec![false; keywords.len()];
                for hit in automaton.find_overlapping_iter(content.lower()) {
                    if let Some(flag) = is_found.get_mut(hit.pattern().as_usize()) {
                        *flag = true;
                    }
                }
                let hits = keywords.iter().zip(is_found).filter(|(_, is_found)| *is_found);
                hits.for_each(|(keyword, _)| report(keyword));
            }
            Keywords::Broken => found.push(Finding::plain("keywords could not be searched")),
        }
    }
}
