//! What can be said of an input rule's detectors without content.

use crate::document::InputRule;

/// Whether `one` fires on every content that `other` fires on.
pub(crate) fn finds_all_of(one: &InputRule, other: &InputRule) -> bool {
    if one.size_limit > 0 {
        return other.size_limit > 0 && one.size_limit <= other.size_limit;
    }
    if one.detectors.is_empty() {
        return true;
    }
    if other.size_limit > 0 || other.detectors.is_empty() {
        return false;
    }
    let (mine, theirs) = (&one.detectors, &other.detectors);
    let lower: Vec<String> = mine
        .keywords
        .iter()
        .map(|keyword| keyword.to_lowercase())
        .collect();
    let holds_mine = |keyword: &String| {
        let keyword = keyword.to_lowercase();
        lower.iter().any(|mine| keyword.contains(mine))
    };
    theirs
        .patterns
        .iter()
        .all(|pattern| mine.patterns.contains(pattern))
        && theirs
            .scanners
            .iter()
            .all(|scanner| mine.scanners.contains(scanner))
        && theirs.keywords.iter().all(holds_mine)
        && (theirs.scope.is_none() || format!("{:?}", theirs.scope) == format!("{:?}", mine.scope))
}

/// Whether no content at all makes the rule fire.
pub(crate) fn never_finds(rule: &InputRule) -> bool {
    if rule.size_limit > 0 {
        return rule.size_limit == i64::MAX;
    }
    let detectors = &rule.detectors;
    let is_idle = detectors.scope.as_ref().is_none_or(|scope| {
        scope.allows_missing_input
            && scope.allows_ambiguous
            && scope.allowed_categories.values().all(Vec::is_empty)
    });
    let matches_nothing = |pattern: &String| {
        let parsed = regex_syntax::Parser::new().parse(pattern);
        parsed.is_ok_and(|hir| hir.properties().minimum_len().is_none())
    };
    !detectors.is_empty()
        && is_idle
        && detectors.keywords.is_empty()
        && detectors.scanners.is_empty()
        && detectors.patterns.iter().all(matches_nothing)
}
