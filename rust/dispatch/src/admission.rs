//! Topics and payloads before policy is asked: registrations and input schemas (scheduler spec §5 steps 4 and 5).

use std::collections::BTreeSet;
use std::sync::Arc;

use cordum_boundary::{Boundary, Fault, Mode, Payload, Standing, Violation, PAYLOAD_MAX_BYTES};
use cordum_wire::tenant_of;

use crate::judge::{content_key, Judgement};
use crate::submit::{Item, SubmitPlan, Verdict};

/// Wait of a job that comes before the registrations were read.
const NOT_LOADED_US: i64 = 1_000_000;

/// An item and its payload: first bytes and full length, `None` when the key is gone.
pub type ItemPayload<'a> = (usize, Option<(&'a [u8], i64)>);

/// Something to tell about one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub job_id: String,
    pub tenant: String,
    pub topic: String,
    /// Schema of the topic, empty when it is not about one.
    pub schema_id: String,
    /// Reason code of the fault, or `deprecated_topic`.
    pub code: &'static str,
    /// Whether the job ends for it.
    pub fatal: bool,
    pub violations: Vec<Violation>,
}

impl SubmitPlan {
    fn boundary(&self) -> Arc<Boundary> {
        Arc::clone(&self.surroundings.config.boundary)
    }

    /// Check the topics of all jobs, and the payloads of those that need none read. Call it before policy is asked.
    pub fn admit(&mut self) -> Vec<Notice> {
        let boundary = self.boundary();
        let mut notices = Vec::new();
        let mut early = Vec::new();
        let mut deprecated = BTreeSet::new();
        for item in self.items.iter_mut().filter(|item| item.is_to_admit()) {
            let topic = match boundary.standing(tenant_of(&item.request), &item.request.topic) {
                Standing::Free => continue,
                Standing::NotLoaded => {
                    if boundary.mode == Mode::Enforce {
                        item.open = false;
                        early.push(item.message);
                    }
                    continue;
                }
                // The gateway knew the topic: it is newer than what was read here.
                Standing::Unknown if item.is_fresh => {
                    item.open = false;
                    early.push(item.message);
                    continue;
                }
                Standing::Unknown | Standing::Disabled => {
                    notices.push(item.end("", Fault::unknown_topic()));
                    continue;
                }
                Standing::Known(topic) => topic,
            };
            let is_deprecated = topic.status == cordum_boundary::Status::Deprecated;
            if is_deprecated && deprecated.insert(item.request.topic.clone()) {
                notices.push(item.notice("", "deprecated_topic", false, Vec::new()));
            }
            let Some(schema_id) = boundary.schema_id(topic) else {
                continue;
            };
            let pointer = item.request.context_ptr.as_str();
            let fault = boundary.schema_fault(schema_id).or_else(|| {
                if pointer.is_empty() {
                    return boundary.check(schema_id, Payload::NoPointer);
                }
                if content_key(pointer).is_none() {
                    return boundary.check(schema_id, Payload::BadPointer);
                }
                item.unchecked = true;
                None
            });
            notices.extend(fault.map(|fault| item.find(boundary.mode, schema_id, fault)));
        }
        for message in early {
            self.settle(message, Verdict::Nak(NOT_LOADED_US));
        }
        notices
    }

    /// Payloads to be read and checked: item, key.
    pub fn unchecked(&self) -> Vec<(usize, String)> {
        let waiting = self.items.iter().enumerate().filter(|(_, item)| item.unchecked);
        waiting
            .filter_map(|(index, item)| {
                content_key(&item.request.context_ptr).map(|key| (index, key.to_owned()))
            })
            .collect()
    }

    /// Check payloads that were read.
    pub fn check_payloads(&mut self, payloads: &[ItemPayload<'_>]) -> Vec<Notice> {
        let boundary = self.boundary();
        let mut notices = Vec::new();
        for (index, payload) in payloads {
            let Some(item) = self.items.get_mut(*index).filter(|item| item.unchecked) else {
                continue;
            };
            item.unchecked = false;
            let standing = boundary.standing(tenant_of(&item.request), &item.request.topic);
            let Standing::Known(topic) = standing else {
                continue;
            };
            let Some(schema_id) = boundary.schema_id(topic) else {
                continue;
            };
            let payload = match payload {
                None => Payload::NotFound,
                Some((bytes, size)) if is_whole(bytes, *size) => Payload::Here(bytes),
                Some(_) => Payload::TooLarge,
            };
            let fault = boundary.check(schema_id, payload);
            notices.extend(fault.map(|fault| item.find(boundary.mode, schema_id, fault)));
        }
        notices
    }
}

fn is_whole(bytes: &[u8], size: i64) -> bool {
    bytes.len() <= PAYLOAD_MAX_BYTES && usize::try_from(size).is_ok_and(|size| size == bytes.len())
}

impl Item {
    /// Gates are topics of the control plane: nobody registers them.
    fn is_to_admit(&self) -> bool {
        self.open && self.judgement.is_none() && !self.is_gate()
    }

    fn find(&mut self, mode: Mode, schema_id: &str, fault: Fault) -> Notice {
        if mode == Mode::Enforce {
            return self.end(schema_id, fault);
        }
        self.notice(schema_id, fault.code, false, fault.violations)
    }

    fn end(&mut self, schema_id: &str, fault: Fault) -> Notice {
        self.judgement = Some(Judgement::Unfit {
            code: fault.code,
            reason: fault.reason,
        });
        self.notice(schema_id, fault.code, true, fault.violations)
    }

    fn notice(&self, schema_id: &str, code: &'static str, fatal: bool, violations: Vec<Violation>) -> Notice {
        Notice {
            job_id: self.request.job_id.clone(),
            tenant: tenant_of(&self.request).to_owned(),
            topic: self.request.topic.clone(),
            schema_id: schema_id.to_owned(),
            code,
            fatal,
            violations,
        }
    }
}
