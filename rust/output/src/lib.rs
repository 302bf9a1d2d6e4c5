//! Detectors of sensitive and hostile content (output policy spec §5, §7, §16): catalogue, scan, redaction.
//!
//! Every search runs in linear time: no back-tracking engine anywhere.

mod around;
mod bits;
mod bytes;
mod catalogue;
mod check;
mod definition;
mod engine;
mod hit;
mod injection;
pub mod limits;
mod mask;
mod operator;
mod phrases;
mod prompt;
mod rarity;
mod redact;
mod report;
pub mod sample;
mod scan;
mod scanners;
mod sightings;

pub use catalogue::definitions;
pub use definition::{
    Candidate, Check, Definition, Form, Group, Rank, Severity, Trigger, Verdict, CONFIDENCE_WITHOUT_CONTEXT,
};
pub use engine::{is_scanner, Detector, Engine, ScanOptions, DEFAULT_MIN_CONFIDENCE};
pub use hit::{Hit, ScanResult};
pub use mask::{DetectorId, Mask};
pub use operator::{
    is_slow_pattern, Pattern, PatternEntry, PatternError, ScannerEntry, ScannerFault, ScannerFile,
    ScannerFileError, ScannerMode, Validator, DEFAULT_PATTERN_CONFIDENCE, DEFAULT_PATTERN_NAME,
    MAX_MATCH_BYTES, MAX_NAME_BYTES, MAX_PATTERNS, MAX_PATTERN_BYTES, MAX_SCANNERS, MAX_SLOW_PATTERNS,
    MAX_WORDS,
};
pub use redact::{redact, redact_values, MARKER};
pub use scanners::{DEFAULT_SCANNERS, NO_OP_SCANNERS};

#[cfg(test)]
mod tests;
