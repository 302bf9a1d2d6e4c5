//! The dialect of operator patterns: RE2's syntax on a linear-time engine (output policy spec §5.5).
//!
//! `\b \d \w \s` are ASCII, `(?i)` folds Unicode, `\Q…\E` quotes. A pattern that can match nothing is refused, and so is one
//! that would need back-tracking.

use regex_automata::meta::{self, Regex};
use regex_automata::util::syntax;
use regex_syntax::hir::literal::{ExtractKind, Extractor, Seq};
use regex_syntax::hir::Hir;
use thiserror::Error;

/// Bytes of a pattern.
pub const MAX_PATTERN_BYTES: usize = 4_096;
/// Bytes of its compiled form.
const MAX_PROGRAM_BYTES: usize = 1 << 20;
/// Cache of the lazy automaton of one pattern.
const MAX_CACHE_BYTES: usize = 2 << 20;
/// Shortest literal that a search may be narrowed with.
const MIN_LITERAL: usize = 3;
const MAX_LITERALS: usize = 16;

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    #[error("expected at most {MAX_PATTERN_BYTES} bytes, got {0}")]
    TooLong(usize),
    #[error("compiles to more than {MAX_PROGRAM_BYTES} bytes")]
    TooLarge,
    #[error("matches the empty string")]
    MatchesEmpty,
    #[error("{0}")]
    Invalid(String),
}

/// A pattern in the engine's terms.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub regex: Regex,
    /// Bytes of its longest match; `None`: there is no bound.
    pub longest: Option<usize>,
    /// Texts of which one begins every match; `None` when there are none worth searching for.
    pub literals: Option<Vec<Vec<u8>>>,
}

/// Compiles a pattern for bytes.
pub(crate) fn compile(source: &str) -> Result<Compiled, PatternError> {
    if source.len() > MAX_PATTERN_BYTES {
        return Err(PatternError::TooLong(source.len()));
    }
    let hir = parse(source)?;
    if hir.properties().minimum_len() == Some(0) {
        return Err(PatternError::MatchesEmpty);
    }
    let limits = meta::Config::new()
        .utf8_empty(false)
        .nfa_size_limit(Some(MAX_PROGRAM_BYTES))
        .hybrid_cache_capacity(MAX_CACHE_BYTES);
    let built = meta::Builder::new().configure(limits).build_from_hir(&hir);
    let regex = built.map_err(|error| match error.size_limit() {
        Some(_) => PatternError::TooLarge,
        None => PatternError::Invalid(last_line(&error.to_string())),
    })?;
    Ok(Compiled {
        regex,
        longest: hir.properties().maximum_len(),
        literals: literals(&hir),
    })
}

fn parse(source: &str) -> Result<Hir, PatternError> {
    syntax::parse_with(&translate(source), &syntax::Config::new().utf8(false))
        .map_err(|error| PatternError::Invalid(last_line(&error.to_string())))
}

/// Whether a valid pattern has no literal to search for, so that it reads every content (output policy spec §16.7).
pub fn is_slow_pattern(source: &str) -> bool {
    parse(source).is_ok_and(|hir| literals(&hir).is_none())
}

fn literals(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Prefix).limit_total(MAX_LITERALS);
    let found: Seq = extractor.extract(hir);
    if let Some(prefix) = found
        .longest_common_prefix()
        .filter(|prefix| prefix.len() >= MIN_LITERAL)
    {
        return Some(vec![prefix.to_vec()]);
    }
    let literals: Vec<Vec<u8>> = found
        .literals()?
        .iter()
        .map(|literal| literal.as_bytes().to_vec())
        .collect();
    let is_usable = !literals.is_empty() && literals.iter().all(|literal| literal.len() >= MIN_LITERAL);
    is_usable.then_some(literals)
}

/// Errors of the parser end with the reason.
fn last_line(text: &str) -> String {
    let line = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or(text);
    line.trim().trim_start_matches("error: ").to_owned()
}

/// Rewrites what RE2 and the engine read differently.
fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len().saturating_add(16));
    let mut rest = source;
    while let Some(character) = rest.chars().next() {
        let tail = rest.get(character.len_utf8()..).unwrap_or("");
        rest = match character {
            '\\' => escape(tail, false, &mut out),
            '[' => class(tail, &mut out),
            '{' if !is_counted(tail) => {
                out.push_str("\\{");
                tail
            }
            other => {
                out.push(other);
                tail
            }
        };
    }
    out
}

