//! What a scan finds.

use std::ops::Range;

use crate::definition::Severity;
use crate::mask::DetectorId;

/// One place a detector reports. Never holds what stands there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    pub detector: DetectorId,
    pub severity: Severity,
    /// 0 to 1.
    pub confidence: f32,
    /// Byte span of the sensitive value in the content as given.
    pub offset: usize,
    pub length: usize,
}

impl Hit {
    pub fn end(&self) -> usize {
        self.offset.saturating_add(self.length)
    }

    pub fn span(&self) -> Range<usize> {
        self.offset..self.end()
    }

    pub fn overlaps(&self, other: &Hit) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

/// All places found, in order of offset and detector, uncapped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScanResult {
    pub hits: Vec<Hit>,
    /// Only the beginning and the end were scanned (§6).
    pub is_truncated: bool,
    /// The work budget ended the scan early: to be treated as a check error (§6).
    pub is_over_budget: bool,
}
