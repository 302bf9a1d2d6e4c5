//! An immutable set of detectors, and the scan.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::catalogue::definitions;
use crate::definition::{Definition, Group, Severity};
use crate::hit::ScanResult;
use crate::mask::{DetectorId, Mask};
use crate::operator::{
    Custom, Customs, PatternEntry, ScannerEntry, ScannerFile, ScannerFileError, ScannerMode, MAX_PATTERNS,
    MAX_SCANNERS, MAX_SLOW_PATTERNS,
};
use crate::scan;
use crate::scanners::{builtin_scanner, DEFAULT_SCANNERS};

/// Reported from here on unless a caller says otherwise (output policy spec §16.6).
pub const DEFAULT_MIN_CONFIDENCE: f32 = 0.5;

/// What findings of one detector say of it.
#[derive(Clone, Debug)]
pub struct Detector {
    /// `matched_pattern` of its findings.
    pub id: Cow<'static, str>,
    pub group: Group,
    /// `type` of its findings.
    pub kind: Cow<'static, str>,
    /// `scanner` of its findings.
    pub scanner: Cow<'static, str>,
    pub severity: Severity,
    pub detail: Cow<'static, str>,
    pub description: Cow<'static, str>,
}

impl Detector {
    fn builtin(definition: &'static Definition) -> Detector {
        Detector {
            id: Cow::Borrowed(definition.id),
            group: definition.group,
            kind: Cow::Borrowed(definition.group.as_str()),
            scanner: Cow::Borrowed(definition.group.scanner()),
            severity: definition.severity,
            detail: Cow::Borrowed(definition.detail),
            description: Cow::Borrowed(definition.description),
        }
    }

    fn custom(pattern: &PatternEntry, scanner: &str, entry: &ScannerEntry) -> Detector {
        let kind = entry.finding_type.clone();
        Detector {
            id: Cow::Owned(pattern.name.clone()),
            detail: Cow::Owned(pattern.name.clone()),
            group: Group::Custom,
            kind: Cow::Owned(kind.unwrap_or_else(|| type_of(canonical(scanner)).to_owned())),
            scanner: Cow::Owned(scanner.to_owned()),
            severity: pattern.severity,
            description: Cow::Owned(entry.description.clone()),
        }
    }
}

/// One spelling of names that have two.
fn canonical(name: &str) -> &str {
    match name {
        "secret_leak" => "secret",
        "code_injection" => "injection",
        other => other,
    }
}

/// The `type` of findings of a scanner that says none: the group of its name, else the name.
fn type_of(name: &str) -> &str {
    match name {
        "secret" => Group::SecretLeak.as_str(),
        "injection" => Group::CodeInjection.as_str(),
        other => other,
    }
}

/// How to scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions {
    pub min_confidence: f32,
    /// Output of a tool, HTML or Markdown: prompt detectors are more suspicious (§16.5).
    pub is_tool_output: bool,
    /// The topic plans tool calls: call objects are its trade (§16.5).
    pub is_tool_planner: bool,
    /// Longer contents are scanned at their beginning and end only (§6); `None`: everything is scanned.
    pub max_bytes: Option<usize>,
}

impl ScanOptions {
    /// What the topic of a job and the type of its content say about the content.
    pub fn for_content(self, topic: &str, content_type: &str) -> ScanOptions {
        const TOOLS: [&str; 12] = [
            "tool",
            "tools",
            "mcp",
            "browser",
            "browse",
            "web",
            "fetch",
            "search",
            "scrape",
            "crawl",
            "retrieval",
            "rag",
        ];
        const PLANNERS: [&str; 3] = ["planner", "planning", "plan"];
        let topic = topic.to_ascii_lowercase();
        let has = |words: &[&str]| {
            topic
                .split(|c: char| !c.is_ascii_alphanumeric())
                .any(|part| words.contains(&part))
        };
        let kind = content_type
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
            .to_ascii_lowercase();
        ScanOptions {
            is_tool_output: has(&TOOLS) || matches!(kind.as_str(), "text/html" | "text/markdown"),
            is_tool_planner: has(&PLANNERS),
            ..self
        }
    }
}

impl Default for ScanOptions {
    fn default() -> ScanOptions {
        ScanOptions {
            min_confidence: DEFAULT_MIN_CONFIDENCE,
            is_tool_output: false,
            is_tool_planner: false,
            max_bytes: None,
        }
    }
}

/// Immutable: share it in an `Arc`, replace it as a whole.
#[derive(Debug, Default)]
pub struct Engine {
    detectors: Vec<Detector>,
    /// Names of the scanner file and its patterns under them.
    named: BTreeMap<String, (ScannerMode, Mask)>,
    customs: Customs,
}

static BUILTIN: LazyLock<Arc<Engine>> = LazyLock::new(|| {
    let detectors = definitions().iter().map(|one| Detector::builtin(one)).collect();
    Arc::new(Engine {
        detectors,
        ..Engine::default()
    })
});

impl Engine {
    /// The built-in catalogue without operator patterns.
    pub fn builtin() -> Arc<Engine> {
        Arc::clone(&BUILTIN)
    }

