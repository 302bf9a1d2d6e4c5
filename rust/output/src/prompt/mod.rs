//! Prompt and tool-output injection (output policy spec §16.5).

use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::Regex;

use crate::catalogue::FIRST_PROMPT;
use crate::definition::Definition;
use crate::engine::ScanOptions;
use crate::hit::Hit;
use crate::mask::{DetectorId, Mask};

pub(crate) const CATALOGUE: &[Definition] = &[
    Definition::prompt("instruction_override", "instruction override").confidence(0.85),
    Definition::prompt("role_hijack", "role hijack").confidence(0.85),
    Definition::prompt("system_prompt_exfiltration", "system prompt exfiltration").confidence(0.85),
    Definition::prompt("fake_role_delimiter", "forged chat delimiter").confidence(0.85),
];

const PATTERNS: &[&[&str]] = &[
    &[
        r"(?i)\bsystem\s+override\s*:",
        r"(?i)\bignore\s+(?:(?:all|any|the|your|these|of)\s+){0,3}(?:safety|security|policy)?\s*(?:rules|checks|controls|instructions)\b",
        r"(?i)\b(?:ignore|disregard|forget|override)\s+(?:(?:all|any|the|your|my|of)\s+){0,3}(?:previous|prior|above|earlier|preceding|system)\s+(?:\w+\s+){0,2}(?:instructions?|rules|prompts?|guidelines|polic(?:y|ies)|checks|restrictions|messages?)\b",
        r"(?i)\bbypass\s+(?:(?:all|any|the|your)\s+){0,3}(?:\w+\s+)?(?:restrictions?|safety|governance)\b",
        r"(?i)\b(?:disregard|forget)\s+(?:all\s+)?(?:(?:of\s+)?(?:your|the)\s+)?(?:rules|instructions|guidelines|restrictions)\b",
    ],
    &[
        r"(?i)\byou\s+are\s+now\s+(?:an?\s+|in\s+)?(?:\w+\s+){0,2}(?:unrestricted|unfiltered|jailbroken|dan\b|developer\s+mode)",
        r"(?i)\bact\s+as\s+(?:if|though)\s+(?:you\s+have\s+)?(?:no|without)\s+(?:\w+\s+)?(?:rules|restrictions|limits)\b",
        r"(?i)\b(?:jailbreak|jailbroken)\b",
    ],
    &[
        r"(?i)\b(?:reveal|print|repeat|show|output|translate|encode)\s+(?:me\s+)?(?:(?:your|the|all|its)\s+){0,2}(?:hidden\s+|full\s+|initial\s+)?(?:system\s+prompt|initial\s+instructions|hidden\s+rules)\b",
    ],
    &[
        r"<\|(?:im_start|im_end|system|endoftext)\|>|\[INST\]|<<SYS>>|<start_of_turn>|</(?:tool_result|function_results)>",
    ],
];

static COMPILED: LazyLock<Vec<Vec<Regex>>> = LazyLock::new(|| {
    let build = |patterns: &&[&str]| patterns.iter().filter_map(|p| Regex::new(p).ok()).collect();
    PATTERNS.iter().map(build).collect()
});

/// Appends hits of the mask's detectors of prompt injection that begin in `range` of the content. Text outside of the range may be looked
/// at within a bounded window; contents are split into ranges, so one place is reported by one call only.
pub(crate) fn scan_prompt(
    content: &[u8],
    range: Range<usize>,
    mask: &Mask,
    _options: &ScanOptions,
    hits: &mut Vec<Hit>,
) {
    let ids = (FIRST_PROMPT..).map(DetectorId);
    for ((definition, patterns), id) in CATALOGUE.iter().zip(COMPILED.iter()).zip(ids) {
        if !mask.contains(id) {
            continue;
        }
        for found in patterns.iter().flat_map(|pattern| pattern.find_iter(content)) {
            if range.contains(&found.start()) {
                hits.push(Hit {
                    detector: id,
                    severity: definition.severity,
                    confidence: definition.confidence,
                    offset: found.start(),
                    length: found.len(),
                });
            }
        }
    }
}
