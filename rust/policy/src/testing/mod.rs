//! Tests of a policy, written beside its rules: requests with the decision they must get (`docs/policy-tests.md`).
//!
//! Cases decide nothing: merge, snapshot and evaluation know nothing of them but their bytes.

mod case;
mod report;
mod request;
mod run;
mod verdict;

pub use case::{encode_request, Expectation, TestCase};
pub use run::run_tests;

pub(crate) use case::read_cases;
