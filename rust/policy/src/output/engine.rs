//! The one place that knows the detector engine: names become masks, content becomes hits.

use std::sync::Arc;

use cordum_output::{Detector, Engine, Hit, Mask, ScanOptions, NO_OP_SCANNERS};

use crate::document::Severity;

/// The detectors of one policy.
#[derive(Clone, Debug)]
pub(crate) struct Detectors {
    engine: Arc<Engine>,
    /// Whether names that it does not know pass, for who only lists what is written.
    accepts_any_name: bool,
}

impl Default for Detectors {
    fn default() -> Detectors {
        Detectors::of(Engine::builtin())
    }
}

/// One place found, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spotted<'p> {
    pub detector: &'p Detector,
    pub severity: Severity,
    pub hit: Hit,
}

/// The scan was given up because it took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverBudget;

impl Detectors {
    pub fn of(engine: Arc<Engine>) -> Detectors {
        Detectors {
            engine,
            accepts_any_name: false,
        }
    }

    /// The built-in catalogue, with any other name passing too.
    pub fn any() -> Detectors {
        Detectors {
            accepts_any_name: true,
            ..Detectors::default()
        }
    }

    /// Whether a rule may name this scanner or detector.
    pub fn knows(&self, name: &str) -> bool {
        self.accepts_any_name || self.engine.scanner(name).is_some()
    }

    /// Whether the name does nothing by itself: no scanner file gives it patterns (§4.2).
    pub fn is_idle(&self, name: &str) -> bool {
        NO_OP_SCANNERS.contains(&name) && self.engine.scanner(name).is_none()
    }

    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The detectors that names stand for; unknown ones were refused when the document was read.
    pub fn mask(&self, names: &[String]) -> Mask {
        let mut mask = Mask::new();
        for named in names.iter().filter_map(|name| self.engine.scanner(name)) {
            mask.union_with(&named);
        }
        mask
    }

    /// Everything found in one pass, in order of offset.
    pub fn scan(
        &self,
        content: &[u8],
        mask: &Mask,
        options: &ScanOptions,
    ) -> Result<Vec<Spotted<'_>>, OverBudget> {
        let result = self.engine.scan(content, mask, options);
        if result.is_over_budget {
            return Err(OverBudget);
        }
        let hits = result.hits.into_iter();
        Ok(hits
            .filter_map(|hit| {
                Some(Spotted {
                    detector: self.engine.detector(hit.detector)?,
                    severity: severity(hit.severity),
                    hit,
                })
            })
            .collect())
    }
}

fn severity(severity: cordum_output::Severity) -> Severity {
    match severity {
        cordum_output::Severity::Critical => Severity::Critical,
        cordum_output::Severity::High => Severity::High,
        cordum_output::Severity::Medium => Severity::Medium,
        cordum_output::Severity::Low | cordum_output::Severity::Info => Severity::Low,
    }
}
