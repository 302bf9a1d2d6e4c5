//! Detectors of sensitive and hostile content (output policy spec §5). The baseline of §5.2, which input rules use; the full
//! catalogue, decoding and redaction belong to the output policy.
//!
//! Every pattern runs in linear time: no back-tracking engine anywhere.

mod catalogue;
mod validate;

use std::sync::LazyLock;

use regex::Regex;

use catalogue::{Definition, CATALOGUE};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

/// What a group of detectors finds (output policy spec §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    SecretLeak,
    Pii,
    CodeInjection,
    PromptInjection,
}

/// One thing found: the first place a detector reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Detector id, e.g. `github_token`.
    pub detector: &'static str,
    pub group: Group,
    pub severity: Severity,
    /// Human label.
    pub detail: &'static str,
    /// 0 to 1.
    pub confidence: f64,
    /// Byte span in the text.
    pub offset: usize,
    pub length: usize,
}

struct Detector {
    definition: &'static Definition,
    patterns: Vec<Regex>,
}

static DETECTORS: LazyLock<Vec<Detector>> = LazyLock::new(|| {
    let build = |definition: &'static Definition| Detector {
        definition,
        // The unit tests build every pattern, so none is lost here.
        patterns: definition
            .patterns
            .iter()
            .filter_map(|p| Regex::new(p).ok())
            .collect(),
    };
    CATALOGUE.iter().map(build).collect()
});

/// Detectors a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanner {
    detectors: Vec<usize>,
}

/// Whether `name` is a group, an alias or a detector id. Names are lower-case and trimmed.
pub fn is_scanner(name: &str) -> bool {
    scanner(name).is_some()
}

/// The scanner of this name.
pub fn scanner(name: &str) -> Option<Scanner> {
    let is_part = |definition: &Definition| match name {
        "secret" | "secret_leak" => definition.group == Group::SecretLeak,
        "pii" => definition.group == Group::Pii,
        // Of the prompt detectors only those that speak in plain words.
        "injection" | "code_injection" => {
            definition.group == Group::CodeInjection
                || matches!(
                    definition.id,
                    "instruction_override" | "role_hijack" | "system_prompt_exfiltration"
                )
        }
        "prompt_injection" => definition.group == Group::PromptInjection,
        id => definition.id == id,
    };
    let detectors: Vec<usize> = (0..CATALOGUE.len())
        .filter(|at| CATALOGUE.get(*at).is_some_and(is_part))
        .collect();
    (!detectors.is_empty()).then_some(Scanner { detectors })
}

impl Scanner {
    /// First finding of each detector, in the order of the catalogue.
    pub fn scan(&self, text: &str) -> Vec<Finding> {
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        let detectors = self.detectors.iter().filter_map(|at| DETECTORS.get(*at));
        detectors
            .filter(|detector| digits >= detector.definition.digits)
            .filter_map(|detector| detector.first(text))
            .collect()
    }
}

impl Detector {
    fn first(&self, text: &str) -> Option<Finding> {
        let definition = self.definition;
        if !definition.literals.is_empty()
            && !definition.literals.iter().any(|literal| text.contains(literal))
        {
            return None;
        }
        self.patterns.iter().find_map(|pattern| {
            pattern.captures_iter(text).find_map(|captures| {
                let whole = captures.get(0)?;
                let value = captures.name("value").unwrap_or(whole);
                let context = Context {
                    text,
                    start: whole.start(),
                    end: whole.end(),
                };
                (definition.is_real)(value.as_str(), &context).then(|| Finding {
                    detector: definition.id,
                    group: definition.group,
                    severity: definition.severity,
                    detail: definition.detail,
                    confidence: definition.confidence,
                    offset: value.start(),
                    length: value.len(),
                })
            })
        })
    }
}

/// Where a candidate stands.
struct Context<'a> {
    text: &'a str,
    start: usize,
    end: usize,
}

impl Context<'_> {
    /// Character before the candidate.
    fn before(&self) -> Option<char> {
        self.text.get(..self.start)?.chars().next_back()
    }

    /// Character after the candidate.
    fn after(&self) -> Option<char> {
        self.text.get(self.end..)?.chars().next()
    }

    /// Whether one of the lower-case words stands within 64 bytes before or 32 after (output policy spec §16.6).
    fn has_word(&self, words: &[&str]) -> bool {
        let floor = |mut at: usize| {
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let from = floor(self.start.saturating_sub(64));
        let to = floor(self.text.len().min(self.end + 32));
        let around = self.text.get(from..to).unwrap_or("").to_lowercase();
        words.iter().any(|word| around.contains(word))
    }
}

#[cfg(test)]
mod tests;
