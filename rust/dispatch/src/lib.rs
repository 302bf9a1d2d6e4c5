//! Dispatch engine: routing, worker table, matching, and the planners of the submit and result pipelines. No I/O, no clock.

pub mod backoff;
pub mod commit;
pub mod config;
mod decided;
mod draft;
pub mod event;
pub mod fairness;
pub mod grants;
pub mod intake;
pub mod job_config;
pub mod judge;
mod judging;
pub mod matching;
pub mod outgoing;
mod ranking;
pub mod record;
pub mod reply;
pub mod results;
mod slots;
mod subjects;
pub mod submit;
pub mod waits;
mod worker;
pub mod worker_snapshot;
pub mod workers;
