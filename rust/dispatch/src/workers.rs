//! Worker table: heartbeats, handshakes, readiness, load with in-flight corrections (scheduler spec §7, §18; protocol spec §13).

use std::collections::BTreeMap;

use ahash::AHashMap;
use cordum_wire::messages::{Handshake, Heartbeat};

use crate::config::Config;
use crate::grants::Limits;

/// Most workers one table holds; further ones are refused.
pub const MAX_WORKERS: usize = 100_000;

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
}

impl Worker {
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
        let ready = !self.ready_topics.is_empty() && now_us - self.ready_at_us <= config.readiness_ttl_us;
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
    fn derive_pools(&self, config: &Config) -> Vec<String> {
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
                    .any(|ready| ready == *topic || subject_matches(ready, topic))
            })
            .flat_map(|(_, pools)| pools.iter().filter(|pool| self.may_join(pool, config)).cloned())
            .collect();
        pools.sort_unstable();
        pools.dedup();
        pools
    }
}

/// A pool that gained capacity: it came online, or a worker of it has room again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub pool: String,
    pub worker_id: String,
    /// True when the pool had no fresh worker before.
    pub online: bool,
}

/// All known workers and the index pool → workers.
#[derive(Debug, Default)]
pub struct WorkerTable {
    workers: Vec<Worker>,
    by_id: AHashMap<String, usize>,
    by_pool: AHashMap<String, Vec<usize>>,
    indexed: bool,
    picks: u64,
}