    /// The built-in catalogue and the patterns of a scanner file (§5.4).
    ///
    /// Errors: every problem of the file.
    pub fn with_scanner_file(file: &ScannerFile) -> Result<Arc<Engine>, Vec<ScannerFileError>> {
        if file.scanners.is_empty() {
            return Ok(Engine::builtin());
        }
        let count: usize = file.scanners.values().map(|entry| entry.patterns.len()).sum();
        if file.scanners.len() > MAX_SCANNERS || count > MAX_PATTERNS {
            let reason = format!("expected at most {MAX_SCANNERS} scanners and {MAX_PATTERNS} patterns");
            return Err(vec![ScannerFileError::value("scanners", reason)]);
        }
        let mut engine = Engine {
            detectors: BUILTIN.detectors.clone(),
            ..Engine::default()
        };
        let (mut customs, mut errors) = (Vec::with_capacity(count), Vec::new());
        for (name, entry) in &file.scanners {
            for added in engine.add(name, entry) {
                match added {
                    Ok(custom) => customs.push(custom),
                    Err(error) => errors.push(error),
                }
            }
        }
        let slow = customs.iter().filter(|custom| custom.is_slow()).count();
        if slow > MAX_SLOW_PATTERNS {
            let expected =
                format!("expected at most {MAX_SLOW_PATTERNS} patterns without a literal or keywords");
            errors.push(ScannerFileError::value(
                "scanners",
                format!("{expected}, got {slow}"),
            ));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        engine.customs = Customs::new(customs);
        Ok(Arc::new(engine))
    }

    /// Adds a scanner's patterns as detectors; answers each compiled.
    fn add(&mut self, name: &str, entry: &ScannerEntry) -> Vec<Result<Custom, ScannerFileError>> {
        let (mut members, mut added) = (Mask::new(), Vec::with_capacity(entry.patterns.len()));
        for (place, pattern) in entry.patterns.iter().enumerate() {
            // The bounds of a file keep the number small.
            let id = DetectorId(u16::try_from(self.detectors.len()).unwrap_or(u16::MAX));
            let path = format!("scanners.{name}.patterns[{place}]");
            added.push(Custom::new(id, pattern, &path));
            self.detectors.push(Detector::custom(pattern, name, entry));
            members.insert(id);
        }
        let (mode, all) = self.named.entry(canonical(name).to_owned()).or_default();
        all.union_with(&members);
        if entry.mode == ScannerMode::Replace {
            *mode = entry.mode;
        }
        added
    }

    /// Detectors a scanner name or detector id stands for; case and outer blanks do not matter.
    pub fn scanner(&self, name: &str) -> Option<Mask> {
        let name = name.trim().to_lowercase();
        let builtin = builtin_scanner(&name);
        if let Some((mode, members)) = self.named.get(canonical(&name)) {
            let kept = builtin.filter(|_| *mode == ScannerMode::Extend);
            let mut mask = kept.unwrap_or_default();
            mask.union_with(members);
            return Some(mask);
        }
        let is_named = |id| {
            let detector = self.detector(id);
            detector.is_some_and(|detector| detector.id.eq_ignore_ascii_case(&name))
        };
        let mut mask = self.customs.named(is_named);
        mask.union_with(&builtin.clone().unwrap_or_default());
        (builtin.is_some() || !mask.is_empty()).then_some(mask)
    }

    /// Names that a scanner file adds to the built-in ones.
    pub fn scanner_names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// Operator patterns without a literal or keywords, which read every content (§16.7).
    pub fn slow_detectors(&self) -> impl Iterator<Item = &Detector> {
        let slow = self.customs.iter().filter(|custom| custom.is_slow());
        slow.filter_map(|custom| self.detector(custom.id))
    }

    /// Detectors that run when none is named: the built-in groups and all of the scanner file.
    pub fn default_mask(&self) -> Mask {
        let mut mask = Mask::new();
        let named = self.named.keys().map(String::as_str);
        for name in DEFAULT_SCANNERS.into_iter().chain(named) {
            mask.union_with(&self.scanner(name).unwrap_or_default());
        }
        mask
    }

    pub fn detector(&self, id: DetectorId) -> Option<&Detector> {
        self.detectors.get(id.index())
    }

    /// Place of the detector with this id.
    pub fn detector_id(&self, id: &str) -> Option<DetectorId> {
        let place = self.detectors.iter().position(|detector| detector.id == id)?;
        u16::try_from(place).ok().map(DetectorId)
    }

    pub fn detectors(&self) -> &[Detector] {
        &self.detectors
    }

    /// Everything the detectors of the mask find, in order of offset, then detector.
    pub fn scan(&self, content: &[u8], mask: &Mask, options: &ScanOptions) -> ScanResult {
        scan::scan(content, mask, options, &self.customs)
    }
}

/// Whether `name` is a group, an alias or a detector id of the built-in catalogue.
pub fn is_scanner(name: &str) -> bool {
    Engine::builtin().scanner(name).is_some()
}
