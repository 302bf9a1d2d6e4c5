//! Code injection (output policy spec §16.4).

use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::Regex;

use crate::catalogue::FIRST_CODE;
use crate::definition::Definition;
use crate::hit::Hit;
use crate::mask::{DetectorId, Mask};
use crate::phrases::Sighting;

pub(crate) const CATALOGUE: &[Definition] = &[
    Definition::code("sql_injection", "SQL injection").confidence(0.85),
    Definition::code("shell_injection", "shell injection").confidence(0.85),
];

const PATTERNS: &[&[&str]] = &[
    &[
        r"(?i)\bunion\s+(?:all\s+)?select\b",
        r"(?i)\b(?:drop|truncate)\s+table\s+\w",
        r#"(?i)\bor\s+(?:1\s*=\s*1\b|'1'\s*=\s*'1'?|"1"\s*=\s*"1"?|true\s*(?:--|#))"#,
        r"(?i)['\x22;]\s*;?\s*(?:drop|delete|update|exec)\s+\w+[^\n]{0,80}(?:--|;)",
        r"(?i)\bxp_cmdshell\b|\bwaitfor\s+delay\b|\bpg_sleep\s*\(|['\x22)]\s*(?:and|or)\s+sleep\s*\(",
    ],
    &[
        r"(?i)\b(?:curl|wget|fetch|iwr)\b[^\n|]{0,300}\|\s*(?:sudo\s+)?(?:sh|bash|zsh|python3?|perl|node)\b",
        r#"(?i)\b(?:ba|z)?sh\s+-c\s+["']?\$\(\s*(?:curl|wget)"#,
        r"(?i)/dev/tcp/|\bnc\s+(?:-\w+\s+)*-e\b|\bmkfifo\s+/",
        r"(?i)\brm\s+(?:-[a-z-]+\s+)*(?:-[a-z]*r[a-z]*f|-[a-z]*f[a-z]*r|-r\s+-f|-f\s+-r|--recursive\s+--force|--force\s+--recursive)\s+(?:-[a-z-]+\s+)*(?:/(?:\s|\*|$|[;&|\x22'])|/(?:etc|usr|var|home|bin|boot|root)\b|~|\$HOME|\*)",
        r"(?i)--no-preserve-root|:\(\)\s*\{\s*:\|:&\s*\};:|\bchmod\s+-R\s+777\s+/|\bdd\s+[^\n]{0,80}of=/dev/[sh]d|base64\s+(?:-d|--decode)\s*\|\s*(?:sh|bash)",
    ],
];

static COMPILED: LazyLock<Vec<Vec<Regex>>> = LazyLock::new(|| {
    let build = |patterns: &&[&str]| patterns.iter().filter_map(|p| Regex::new(p).ok()).collect();
    PATTERNS.iter().map(build).collect()
});

/// Appends hits of the mask's detectors of code injection that begin in `range` of the content. Text outside of the range may be looked
/// at within a bounded window; contents are split into ranges, so one place is reported by one call only.
pub(crate) fn scan_code(
    content: &[u8],
    range: Range<usize>,
    _sightings: &[Sighting],
    mask: &Mask,
    hits: &mut Vec<Hit>,
) {
    let ids = (FIRST_CODE..).map(DetectorId);
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
