//! Bounds of a job submission (gateway spec §7.2, protocol spec §22).

/// Nesting depth of the body.
pub const DEPTH: usize = 64;
/// Labels of one job.
pub const LABELS: usize = 50;
/// Bytes of a label's key.
pub const LABEL_KEY_BYTES: usize = 256;
/// Bytes of a label's value.
pub const LABEL_VALUE_BYTES: usize = 4096;
/// Entries of `tags`, `risk_tags` and `requires`, each.
pub const TAGS: usize = 50;
/// Bytes of a tag, an id or another word.
pub const WORD_BYTES: usize = 256;
/// Characters of a topic.
pub const TOPIC_CHARS: usize = 256;
/// Bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES: usize = 512;
/// Largest token count of a budget.
pub const TOKENS: i64 = 10_000_000_000;
/// Largest relative deadline: ten years.
pub const DEADLINE_MS: i64 = 315_360_000_000;
/// Bytes of each `_content.` label of the policy check.
pub const CONTENT_LABEL_BYTES: usize = 65_536;

/// Bounds an operator may change.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the stored context document.
    pub context_bytes: usize,
    /// Characters of the prompt.
    pub prompt_chars: usize,
}
