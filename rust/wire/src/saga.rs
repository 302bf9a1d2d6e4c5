//! Compensations of a workflow's jobs: what is remembered of a job that succeeded, and the job that undoes it (scheduler spec §14).

use std::collections::BTreeMap;

use prost::Message;
use sha2::{Digest, Sha256};

use crate::canonical::canonical_bytes;
use crate::messages::{Compensation, JobMetadata, JobRequest};
use crate::record::record_tenant;
use crate::request::{hex, tenant_of};

/// Priority of every compensation.
const CRITICAL: i32 = 3;
/// Marks a job that undoes another one, in its labels and its environment.
const MARK: &str = "saga_compensation";

/// Part a job has in a saga, as its record keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not part of one.
    None,
    /// A workflow's job; its fatal failure rolls the run back.
    Member,
    /// A workflow's job with a compensation.
    Compensable,
    /// A compensation itself: never compensated, never the cause of a rollback.
    Compensation,
}

impl Role {
    /// Value of the record's field `saga`; empty when there is none.
    pub fn word(self) -> &'static str {
        match self {
            Role::None => "",
            Role::Member => "m",
            Role::Compensable => "c",
            Role::Compensation => "x",
        }
    }
}

/// Why there is no compensation to remember or to run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SagaError {
    /// The request names no inverse action.
    #[error("the job has no compensation")]
    Absent,
    /// `compensation.topic` is empty.
    #[error("the compensation has no topic")]
    NoTopic,
    /// The inverse action would run for somebody else.
    #[error("the compensation names another tenant")]
    ForeignTenant,
    /// Stored bytes are not a request.
    #[error("the stored compensation does not decode")]
    Undecodable,
}

/// Part a job has in a saga.
pub fn role(request: &JobRequest) -> Role {
    if is_marked(&request.labels) || is_marked(&request.env) {
        return Role::Compensation;
    }
    if workflow(request).is_empty() {
        return Role::None;
    }
    match request.compensation {
        Some(_) => Role::Compensable,
        None => Role::Member,
    }
}

/// Workflow of a job: `workflow_id`, else the label of that name; empty when it has none.
pub fn workflow(request: &JobRequest) -> &str {
    if request.workflow_id.is_empty() {
        return label(request, "workflow_id");
    }
    &request.workflow_id
}

/// What separates one saga from another: the run when the job names one, else its workflow.
pub fn scope(request: &JobRequest) -> &str {
    match label(request, "run_id") {
        "" => workflow(request),
        run => run,
    }
}

/// Canonical bytes of the request that would undo `request`, without an id.
pub fn template(request: &JobRequest) -> Result<Vec<u8>, SagaError> {
    let inverse = request.compensation.as_ref().ok_or(SagaError::Absent)?;
    if inverse.topic.trim().is_empty() {
        return Err(SagaError::NoTopic);
    }
    let mut made = request.clone();
    made.compensation = None;
    made.job_id.clear();
    made.dispatch = None;
    made.parent_job_id.clone_from(&request.job_id);
    inverse.topic.trim().clone_into(&mut made.topic);
    made.priority = CRITICAL;
    // The parent's approval and message identity say nothing about its inverse.
    made.labels.retain(|key, _| !is_bound_to_parent(key));
    override_fields(&mut made, inverse);
    if !is_of_tenant(&made, request) {
        return Err(SagaError::ForeignTenant);
    }
    let key = inverse.meta.as_ref().map_or("", |meta| &meta.idempotency_key);
    let key = match key {
        "" => idempotency_key(request, &made),
        given => given.to_owned(),
    };
    made.meta.get_or_insert_with(JobMetadata::default).idempotency_key = key;
    Ok(canonical_bytes(&made))
}

/// The job a remembered template becomes under `job_id`.
pub fn compensation(template: &[u8], job_id: &str) -> Result<JobRequest, SagaError> {
    let mut made = JobRequest::decode(template).map_err(|_| SagaError::Undecodable)?;
    if made.topic.is_empty() || made.parent_job_id.is_empty() {
        return Err(SagaError::Undecodable);
    }
    if !made.topic.starts_with("job.") {
        made.topic.insert_str(0, "job.");
    }
    job_id.clone_into(&mut made.job_id);
    let workflow = workflow(&made).to_owned();
    let marks = [
        (MARK, "true"),
        ("is_compensation", "true"),
        ("saga_workflow_id", &workflow),
    ];
    for (key, value) in marks {
        made.labels.insert(key.to_owned(), value.to_owned());
        made.env.insert(key.to_owned(), value.to_owned());
    }
    Ok(made)
}

fn is_of_tenant(made: &JobRequest, request: &JobRequest) -> bool {
    let env = made.env.get("tenant_id").map_or("", String::as_str);
    let tenant = tenant_of(request);
    record_tenant(made) == record_tenant(request)
        && tenant_of(made) == tenant
        && (env.is_empty() || env == tenant)
}

