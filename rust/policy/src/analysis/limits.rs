//! Bounds of the analysis; reaching one makes a question undecided, never answered.

/// States of one search for a topic.
pub const MAX_TOPIC_STATES: usize = 4_096;
/// Steps of one search for a request.
pub const MAX_SOLVER_STEPS: usize = 4_000;
/// Requests tried for one question before it is given up.
pub const MAX_REFINEMENTS: usize = 200;
/// Values of one label tried for one request.
pub const MAX_LABEL_VALUES: usize = 4_096;
/// Pairs of rules compared for contradictions or differences.
pub const MAX_PAIRS: usize = 400_000;
/// Findings, undecided questions or differences listed, each; the rest are counted.
pub const MAX_LISTED: usize = 500;
/// Time of one analysis, in milliseconds; what is left then is undecided.
pub const MAX_MILLISECONDS: u64 = 10_000;
