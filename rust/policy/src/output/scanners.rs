//! The scanner file: operator patterns beside the built-in detectors, or instead of them (output policy spec §5.4).

use std::collections::BTreeMap;
use std::sync::Arc;

use cordum_output::{
    Engine, PatternEntry, ScannerEntry, ScannerFile, ScannerMode, Validator, DEFAULT_PATTERN_CONFIDENCE,
    DEFAULT_PATTERN_NAME, MAX_NAME_BYTES, MAX_WORDS,
};

use crate::error::Issue;
use crate::limits::MAX_SCANNER_FILE_BYTES;
use crate::read_document::SEVERITIES;
use crate::reader::{Object, Reader};
use crate::yaml::{self, Value};

use super::read::without_nulls;

const TOP: &[&str] = &["version", "scanners"];
const SCANNER: &[&str] = &["finding_type", "description", "mode", "patterns"];
const PATTERN: &[&str] = &[
    "name",
    "description",
    "regex",
    "pattern",
    "severity",
    "confidence",
    "context_required",
    "keywords",
    "capture",
    "entropy_min",
    "validator",
    "context",
];
const LEVELS: [cordum_output::Severity; 4] = [
    cordum_output::Severity::Low,
    cordum_output::Severity::Medium,
    cordum_output::Severity::High,
    cordum_output::Severity::Critical,
];

/// The built-in detectors and those of a scanner file (YAML or JSON); a blank file adds none.
///
/// Errors: every problem of the file with its path.
pub fn compile_scanners(source: &[u8]) -> Result<Arc<Engine>, Vec<Issue>> {
    let file = read_scanner_file(source)?;
    Engine::with_scanner_file(&file).map_err(|errors| {
        let issues = errors.into_iter();
        issues
            .map(|error| Issue::new(error.path, error.fault.to_string()))
            .collect()
    })
}

fn read_scanner_file(source: &[u8]) -> Result<ScannerFile, Vec<Issue>> {
    if source.len() > MAX_SCANNER_FILE_BYTES {
        let message = format!("larger than {MAX_SCANNER_FILE_BYTES} bytes");
        return Err(vec![Issue::new("", message)]);
    }
    if source.iter().all(u8::is_ascii_whitespace) {
        return Ok(ScannerFile::default());
    }
    let root = yaml::parse(source).map_err(|issue| vec![issue])?;
    let root = without_nulls(&root).map_err(|issue| vec![issue])?;
    let mut reader = Reader::default();
    let mut scanners = BTreeMap::new();
    if let Some(top) = reader.object(&root, String::new(), TOP) {
        read_version(&mut reader, &top);
        for (name, node, path) in reader.entries(&top, "scanners") {
            let folded = name.trim().to_lowercase();
            check_name(&mut reader, &folded, &path);
            let Some(object) = reader.object(node, path.clone(), SCANNER) else {
                continue;
            };
            let entry = read_scanner(&mut reader, &object);
            if scanners.insert(folded, entry).is_some() {
                reader.report(path, "the name stands twice, case and blanks aside");
            }
        }
    }
    if reader.issues.is_empty() {
        return Ok(ScannerFile { scanners });
    }
    let mut issues = reader.issues;
    // The reader's word for the top of a document.
    for issue in issues.iter_mut().filter(|issue| issue.path == "policy") {
        issue.path = String::new();
    }
    Err(issues)
}

fn read_version(reader: &mut Reader, top: &Object<'_>) {
    let version = reader.text(top, "version");
    if !matches!(version.trim(), "" | "v1") {
        reader.report("version", format!("must be v1, got \"{version}\""));
    }
}

fn check_name(reader: &mut Reader, name: &str, path: &str) {
    if name.is_empty() {
        reader.report(path, "the name is blank");
    } else if name.len() > MAX_NAME_BYTES {
        reader.report(path, format!("longer than {MAX_NAME_BYTES} bytes"));
    }
}

fn read_scanner(reader: &mut Reader, scanner: &Object<'_>) -> ScannerEntry {
    let kind = reader.text(scanner, "finding_type").trim().to_owned();
    if kind.len() > MAX_NAME_BYTES {
        reader.report(
            scanner.at("finding_type"),
            format!("longer than {MAX_NAME_BYTES} bytes"),
        );
    }
    let mode = reader.one_of_or_blank(scanner, "mode", &ScannerMode::NAMES);
    let mut patterns = Vec::new();
    for (node, path) in reader.items(scanner, "patterns") {
        if let Some(pattern) = reader.object(node, path, PATTERN) {
            patterns.push(read_pattern(reader, &pattern));
        }
    }
    ScannerEntry {
        finding_type: (!kind.is_empty()).then_some(kind),
        description: reader.text(scanner, "description"),
        mode: mode
            .and_then(|at| ScannerMode::ALL.get(at).copied())
            .unwrap_or_default(),
        patterns,
    }
}

