//! Sessions as the measure of who lives (protocol spec §15.4). Where they are, a heartbeat only tells of load.

use ahash::AHashMap;
use cordum_wire::messages::Heartbeat;

use crate::config::Config;
use crate::workers::{Capacity, Worker, WorkerTable};

/// How session and heartbeats of a worker disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// The session is live, and nothing was heard for the worker's time to live.
    SessionAllows,
    /// The worker is heard, and has no live session.
    SessionBlocks,
}

impl Disagreement {
    /// The word of audit events.
    pub fn direction(self) -> &'static str {
        match self {
            Disagreement::SessionAllows => "session_allows_heartbeat_blocks",
            Disagreement::SessionBlocks => "session_blocks_heartbeat_allows",
        }
    }
}

impl Worker {
    /// Take over the load a heartbeat reports.
    pub(crate) fn take_load(&mut self, beat: &Heartbeat) {
        self.cpu_load = beat.cpu_load;
        self.gpu_utilization = beat.gpu_utilization;
        self.memory_load = beat.memory_load;
        self.active_jobs = i64::from(beat.active_jobs);
        self.max_parallel = i64::from(beat.max_parallel_jobs.max(0));
    }

    /// Begin the counts of dispatches and results anew.
    pub(crate) fn count_anew(&mut self, now_us: i64) {
        self.dispatched = 0;
        self.finished = 0;
        self.counted_at_us = now_us;
    }

    /// How its session and its heartbeats disagree, if they do.
    pub fn disagreement(&self, config: &Config, now_us: i64) -> Option<Disagreement> {
        match (self.has_session(now_us), self.heard(config, now_us)) {
            (true, false) => Some(Disagreement::SessionAllows),
            (false, true) => Some(Disagreement::SessionBlocks),
            _ => None,
        }
    }
}

impl WorkerTable {
    /// Note until when sessions are known to be live (µs); with `whole`, all others are not. Returns what became available.
    pub fn set_sessions(
        &mut self,
        live: Vec<(String, i64)>,
        whole: bool,
        now_us: i64,
        config: &Config,
    ) -> Vec<Capacity> {
        let named: Vec<usize> = live
            .iter()
            .filter_map(|(id, _)| self.find(id).map(|(index, _)| index))
            .collect();
        let alive_before: Vec<bool> = named
            .iter()
            .map(|index| self.at(*index).is_some_and(|worker| worker.alive(config, now_us)))
            .collect();
        if whole {
            self.sessions = AHashMap::with_capacity(live.len());
            for index in 0..self.all().len() {
                if let Some(worker) = self.at_mut(index) {
                    worker.session_until_us = 0;
                }
            }
        }
        for (id, until_us) in live {
            if let Some(worker) = self.get_mut(&id) {
                worker.session_until_us = until_us;
            }
            self.sessions.insert(id, until_us);
        }
        let mut found = Vec::new();
        for (index, was_alive) in named.into_iter().zip(alive_before) {
            if !was_alive {
                found.extend(self.capacity_of(index, false, false, now_us, config));
            }
        }
        found
    }

    /// Take a heartbeat without a session that names a worker with one: it tells of load and changes nothing else.
    pub fn inform(&mut self, beat: &Heartbeat) {
        let Some((index, _)) = self.find(&beat.worker_id) else {
            return;
        };
        if let Some(worker) = self.at_mut(index) {
            worker.take_load(beat);
        }
        self.rank(index);
    }

    /// Whether the worker has a live session.
    pub fn has_session(&self, worker_id: &str, now_us: i64) -> bool {
        self.sessions.get(worker_id).is_some_and(|until| *until > now_us)
    }

    /// Workers whose session and heartbeats disagree.
    pub fn disagreements(&self, config: &Config, now_us: i64) -> Vec<(String, Disagreement)> {
        let workers = self.all().iter();
        workers
            .filter_map(|worker| Some((worker.id.clone(), worker.disagreement(config, now_us)?)))
            .collect()
    }

    /// Nobody tells what workers hold that live by their session alone: their counts begin anew once per time to live, or
    /// what other replicas learn of their results would be missed for good.
    pub(crate) fn forget_old_load(&mut self, config: &Config, now_us: i64) {
        if !config.session_authority {
            return;
        }
        for index in 0..self.all().len() {
            let Some(worker) = self.at_mut(index) else {
                continue;
            };
            let old = now_us - worker.counted_at_us > config.worker_ttl_us;
            if old && worker.has_session(now_us) && !worker.heard(config, now_us) {
                worker.active_jobs = 0;
                worker.count_anew(now_us);
                self.rank(index);
            }
        }
    }
}
