//! A stored request submitted again under a new id: dead-letter retry, re-evaluation (scheduler spec §13).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::body::Submission;
use super::labels::is_control_plane_label;
use crate::messages::JobRequest;

/// What a new run of a stored request changes.
#[derive(Clone, Debug, Default)]
pub struct Again {
    /// Id of the job to make, or of the stored one to judge it again.
    pub job_id: String,
    /// Trace of the job.
    pub trace_id: String,
    /// `apikey:<16 hex>|principal:<id>`.
    pub submitted_by: String,
    /// Labels to set.
    pub labels: BTreeMap<String, String>,
    /// Environment to set.
    pub env: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    prompt: String,
}

/// The submission of `request`: approvals, dispatch identity and idempotency key of the first run do not carry over.
pub(super) fn submission(mut request: JobRequest, context: Vec<u8>, again: &Again) -> Submission {
    request
        .labels
        .retain(|key, _| key.starts_with('_') || !is_control_plane_label(key));
    request.dispatch = None;
    if let Some(meta) = request.meta.as_mut() {
        meta.idempotency_key.clear();
    }
    request.labels.extend(again.labels.clone());
    request.env.extend(again.env.clone());
    // A context that is not an envelope of ours has no prompt.
    let prompt =
        serde_json::from_slice::<Document>(&context).map_or(String::new(), |document| document.prompt);
    let mut submission = Submission {
        request,
        prompt,
        context,
        submitted_by: again.submitted_by.clone(),
        ..Submission::default()
    };
    submission.rename(&again.job_id);
    submission
}
