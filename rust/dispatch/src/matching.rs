//! Worker choice with in-batch load accounting (scheduler spec §7.2).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ahash::AHashMap;
use cordum_wire::messages::JobRequest;

use crate::config::{normal, Config};
use crate::workers::{Mode, WorkerTable};

/// Where one job goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub worker_id: String,
    pub pool: String,
    pub subject: String,
    pub mode: Mode,
}

/// Why a job found no worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    NoPoolMapping,
    NoWorkers,
    PoolOverloaded,
}

impl Miss {
    /// The cause word of records and dead letters.
    pub fn cause(self) -> &'static str {
        match self {
            Miss::NoPoolMapping => "no_pool_mapping",
            Miss::NoWorkers => "no_workers",
            Miss::PoolOverloaded => "pool_overloaded",
        }
    }
}

type Ranked = Reverse<(u64, u64, usize)>;

struct Candidates {
    heap: BinaryHeap<Ranked>,
    modes: AHashMap<usize, (Mode, String)>,
}

/// Matches the jobs of one batch; candidate sets are shared by jobs with equal demands.
pub struct Matcher<'a> {
    table: &'a mut WorkerTable,
    config: &'a Config,
    replicas: i64,
    now_us: i64,
    sets: AHashMap<String, Candidates>,
}

impl<'a> Matcher<'a> {
    /// Matcher over a locked worker table.
    pub fn new(table: &'a mut WorkerTable, config: &'a Config, replicas: i64, now_us: i64) -> Self {
        Matcher {
            table,
            config,
            replicas,
            now_us,
            sets: AHashMap::new(),
        }
    }

    /// Pools that may serve the request: mapped, preferred, dispatchable, offering what it requires.
    pub fn pools(&self, request: &JobRequest) -> Result<Vec<String>, Miss> {
        let mapped = self.config.pools_of(&request.topic);
        let preferred = request
            .labels
            .get("preferred_pool")
            .map(|pool| pool.trim())
            .filter(|pool| !pool.is_empty());
        let required: Vec<String> = request
            .meta
            .iter()
            .flat_map(|meta| &meta.requires)
            .map(|r| normal(r))
            .collect();
        let fits = |name: &&String| {
            preferred.is_none_or(|wanted| wanted == name.as_str())
                && self.config.pool(name).is_some_and(|pool| {
                    pool.dispatchable
                        && required
                            .iter()
                            .all(|need| need.is_empty() || pool.requires.contains(need))
                })
        };
        let pools: Vec<String> = mapped.iter().filter(fits).cloned().collect();
        if pools.is_empty() {
            return Err(Miss::NoPoolMapping);
        }
        Ok(pools)
    }

    /// Choose a worker for the request and charge it.
    pub fn pick(&mut self, request: &JobRequest, pools: &[String]) -> Result<Target, Miss> {
        let placement = placement_labels(request);
        let key = candidate_key(&request.topic, pools, &placement);
        if !self.sets.contains_key(&key) {
            let built = self.candidates(&request.topic, pools, &placement);
            self.sets.insert(key.clone(), built);
        }
        let Some(mut set) = self.sets.remove(&key) else {
            return Err(Miss::NoWorkers);
        };
        let wanted = request
            .labels
            .get("preferred_worker_id")
            .map(|id| id.trim())
            .filter(|id| !id.is_empty());
        let chosen = match wanted.and_then(|id| self.preferred(id, &set)) {
            Some(index) => Ok(index),
            None => self.lowest(&mut set),
        };
        let target = chosen.and_then(|index| {
            self.target(index, &set, &request.topic)
                .map(|target| (index, target))
        });
        if let Ok((index, _)) = &target {
            if let Some(worker) = self.table.at(*index) {
                set.heap
                    .push(Reverse((worker.score(self.replicas), worker.last_pick, *index)));
            }
        }
        self.sets.insert(key, set);
        target.map(|(_, target)| target)
    }

    fn candidates(&mut self, topic: &str, pools: &[String], placement: &[(&str, &str)]) -> Candidates {
        let mut set = Candidates {
            heap: BinaryHeap::new(),
            modes: AHashMap::new(),
        };
        let limit = self.now_us - self.config.worker_ttl_us;
        for pool in pools {
            let members = self.table.in_pool(pool, self.config).to_vec();
            for index in members {
                let Some(worker) = self.table.at(index) else {
                    continue;
                };
                let placed = placement
                    .iter()
                    .all(|(key, value)| worker.labels.get(*key).is_some_and(|own| own == value));
                if worker.last_seen_us < limit || !placed || set.modes.contains_key(&index) {
                    continue;
                }
                if let Some(mode) = worker.mode_for(topic, self.config, self.now_us) {
                    set.heap
                        .push(Reverse((worker.score(self.replicas), worker.last_pick, index)));
                    set.modes.insert(index, (mode, pool.clone()));
                }
            }
        }
        set
    }

    fn preferred(&self, id: &str, set: &Candidates) -> Option<usize> {
        let found = set
            .modes
            .keys()
            .copied()
            .find(|index| self.table.at(*index).is_some_and(|worker| worker.id == id))?;
        self.table
            .at(found)
            .filter(|worker| !worker.overloaded(self.replicas))
            .map(|_| found)
    }

    /// Lowest current score; entries whose load changed meanwhile are ranked anew.
    fn lowest(&mut self, set: &mut Candidates) -> Result<usize, Miss> {
        if set.modes.is_empty() {
            return Err(Miss::NoWorkers);
        }
        while let Some(Reverse((score, pick, index))) = set.heap.pop() {
            let Some(worker) = self.table.at(index) else {
                continue;
            };
            if worker.overloaded(self.replicas) {
                continue;
            }
            let current = (worker.score(self.replicas), worker.last_pick);
            if current != (score, pick) {
                set.heap.push(Reverse((current.0, current.1, index)));
                continue;
            }
            return Ok(index);
        }
        Err(Miss::PoolOverloaded)
    }

    fn target(&mut self, index: usize, set: &Candidates, topic: &str) -> Result<Target, Miss> {
        let (mode, pool) = set.modes.get(&index).cloned().ok_or(Miss::NoWorkers)?;
        let worker_id = self
            .table
            .at(index)
            .map(|worker| worker.id.clone())
            .ok_or(Miss::NoWorkers)?;
        self.table.charge(index);
        let subject = match mode {
            Mode::Direct => format!("worker.{worker_id}.jobs"),
            Mode::Topic => topic.to_owned(),
        };
        Ok(Target {
            worker_id,
            pool,
            subject,
            mode,
        })
    }
}

fn placement_labels(request: &JobRequest) -> Vec<(&str, &str)> {
    request
        .labels
        .iter()
        .filter(|(key, _)| {
            ["placement.", "constraint.", "node."]
                .iter()
                .any(|prefix| key.starts_with(prefix))
        })
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

fn candidate_key(topic: &str, pools: &[String], placement: &[(&str, &str)]) -> String {
    let mut key = format!("{topic}\u{1}{}", pools.join("\u{2}"));
    for (label, value) in placement {
        key.push('\u{1}');
        key.push_str(label);
        key.push('\u{2}');
        key.push_str(value);
    }
    key
}