fn read_pattern(reader: &mut Reader, pattern: &Object<'_>) -> PatternEntry {
    let mut name = reader.text(pattern, "name").trim().to_owned();
    if name.len() > MAX_NAME_BYTES {
        reader.report(pattern.at("name"), format!("longer than {MAX_NAME_BYTES} bytes"));
    }
    if name.is_empty() {
        name = DEFAULT_PATTERN_NAME.to_owned();
    }
    reader.string(pattern, "description");
    let severity = reader.one_of_or_blank(pattern, "severity", SEVERITIES);
    let capture = reader.integer(pattern, "capture", 0, i64::from(u16::MAX));
    let validator = reader.one_of_or_blank(pattern, "validator", &Validator::NAMES);
    PatternEntry {
        name,
        severity: severity
            .and_then(|at| LEVELS.get(at).copied())
            .unwrap_or(cordum_output::Severity::High),
        confidence: read_confidence(reader, pattern),
        keywords: read_words(reader, pattern, "keywords"),
        capture: capture.and_then(|group| usize::try_from(group).ok()).unwrap_or(0),
        entropy_min: read_entropy(reader, pattern),
        validator: validator
            .and_then(|at| Validator::ALL.get(at).copied())
            .unwrap_or_default(),
        context_required: reader.boolean(pattern, "context_required").unwrap_or(false),
        context: read_words(reader, pattern, "context"),
        ..PatternEntry::new(read_regex(reader, pattern))
    }
}

/// `pattern` is another word for `regex`.
fn read_regex(reader: &mut Reader, pattern: &Object<'_>) -> String {
    let [regex, synonym] = ["regex", "pattern"].map(|key| reader.text(pattern, key));
    match (regex.is_empty(), synonym.is_empty()) {
        (true, true) => reader.report(pattern.path.clone(), "missing field \"regex\""),
        (false, false) => reader.report(pattern.at("pattern"), "stands beside \"regex\""),
        _ => {}
    }
    if regex.is_empty() {
        synonym
    } else {
        regex
    }
}

/// 0 to 1, or a word for such a number.
fn read_confidence(reader: &mut Reader, pattern: &Object<'_>) -> f32 {
    let number = match pattern.node.get("confidence").map(|node| &node.value) {
        None => return DEFAULT_PATTERN_CONFIDENCE,
        Some(Value::Int(number)) => Some(*number as f64),
        Some(Value::Float(number)) => Some(*number),
        Some(Value::Str(word)) => match word.trim().to_ascii_lowercase().as_str() {
            "" => return DEFAULT_PATTERN_CONFIDENCE,
            "low" => Some(0.5),
            "medium" => Some(0.75),
            "high" => Some(0.95),
            _ => None,
        },
        Some(_) => None,
    };
    match number.filter(|number| (0.0..=1.0).contains(number)) {
        Some(number) => number as f32,
        None => {
            let message = "must be a number from 0 to 1, or low, medium, high";
            reader.report(pattern.at("confidence"), message);
            DEFAULT_PATTERN_CONFIDENCE
        }
    }
}

fn read_entropy(reader: &mut Reader, pattern: &Object<'_>) -> f32 {
    let bits = reader.number(pattern, "entropy_min").unwrap_or(0.0);
    if !(0.0..=8.0).contains(&bits) {
        reader.report(pattern.at("entropy_min"), "must be 0 to 8 bits per character");
    }
    bits as f32
}

fn read_words(reader: &mut Reader, pattern: &Object<'_>, key: &str) -> Vec<String> {
    let words = reader.strings(pattern, key);
    if words.len() > MAX_WORDS {
        reader.report(pattern.at(key), format!("more than {MAX_WORDS} entries"));
    }
    for (at, word) in words.iter().enumerate() {
        if word.len() > MAX_NAME_BYTES {
            let path = format!("{}[{at}]", pattern.at(key));
            reader.report(path, format!("longer than {MAX_NAME_BYTES} bytes"));
        }
    }
    words
}
