use prost::Message;

use crate::context_pointer;
use crate::json::{request_from_json, JsonError};
use crate::messages::{JobMetadata, JobRequest};

/// First byte: protobuf follows, without the job id, which is part of the key, and without what further bits say.
const COMPACT: u8 = 0x80;
/// The pointer to the context is the usual one.
const USUAL_CONTEXT: u8 = 1;
/// `env` names the tenant of the request.
const ENV_TENANT: u8 = 2;
/// The metadata names the tenant of the request.
const META_TENANT: u8 = 4;
/// The actor is the principal.
const META_ACTOR: u8 = 8;

const TENANT: &str = "tenant_id";

/// The stored form of a request.
pub fn request_to_store(request: &JobRequest) -> Vec<u8> {
    let mut short = request.clone();
    let mut kind = COMPACT;
    if short.context_ptr == context_pointer(&request.job_id) {
        short.context_ptr.clear();
        kind |= USUAL_CONTEXT;
    }
    if short.env.get(TENANT) == Some(&request.tenant_id) {
        short.env.remove(TENANT);
        kind |= ENV_TENANT;
    }
    if let Some(meta) = &mut short.meta {
        kind |= clear_repeated(&mut meta.tenant_id, &request.tenant_id, META_TENANT);
        kind |= clear_repeated(&mut meta.actor_id, &request.principal_id, META_ACTOR);
    }
    short.job_id.clear();
    let mut stored = Vec::with_capacity(1 + short.encoded_len());
    stored.push(kind);
    stored.extend(short.encode_to_vec());
    stored
}

/// Clear a text that repeats another; `bit` when it did.
fn clear_repeated(text: &mut String, other: &str, bit: u8) -> u8 {
    if text != other || other.is_empty() {
        return 0;
    }
    text.clear();
    bit
}

/// The request of a job as it is stored: the form above, or protojson.
pub fn request_from_store(job_id: &str, stored: &[u8]) -> Result<JobRequest, JsonError> {
    let Some((kind, body)) = stored.split_first().filter(|(kind, _)| *kind & COMPACT != 0) else {
        return request_from_json(stored);
    };
    let has = |bit: u8| kind & bit != 0;
    let mut request = JobRequest::decode(body).map_err(|error| JsonError::Syntax(error.to_string()))?;
    job_id.clone_into(&mut request.job_id);
    if has(USUAL_CONTEXT) {
        request.context_ptr = context_pointer(job_id);
    }
    if has(ENV_TENANT) {
        request.env.insert(TENANT.to_owned(), request.tenant_id.clone());
    }
    let mut meta = |change: &dyn Fn(&mut JobMetadata)| change(request.meta.get_or_insert_default());
    if has(META_TENANT) {
        meta(&|meta| request.tenant_id.clone_into(&mut meta.tenant_id));
    }
    if has(META_ACTOR) {
        meta(&|meta| request.principal_id.clone_into(&mut meta.actor_id));
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::json::request_to_json;
    use proptest::prelude::*;

    /// Few texts, so that some repeat others.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(String::new()),
            Just("a".to_owned()),
            Just("redis://ctx:a".to_owned()),
            ".{0,12}"
        ]
    }

    proptest! {
        #[test]
        fn a_request_is_the_same_after_storing(
            texts in proptest::collection::vec(text(), 8),
            labels in proptest::collection::btree_map(".{0,6}", ".{0,6}", 0..4),
            (has_env, has_meta) in any::<(bool, bool)>(),
            priority in -1..9_i32,
        ) {
            let [job_id, topic, context_ptr, tenant_id, principal_id, env, tenant, actor] =
                <[String; 8]>::try_from(texts).unwrap();
            let meta = JobMetadata { tenant_id: tenant, actor_id: actor, ..JobMetadata::default() };
            let request = JobRequest {
                job_id, topic, context_ptr, tenant_id, principal_id, labels, priority,
                env: has_env.then(|| (TENANT.to_owned(), env)).into_iter().collect(),
                meta: has_meta.then_some(meta),
                ..JobRequest::default()
            };
            let stored = request_to_store(&request);
            prop_assert_eq!(request_from_store(&request.job_id, &stored), Ok(request.clone()));
            prop_assert_eq!(request_from_store(&request.job_id, &request_to_json(&request)), Ok(request));
        }

        #[test]
        fn nothing_stored_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = request_from_store("j", &bytes);
        }
    }
}
