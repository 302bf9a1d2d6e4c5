//! Judgements: what the kernel, a stored approval or an outage says about one job (policy spec §15, §16.3).

use cordum_wire::messages::{BatchItem, BatchResponse, JobRequest, PolicyCheckRequest, PolicyCheckResponse};
use cordum_wire::tenant_of;
use prost::Message;
use serde_json::Value;

use crate::record::{snapshot_base, Record};

/// Most bytes of a payload the kernel is shown.
pub const CONTENT_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Largest payload that also goes along as a label.
const PAYLOAD_LABEL_MAX_BYTES: usize = 64 * 1024;
/// Item code of the kernel: an input rule needs the payload (gRPC FAILED_PRECONDITION).
const NEEDS_CONTENT: i32 = 9;
const CONTENT_STATE: &str = "_content.state";
const CONTENT_JSON: &str = "_content.payload_json";

/// Policy answer of one job, reduced to what the pipeline acts on.
#[derive(Clone, Debug)]
pub enum Judgement {
    Allow {
        constraints: Value,
        response: Box<PolicyCheckResponse>,
    },
    Deny {
        response: Box<PolicyCheckResponse>,
    },
    Approval {
        response: Box<PolicyCheckResponse>,
    },
    Throttle {
        response: Box<PolicyCheckResponse>,
    },
    Unavailable {
        reason: String,
        /// The kernel as a whole gave no answer; a fault of one item never opens the way for its job.
        outage: bool,
    },
    /// Admitted without an answer, because the fail mode is open.
    Bypass {
        reason: String,
    },
    /// The stored request is not the one that was submitted, or not the one a human approved.
    Altered,
    /// Ends before policy is asked: topic or payload are not what they have to be.
    Unfit {
        code: &'static str,
        reason: &'static str,
    },
}

/// What is known about a job's payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Not read; the kernel says if it needs it.
    #[default]
    Omitted,
    /// To be read before the kernel is asked (again).
    Wanted,
    /// First [`CONTENT_MAX_BYTES`] bytes and the full length.
    Here(Vec<u8>, i64),
    /// There is no payload.
    Missing,
}

/// Key of the payload a pointer names, `None` when it names none that may be read (protocol spec §10).
pub fn content_key(pointer: &str) -> Option<&str> {
    let key = pointer.strip_prefix("redis://")?;
    let known = ["ctx:", "res:", "art:", "mem:"]
        .iter()
        .any(|kind| key.len() > kind.len() && key.starts_with(kind));
    let clean = key.len() <= 1024 && !key.contains("..") && !key.bytes().any(|b| b <= b' ' || b == 0x7f);
    (known && clean).then_some(key)
}

/// The kernel's request for a job (scheduler spec §6.1) under an effective configuration (empty: none is stored, and the
/// job's own word, which can only restrict, stands). The job's own request is not touched.
pub fn policy_request(request: &JobRequest, content: &Content, config: &[u8]) -> PolicyCheckRequest {
    let mut check = PolicyCheckRequest {
        job_id: request.job_id.clone(),
        topic: request.topic.clone(),
        tenant: tenant_of(request).to_owned(),
        priority: request.priority,
        budget: request.budget.clone(),
        principal_id: request.principal_id.clone(),
        labels: request.labels.clone(),
        memory_id: request.memory_id.clone(),
        meta: request.meta.clone(),
        identity: request.identity.clone(),
        effective_config: match (config, request.env.get("CORDUM_EFFECTIVE_CONFIG")) {
            ([], Some(own)) => own.clone().into_bytes(),
            _ => config.to_vec(),
        },
        ..PolicyCheckRequest::default()
    };
    // Only the scheduler knows the state: a submitter's word for it would switch content rules off.
    check.labels.remove(CONTENT_STATE);
    let state = match content {
        Content::Here(bytes, size) => {
            put_content(&mut check, bytes, *size);
            return check;
        }
        Content::Missing => "missing",
        _ if content_key(&request.context_ptr).is_none() => "missing",
        _ => "omitted",
    };
    check.labels.insert(CONTENT_STATE.into(), state.into());
    check
}

fn put_content(check: &mut PolicyCheckRequest, bytes: &[u8], size: i64) {
    check.input_content_type = check.labels.get("content_type").cloned().unwrap_or_default();
    check.input_size_bytes = size;
    if bytes.len() <= PAYLOAD_LABEL_MAX_BYTES && usize::try_from(size).is_ok_and(|size| size == bytes.len()) {
        if let Ok(text) = std::str::from_utf8(bytes) {
            check
                .labels
                .entry(CONTENT_JSON.into())
                .or_insert_with(|| text.to_owned());
        }
    }
    check.input_content = bytes.to_vec();
}

/// What the kernel said about one job.
pub(crate) enum Word {
    /// With the time the kernel took for it, µs.
    Judged(Judgement, i64),
    NeedsContent,
}

/// Answers of one call, `count` of them, and whether the kernel is well: an undecodable or undecided answer is a failure of
/// the call (policy spec §15.2).
pub(crate) fn words(count: usize, answer: Option<&[u8]>, reason: &str) -> (Vec<Word>, bool, String) {
    let failed = |reason: &str| {
        let words = (0..count).map(|_| Word::Judged(unavailable(reason, true), 0));
        (words.collect(), false, String::new())
    };
    let Some(bytes) = answer else {
        return failed(if reason.is_empty() {
            "safety kernel unavailable"
        } else {
            reason
        });
    };
    let Ok(response) = BatchResponse::decode(bytes) else {
        return failed("safety kernel gave an undecodable answer");
    };
    if response.items.len() != count {
        return failed("safety kernel answered a different number of items");
    }
    let mut well = true;
    let words = response.items.iter().map(|item| word(item, &mut well)).collect();
    (words, well, response.policy_snapshot)
}

