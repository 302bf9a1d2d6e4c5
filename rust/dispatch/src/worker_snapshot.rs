//! Workers as other processes see them: the snapshot document and the warm start from it (scheduler spec §18).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::grants::Limits;
use crate::workers::{Worker, WorkerTable};

/// Worker part of `sys:workers:snapshot` (scheduler spec §18); zero and empty optional fields are omitted.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerEntry {
    pub worker_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pool: String,
    pub active_jobs: i64,
    pub max_parallel_jobs: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub cpu_load: f32,
    #[serde(skip_serializing_if = "is_zero")]
    pub gpu_utilization: f32,
    #[serde(skip_serializing_if = "is_zero")]
    pub memory_load: f32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    pub age_ms: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ready_topics: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_age_ms: Option<i64>,
    /// Since it last proved who it is; absent for one that did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attested_age_ms: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_pools: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_topics: Vec<String>,
    /// Topics of its authenticated handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_ceiling: Option<Vec<String>>,
}

/// Workers and slots of one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PoolLoad {
    pub workers: usize,
    pub active_jobs: i64,
    pub capacity: i64,
}

/// The first pool of a topic, and whether a job of it could run.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct TopicLoad {
    pub pool: String,
    pub workers: usize,
    pub capacity: i64,
    pub available: bool,
}

/// Pool and topic parts of the snapshot document.
#[derive(Debug, Default, Serialize)]
pub struct Overview {
    pub pools: BTreeMap<String, PoolLoad>,
    pub topics: BTreeMap<String, TopicLoad>,
}

impl WorkerTable {
    /// Pools that have workers, named by them or derived from their topics, and all topics with a pool.
    pub fn overview(&mut self, now_us: i64, config: &Config) -> Overview {
        let mut overview = Overview::default();
        for (topic, pools) in config.topics() {
            for pool in pools {
                if !overview.pools.contains_key(pool) {
                    let load = self.load_of(pool, config);
                    overview.pools.insert(pool.clone(), load);
                }
            }
            if let Some(pool) = pools.first() {
                let load = overview.pools.get(pool).copied().unwrap_or_default();
                let entry = TopicLoad {
                    pool: pool.clone(),
                    workers: load.workers,
                    capacity: load.capacity,
                    available: config.pool(pool).is_some_and(|pool| pool.dispatchable)
                        && self.pool_alive(pool, now_us, config),
                };
                overview.topics.insert(topic.to_owned(), entry);
            }
        }
        let named: Vec<String> = self.all().iter().map(|worker| worker.pool.clone()).collect();
        for pool in named {
            if !pool.is_empty() && !overview.pools.contains_key(&pool) {
                let load = self.load_of(&pool, config);
                overview.pools.insert(pool, load);
            }
        }
        overview.pools.retain(|_, load| load.workers > 0);
        overview
    }

    fn load_of(&mut self, pool: &str, config: &Config) -> PoolLoad {
        let mut load = PoolLoad::default();
        for index in self.in_pool(pool, config).to_vec() {
            if let Some(worker) = self.at(index) {
                load.workers += 1;
                load.active_jobs += worker.active_jobs.max(0);
                load.capacity += worker.max_parallel;
            }
        }
        load
    }

    /// Entries of all known workers, sorted by id.
    pub fn entries(&self, now_us: i64) -> Vec<WorkerEntry> {
        let mut entries: Vec<WorkerEntry> = self.all().iter().map(|worker| worker.entry(now_us)).collect();
        entries.sort_by(|a, b| a.worker_id.cmp(&b.worker_id));
        entries
    }

    /// Insert a remembered worker with its age; live knowledge wins.
    pub fn restore(&mut self, entry: WorkerEntry, age_us: i64, now_us: i64, config: &Config) {
        let session_until_us = self.sessions.get(&entry.worker_id).copied().unwrap_or(0);
        if age_us > config.worker_ttl_us && session_until_us <= now_us {
            return;
        }
        let seen = now_us - age_us;
        let snapshot_age_us = age_us - entry.age_ms.saturating_mul(1000);
        let attested_at_us = entry
            .attested_age_ms
            .map_or(0, |age_ms| now_us - snapshot_age_us - age_ms.saturating_mul(1000));
        let limits = Limits {
            pools: entry.allowed_pools,
            topics: entry.allowed_topics,
            ceiling: entry.topic_ceiling,
        };
        self.adopt(Worker {
            id: entry.worker_id,
            pool: entry.pool,
            region: entry.region,
            kind: entry.kind,
            labels: entry.labels,
            capabilities: entry.capabilities,
            cpu_load: entry.cpu_load,
            gpu_utilization: entry.gpu_utilization,
            memory_load: entry.memory_load,
            active_jobs: entry.active_jobs,
            max_parallel: entry.max_parallel_jobs,
            last_seen_us: seen,
            ready_topics: entry.ready_topics,
            ready_at_us: seen,
            attested_at_us,
            limits,
            session_until_us,
            ..Worker::default()
        });
    }
}

impl Worker {
    fn entry(&self, now_us: i64) -> WorkerEntry {
        let ready_age_ms = (!self.ready_topics.is_empty()).then(|| (now_us - self.ready_at_us) / 1000);
        WorkerEntry {
            worker_id: self.id.clone(),
            pool: self.pool.clone(),
            active_jobs: self.active_jobs,
            max_parallel_jobs: self.max_parallel,
            capabilities: self.capabilities.clone(),
            cpu_load: self.cpu_load,
            gpu_utilization: self.gpu_utilization,
            memory_load: self.memory_load,
            region: self.region.clone(),
            kind: self.kind.clone(),
            labels: self.labels.clone(),
            age_ms: (now_us - self.last_seen_us) / 1000,
            ready_topics: self.ready_topics.clone(),
            ready_age_ms,
            attested_age_ms: (self.attested_at_us > 0).then(|| (now_us - self.attested_at_us) / 1000),
            allowed_pools: self.limits.pools.clone(),
            allowed_topics: self.limits.topics.clone(),
            topic_ceiling: self.limits.ceiling.clone(),
        }
    }
}

fn is_zero(value: &f32) -> bool {
    *value == 0.0
}
