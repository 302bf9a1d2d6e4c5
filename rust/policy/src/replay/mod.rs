//! Past decisions as compact columns, and policies run over them (policy spec §19.3–§19.5).
//!
//! [`record`] turns what the kernel was asked and answered into segments, one per tenant: dictionary-encoded columns of the facts a
//! policy reads, with what was decided. [`scan`] lists decisions, [`run`] asks another policy about them. Content is never kept, only
//! that there was some.

pub mod columns;
pub mod record;
pub mod run;
pub mod scan;

pub use columns::{Row, Segment, SegmentError};
pub use record::{record, Recorded};
pub use run::{Replay, ReplaySpec};
pub use scan::{scan, Filter};
