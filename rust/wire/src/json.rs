//! protojson of `JobRequest`, every field emitted: the form of a request that readers get (scheduler spec §3.2, protocol spec §19).

mod read;
mod time;
mod write;

use thiserror::Error;

use crate::messages::JobRequest;

pub use time::{parse_rfc3339, rfc3339};

/// Why stored JSON is not a `JobRequest`.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum JsonError {
    /// Not JSON at all.
    #[error("request is not JSON: {0}")]
    Syntax(String),
    /// JSON of the wrong shape; names the field.
    #[error("request field `{field}`: expected {expected}")]
    Field {
        /// Lower camel case path of the field.
        field: String,
        /// What the field holds.
        expected: &'static str,
    },
}

/// protojson with all fields; unset messages are left out.
pub fn request_to_json(request: &JobRequest) -> Vec<u8> {
    let mut writer = write::Writer::with_capacity(1024);
    writer.job_request(request);
    writer.finish()
}

/// The request whose protojson `text` is. Unknown members are ignored.
pub fn request_from_json(text: &[u8]) -> Result<JobRequest, JsonError> {
    let value = serde_json::from_slice(text).map_err(|error| JsonError::Syntax(error.to_string()))?;
    read::job_request(&value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{Budget, Compensation, DispatchIdentity, JobMetadata, ResourceRef, Timestamp};
    use proptest::prelude::*;

    fn maps() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
        proptest::collection::btree_map(".{0,6}", ".{0,6}", 0..4)
    }

    proptest! {
        #[test]
        fn a_request_survives_the_round_trip(
            texts in proptest::collection::vec(".{0,12}", 6),
            (env, labels, inverse_labels) in (maps(), maps(), maps()),
            priority in -1..9_i32,
            deadline_ms in any::<i64>(),
            attempt in any::<u64>(),
            digest in proptest::collection::vec(any::<u8>(), 0..40),
            expires_us in 0..4_000_000_000_000_000_i64,
        ) {
            let text = |index: usize| texts[index].clone();
            let request = JobRequest {
                job_id: text(0), topic: text(1), priority, env, labels,
                budget: Some(Budget { deadline_ms, ..Budget::default() }),
                meta: Some(JobMetadata { actor_type: 2, risk_tags: vec![text(2), text(3)], ..JobMetadata::default() }),
                compensation: Some(Compensation { topic: text(4), labels: inverse_labels, ..Compensation::default() }),
                dispatch: Some(DispatchIdentity { attempt, dispatch_id: text(5), ..DispatchIdentity::default() }),
                context_ref: Some(ResourceRef {
                    sha256: digest, expires_at: Some(Timestamp::from_micros(expires_us)), ..ResourceRef::default()
                }),
                ..JobRequest::default()
            };
            prop_assert_eq!(request_from_json(&request_to_json(&request)), Ok(request));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = request_from_json(&bytes);
        }
    }

    #[test]
    fn a_wrong_type_names_the_field() {
        assert_eq!(
            request_from_json(br#"{"meta":{"riskTags":"pii"}}"#)
                .unwrap_err()
                .to_string(),
            "request field `riskTags`: expected a list of strings"
        );
    }
}
