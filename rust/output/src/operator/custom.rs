//! Operator patterns as detectors, and the search that says which of them are worth running.

use std::ops::Range;

use aho_corasick::AhoCorasick;

use crate::definition::Severity;
use crate::hit::Hit;
use crate::mask::{DetectorId, Mask};
use crate::operator::pattern::{Pattern, MAX_MATCH_BYTES};
use crate::operator::scanner_file::{PatternEntry, ScannerFault, ScannerFileError, Validator};
use crate::operator::validate::is_valid;
use crate::rarity::entropy;
use crate::scan::block::Block;
use crate::scan::context::has_context;

/// One operator pattern, ready to run.
#[derive(Debug)]
pub(crate) struct Custom {
    pub id: DetectorId,
    severity: Severity,
    confidence: f32,
    pattern: Pattern,
    capture: usize,
    entropy_min: f32,
    validator: Validator,
    /// Lower-case; one of them must stand nearby. Empty: none is needed.
    context: Vec<String>,
    /// One of them stands in or near every match; empty: unknown.
    literals: Vec<Vec<u8>>,
}

impl Custom {
    /// Errors: of the entry, which stands at `path`.
    pub fn new(id: DetectorId, entry: &PatternEntry, path: &str) -> Result<Custom, ScannerFileError> {
        let pattern = Pattern::new(&entry.regex).map_err(|reason| ScannerFileError {
            path: format!("{path}.regex"),
            fault: ScannerFault::Pattern(reason),
        })?;
        if entry.capture >= pattern.group_count() {
            let groups = pattern.group_count().saturating_sub(1);
            let reason = format!(
                "expected a group of the pattern, which has {groups}, got {}",
                entry.capture
            );
            return Err(ScannerFileError::value(format!("{path}.capture"), reason));
        }
        let told = entry.keywords.iter().filter(|keyword| !keyword.trim().is_empty());
        let mut literals: Vec<Vec<u8>> = told.map(|keyword| keyword.as_bytes().to_vec()).collect();
        if literals.is_empty() {
            literals = pattern.literals().unwrap_or_default().to_vec();
        }
        Ok(Custom {
            id,
            severity: entry.severity,
            confidence: entry.confidence,
            pattern,
            capture: entry.capture,
            entropy_min: entry.entropy_min,
            validator: entry.validator,
            context: context(entry),
            literals,
        })
    }

    /// Whether it reads every content.
    pub fn is_slow(&self) -> bool {
        self.literals.is_empty()
    }

    fn search(&self, block: &mut Block<'_>) {
        let content = block.content;
        let mut hits = std::mem::take(&mut block.hits);
        self.pattern
            .search(content, block.range.clone(), &mut block.work, |span| {
                let value = match self.capture {
                    0 => Some(span),
                    group => self.pattern.group(content, &span, group),
                };
                let real = value.filter(|value| self.is_real(content, value));
                hits.extend(real.map(|value| Hit {
                    detector: self.id,
                    severity: self.severity,
                    confidence: self.confidence,
                    offset: value.start,
                    length: value.len(),
                }));
            });
        block.hits = hits;
    }

    fn is_real(&self, content: &[u8], span: &Range<usize>) -> bool {
        let value = content.get(span.clone()).unwrap_or_default();
        !value.is_empty()
            && (self.entropy_min <= 0.0 || entropy(value) >= self.entropy_min)
            && is_valid(self.validator, value)
            && (self.context.is_empty() || has_context(content, span.start, span.end, &self.context))
    }
}

/// Words that a pattern asks for: its own, else those of its name.
fn context(entry: &PatternEntry) -> Vec<String> {
    let of_name = || entry.name.split('_').map(str::to_owned).collect();
    let words: Vec<String> = match (entry.context_required, entry.context.is_empty()) {
        (false, _) => Vec::new(),
        (true, false) => entry.context.clone(),
        (true, true) => of_name(),
    };
    let words = words.iter().map(|word| word.trim().to_lowercase());
    words.filter(|word| !word.is_empty()).collect()
}

/// All operator patterns of an engine.
#[derive(Debug, Default)]
pub(crate) struct Customs {
    all: Vec<Custom>,
    /// One search for the literals of all patterns.
    automaton: Option<AhoCorasick>,
    /// Pattern of each literal.
    owners: Vec<usize>,
}

impl Customs {
    pub fn new(all: Vec<Custom>) -> Customs {
        let literals = all.iter().enumerate().flat_map(|(place, custom)| {
            let owned = custom.literals.iter();
            owned.map(move |literal| (place, literal.as_slice()))
        });
        let (owners, literals): (Vec<usize>, Vec<&[u8]>) = literals.unzip();
        // Keywords are written in any case, so every literal is searched that way.
        let automaton = (!literals.is_empty()).then(|| {
            AhoCorasick::builder()
                .ascii_case_insensitive(true)
                .build(&literals)
                .ok()
        });
        Customs {
            automaton: automaton.flatten(),
            owners,
            all,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Custom> {
        self.all.iter()
    }

    pub fn are_wanted(&self, mask: &Mask) -> bool {
        self.all.iter().any(|custom| mask.contains(custom.id))
    }

    /// Adds what the block's mask finds with operator patterns.
    pub fn scan(&self, block: &mut Block<'_>) {
        let may_match = self.candidates(block);
        for (custom, may) in self.all.iter().zip(may_match) {
            let is_wanted = may && block.mask.contains(custom.id);
            if is_wanted && custom.confidence >= block.options.min_confidence {
                custom.search(block);
            }
        }
    }

    /// Which patterns may match in the block: literals are looked for a match's length around it.
    fn candidates(&self, block: &mut Block<'_>) -> Vec<bool> {
        let Some(automaton) = &self.automaton else {
            // Without an automaton every pattern runs.
            return vec![true; self.all.len()];
        };
        let from = block.range.start.saturating_sub(MAX_MATCH_BYTES);
        let to = block
            .range
            .end
            .saturating_add(MAX_MATCH_BYTES)
            .min(block.content.len());
        let text = block.content.get(from..to).unwrap_or_default();
        let mut may_match: Vec<bool> = self.all.iter().map(Custom::is_slow).collect();
        let mut missing = may_match.iter().filter(|may| !**may).count();
        for found in automaton.find_overlapping_iter(text) {
            let owner = self.owners.get(found.pattern().as_usize()).copied();
            let may = owner.and_then(|owner| may_match.get_mut(owner));
            if let Some(may) = may.filter(|may| !**may) {
                *may = true;
                missing = missing.saturating_sub(1);
                if missing == 0 {
                    break;
                }
            }
        }
        may_match
    }

    /// Patterns with this id; case does not matter.
    pub fn named(&self, is_named: impl Fn(DetectorId) -> bool) -> Mask {
        let ids = self.all.iter().map(|custom| custom.id);
        ids.filter(|id| is_named(*id)).collect()
    }
}
