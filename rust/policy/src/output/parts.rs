//! The texts of a result that rules look at.

use crate::document::Severity;

use super::artifacts::Artifact;
use super::evaluate::OutputContent;
use super::findings::{Found, OutputFinding};
use super::request::OutputRequest;

/// A text that is scanned.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub bytes: &'a [u8],
    pub base: usize,
    pub is_content: bool,
    pub is_artifact: bool,
}

/// The texts of a result, those of artifacts last. The error text of one that succeeded is shown too, but no part of it is content.
pub(super) fn parts<'a>(request: &OutputRequest<'a>, content: Option<OutputContent<'a>>) -> Vec<Part<'a>> {
    let mut parts = Vec::with_capacity(2);
    let mut add = |bytes: &'a [u8], base: usize, is_content: bool, is_artifact: bool| {
        if !bytes.is_empty() {
            parts.push(Part {
                bytes,
                base,
                is_content,
                is_artifact,
            });
        }
    };
    if let Some(content) = content {
        add(content.head, 0, true, false);
        add(
            content.tail,
            content.size.saturating_sub(content.tail.len()),
            true,
            false,
        );
    }
    add(request.error_message.as_bytes(), 0, false, false);
    for artifact in &request.artifacts {
        if let Artifact::Content(content) = artifact {
            add(content.head, 0, false, true);
            add(content.tail, 0, false, true);
        }
    }
    parts
}

impl<'c> Part<'c> {
    pub fn found<'p>(
        &self,
        mut finding: OutputFinding<'p>,
        severity: Severity,
        offset: usize,
        length: usize,
    ) -> Found<'p, 'c> {
        if self.is_content {
            (finding.offset, finding.length) = (self.base + offset, length);
        }
        Found {
            finding,
            severity,
            value: self
                .bytes
                .get(offset..offset.saturating_add(length))
                .unwrap_or_default(),
            is_in_content: self.is_content,
            is_in_artifact: self.is_artifact,
        }
    }
}
