//! Output policy: what a worker's result may hold (output policy spec §3–§5, §10).
//!
//! Stages as for input rules: [`read`] → merged with everything else → [`compile`] → [`evaluate`]. The detectors themselves are another
//! crate, met in [`engine`] only.

mod artifacts;
pub(crate) mod compile;
pub(crate) mod document;
pub(crate) mod engine;
pub(crate) mod evaluate;
mod failures;
mod findings;
pub(crate) mod merge;
mod parts;
pub(crate) mod read;
mod request;
mod response;
pub(crate) mod scanners;

pub use artifacts::Artifact;
pub use compile::OutputPolicy;
pub use cordum_output::redact;
pub use document::{FailMode, OutputDecision};
pub use engine::OverBudget;
pub use evaluate::{OutputContent, OutputOutcome, RuleTrace};
pub use findings::{OutputFinding, Span};
pub use request::OutputRequest;
pub use response::{CheckError, Contents, Pointer, Supplied};
pub use scanners::compile_scanners;