fn word(item: &BatchItem, well: &mut bool) -> Word {
    if item.code == NEEDS_CONTENT {
        return Word::NeedsContent;
    }
    if item.code != 0 {
        let reason = format!("safety kernel: code {} {}", item.code, item.error);
        return Word::Judged(unavailable(&reason, false), 0);
    }
    match PolicyCheckResponse::decode(item.response.as_slice()) {
        Ok(response) => {
            *well &= response.decision != 0;
            Word::Judged(judgement(response), item.eval_us)
        }
        Err(_) => {
            *well = false;
            Word::Judged(unavailable("safety kernel gave an undecodable answer", false), 0)
        }
    }
}

pub(crate) fn unavailable(reason: &str, outage: bool) -> Judgement {
    Judgement::Unavailable {
        reason: reason.to_owned(),
        outage,
    }
}

fn judgement(response: PolicyCheckResponse) -> Judgement {
    let constraints = response
        .constraints
        .as_ref()
        .map_or(Value::Null, cordum_wire::constraints_json);
    let response = Box::new(response);
    match cordum_wire::decision_word(&response) {
        "ALLOW" | "ALLOW_WITH_CONSTRAINTS" => Judgement::Allow {
            constraints,
            response,
        },
        "REQUIRE_APPROVAL" => Judgement::Approval { response },
        "THROTTLE" => Judgement::Throttle { response },
        _ => Judgement::Deny { response },
    }
}

/// Why an approval does not count for the job that claims it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// `record`, `hash` or `snapshot`.
    pub cause: &'static str,
    pub job_id: String,
    pub tenant: String,
    pub topic: String,
    pub stored_snapshot: String,
    pub asserted_snapshot: String,
}

/// What a stored approval means for its job.
pub(crate) enum Approval {
    /// Nobody claims one.
    None,
    Settled(Judgement),
    Mismatch(&'static str),
}

/// An approved job passes on its stored approval alone: the stored record must carry the human's decision, its hash and snapshot
/// must be those approved (scheduler spec §6.3) and the snapshot must still be in force: `current` is the kernel's, empty when
/// unknown, which leaves the job waiting. Labels prove nothing by themselves.
pub(crate) fn stored_approval(
    record: &Record,
    request: &JobRequest,
    hash: &str,
    gate: bool,
    current: &str,
) -> Approval {
    let label = |key: &str| request.labels.get(key).map_or("", String::as_str);
    let granted = label("approval_granted").eq_ignore_ascii_case("true");
    let decided = record.text("approval_decision") == "approve";
    if !granted && !decided {
        return Approval::None;
    }
    if !granted || !decided || record.text("safety_approval_required") != "true" {
        return Approval::Mismatch("record");
    }
    if record.text("safety_job_hash") != hash {
        return Approval::Mismatch("hash");
    }
    let stored = record.text("safety_snapshot");
    let asserted = snapshot_base(label("approval_snapshot"));
    if !gate && (asserted.is_empty() || asserted != snapshot_base(stored)) {
        return Approval::Mismatch("snapshot");
    }
    if !gate && current.is_empty() {
        return Approval::Settled(unavailable("the policy in force is not known", true));
    }
    if !gate && snapshot_base(current) != asserted {
        return Approval::Mismatch("snapshot");
    }
    let response = PolicyCheckResponse {
        decision: 1,
        reason: "approval granted".into(),
        rule_id: record.text("safety_rule_id").to_owned(),
        policy_snapshot: stored.to_owned(),
        ..PolicyCheckResponse::default()
    };
    Approval::Settled(Judgement::Allow {
        constraints: serde_json::from_str(record.text("safety_constraints")).unwrap_or(Value::Null),
        response: Box::new(response),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_payload_keys_are_read() {
        for (pointer, key) in [
            ("redis://ctx:1", Some("ctx:1")),
            ("redis://art:a.b", Some("art:a.b")),
            ("redis://ctx:", None),
            ("redis://cfg:system:default", None),
            ("redis://ctx:../x", None),
            ("redis://ctx:a b", None),
            ("s3://ctx:1", None),
            ("", None),
        ] {
            assert_eq!(content_key(pointer), key, "{pointer}");
        }
    }

    #[test]
    fn a_cut_payload_keeps_its_true_length_and_is_no_label() {
        let request = JobRequest::default();
        let check = policy_request(&request, &Content::Here(b"{}".to_vec(), 3_000_000), &[]);
        assert_eq!(
            (check.input_content.len(), check.input_size_bytes),
            (2, 3_000_000)
        );
        assert!(check.labels.is_empty());
        let whole = policy_request(&request, &Content::Here(b"{}".to_vec(), 2), &[]);
        assert_eq!(whole.labels.get(CONTENT_JSON).map(String::as_str), Some("{}"));
    }

    #[test]
    fn a_submitter_cannot_say_that_the_payload_was_checked() {
        let mut request = JobRequest {
            context_ptr: "redis://ctx:1".into(),
            ..JobRequest::default()
        };
        request.labels.insert(CONTENT_STATE.into(), "missing".into());
        let state = |content| {
            policy_request(&request, &content, &[])
                .labels
                .get(CONTENT_STATE)
                .cloned()
        };
        assert_eq!(state(Content::Omitted).as_deref(), Some("omitted"));
        assert_eq!(state(Content::Here(Vec::new(), 0)), None);
    }
}
