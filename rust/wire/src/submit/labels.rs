//! Which labels of a client survive (gateway spec §14.1, policy spec §4).

use std::collections::BTreeMap;

use super::fields::check_word;
use super::limits::{LABELS, LABEL_KEY_BYTES, LABEL_VALUE_BYTES};
use super::outcome::Refusal;

/// Check limits, refuse reserved prefixes, drop what only the control plane may set.
pub(super) fn clean_labels(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refusal> {
    if labels.len() > LABELS {
        return Err(Refusal::invalid(
            "labels",
            format!("too many labels (at most {LABELS})"),
        ));
    }
    let mut kept = BTreeMap::new();
    for (key, value) in labels {
        if key.trim().is_empty() {
            return Err(Refusal::invalid("labels", "label keys must not be blank"));
        }
        check_word("labels", &key, LABEL_KEY_BYTES)?;
        check_word("labels", &value, LABEL_VALUE_BYTES)?;
        if key.starts_with("_governance.") || key.starts_with("_ma.") {
            return Err(Refusal::invalid("labels", "labels use a reserved prefix"));
        }
        if !is_control_plane_label(&key) {
            kept.insert(key, value);
        }
    }
    Ok(kept)
}

/// Labels a client cannot set: they would steer approvals, scopes or de-duplication.
pub fn is_control_plane_label(key: &str) -> bool {
    key.starts_with('_')
        || key
            .get(..9)
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case("approval_"))
        || key == "cordum.bus_msg_id"
        || key == "policy.attachment_id"
}
