//! Deterministic simulation of the scheduler: several replicas drive the real planner and the real Lua scripts over in-memory
//! models of Redis, NATS, the safety kernel, workers and callers. A seed decides everything; see `docs/proof.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test instrument: what should not happen ends the run"
)]

pub mod bus;
mod client;
mod cluster;
mod duties;
mod ghost;
pub mod invariants;
mod judging;
mod kernel;
pub mod plan;
mod random;
mod reconciler;
pub mod redis;
mod replica;
mod resp;
mod results;
mod rollback;
pub mod run;
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

pub(crate) use cordum_dispatch as planner;