fn override_fields(made: &mut JobRequest, inverse: &Compensation) {
    if !inverse.context_ptr.is_empty() {
        made.context_ptr.clone_from(&inverse.context_ptr);
        made.context_ref = None;
    }
    put(&mut made.adapter_id, &inverse.adapter_id);
    put(&mut made.memory_id, &inverse.memory_id);
    put(&mut made.tenant_id, &inverse.tenant_id);
    put(&mut made.principal_id, &inverse.principal_id);
    put_message(&mut made.context_hints, &inverse.context_hints);
    put_message(&mut made.budget, &inverse.budget);
    put_message(&mut made.identity, &inverse.identity);
    put_message(&mut made.context_ref, &inverse.context_ref);
    made.env.extend(inverse.env.clone());
    made.labels.extend(inverse.labels.clone());
    if let Some(meta) = &inverse.meta {
        merge_meta(made.meta.get_or_insert_with(JobMetadata::default), meta);
    }
}

fn merge_meta(made: &mut JobMetadata, given: &JobMetadata) {
    put(&mut made.tenant_id, &given.tenant_id);
    put(&mut made.actor_id, &given.actor_id);
    put(&mut made.capability, &given.capability);
    put(&mut made.pack_id, &given.pack_id);
    if given.actor_type != 0 {
        made.actor_type = given.actor_type;
    }
    if !given.risk_tags.is_empty() {
        made.risk_tags.clone_from(&given.risk_tags);
    }
    if !given.requires.is_empty() {
        made.requires.clone_from(&given.requires);
    }
    made.labels.extend(given.labels.clone());
}

fn idempotency_key(parent: &JobRequest, made: &JobRequest) -> String {
    let capability = made.meta.as_ref().map_or("", |meta| &meta.capability);
    let text = format!(
        "{}|{}|{}|{capability}|{}",
        workflow(parent),
        parent.job_id,
        made.topic,
        parent.step_index
    );
    let digest = Sha256::digest(text.trim_matches('|').as_bytes());
    format!("saga:{}", hex(digest.get(..16).unwrap_or_default()))
}

fn is_bound_to_parent(key: &str) -> bool {
    let approval = key
        .get(..9)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case("approval_"));
    approval || key == "cordum.bus_msg_id" || key == "policy.attachment_id"
}

fn is_marked(map: &BTreeMap<String, String>) -> bool {
    map.get(MARK).is_some_and(|value| value != "false")
}

fn label<'a>(request: &'a JobRequest, key: &str) -> &'a str {
    request.labels.get(key).map_or("", String::as_str)
}

fn put(slot: &mut String, value: &str) {
    if !value.is_empty() {
        value.clone_into(slot);
    }
}