/// What follows a backslash; answers the rest.
fn escape<'a>(tail: &'a str, in_class: bool, out: &mut String) -> &'a str {
    let Some(kind) = tail.chars().next() else {
        out.push('\\');
        return tail;
    };
    let rest = tail.get(kind.len_utf8()..).unwrap_or("");
    if kind == 'Q' {
        let (quoted, rest) = rest.split_once("\\E").unwrap_or((rest, ""));
        out.push_str(&regex_syntax::escape(quoted));
        return rest;
    }
    let ascii = match kind {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => "\\t\\n\\x0C\\r ",
        'D' => "^0-9",
        'W' => "^0-9A-Za-z_",
        'S' => "^\\t\\n\\x0C\\r ",
        'b' | 'B' if !in_class => {
            out.push_str(if kind == 'b' { "(?-u:\\b)" } else { "(?-u:\\B)" });
            return rest;
        }
        other => {
            out.push('\\');
            out.push(other);
            return rest;
        }
    };
    if in_class && !ascii.starts_with('^') {
        out.push_str(ascii);
    } else {
        out.push('[');
        out.push_str(ascii);
        out.push(']');
    }
    rest
}

/// A class after its `[`; answers the rest. Brackets and doubled signs are plain characters in RE2.
fn class<'a>(tail: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = tail;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = after;
    }
    while let Some(character) = rest.chars().next() {
        let after = rest.get(character.len_utf8()..).unwrap_or("");
        rest = match character {
            ']' => {
                out.push(']');
                return after;
            }
            '\\' => escape(after, true, out),
            '[' if after.starts_with(':') && after.contains(":]") => {
                let end = after.find(":]").map_or(0, |at| at.saturating_add(2));
                out.push('[');
                out.push_str(after.get(..end).unwrap_or(""));
                after.get(end..).unwrap_or("")
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(character);
                after
            }
            '-' if after.starts_with('-') => {
                out.push_str("-\\-");
                after.get(1..).unwrap_or("")
            }
            other => {
                out.push(other);
                after
            }
        };
    }
    rest
}

/// Whether a brace opens a repetition.
fn is_counted(tail: &str) -> bool {
    let Some((inner, _)) = tail.split_once('}') else {
        return false;
    };
    let (low, high) = inner.split_once(',').unwrap_or((inner, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !low.is_empty() && is_number(low) && is_number(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialect_is_that_of_re2() {
        for (pattern, hit, miss) in [
            (r"\bOSP-[A-Z0-9]{4}\b", "x OSP-A1B2.", "OSP-A1B23"),
            (r"(?i)straße", "STRAßE", "strasse"),
            (r"\Qa.b*\E+", "a.b**", "axb"),
            (r"(?P<n>ab)(?<m>c)\z", "xabc", "abcd"),
            (r"^\d{3}$", "123", "१२३"),
            (r"[[:alpha:]]{3}", "abc", "12"),
            (r"[[a]x", "[x", "bx"),
            (r"[a&&b]{2}!", "&&!", "cc!"),
            (r"a{,2}b", "a{,2}b", "aab"),
            (r"[\d_]{2}-\W", "1_-é", "1_-a"),
            (r"[^\]]z", "xz", "]z"),
        ] {
            let regex = compile(pattern).unwrap().regex;
            assert!(regex.is_match(hit.as_bytes()), "{pattern} on {hit}");
            assert!(!regex.is_match(miss.as_bytes()), "{pattern} on {miss}");
        }
    }

    #[test]
    fn what_cannot_run_in_linear_time_is_refused_with_a_reason() {
        let reason = |pattern: &str| compile(pattern).unwrap_err().to_string();
        assert!(reason(r"(a)\1").contains("backreferences are not supported"));
        assert!(reason(r"a(?=b)").contains("look-around"));
        assert_eq!(compile("a*").unwrap_err(), PatternError::MatchesEmpty);
        assert_eq!(
            compile(&"a".repeat(4_097)).unwrap_err(),
            PatternError::TooLong(4_097)
        );
        assert_eq!(compile(r"(\pL{1000}){1000}").unwrap_err(), PatternError::TooLarge);
        assert_eq!(reason("a("), "unclosed group");
    }

    #[test]
    fn literals_and_bounds_are_told() {
        let literals = |pattern: &str| compile(pattern).unwrap().literals;
        assert_eq!(literals(r"\bOSP-\d+").unwrap(), [b"OSP-"]);
        assert_eq!(literals("alpha|beta").unwrap().len(), 2);
        assert_eq!(literals(r"\d{6}"), None);
        assert_eq!(literals("(?i)ab"), None);
        assert_eq!(compile(r"x[0-9]{2,5}").unwrap().longest, Some(6));
        assert_eq!(compile("x+").unwrap().longest, None);
    }
}
