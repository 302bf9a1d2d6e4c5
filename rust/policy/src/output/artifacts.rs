//! Artifacts of a result: rules with `artifacts` look at their content as at that of the result (output policy spec §4.3).
//!
//! Nothing in an artifact can be masked, so that a rule that would mask quarantines; so does one whose artifacts cannot be read.

use crate::limits::MAX_OUTPUT_ARTIFACTS;

use super::compile::{CompiledOutputRule, OutputPolicy};
use super::document::OutputDecision;
use super::evaluate::{until_final, OutputContent, OutputOutcome};
use super::findings::{report, Found, OutputFinding};
use super::request::OutputRequest;

/// What reading one artifact gave.
#[derive(Clone, Copy, Debug)]
pub enum Artifact<'a> {
    Content(OutputContent<'a>),
    /// No later attempt would give more: what is wrong with it.
    Unreadable(&'a str),
}

impl OutputPolicy {
    /// Whether a rule that may decide about this result looks at its artifacts.
    pub fn reads_artifacts(&self, request: &OutputRequest<'_>, size: i64) -> bool {
        let candidates = self
            .rules
            .iter()
            .filter(|rule| rule.metadata(request, size).is_ok());
        self.is_active()
            && !request.is_failed
            && !request.artifact_ptrs.is_empty()
            && until_final(candidates).any(|rule| rule.reads_artifacts)
    }
}

impl<'c> OutputRequest<'c> {
    /// Artifacts of which only a part was read.
    pub(super) fn cut_artifacts(&self) -> impl Iterator<Item = OutputContent<'c>> + '_ {
        let contents = self.artifacts.iter().filter_map(|artifact| match artifact {
            Artifact::Content(content) => Some(*content),
            Artifact::Unreadable(_) => None,
        });
        contents.filter(OutputContent::is_truncated)
    }

    fn unreadable(&self) -> Option<&'c str> {
        if self.artifact_ptrs.len() > MAX_OUTPUT_ARTIFACTS {
            return Some("more artifacts than are looked at");
        }
        self.artifacts.iter().find_map(|artifact| match artifact {
            Artifact::Content(_) => None,
            Artifact::Unreadable(why) => Some(*why),
        })
    }
}

impl CompiledOutputRule {
    /// What a rule finds that should look at artifacts nobody can read. An allowance finds nothing.
    pub(super) fn missed<'p, 'c>(
        &'p self,
        request: &OutputRequest<'c>,
        size: i64,
    ) -> Option<Vec<Found<'p, 'c>>> {
        let is_asking = self.reads_artifacts && self.decision != OutputDecision::Allow;
        let why = request.unreadable().filter(|_| is_asking)?;
        self.metadata(request, size).ok()?;
        let finding = OutputFinding {
            kind: "pointer_unreadable",
            severity: "high",
            detail: format!("artifact: {why}").into(),
            scanner: "result_pointer",
            confidence: 1.0,
            pattern: "",
            offset: 0,
            length: 0,
        };
        Some(vec![Found {
            finding,
            severity: self.severity,
            value: b"",
            is_in_content: false,
            is_in_artifact: true,
        }])
    }

    /// The outcome of a rule that would mask what cannot be masked; `None`: everything can.
    pub(super) fn unmaskable<'p>(&'p self, found: &[Found<'p, '_>]) -> Option<OutputOutcome<'p>> {
        found.iter().any(|one| one.is_in_artifact).then(|| OutputOutcome {
            decision: OutputDecision::Quarantine,
            ..OutputOutcome::withheld(self, report(found.to_vec()))
        })
    }
}
