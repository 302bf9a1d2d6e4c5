//! What workers proved and what that allows them (protocol spec §13, §15; scheduler spec §19).

use crate::config::Config;
use crate::workers::{clean_topics, subject_matches, Worker, WorkerTable};

/// Limits of a worker's credential; an empty list is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub pools: Vec<String>,
    /// Literal topics and patterns.
    pub topics: Vec<String>,
    /// Topics of its authenticated handshake: a plain one may take some away, never add any.
    pub ceiling: Option<Vec<String>>,
}

impl Limits {
    /// Whether the worker may belong to the pool.
    pub fn allows_pool(&self, pool: &str) -> bool {
        self.pools.is_empty() || self.pools.iter().any(|allowed| allowed == pool)
    }

    /// Whether the worker may get jobs of the topic.
    pub fn allows_topic(&self, topic: &str) -> bool {
        self.topics.is_empty() || covers(&self.topics, topic)
    }

    /// Announced topics without those beyond the ceiling.
    pub fn narrowed(&self, mut topics: Vec<String>) -> Vec<String> {
        if let Some(ceiling) = &self.ceiling {
            topics.retain(|topic| covers(ceiling, topic));
        }
        topics
    }
}

fn covers(patterns: &[String], topic: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| pattern == topic || subject_matches(pattern, topic))
}

impl Worker {
    /// Whether it may belong to the pool.
    pub fn may_join(&self, pool: &str, config: &Config) -> bool {
        !config.limits_apply || self.limits.allows_pool(pool)
    }

    /// Whether it may get jobs of the topic.
    pub fn may_serve(&self, topic: &str, config: &Config) -> bool {
        !config.limits_apply || self.limits.allows_topic(topic)
    }

    /// Whether it proved who it is within its time to live; where sessions decide, a live one proves it by itself.
    pub fn attested(&self, config: &Config, now_us: i64) -> bool {
        let lately = self.attested_at_us > 0 && now_us - self.attested_at_us <= config.worker_ttl_us;
        lately || (config.session_authority && self.has_session(now_us))
    }
}

impl WorkerTable {
    /// Note that a worker proved who it is. Its packet is applied next, so a new one is not schedulable by this alone.
    pub fn grant(&mut self, worker_id: &str, limits: Limits, now_us: i64) {
        let Some(worker) = self.entry(worker_id).and_then(|index| self.at_mut(index)) else {
            return;
        };
        worker.attested_at_us = now_us;
        let limits = Limits {
            // A heartbeat says nothing about topics.
            ceiling: limits.ceiling.or_else(|| worker.limits.ceiling.take()),
            ..limits
        };
        if worker.limits != limits {
            worker.limits = limits;
            // A worker in no pool yet is indexed by its packet; a fleet's start must not cost an index per member.
            if !worker.pools.is_empty() {
                self.invalidate();
            }
        }
    }

    /// Forget what a worker proved. Its limits stay: losing a credential must not widen anything.
    pub fn withdraw(&mut self, worker_id: &str) {
        if let Some(worker) = self.get_mut(worker_id) {
            worker.attested_at_us = 0;
        }
    }

    /// Take over the limits of a changed credential.
    pub fn limit(&mut self, worker_id: &str, pools: Vec<String>, topics: Vec<String>) {
        let Some(worker) = self.get_mut(worker_id) else {
            return;
        };
        worker.limits.pools = pools;
        worker.limits.topics = topics;
        self.invalidate();
    }

    /// Set the topics of an authenticated handshake, as far as the credential allows them.
    pub fn set_ceiling(&mut self, worker_id: &str, topics: &[String]) {
        let Some(worker) = self.get_mut(worker_id) else {
            return;
        };
        let topics = clean_topics(topics)
            .into_iter()
            .filter(|topic| worker.limits.allows_topic(topic))
            .collect();
        worker.limits.ceiling = Some(topics);
    }

    /// Workers that count as attested now.
    pub fn attested(&self, config: &Config, now_us: i64) -> Vec<String> {
        let workers = self.all().iter();
        workers
            .filter(|worker| worker.attested(config, now_us))
            .map(|worker| worker.id.clone())
            .collect()
    }
}
