//! Batch of job submissions: HTTP bodies in; policy check, record changes, messages and HTTP answers out (gateway spec §14.1).

mod again;
mod body;
mod check;
mod fields;
mod labels;
pub mod limits;
mod outcome;
mod plan;
mod topic;

pub use again::Again;
pub use body::{parse, Caller, Submission};
pub use check::Finding;
pub use fields::split;
pub use labels::is_control_plane_label;
pub use limits::Limits;
pub use outcome::{slug, Outcome, Refusal};
pub use plan::{Batch, Commit, Plan};
pub use topic::{is_tenant, is_topic};
