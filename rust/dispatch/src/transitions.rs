//! The table of legal moves (scheduler spec §2.2).

/// Whether a record in state `from` may never move to state `to`. Re-asserting a state is no move.
pub fn is_illegal(from: &str, to: &str) -> bool {
    let legal: &[&str] = match from {
        "PENDING" => &[
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
        ],
        "APPROVAL_REQUIRED" => &[
            "PENDING",
            "SCHEDULED",
            "DISPATCHED",
            "RUNNING",
            "SUCCEEDED",
            "FAILED",
            "CANCELLED",
            "TIMEOUT",
            "DENIED",
        ],
        "SCHEDULED" => &[
            "DISPATCHED",
            "RUNNING",
            "RETRYING",
            "SUCCEEDED",
            "FAILED",
            "CANCELLED",
            "TIMEOUT",
            "DENIED",
            "OUTPUT_QUARANTINED",
        ],
        "DISPATCHED" => &[
            "SCHEDULED",
            "RUNNING",
            "RETRYING",
            "SUCCEEDED",
            "FAILED",
            "CANCELLED",
            "TIMEOUT",
            "OUTPUT_QUARANTINED",
        ],
        "RUNNING" => &[
            "RETRYING",
            "SUCCEEDED",
            "FAILED",
            "CANCELLED",
            "TIMEOUT",
            "OUTPUT_QUARANTINED",
        ],
        "RETRYING" => &[
            "SCHEDULED",
            "DISPATCHED",
            "RUNNING",
            "SUCCEEDED",
            "FAILED",
            "CANCELLED",
            "TIMEOUT",
            "OUTPUT_QUARANTINED",
        ],
        "SUCCEEDED" => &["OUTPUT_QUARANTINED"],
        _ => &[],
    };
    from != to && !from.is_empty() && !legal.contains(&to)
}

/// The count of a refused move that the table forbids, if it does: `from>to`.
pub(crate) fn forbidden(why: &str, from: &str, to: &str) -> Option<(&'static str, String)> {
    (why == "state" && is_illegal(from, to)).then(|| ("invalid", format!("{from}>{to}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_final_but_for_a_late_quarantine() {
        for from in [
            "FAILED",
            "CANCELLED",
            "TIMEOUT",
            "DENIED",
            "OUTPUT_QUARANTINED",
            "SUCCEEDED",
        ] {
            assert!(is_illegal(from, "DISPATCHED") && is_illegal(from, "RETRYING"));
            assert!(!is_illegal(from, from));
        }
        assert!(!is_illegal("SUCCEEDED", "OUTPUT_QUARANTINED"));
        assert!(is_illegal("APPROVAL_REQUIRED", "OUTPUT_QUARANTINED"));
        assert!(is_illegal("RUNNING", "DENIED") && !is_illegal("SCHEDULED", "DENIED"));
    }

    #[test]
    fn a_race_for_the_same_state_is_not_forbidden() {
        assert_eq!(forbidden("state", "DISPATCHED", "DISPATCHED"), None);
        assert_eq!(forbidden("rev", "RUNNING", "DENIED"), None);
        assert_eq!(
            forbidden("state", "RUNNING", "DENIED"),
            Some(("invalid", "RUNNING>DENIED".to_owned()))
        );
    }
}
