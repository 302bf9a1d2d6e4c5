//! Every limit of the engine. Reaching one is an ordinary error that names the limit.

/// Bytes of one policy source. The kernel's own setting (`SAFETY_POLICY_MAX_BYTES`) is lower.
pub const MAX_SOURCE_BYTES: usize = 16 * 1024 * 1024;
/// Nesting of lists and mappings in a document, aliases expanded.
pub const MAX_DEPTH: u32 = 64;
/// Nodes added by expanding aliases (policy spec §2).
pub const MAX_ALIAS_NODES: u64 = 100_000;
/// Rules of all documents together.
pub const MAX_RULES: usize = 100_000;
/// Errors reported for one document; the rest are counted.
pub const MAX_ISSUES: usize = 1000;
/// Characters of one topic pattern.
pub const MAX_GLOB_CHARS: usize = 1024;
/// Characters of one content pattern (policy spec §3).
pub const MAX_REGEX_CHARS: usize = 4096;
/// Compiled size of one content pattern (policy spec §3).
pub const MAX_REGEX_BYTES: usize = 1024 * 1024;
/// Requests in one batch (protocol spec §20.5).
pub const MAX_BATCH_ITEMS: usize = 512;
/// Labels, risk tags or requirements of one request, each.
pub const MAX_REQUEST_ENTRIES: usize = 1024;
/// Bytes of a request's topic.
pub const MAX_TOPIC_BYTES: usize = 4096;
/// Bytes of a request's effective config.
pub const MAX_EFFECTIVE_CONFIG_BYTES: usize = 1024 * 1024;
/// Topics longer than this are matched anew each time.
pub const MAX_CACHED_TOPIC_BYTES: usize = 256;
/// Topics that one of an index's memories holds; a full one starts again from empty.
pub const MAX_CACHED_TOPICS: usize = 2048;
/// Rules shown by one explanation (policy spec §17.3).
pub const MAX_EXPLAINED_RULES: usize = 200;
/// Bytes of the listing of one document's rules, aliases expanded.
pub const MAX_LISTING_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of text that weigh as much as one more node where aliases repeat it.
pub const ALIAS_BYTES_PER_NODE: usize = 64;
/// Artifacts of one result that are looked at.
pub const MAX_OUTPUT_ARTIFACTS: usize = 32;
/// Bytes of the scanner file.
pub const MAX_SCANNER_FILE_BYTES: usize = 1024 * 1024;
/// Test cases of one document.
pub const MAX_TESTS: usize = 1000;
/// Bytes of the requests of one document's test cases together.
pub const MAX_TESTS_BYTES: usize = 16 * 1024 * 1024;
/// Labels or entries of a list in a test's request, each.
pub const MAX_TEST_ENTRIES: usize = 256;
/// Bytes of a text in a test's request.
pub const MAX_TEST_TEXT_BYTES: usize = 64 * 1024;
/// Bytes of the content of a test's request.
pub const MAX_TEST_CONTENT_BYTES: usize = 2 * 1024 * 1024;
