//! One worker: readiness, pools, load with in-flight corrections (scheduler spec §7, §18; protocol spec §13).

use std::collections::BTreeMap;

use crate::config::Config;
use crate::grants::Limits;
use crate::subjects::{is_subject_token, subject_matches};

/// How a worker gets a job of some topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On `worker.<id>.jobs`.
    Direct,
    /// On the topic subject.
    Topic,
}

/// One known worker.
#[derive(Clone, Debug, Default)]
pub struct Worker {
    pub id: String,
    pub pool: String,
    pub region: String,
    pub kind: String,
    pub labels: BTreeMap<String, String>,
    pub capabilities: Vec<String>,
    pub cpu_load: f32,
    pub gpu_utilization: f32,
    pub memory_load: f32,
    /// Reported by the last heartbeat.
    pub active_jobs: i64,
    /// 0 = unlimited; 1 until the first heartbeat.
    pub max_parallel: i64,
    pub last_seen_us: i64,
    pub heartbeat_at_us: i64,
    pub ready_topics: Vec<String>,
    pub ready_at_us: i64,
    /// Own dispatches and results since the last heartbeat.
    pub dispatched: i64,
    pub finished: i64,
    /// Rotates among equal workers.
    pub last_pick: u64,
    /// Pools it belongs to, kept current by the table.
    pub pools: Vec<String>,
    /// When it last proved who it is; 0 = never.
    pub attested_at_us: i64,
    /// What its credential allows.
    pub limits: Limits,
    /// Until when its session is known to be live; 0: it has none, or sessions decide nothing.
    pub session_until_us: i64,
    /// When the counts above began.
    pub counted_at_us: i64,
}

impl Worker {
    /// Whether it showed a sign of life lately.
    pub fn heard(&self, config: &Config, now_us: i64) -> bool {
        self.last_seen_us >= now_us - config.worker_ttl_us
    }

    /// Whether it counts as living: it was heard, or its session is live where that decides (protocol spec §15.4).
    pub fn alive(&self, config: &Config, now_us: i64) -> bool {
        if config.session_authority {
            self.has_session(now_us)
        } else {
            self.heard(config, now_us)
        }
    }

    /// Whether its session is known to be live.
    pub fn has_session(&self, now_us: i64) -> bool {
        self.session_until_us > now_us
    }

    /// Jobs this worker is taken to hold now; `replicas` schedulers dispatch at about the same rate.
    pub fn active(&self, replicas: i64) -> i64 {
        (self.active_jobs.max(0) + self.dispatched * replicas.max(1) - self.finished).max(0)
    }

    /// No further job now (scheduler spec §7.2).
    pub fn overloaded(&self, replicas: i64) -> bool {
        let active = self.active(replicas);
        let full =
            self.max_parallel > 0 && (active >= self.max_parallel || active * 10 >= self.max_parallel * 9);
        full || self.cpu_load >= 90.0 || self.gpu_utilization >= 90.0
    }

    /// Jobs it can still take before it counts as overloaded; `i64::MAX` when unlimited.
    pub fn room(&self, replicas: i64) -> i64 {
        match self.max_parallel {
            _ if self.overloaded(replicas) => 0,
            0 => i64::MAX,
            max => max - self.active(replicas),
        }
    }

    /// Load score in thousandths; lowest wins.
    pub fn score(&self, replicas: i64) -> u64 {
        let load = f64::from(self.cpu_load.max(0.0)) + f64::from(self.gpu_utilization.max(0.0));
        (self.active(replicas).unsigned_abs()) * 1000 + (load * 10.0) as u64
    }

    /// Whether and how this worker may get `topic` (readiness table of protocol spec §13).
    pub fn mode_for(&self, topic: &str, config: &Config, now_us: i64) -> Option<Mode> {
        let direct = if is_subject_token(&self.id) {
            Mode::Direct
        } else {
            Mode::Topic
        };
        if !self.may_serve(topic, config) || (config.attestation_enforced && !self.attested(config, now_us)) {
            return None;
        }
        // What refreshes readiness is the same that tells who lives.
        let current = now_us - self.ready_at_us <= config.readiness_ttl_us
            || (config.session_authority && self.has_session(now_us));
        let ready = current && !self.ready_topics.is_empty();
        if !ready {
            return (!config.readiness_required).then_some(direct);
        }
        if self.ready_topics.iter().any(|listed| listed == topic) {
            return Some(direct);
        }
        self.ready_topics
            .iter()
            .any(|pattern| subject_matches(pattern, topic))
            .then_some(Mode::Topic)
    }

    /// Pools it belongs to: the named one, else every pool mapped to a ready topic.
    pub(crate) fn derive_pools(&self, config: &Config) -> Vec<String> {
        if !self.pool.is_empty() {
            let named = vec![self.pool.clone()];
            return named
                .into_iter()
                .filter(|pool| self.may_join(pool, config))
                .collect();
        }
        let mut pools: Vec<String> = config
            .topics()
            .filter(|(topic, _)| {
                self.ready_topics
                    .iter()
                    .any(|ready| ready == topic || subject_matches(ready, topic))
            })
            .flat_map(|(_, pools)| pools.iter().filter(|pool| self.may_join(pool, config)).cloned())
            .collect();
        pools.sort_unstable();
        pools.dedup();
        pools
    }
}
