//! The effective configuration of jobs: asked for by scope, judged by policy, handed to the worker (configuration spec §5.5,
//! scheduler spec §5 step 7).

use std::sync::Arc;

use ahash::AHashMap;
use cordum_wire::messages::JobRequest;
use cordum_wire::{config_scope, ConfigScope};
use prost::Message;

use crate::submit::SubmitPlan;

const VARIABLE: &str = "CORDUM_EFFECTIVE_CONFIG";
const POINTER_VARIABLE: &str = "CORDUM_EFFECTIVE_CONFIG_PTR";
/// Largest dispatch packet that carries the configuration itself (protocol spec §22).
const MAX_PACKET_BYTES: usize = 512 * 1024;
/// Envelope, dispatch identity and lengths around the request.
const ENVELOPE_BYTES: usize = 4 * 1024;

/// The configuration of one scope, as JSON.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct JobConfig {
    /// What the worker is given; empty: nothing.
    pub worker: String,
    /// What policy looks at; empty: nothing there.
    pub policy: Vec<u8>,
}

impl SubmitPlan {
    /// Distinct scopes of the jobs still to be judged.
    pub fn config_scopes(&mut self) -> Vec<ConfigScope> {
        let mut positions: AHashMap<ConfigScope, usize> = AHashMap::new();
        let mut scopes = Vec::new();
        for item in self.items.iter_mut().filter(|item| item.open) {
            let scope = config_scope(&item.request);
            item.scope = *positions.entry(scope).or_insert_with_key(|scope| {
                scopes.push(scope.clone());
                scopes.len() - 1
            });
        }
        scopes
    }

    /// Supply the configurations, in the order of [`SubmitPlan::config_scopes`].
    pub fn supply_configs(&mut self, configs: Vec<JobConfig>) {
        let configs: Vec<Arc<JobConfig>> = configs.into_iter().map(Arc::new).collect();
        for item in self.items.iter_mut().filter(|item| item.open) {
            item.config = configs.get(item.scope).cloned();
        }
    }
}

/// Put the configuration into the dispatched copy. True: it is too large for the packet, and the copy points to where the
/// caller has to store it.
pub fn attach(request: &mut JobRequest, worker: &str) -> bool {
    if worker.is_empty() {
        return false;
    }
    if request.encoded_len() + worker.len() + ENVELOPE_BYTES <= MAX_PACKET_BYTES {
        request.env.insert(VARIABLE.into(), worker.to_owned());
        return false;
    }
    let pointer = format!("redis://{}", stored_key(&request.job_id));
    request.env.insert(POINTER_VARIABLE.into(), pointer);
    true
}

/// Key of a configuration that travels by pointer.
pub fn stored_key(job_id: &str) -> String {
    format!("ctx:{job_id}:config")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(payload_bytes: usize) -> JobRequest {
        JobRequest {
            job_id: "j1".into(),
            labels: [("filler".to_owned(), "x".repeat(payload_bytes))].into(),
            ..JobRequest::default()
        }
    }

    #[test]
    fn a_configuration_that_fits_travels_in_the_packet() {
        let mut small = request(10);
        assert!(!attach(&mut small, "{}"));
        assert_eq!(small.env.get(VARIABLE).map(String::as_str), Some("{}"));
        assert!(!small.env.contains_key(POINTER_VARIABLE));
    }

    #[test]
    fn a_configuration_that_does_not_fit_travels_by_pointer() {
        let config = "c".repeat(300 * 1024);
        let mut large = request(300 * 1024);
        assert!(attach(&mut large, &config));
        assert!(!large.env.contains_key(VARIABLE));
        assert_eq!(
            large.env.get(POINTER_VARIABLE).map(String::as_str),
            Some("redis://ctx:j1:config")
        );
        assert!(!attach(&mut request(100 * 1024), &config));
    }

    #[test]
    fn an_empty_configuration_leaves_the_copy_as_it_is() {
        let mut plain = request(1);
        assert!(!attach(&mut plain, ""));
        assert!(plain.env.is_empty());
    }
}
