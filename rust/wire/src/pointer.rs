//! Pointers to what a job reads and writes (protocol spec §10).

/// The pointer to a job's context.
pub fn context_pointer(job_id: &str) -> String {
    format!("redis://ctx:{job_id}")
}

/// The pointer to a job's own result.
pub fn result_pointer(job_id: &str) -> String {
    format!("redis://res:{job_id}")
}
