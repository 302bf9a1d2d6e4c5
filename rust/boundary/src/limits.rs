//! Bounds of schemas and of what a check answers.

/// Largest schema document.
pub const SCHEMA_MAX_BYTES: usize = 256 * 1024;
/// Deepest nesting of a schema document.
pub const SCHEMA_MAX_DEPTH: usize = 64;
/// Most `$ref`, `$dynamicRef` and `$recursiveRef` of one schema: a chain of them is followed on the stack.
pub const SCHEMA_MAX_REFERENCES: usize = 512;
/// Largest compiled pattern, and how often one may step back on a payload.
pub const PATTERN_MAX_BYTES: usize = 1 << 20;
/// See [`PATTERN_MAX_BYTES`].
pub const PATTERN_MAX_STEPS_BACK: usize = 10_000;
/// Largest payload that is checked.
pub const PAYLOAD_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Most violations of one answer.
pub const VIOLATIONS_MAX: usize = 50;
/// Most leaf errors looked at for one answer.
pub const ERRORS_MAX: usize = 1_000;
/// Longest message or path of a violation, in bytes.
pub const TEXT_MAX_BYTES: usize = 512;
