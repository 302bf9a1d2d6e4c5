//! Job requests: tenant, canonical hash, submit packet.

use prost::Message;
use sha2::{Digest, Sha256};

use crate::canonical::canonical_bytes;
use crate::messages::{BusPacket, JobRequest, Payload, Timestamp};

/// Tenant a request is judged, limited and stored under: `tenant_id`, else `env.tenant_id`, else `default`.
pub fn tenant_of(request: &JobRequest) -> &str {
    if !request.tenant_id.is_empty() {
        return &request.tenant_id;
    }
    request
        .env
        .get("tenant_id")
        .map(String::as_str)
        .filter(|tenant| !tenant.is_empty())
        .unwrap_or("default")
}

/// Canonical request hash that binds an approval to one request (protocol spec §19): lower-case hex SHA-256.
pub fn canonical_hash(request: &JobRequest) -> String {
    let volatile = request.dispatch.is_some()
        || request.env.contains_key(EFFECTIVE_CONFIG)
        || request.labels.keys().any(|key| is_volatile_label(key));
    if !volatile {
        return hex(&Sha256::digest(canonical_bytes(request)));
    }
    let mut clone = request.clone();
    clone.labels.retain(|key, _| !is_volatile_label(key));
    clone.env.remove(EFFECTIVE_CONFIG);
    clone.dispatch = None;
    hex(&Sha256::digest(canonical_bytes(&clone)))
}

/// Tenant, team, workflow and step whose configuration documents apply to a job, blank where there is none (scheduler spec
/// §5 step 7).
pub type ConfigScope = (String, String, String, String);

/// The scope of a job.
pub fn config_scope(request: &JobRequest) -> ConfigScope {
    let env = |name: &str| request.env.get(name).cloned().unwrap_or_default();
    (
        crate::tenant_of(request).to_owned(),
        env("team_id"),
        request.workflow_id.clone(),
        env("step_id"),
    )
}

const EFFECTIVE_CONFIG: &str = "CORDUM_EFFECTIVE_CONFIG";

/// Labels the control plane adds after the hash was pinned.
fn is_volatile_label(key: &str) -> bool {
    let approval = key
        .get(..9)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case("approval_"));
    approval || key == "cordum.bus_msg_id" || key == "policy.attachment_id"
}

/// Bus packet that carries `request` to the scheduler.
pub fn submit_packet(request: JobRequest, trace_id: &str, sender_id: &str, now_us: i64) -> Vec<u8> {
    BusPacket {
        trace_id: trace_id.to_owned(),
        sender_id: sender_id.to_owned(),
        created_at: Some(Timestamp::from_micros(now_us)),
        protocol_version: 1,
        payload: Some(Payload::JobRequest(request)),
        ..BusPacket::default()
    }
    .encode_to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approval_labels_dispatch_and_effective_config_do_not_change_the_hash() {
        let plain = JobRequest {
            job_id: "j".into(),
            topic: "job.a".into(),
            ..JobRequest::default()
        };
        let mut stamped = plain.clone();
        stamped.labels.insert("approval_granted".into(), "true".into());
        stamped.labels.insert("Approval_note".into(), "n".into());
        stamped
            .labels
            .insert("cordum.bus_msg_id".into(), "approval:j".into());
        stamped.env.insert("CORDUM_EFFECTIVE_CONFIG".into(), "{}".into());
        stamped.dispatch = Some(Default::default());
        assert_eq!(canonical_hash(&plain), canonical_hash(&stamped));
        stamped.topic = "job.b".into();
        assert_ne!(canonical_hash(&plain), canonical_hash(&stamped));
    }
}