fn put_message<T: Clone>(slot: &mut Option<T>, value: &Option<T>) {
    if value.is_some() {
        slot.clone_from(value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::messages::Budget;
    use proptest::prelude::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn booked() -> JobRequest {
        JobRequest {
            job_id: "run-1:book@1".into(),
            topic: "job.hotel.book".into(),
            priority: 2,
            context_ptr: "redis://ctx:run-1:book@1".into(),
            workflow_id: "trip".into(),
            step_index: 3,
            tenant_id: "acme".into(),
            principal_id: "p".into(),
            memory_id: "m".into(),
            env: map(&[("A", "1"), ("B", "2")]),
            labels: map(&[
                ("run_id", "run-1"),
                ("l", "old"),
                ("approval_granted", "true"),
                ("cordum.bus_msg_id", "x"),
            ]),
            meta: Some(JobMetadata {
                capability: "book".into(),
                actor_id: "ann".into(),
                idempotency_key: "parent".into(),
                risk_tags: vec!["write".into()],
                ..JobMetadata::default()
            }),
            compensation: Some(Compensation {
                topic: "hotel.cancel".into(),
                env: map(&[("B", "3")]),
                labels: map(&[("l", "new")]),
                meta: Some(JobMetadata {
                    capability: "cancel".into(),
                    ..JobMetadata::default()
                }),
                budget: Some(Budget {
                    deadline_ms: 5,
                    ..Budget::default()
                }),
                ..Compensation::default()
            }),
            ..JobRequest::default()
        }
    }

    fn made(request: &JobRequest) -> JobRequest {
        JobRequest::decode(template(request).unwrap().as_slice()).unwrap()
    }

    #[test]
    fn a_template_inherits_what_the_compensation_leaves_open() {
        let made = made(&booked());
        assert_eq!(
            (made.job_id.as_str(), made.parent_job_id.as_str()),
            ("", "run-1:book@1")
        );
        assert_eq!((made.topic.as_str(), made.priority), ("hotel.cancel", CRITICAL));
        assert_eq!(made.context_ptr, "redis://ctx:run-1:book@1");
        assert_eq!(made.env, map(&[("A", "1"), ("B", "3")]));
        assert_eq!(made.labels, map(&[("run_id", "run-1"), ("l", "new")]));
        assert_eq!(made.compensation, None);
        assert_eq!(made.budget.unwrap().deadline_ms, 5);
        let meta = made.meta.unwrap();
        assert_eq!(
            (meta.capability.as_str(), meta.actor_id.as_str()),
            ("cancel", "ann")
        );
        assert_eq!(meta.risk_tags, ["write"]);
        assert_eq!((made.tenant_id.as_str(), made.memory_id.as_str()), ("acme", "m"));
    }

    #[test]
    fn the_idempotency_key_names_the_parent_and_the_inverse_action() {
        let digest = Sha256::digest(b"trip|run-1:book@1|hotel.cancel|cancel|3");
        assert_eq!(
            made(&booked()).meta.unwrap().idempotency_key,
            format!("saga:{}", hex(&digest[..16]))
        );
        let mut given = booked();
        given
            .compensation
            .as_mut()
            .unwrap()
            .meta
            .as_mut()
            .unwrap()
            .idempotency_key = "mine".into();
        assert_eq!(made(&given).meta.unwrap().idempotency_key, "mine");
    }

    #[test]
    fn a_compensation_is_marked_and_routed_below_job() {
        let job = compensation(&template(&booked()).unwrap(), "comp-1").unwrap();
        assert_eq!(
            (job.job_id.as_str(), job.topic.as_str()),
            ("comp-1", "job.hotel.cancel")
        );
        for map in [&job.labels, &job.env] {
            assert_eq!(map.get("saga_compensation").map(String::as_str), Some("true"));
            assert_eq!(map.get("is_compensation").map(String::as_str), Some("true"));
            assert_eq!(map.get("saga_workflow_id").map(String::as_str), Some("trip"));
        }
        assert_eq!(role(&job), Role::Compensation);
    }

    #[test]
    fn a_role_needs_a_workflow_and_no_mark() {
        let mut request = booked();
        assert_eq!((role(&request), scope(&request)), (Role::Compensable, "run-1"));
        request.labels.remove("run_id");
        assert_eq!(scope(&request), "trip");
        request.compensation = None;
        assert_eq!(role(&request), Role::Member);
        request.workflow_id.clear();
        assert_eq!((role(&request), scope(&request)), (Role::None, ""));
        request.labels.insert("workflow_id".into(), "other".into());
        assert_eq!((role(&request), scope(&request)), (Role::Member, "other"));
        request.env.insert(MARK.into(), "false".into());
        assert_eq!(role(&request), Role::Member);
        request.env.insert(MARK.into(), "1".into());
        assert_eq!(role(&request), Role::Compensation);
    }

    #[test]
    fn what_cannot_be_undone_says_why() {
        let mut request = booked();
        request.compensation.as_mut().unwrap().topic = " ".into();
        assert_eq!(template(&request), Err(SagaError::NoTopic));
        for foreign in [
            Compensation {
                tenant_id: "other".into(),
                ..Compensation::default()
            },
            Compensation {
                env: map(&[("tenant_id", "other")]),
                ..Compensation::default()
            },
            Compensation {
                meta: Some(JobMetadata {
                    tenant_id: "other".into(),
                    ..JobMetadata::default()
                }),
                ..Compensation::default()
            },
        ] {
            request.compensation = Some(Compensation {
                topic: "undo".into(),
                ..foreign
            });
            assert_eq!(template(&request), Err(SagaError::ForeignTenant));
        }
        request.compensation = None;
        assert_eq!(template(&request), Err(SagaError::Absent));
        for bytes in [&b"\xff\xff"[..], b"", &[0x12, 1, b't']] {
            assert_eq!(compensation(bytes, "comp"), Err(SagaError::Undecodable));
        }
    }

    proptest! {
        #[test]
        fn any_template_becomes_a_compensation_of_its_parent(
            (env, labels) in (proptest::collection::btree_map(".{0,5}", ".{0,5}", 0..4),
                              proptest::collection::btree_map(".{0,5}", ".{0,5}", 0..4)),
            topic in "[a-z.]{1,12}",
            workflow_id in ".{1,8}",
        ) {
            let mut request = booked();
            request.workflow_id = workflow_id.clone();
            let mut env = env;
            env.remove("tenant_id");
            let inverse = request.compensation.as_mut().unwrap();
            inverse.topic = topic;
            inverse.env = env.clone();
            inverse.labels = labels;
            let once = template(&request).unwrap();
            prop_assert_eq!(&once, &template(&request).unwrap());
            let job = compensation(&once, "comp-x").unwrap();
            prop_assert_eq!(role(&job), Role::Compensation);
            prop_assert!(job.topic.starts_with("job."));
            prop_assert_eq!(&job.parent_job_id, &request.job_id);
            for (key, value) in env.iter().filter(|(key, _)| !["saga_compensation", "is_compensation", "saga_workflow_id"].contains(&key.as_str())) {
                prop_assert_eq!(job.env.get(key), Some(value));
            }
        }

        #[test]
        fn arbitrary_stored_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = compensation(&bytes, "comp");
        }
    }
}
