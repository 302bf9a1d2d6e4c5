//! Pointers to what a job reads and writes (protocol spec §10).

/// The pointer to a job's context.
pub fn context_pointer(job_id: &str) -> String {
    format!("redis://ctx:{job_id}")
}

/// The key of the artifact a pointer names; `None` for any other pointer and for one that is no key (protocol spec §10).
pub fn artifact_key(pointer: &str) -> Option<&str> {
    const MAX_KEY_BYTES: usize = 1024;
    let key = pointer.strip_prefix("redis://")?;
    let is_key = key.len() <= MAX_KEY_BYTES
        && !key.contains("..")
        && key.chars().all(|letter| letter > ' ' && letter != '\u{7f}');
    let id = key.strip_prefix("art:")?;
    (is_key && !id.is_empty() && !id.starts_with("meta:")).then_some(key)
}

/// The pointer to a job's own result.
pub fn result_pointer(job_id: &str) -> String {
    format!("redis://res:{job_id}")
}

#[cfg(test)]
mod tests {
    use super::artifact_key;

    #[test]
    fn only_artifacts_have_an_artifact_key() {
        assert_eq!(artifact_key("redis://art:a1"), Some("art:a1"));
        for pointer in [
            "redis://res:j",
            "art:a1",
            "redis://art:",
            "redis://art:meta:a1",
            "redis://art:../x",
            "redis://art:a b",
        ] {
            assert_eq!(artifact_key(pointer), None, "{pointer}");
        }
    }
}
