//! An immutable set of detectors, and the scan.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use crate::catalogue::definitions;
use crate::definition::{Definition, Group, Severity};
use crate::hit::ScanResult;
use crate::mask::{DetectorId, Mask};
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
#[derive(Debug)]
pub struct Engine {
    detectors: Vec<Detector>,
}

static BUILTIN: LazyLock<Arc<Engine>> = LazyLock::new(|| {
    let detectors = definitions().iter().map(|one| Detector::builtin(one)).collect();
    Arc::new(Engine { detectors })
});

impl Engine {
    /// The built-in catalogue without operator patterns.
    pub fn builtin() -> Arc<Engine> {
        Arc::clone(&BUILTIN)
    }

    /// Detectors a scanner name or detector id stands for; case and outer blanks do not matter.
    pub fn scanner(&self, name: &str) -> Option<Mask> {
        builtin_scanner(&name.trim().to_lowercase())
    }

    /// Detectors that run when none is named.
    pub fn default_mask(&self) -> Mask {
        let mut mask = Mask::new();
        for name in DEFAULT_SCANNERS {
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
        scan::scan(content, mask, options)
    }
}

/// Whether `name` is a group, an alias or a detector id of the built-in catalogue.
pub fn is_scanner(name: &str) -> bool {
    Engine::builtin().scanner(name).is_some()
}
