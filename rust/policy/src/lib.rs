//! Input policy engine (policy spec §2–§9): a document becomes an immutable [`Policy`], a request becomes one decision.
//!
//! Stages: [`yaml`] → [`document`] (with validation) → [`merge`] → [`compile`] → [`evaluate`]. Evaluation is a pure function of policy
//! and request; anything that goes wrong in it is a DENY.

pub mod agents;
pub mod analysis;
pub mod batch;
pub mod bits;
mod canonical;
pub mod compile;
pub mod content;
pub mod delegation;
pub mod document;
pub mod error;
pub mod evaluate;
pub mod explain;
pub mod facts;
pub mod glob;
pub mod index;
pub mod limits;
pub mod listing;
pub mod mcp;
pub mod merge;
pub mod output;
pub mod overlay;
pub mod predicate;
mod read_content;
mod read_document;
mod read_match;
mod reader;
pub mod replay;
pub mod request;
pub mod response;
pub mod rule;
pub mod tally;
pub mod testing;
mod topics;
pub mod velocity;
mod warn;
pub mod yaml;

pub use agents::{named_agents, Agent, Agents};
pub use batch::Evaluation;
pub use compile::{Policy, Source, SourceKind};
pub use document::{Decision, Document};
pub use error::{BatchError, Issue, PolicyError, RequestError};
pub use evaluate::Outcome;
pub use listing::list_rules;
pub use request::Request;
pub use tally::{tally, tally_one, Tally};

/// Parse and validate one document; every error at once (policy spec §3). An empty list means the document is valid.
pub fn validate(source: &[u8]) -> Vec<Issue> {
    Document::parse(source).err().unwrap_or_default()
}

/// What is worth saying about a document that is valid.
pub fn warnings(source: &[u8]) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Ok(document) = Document::parse_with(source, &output::engine::Detectors::any()) {
        warn::of_document(&document, &str::to_owned, &mut warnings);
    }
    warnings
}

/// The same for a document whose rules may name what a scanner file defines; problems of the file itself come first.
pub fn validate_with(source: &[u8], scanner_file: &[u8]) -> Vec<Issue> {
    match output::compile_scanners(scanner_file) {
        Ok(engine) => {
            let detectors = output::engine::Detectors::of(engine);
            Document::parse_with(source, &detectors).err().unwrap_or_default()
        }
        Err(issues) => issues,
    }
}
