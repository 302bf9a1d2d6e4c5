//! Worker table: heartbeats, handshakes, and who may be offered a job next (scheduler spec §7, §18).

use ahash::AHashMap;
use cordum_wire::messages::{Handshake, Heartbeat};

use crate::config::Config;
use crate::fairness::Rotation;
use crate::ranking::{Rank, Ranking};
use crate::waits::Lines;

use crate::evidence::Evidence;
pub use crate::subjects::{clean_topics, is_subject_token, subject_matches};
pub use crate::worker::{Mode, Worker};

/// Most workers one table holds; further ones are refused.
pub const MAX_WORKERS: usize = 100_000;
/// Most refused workers remembered until somebody asks.
const MAX_REFUSED: usize = 100;

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
    /// Live schedulers, see [`Worker::active`]; at least 1.
    replicas: i64,
    ranking: Ranking,
    /// Workers the licence allows at once, 0: any number. Known ones stay when it shrinks.
    max_workers: usize,
    refused: Vec<String>,
    pub(crate) misnamed: Vec<(String, String)>,
    /// Turns of tenants at scarce pools.
    pub(crate) rotation: Rotation,
    /// Places of parked jobs.
    pub(crate) lines: Lines,
    /// What was dispatched to them and not reported on.
    pub evidence: Evidence,
    /// Live sessions: worker → until when that is known; empty where sessions decide nothing.
    pub(crate) sessions: AHashMap<String, i64>,
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
        let was_alive = worker.alive(config, now_us);
        let moved = worker.pool != beat.pool || worker.last_seen_us == 0;
        worker.heartbeat_at_us = if sent_us > 0 { sent_us } else { now_us };
        worker.last_seen_us = now_us;
        worker.ready_at_us = now_us;
        worker.pool.clone_from(&beat.pool);
        worker.region.clone_from(&beat.region);
        worker.kind.clone_from(&beat.r#type);
        worker.labels.clone_from(&beat.labels);
        worker.capabilities.clone_from(&beat.capabilities);
        worker.take_load(beat);
        worker.count_anew(now_us);
        let counts = worker.alive(config, now_us);
        self.rank(index);
        if beat.active_jobs > 0 && counts {
            self.evidence.active(&beat.worker_id);
        }
        self.capacity_of(index, was_alive && !moved, moved, now_us, config)
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

    /// Drop workers that are neither heard nor count as living; returns their ids.
    pub fn expire(&mut self, now_us: i64, config: &Config) -> Vec<String> {
        self.evidence.expire(now_us, config);
        self.forget_old_load(config, now_us);
        // A worker that is heard is shown, whether or not it counts as living.
        let stays = |worker: &Worker| worker.heard(config, now_us) || worker.alive(config, now_us);
        let gone: Vec<String> = self
            .workers
            .iter()
            .filter(|worker| !stays(worker))
            .map(|w| w.id.clone())
            .collect();
        if !gone.is_empty() {
            self.workers.retain(stays);
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
        self.rank(index);
    }

    /// Take back a dispatch that was not granted.
    pub fn refund(&mut self, id: &str) {
        let Some(index) = self.by_id.get(id).copied() else {
            return;
        };
        if let Some(worker) = self.workers.get_mut(index) {
            // A heartbeat may have begun the count anew meanwhile.
            worker.dispatched = (worker.dispatched - 1).max(0);
        }
        self.rank(index);
    }

    /// Note a finished job; returns its pools' capacity when the worker stopped being overloaded.
    pub fn finished(&mut self, id: &str, replicas: i64) -> Vec<Capacity> {
        let Some(index) = self.by_id.get(id).copied() else {
            return Vec::new();
        };
        if let Some(worker) = self.workers.get_mut(index) {
            worker.finished += 1;
        }
        self.rank(index);
        let Some(worker) = self
            .workers
            .get(index)
            .filter(|worker| !worker.overloaded(replicas))
        else {
            return Vec::new();
        };
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

    /// Whether any worker of the pool counts as living.
    pub fn pool_alive(&mut self, pool: &str, now_us: i64, config: &Config) -> bool {
        let members = self.in_pool(pool, config).to_vec();
        members
            .iter()
            .filter_map(|index| self.at(*index))
            .any(|worker| worker.alive(config, now_us))
    }

    /// Bring index and ranking up to date; `replicas` are the live schedulers.
    pub(crate) fn prepare(&mut self, replicas: i64, config: &Config) {
        if !self.indexed || self.replicas != replicas {
            self.replicas = replicas;
            self.reindex(config);
        }
    }

    /// The workers of a pool that have room, best first; call [`WorkerTable::prepare`] before.
    pub(crate) fn ranked(&self, pool: &str) -> impl Iterator<Item = &Rank> {
        self.ranking.of(pool)
    }

    /// Positions of the workers of a pool; call [`WorkerTable::prepare`] before.
    pub(crate) fn members(&self, pool: &str) -> &[usize] {
        self.by_pool.get(pool).map_or(&[], Vec::as_slice)
    }

    /// One worker with its position.
    pub(crate) fn find(&self, id: &str) -> Option<(usize, &Worker)> {
        let index = *self.by_id.get(id)?;
        Some((index, self.workers.get(index)?))
    }

    pub(crate) fn rank(&mut self, index: usize) {
        if !self.indexed {
            return;
        }
        if let Some(worker) = self.workers.get(index) {
            let rank =
                (!worker.overloaded(self.replicas)).then(|| (worker.score(self.replicas), worker.last_pick));
            self.ranking.put(index, &worker.pools, rank);
        }
    }

    /// Take over a changed configuration.
    pub fn reconfigure(&mut self, config: &Config) {
        self.max_workers = usize::try_from(config.max_workers).unwrap_or(0);
        self.indexed = false;
    }

    /// Forget the pool index.
    pub fn invalidate(&mut self) {
        self.indexed = false;
    }

    /// Ids of workers refused by the licence since the last call, possibly more than once.
    pub fn take_refused(&mut self) -> Vec<String> {
        std::mem::take(&mut self.refused)
    }

    /// Note the place of whoever is first in a pool's line; `None` when nobody waits.
    pub fn looked_at_line(&mut self, pool: &str, front: Option<i64>) {
        self.lines.looked(pool, front);
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
        if self.max_workers > 0 && self.workers.len() >= self.max_workers {
            if self.refused.len() < MAX_REFUSED {
                self.refused.push(id.to_owned());
            }
            return None;
        }
        let index = self.workers.len();
        self.by_id.insert(id.to_owned(), index);
        self.workers.push(Worker {
            id: id.to_owned(),
            session_until_us: self.sessions.get(id).copied().unwrap_or(0),
            ..Worker::default()
        });
        Some(index)
    }

    pub(crate) fn capacity_of(
        &mut self,
        index: usize,
        known: bool,
        moved: bool,
        now_us: i64,
        config: &Config,
    ) -> Vec<Capacity> {
        if moved || !self.indexed {
            self.settle_pools(index, config);
        }
        let usable = |worker: &&Worker| !worker.overloaded(1) && worker.alive(config, now_us);
        let Some(worker) = self.workers.get(index).filter(usable) else {
            return Vec::new();
        };
        let other_alive = |pool: &String| {
            self.by_pool.get(pool).is_some_and(|members| {
                members.iter().any(|other| {
                    *other != index
                        && self
                            .workers
                            .get(*other)
                            .is_some_and(|worker| worker.alive(config, now_us))
                })
            })
        };
        worker
            .pools
            .iter()
            .map(|pool| Capacity {
                pool: pool.clone(),
                worker_id: worker.id.clone(),
                online: !known && !other_alive(pool),
            })
            .collect()
    }

    /// Bring the index up to date for one worker: a fleet that announces itself must not cost a new index per member.
    fn settle_pools(&mut self, index: usize, config: &Config) {
        if !self.indexed {
            self.reindex(config);
            return;
        }
        let Some(worker) = self.workers.get_mut(index) else {
            return;
        };
        let pools = worker.derive_pools(config);
        if pools != worker.pools {
            self.ranking.put(index, &worker.pools, None);
            for pool in &worker.pools {
                if let Some(members) = self.by_pool.get_mut(pool) {
                    members.retain(|member| *member != index);
                }
            }
            for pool in &pools {
                self.by_pool.entry(pool.clone()).or_default().push(index);
            }
            worker.pools = pools;
        }
        self.rank(index);
    }

    fn reindex(&mut self, config: &Config) {
        self.by_pool.clear();
        self.ranking.clear();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            worker.pools = worker.derive_pools(config);
            for pool in &worker.pools {
                self.by_pool.entry(pool.clone()).or_default().push(index);
            }
        }
        self.indexed = true;
        for index in 0..self.workers.len() {
            self.rank(index);
        }
    }
}
