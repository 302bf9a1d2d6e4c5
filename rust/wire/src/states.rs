/// The states of a job (scheduler spec §2.1). Events are stored with their places: new ones go to the end.
pub const STATES: [&str; 12] = [
    "PENDING",
    "APPROVAL_REQUIRED",
    "SCHEDULED",
    "DISPATCHED",
    "RUNNING",
    "RETRYING",
    "SUCCEEDED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "DENIED",
    "OUTPUT_QUARANTINED",
];