impl WorkerTable {
    /// Apply one admitted heartbeat; returns what became available. A heartbeat older than the last one is ignored.
    pub fn heartbeat(
        &mut self,
        beat: &Heartbeat,
        sent_us: i64,
        now_us: i64,
        config: &Config,
    ) -> Vec<Capacity> {
        let Some(index) = self.entry(&beat.worker_id) else {
            return Vec::new();
        };
        let Some(worker) = self.workers.get_mut(index) else {
            return Vec::new();
        };
        if sent_us > 0 && sent_us < worker.heartbeat_at_us {
            return Vec::new();
        }
        let was_fresh = worker.last_seen_us >= now_us - config.worker_ttl_us;
        let moved = worker.pool != beat.pool || worker.last_seen_us == 0;
        worker.heartbeat_at_us = if sent_us > 0 { sent_us } else { now_us };
        worker.last_seen_us = now_us;
        worker.ready_at_us = now_us;
        worker.pool.clone_from(&beat.pool);
        worker.region.clone_from(&beat.region);
        worker.kind.clone_from(&beat.r#type);
        worker.labels.clone_from(&beat.labels);
        worker.capabilities.clone_from(&beat.capabilities);
        worker.cpu_load = beat.cpu_load;
        worker.gpu_utilization = beat.gpu_utilization;
        worker.memory_load = beat.memory_load;
        worker.active_jobs = i64::from(beat.active_jobs);
        worker.max_parallel = i64::from(beat.max_parallel_jobs.max(0));
        worker.dispatched = 0;
        worker.finished = 0;
        self.capacity_of(index, was_fresh && !moved, moved, now_us, config)
    }

    /// Apply one worker handshake; an empty topic list clears readiness.
    pub fn handshake(&mut self, shake: &Handshake, now_us: i64, config: &Config) -> Vec<Capacity> {
        let topics = clean_topics(&shake.ready_topics);
        let Some(index) = self.entry(&shake.component_id) else {
            return Vec::new();
        };
        let Some(worker) = self.workers.get_mut(index) else {
            return Vec::new();
        };
        if worker.heartbeat_at_us == 0 {
            worker.max_parallel = 1;
        }
        worker.last_seen_us = now_us;
        worker.ready_at_us = now_us;
        worker.ready_topics = worker.limits.narrowed(topics);
        self.capacity_of(index, false, true, now_us, config)
    }

    /// Readiness remembered from an earlier life of the registry; never overrides a live announcement.
    pub fn remember_topics(&mut self, worker_id: &str, topics: &[String]) {
        if let Some(worker) = self.get_mut(worker_id) {
            if worker.ready_topics.is_empty() {
                worker.ready_topics = worker.limits.narrowed(clean_topics(topics));
                self.indexed = false;
            }
        }
    }

    /// True when the worker is known but never announced its topics here.
    pub fn lacks_topics(&self, worker_id: &str) -> bool {
        self.get(worker_id)
            .is_some_and(|worker| worker.ready_topics.is_empty())
    }

    /// Drop workers without a sign of life for longer than the TTL; returns their ids.
    pub fn expire(&mut self, now_us: i64, config: &Config) -> Vec<String> {
        let limit = now_us - config.worker_ttl_us;
        let gone: Vec<String> = self
            .workers
            .iter()
            .filter(|w| w.last_seen_us < limit)
            .map(|w| w.id.clone())
            .collect();
        if !gone.is_empty() {
            self.workers.retain(|worker| worker.last_seen_us >= limit);
            self.by_id = self
                .workers
                .iter()
                .enumerate()
                .map(|(i, w)| (w.id.clone(), i))
                .collect();
            self.indexed = false;
        }
        gone
    }

    /// All known workers.
    pub fn all(&self) -> &[Worker] {
        &self.workers
    }

    /// Take in a worker that is not known yet; live knowledge wins.
    pub fn adopt(&mut self, worker: Worker) {
        if self.by_id.contains_key(&worker.id) {
            return;
        }
        let index = self.entry(&worker.id);
        if let Some(slot) = index.and_then(|index| self.workers.get_mut(index)) {
            *slot = worker;
            self.indexed = false;
        }
    }

    /// One worker.
    pub fn get(&self, id: &str) -> Option<&Worker> {
        self.by_id.get(id).and_then(|index| self.workers.get(*index))
    }

    /// One worker, to be changed.
    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Worker> {
        let index = self.by_id.get(id).copied()?;
        self.workers.get_mut(index)
    }

    /// Worker at a position, to be changed.
    pub(crate) fn at_mut(&mut self, index: usize) -> Option<&mut Worker> {
        self.workers.get_mut(index)
    }

    /// Worker at a candidate position.
    pub fn at(&self, index: usize) -> Option<&Worker> {
        self.workers.get(index)
    }

    /// Charge one dispatch to the worker at `index`.
    pub fn charge(&mut self, index: usize) {
        self.picks += 1;
        let pick = self.picks;
        if let Some(worker) = self.workers.get_mut(index) {
            worker.dispatched += 1;
            worker.last_pick = pick;
        }
    }

    /// Take back a dispatch that was not granted.
    pub fn refund(&mut self, id: &str) {
        if let Some(worker) = self.by_id.get(id).and_then(|index| self.workers.get_mut(*index)) {
            worker.dispatched -= 1;
        }
    }

    /// Note a finished job; returns its pools' capacity when the worker stopped being overloaded.
    pub fn finished(&mut self, id: &str, replicas: i64) -> Vec<Capacity> {
        let Some(worker) = self.by_id.get(id).and_then(|index| self.workers.get_mut(*index)) else {
            return Vec::new();
        };
        worker.finished += 1;
        if worker.overloaded(replicas) {
            return Vec::new();
        }
        let of = |pool: &String| Capacity {
            pool: pool.clone(),
            worker_id: id.to_owned(),
            online: false,
        };
        worker.pools.iter().map(of).collect()
    }

    /// Positions of the workers of a pool.
    pub fn in_pool(&mut self, pool: &str, config: &Config) -> &[usize] {
        if !self.indexed {
            self.reindex(config);
        }
        self.by_pool.get(pool).map_or(&[], Vec::as_slice)
    }

    /// Whether any worker of the pool shows a sign of life.
    pub fn pool_alive(&mut self, pool: &str, now_us: i64, config: &Config) -> bool {
        let limit = now_us - config.worker_ttl_us;
        let members = self.in_pool(pool, config).to_vec();
        members
            .iter()
            .filter_map(|index| self.at(*index))
            .any(|worker| worker.last_seen_us >= limit)
    }

    /// Forget the pool index, e.g. after a routing change.
    pub fn invalidate(&mut self) {
        self.indexed = false;
    }

    /// Free slots of a pool, `i64::MAX` when a worker is unlimited.
    pub fn room(&mut self, pool: &str, replicas: i64, config: &Config) -> i64 {
        let members = self.in_pool(pool, config).to_vec();
        members
            .iter()
            .filter_map(|index| self.at(*index))
            .fold(0_i64, |sum, worker| sum.saturating_add(worker.room(replicas)))
    }

    /// Position of a worker, a new one if it is not known; `None` when the table is full.
    pub(crate) fn entry(&mut self, id: &str) -> Option<usize> {
        if let Some(index) = self.by_id.get(id) {
            return Some(*index);
        }
        if id.is_empty() || self.workers.len() >= MAX_WORKERS {
            return None;
        }
        let index = self.workers.len();
        self.by_id.insert(id.to_owned(), index);
        self.workers.push(Worker {
            id: id.to_owned(),
            ..Worker::default()
        });
        self.indexed = false;
        Some(index)
    }

    fn capacity_of(
        &mut self,
        index: usize,
        known: bool,
        moved: bool,
        now_us: i64,
        config: &Config,
    ) -> Vec<Capacity> {
        if moved {
            self.indexed = false;
        }
        if !self.indexed {
            self.reindex(config);
        }
        let Some(worker) = self.workers.get(index).filter(|worker| !worker.overloaded(1)) else {
            return Vec::new();
        };
        let limit = now_us - config.worker_ttl_us;
        let other_fresh = |pool: &String| {
            self.by_pool.get(pool).is_some_and(|members| {
                members.iter().any(|other| {
                    *other != index
                        && self
                            .workers
                            .get(*other)
                            .is_some_and(|worker| worker.last_seen_us >= limit)
                })
            })
        };
        worker
            .pools
            .iter()
            .map(|pool| Capacity {
                pool: pool.clone(),
                worker_id: worker.id.clone(),
                online: !known && !other_fresh(pool),
            })
            .collect()
    }

    fn reindex(&mut self, config: &Config) {
        self.by_pool.clear();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            worker.pools = worker.derive_pools(config);
            for pool in &worker.pools {
                self.by_pool.entry(pool.clone()).or_default().push(index);
            }
        }
        self.indexed = true;
    }
}

/// Trimmed topics in their order, without empty ones and doubles.
pub fn clean_topics(topics: &[String]) -> Vec<String> {
    let mut seen = Vec::new();
    for topic in topics
        .iter()
        .map(|topic| topic.trim())
        .filter(|topic| !topic.is_empty())
    {
        if !seen.iter().any(|known| known == topic) {
            seen.push(topic.to_owned());
        }
    }
    seen
}

/// Printable ASCII without whitespace and wildcards: usable in `worker.<id>.jobs`.
pub fn is_subject_token(id: &str) -> bool {
    !id.is_empty()
        && !id.starts_with('.')
        && !id.ends_with('.')
        && !id.contains("..")
        && id
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'*' && byte != b'>')
}

/// NATS subject matching: `*` is one token, a final `>` the rest.
pub fn subject_matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    let mut wanted = pattern.split('.').peekable();
    while let Some(token) = wanted.next() {
        if token == ">" && wanted.peek().is_none() {
            return tokens.next().is_some();
        }
        match tokens.next() {
            Some(actual) if token == "*" || token == actual => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}
