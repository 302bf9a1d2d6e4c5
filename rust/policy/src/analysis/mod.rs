//! Proofs about a policy before it is published: rules and input rules that can never decide, contradictions, allowances that a tenant list takes back,
//! tenants that are not used, and what changes between two policies.
//!
//! A rule is a conjunction of conditions over facts ([`condition`]); a question is a set of clauses. [`solve`] finds a class of requests or
//! proves that there is none; facts count as independent, so what is impossible there is impossible in truth. Every class found becomes a
//! concrete request ([`witness`]) and the engine evaluates it: no finding rests on the model alone, and what neither a proof nor an
//! evaluation settles is reported as undecided. The same machinery compares two policies ([`diff`]).

mod align;
mod changes;
mod condition;
mod detection;
mod diff;
mod effect;
mod findings;
mod input_findings;
mod inputs;
mod labels;
mod language;
mod later;
pub mod limits;
mod lint;
mod model;
mod reach;
mod sample;
mod side;
mod solve;
mod state;
mod tenants;
mod witness;
mod words;

pub use diff::diff;
pub use findings::Report;
pub use lint::analyze;
pub use witness::Witness;
