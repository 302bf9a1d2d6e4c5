//! Deterministic simulation of the scheduler: several replicas drive the real planner and the real Lua scripts over in-memory
//! models of Redis, NATS, the safety kernel, workers and callers. A seed decides everything; see `docs/proof.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test instrument: what should not happen ends the run"
)]

mod approvals;
pub mod bus;
mod client;
mod cluster;
mod duties;
mod ghost;
pub mod invariants;
mod judging;
mod kernel;
mod malice;
pub mod plan;
mod random;
mod reconciler;
pub mod redis;
mod replica;
mod resp;
mod results;
mod rollback;
pub mod run;
mod saga;
pub mod script_edits;
pub mod scripts;
mod settling;
mod side;
mod store;
mod submits;
mod subscribers;
mod wheel;
mod worker;
mod world;
pub mod wrong;

#[cfg(not(feature = "mutants"))]
pub(crate) use cordum_dispatch as planner;

#[cfg(feature = "mutants")]
pub mod planner_edits;
/// The planner's own sources with wrong edits behind switches, see `build.rs`.
#[cfg(feature = "mutants")]
#[allow(warnings, clippy::all, reason = "checked where it comes from")]
pub mod planner {
    pub(crate) use super::is_on;
    include!(concat!(env!("OUT_DIR"), "/planner.rs"));
}

#[cfg(feature = "mutants")]
thread_local! {
    static EDIT: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
}

/// Switch one wrong edit of the planner on for this thread, or all of them off.
#[cfg(feature = "mutants")]
pub fn switch(number: Option<usize>) {
    EDIT.set(number.unwrap_or(usize::MAX));
}

/// Whether a wrong edit of the planner is switched on.
#[cfg(feature = "mutants")]
pub(crate) fn is_on(number: usize) -> bool {
    EDIT.get() == number
}
