//! Patterns of operators: the scanner file and its regular expressions (output policy spec §5.4, §5.5).

mod custom;
mod dialect;
mod pattern;
mod scanner_file;
#[cfg(test)]
mod tests;
mod validate;

pub(crate) use custom::{Custom, Customs};
pub use dialect::{is_slow_pattern, PatternError, MAX_PATTERN_BYTES};
pub use pattern::{Pattern, MAX_MATCH_BYTES};
pub use scanner_file::{
    PatternEntry, ScannerEntry, ScannerFault, ScannerFile, ScannerFileError, ScannerMode, Validator,
    DEFAULT_PATTERN_CONFIDENCE, DEFAULT_PATTERN_NAME, MAX_NAME_BYTES, MAX_PATTERNS, MAX_SCANNERS,
    MAX_SLOW_PATTERNS, MAX_WORDS,
};
