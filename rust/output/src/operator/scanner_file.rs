//! The scanner file as data (output policy spec §5.4). Whoever reads the document checks its shape; the engine checks what it means.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::definition::Severity;
use crate::operator::PatternError;

/// Scanners of one file.
pub const MAX_SCANNERS: usize = 256;
/// Patterns of one file.
pub const MAX_PATTERNS: usize = 1_000;
/// Patterns of one file without a literal to search for: each of them reads every content.
pub const MAX_SLOW_PATTERNS: usize = 64;
/// Keywords, and words of context, of one pattern.
pub const MAX_WORDS: usize = 64;
/// Bytes of a name, a keyword or a word of context.
pub const MAX_NAME_BYTES: usize = 128;

/// Why a scanner file is refused: what, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{path}: {fault}")]
pub struct ScannerFileError {
    /// `scanners.secret.patterns[2].regex`.
    pub path: String,
    pub fault: ScannerFault,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScannerFault {
    #[error("invalid pattern: {0}")]
    Pattern(PatternError),
    #[error("{0}")]
    Value(String),
}

impl ScannerFileError {
    pub(crate) fn value(path: impl Into<String>, reason: impl Into<String>) -> ScannerFileError {
        ScannerFileError {
            path: path.into(),
            fault: ScannerFault::Value(reason.into()),
        }
    }
}

/// Scanners by name.
#[derive(Clone, Debug, Default)]
pub struct ScannerFile {
    pub scanners: BTreeMap<String, ScannerEntry>,
}

/// What one name stands for.
#[derive(Clone, Debug, Default)]
pub struct ScannerEntry {
    /// `type` of its findings; `None`: the group of the name, else the name.
    pub finding_type: Option<String>,
    pub description: String,
    pub mode: ScannerMode,
    pub patterns: Vec<PatternEntry>,
}

/// Beside the built-in detectors of the name, or instead of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScannerMode {
    #[default]
    Extend,
    Replace,
}

impl ScannerMode {
    pub const NAMES: [&'static str; 2] = ["extend", "replace"];
    pub const ALL: [ScannerMode; 2] = [ScannerMode::Extend, ScannerMode::Replace];
}

/// One pattern and what makes a match of it a finding.
#[derive(Clone, Debug)]
pub struct PatternEntry {
    /// Detector id and detail of its findings.
    pub name: String,
    pub regex: String,
    pub severity: Severity,
    /// 0 to 1.
    pub confidence: f32,
    /// Texts of which one stands near every match; empty: taken from the pattern.
    pub keywords: Vec<String>,
    /// The group that is the sensitive value; 0: the whole match.
    pub capture: usize,
    /// Bits per character that the value must have.
    pub entropy_min: f32,
    pub validator: Validator,
    /// Reported only near a word of `context`, without such words near one of the name.
    pub context_required: bool,
    pub context: Vec<String>,
}

/// Name of a pattern that has none.
pub const DEFAULT_PATTERN_NAME: &str = "pattern match";
/// Confidence of a pattern that says none.
pub const DEFAULT_PATTERN_CONFIDENCE: f32 = 0.9;

impl PatternEntry {
    pub fn new(regex: impl Into<String>) -> PatternEntry {
        PatternEntry {
            name: DEFAULT_PATTERN_NAME.to_owned(),
            regex: regex.into(),
            severity: Severity::High,
            confidence: DEFAULT_PATTERN_CONFIDENCE,
            keywords: Vec::new(),
            capture: 0,
            entropy_min: 0.0,
            validator: Validator::None,
            context_required: false,
            context: Vec::new(),
        }
    }
}

/// Checksum that a match must pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validator {
    #[default]
    None,
    Luhn,
    Iban,
    Mod11,
    Verhoeff,
    Crc32Base62,
    Base58Check,
    Bech32,
    Jwt,
}

impl Validator {
    /// As the scanner file writes them, in the order of `ALL`.
    pub const NAMES: [&'static str; 9] = [
        "none",
        "luhn",
        "iban",
        "mod11",
        "verhoeff",
        "crc32_b62",
        "base58check",
        "bech32",
        "jwt",
    ];
    pub const ALL: [Validator; 9] = [
        Validator::None,
        Validator::Luhn,
        Validator::Iban,
        Validator::Mod11,
        Validator::Verhoeff,
        Validator::Crc32Base62,
        Validator::Base58Check,
        Validator::Bech32,
        Validator::Jwt,
    ];
}
