//! The table of legal moves (scheduler spec §2.2).

use cordum_wire::STATES;

/// A row per state, a column per target, both in the order of `STATES`; the states after them have no exit.
const LEGAL: [&[u8; 12]; 7] = [
    b".xxxxxxxxxxx",
    b"x.xxx.xxxxx.",
    b"..xxxxxxxxxx",
    b"..x.xxxxxx.x",
    b"....xxxxxx.x",
    b"..xxxxxxxx.x",
    b"...........x",
];

/// Whether a record in state `from` may never move to state `to`. Re-asserting a state is no move.
pub fn is_illegal(from: &str, to: &str) -> bool {
    let place = |state: &str| STATES.iter().position(|known| *known == state);
    let Some((row, column)) = place(from).zip(place(to)) else {
        return false;
    };
    let is_legal = LEGAL.get(row).and_then(|targets| targets.get(column)) == Some(&b'x');
    from != to && !is_legal
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
