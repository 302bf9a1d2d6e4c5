//! Topic registry and input schemas at submit (gateway spec §14.1).

use cordum_boundary::{Boundary, Fault, Mode, Payload, Standing, Violation};
use serde::Serialize;

use super::outcome::{json, Outcome, Refusal};
use super::plan::Batch;
use crate::request::tenant_of;

/// Topics named to a caller whose topic is none.
const TOPICS_SHOWN: usize = 20;
const TOPICS_ENDPOINT: &str = "/api/v1/topics";

/// Something to tell about the payload of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Tenant of the job.
    pub tenant: String,
    /// Topic of the job.
    pub topic: String,
    /// Schema of the topic.
    pub schema_id: String,
    /// Reason code.
    pub code: &'static str,
    /// Whether the submission was refused for it.
    pub refused: bool,
    /// Faults of the payload.
    pub violations: Vec<Violation>,
}

#[derive(Serialize)]
struct UnknownTopic<'a> {
    error: String,
    code: &'static str,
    status: u16,
    field: &'static str,
    registered_topics: Vec<&'a str>,
    truncated: bool,
    topics_endpoint: &'static str,
}

#[derive(Serialize)]
struct BadPayload<'a> {
    error: &'static str,
    code: &'static str,
    status: u16,
    violations: Vec<Fact<'a>>,
}

#[derive(Serialize)]
struct Fact<'a> {
    path: &'a str,
    message: &'a str,
}

impl Batch {
    /// Refuse jobs on topics that are not registered or switched off, and payloads that do not fit where that is enforced.
    /// A schema that is itself at fault does not refuse: the scheduler ends such jobs, and they can be retried.
    pub fn check(&mut self, boundary: &Boundary) -> Vec<Finding> {
        let mut answers: Vec<(usize, Outcome)> = Vec::new();
        let mut findings = Vec::new();
        for (index, submission, _) in self.open() {
            let request = &submission.request;
            let tenant = tenant_of(request);
            let topic = match boundary.standing(tenant, &request.topic) {
                Standing::NotLoaded | Standing::Free => continue,
                Standing::Unknown => {
                    answers.push((index, unknown(boundary, tenant, &request.topic)));
                    continue;
                }
                Standing::Disabled => {
                    answers.push((index, disabled(&request.topic)));
                    continue;
                }
                Standing::Known(topic) => topic,
            };
            let Some(schema_id) = boundary.schema_id(topic) else {
                continue;
            };
            let payload = match submission.context.as_slice() {
                [] => Payload::NoPointer,
                bytes => Payload::Here(bytes),
            };
            let Some(fault) = boundary.check(schema_id, payload) else {
                continue;
            };
            let refused = boundary.mode == Mode::Enforce && fault.is_of_payload();
            if refused {
                answers.push((index, unfit(&fault)));
            }
            findings.push(Finding {
                tenant: tenant.to_owned(),
                topic: request.topic.clone(),
                schema_id: schema_id.to_owned(),
                code: fault.code,
                refused,
                violations: fault.violations,
            });
        }
        for (index, outcome) in answers {
            self.answer(index, outcome);
        }
        findings
    }
}

fn refusal(body: Vec<u8>) -> Outcome {
    Outcome {
        status: 400,
        body,
        trace_id: String::new(),
        retry_after_s: 0,
    }
}

fn unknown(boundary: &Boundary, tenant: &str, topic: &str) -> Outcome {
    let usable = boundary
        .registry()
        .map(|registry| registry.usable(tenant, TOPICS_SHOWN));
    let (registered_topics, truncated) = usable.unwrap_or_default();
    refusal(json(&UnknownTopic {
        error: format!("unknown topic `{topic}`"),
        code: "unknown_topic",
        status: 400,
        field: "topic",
        registered_topics,
        truncated,
        topics_endpoint: TOPICS_ENDPOINT,
    }))
}

fn disabled(topic: &str) -> Outcome {
    Outcome::from(&Refusal {
        status: 400,
        code: "topic_disabled",
        message: format!("topic `{topic}` is disabled"),
        field: "topic".into(),
    })
}

fn unfit(fault: &Fault) -> Outcome {
    let violations = fault.violations.iter().map(|violation| Fact {
        path: &violation.path,
        message: &violation.message,
    });
    refusal(json(&BadPayload {
        error: fault.reason,
        code: "schema_validation_failed",
        status: 400,
        violations: violations.collect(),
    }))
}
