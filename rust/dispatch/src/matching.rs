//! Worker choice with in-batch load accounting (scheduler spec §7.2).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use ahash::AHashMap;
use cordum_wire::messages::JobRequest;
use cordum_wire::tenant_of;

use crate::config::{normal, Config};
use crate::ranking::Rank;
use crate::workers::{Mode, Worker, WorkerTable};

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

/// Workers looked at in a pool's ranking before the candidates of a demand are listed once for the batch.
const LOOKED_AT: usize = 64;

/// Position in the worker table, mode, pool.
type Choice = (usize, Mode, String);

enum Search {
    Found(Choice),
    /// Nobody with room fits.
    Nobody,
    /// Those looked at do not fit, there are more.
    Further,
}

struct Candidates {
    heap: BinaryHeap<Ranked>,
    modes: AHashMap<usize, (Mode, String)>,
}

/// Pools that may serve a request, or why none may.
pub type Route = Result<Arc<Vec<String>>, Miss>;

/// Matches the jobs of one batch. The best worker of a pool's ranking is nearly always the answer; demands that few workers
/// meet get a candidate set of their own, shared by jobs with equal demands.
pub struct Matcher<'a> {
    table: &'a mut WorkerTable,
    config: &'a Config,
    replicas: i64,
    now_us: i64,
    routes: AHashMap<String, Route>,
    sets: AHashMap<String, Candidates>,
    misses: AHashMap<String, Miss>,
}

impl<'a> Matcher<'a> {
    /// Matcher over a locked worker table.
    pub fn new(table: &'a mut WorkerTable, config: &'a Config, replicas: i64, now_us: i64) -> Self {
        let replicas = replicas.max(1);
        table.prepare(replicas, config);
        Matcher {
            table,
            config,
            replicas,
            now_us,
            routes: AHashMap::new(),
            sets: AHashMap::new(),
            misses: AHashMap::new(),
        }
    }

    /// The worker table, for what the planner keeps beside it.
    pub(crate) fn table(&mut self) -> &mut WorkerTable {
        self.table
    }

    /// Pools that may serve the request: mapped, preferred, dispatchable, offering what it requires.
    pub fn pools(&mut self, request: &JobRequest) -> Route {
        // Where a topic goes that is only registered depends on the tenant.
        let demanding = !self.config.is_mapped(&request.topic)
            || request.labels.contains_key("preferred_pool")
            || request
                .meta
                .as_ref()
                .is_some_and(|meta| !meta.requires.is_empty());
        if demanding {
            return self.route(request);
        }
        if let Some(route) = self.routes.get(&request.topic) {
            return route.clone();
        }
        let route = self.route(request);
        self.routes.insert(request.topic.clone(), route.clone());
        route
    }

    fn route(&self, request: &JobRequest) -> Route {
        let mapped = self.config.pools_for(tenant_of(request), &request.topic);
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
        Ok(Arc::new(pools))
    }

    /// Choose a worker for the request and charge it.
    pub fn pick(&mut self, request: &JobRequest, pools: &[String]) -> Result<Target, Miss> {
        let placement = placement_labels(request);
        let chosen = match self.preferred(request, pools, &placement) {
            Some(choice) => Ok(choice),
            None => match self.best(&request.topic, pools, &placement) {
                Search::Found(choice) => Ok(choice),
                Search::Nobody => Err(self.miss(&request.topic, pools, &placement)),
                Search::Further => self.lowest(&request.topic, pools, &placement),
            },
        };
        chosen.and_then(|choice| self.target(choice, &request.topic))
    }

    /// The worker the job asks for, if it may take it now.
    fn preferred(
        &self,
        request: &JobRequest,
        pools: &[String],
        placement: &[(&str, &str)],
    ) -> Option<Choice> {
        let wanted = request.labels.get("preferred_worker_id")?.trim();
        let (index, worker) = self.table.find(wanted)?;
        let pool = pools.iter().find(|pool| worker.pools.contains(pool))?;
        let mode = self.admits(worker, &request.topic, placement)?;
        (!worker.overloaded(self.replicas)).then(|| (index, mode, pool.clone()))
    }

    /// The first of the pools' rankings that fits.
    fn best(&self, topic: &str, pools: &[String], placement: &[(&str, &str)]) -> Search {
        let mut best: Option<(Rank, Mode, &String)> = None;
        for pool in pools {
            let mut looked_at = 0;
            let found = self.table.ranked(pool).take(LOOKED_AT).find_map(|rank| {
                looked_at += 1;
                let worker = self.table.at(rank.2)?;
                Some((*rank, self.admits(worker, topic, placement)?))
            });
            match found {
                Some((rank, mode)) if best.as_ref().is_none_or(|(other, _, _)| rank < *other) => {
                    best = Some((rank, mode, pool));
                }
                None if looked_at == LOOKED_AT => return Search::Further,
                _ => {}
            }
        }
        best.map_or(Search::Nobody, |((_, _, index), mode, pool)| {
            Search::Found((index, mode, pool.clone()))
        })
    }

    /// Whether and how a worker may get the topic's jobs: it lives, the labels asked for, readiness.
    fn admits(&self, worker: &Worker, topic: &str, placement: &[(&str, &str)]) -> Option<Mode> {
        let placed = placement
            .iter()
            .all(|(key, value)| worker.labels.get(*key).is_some_and(|own| own == value));
        if placed && worker.alive(self.config, self.now_us) {
            worker.mode_for(topic, self.config, self.now_us)
        } else {
            None
        }
    }

    /// Nobody with room fits: is there somebody without?
    fn miss(&mut self, topic: &str, pools: &[String], placement: &[(&str, &str)]) -> Miss {
        let key = candidate_key(topic, pools, placement);
        if let Some(known) = self.misses.get(&key) {
            return *known;
        }
        let fits = |index: &usize| {
            let worker = self.table.at(*index);
            worker.is_some_and(|worker| self.admits(worker, topic, placement).is_some())
        };
        let overloaded = pools.iter().any(|pool| self.table.members(pool).iter().any(fits));
        let miss = if overloaded {
            Miss::PoolOverloaded
        } else {
            Miss::NoWorkers
        };
        self.misses.insert(key, miss);
        miss
    }

    /// Lowest current score among all candidates of a demand; entries whose load changed meanwhile are ranked anew.
    fn lowest(&mut self, topic: &str, pools: &[String], placement: &[(&str, &str)]) -> Result<Choice, Miss> {
        let key = candidate_key(topic, pools, placement);
        let mut set = match self.sets.remove(&key) {
            Some(set) => set,
            None => self.candidates(topic, pools, placement),
        };
        let mut chosen = Err(if set.modes.is_empty() {
            Miss::NoWorkers
        } else {
            Miss::PoolOverloaded
        });
        while let Some(Reverse((score, pick, index))) = set.heap.pop() {
            let Some(worker) = self
                .table
                .at(index)
                .filter(|worker| !worker.overloaded(self.replicas))
            else {
                continue;
            };
            let current = (worker.score(self.replicas), worker.last_pick);
            set.heap.push(Reverse((current.0, current.1, index)));
            if current == (score, pick) {
                chosen = set
                    .modes
                    .get(&index)
                    .cloned()
                    .map(|(mode, pool)| (index, mode, pool))
                    .ok_or(Miss::NoWorkers);
                break;
            }
        }
        self.sets.insert(key, set);
        chosen
    }

    fn candidates(&self, topic: &str, pools: &[String], placement: &[(&str, &str)]) -> Candidates {
        let mut set = Candidates {
            heap: BinaryHeap::new(),
            modes: AHashMap::new(),
        };
        for pool in pools {
            for index in self.table.members(pool) {
                let Some(worker) = self.table.at(*index) else {
                    continue;
                };
                if set.modes.contains_key(index) {
                    continue;
                }
                if let Some(mode) = self.admits(worker, topic, placement) {
                    set.heap
                        .push(Reverse((worker.score(self.replicas), worker.last_pick, *index)));
                    set.modes.insert(*index, (mode, pool.clone()));
                }
            }
        }
        set
    }

    fn target(&mut self, (index, mode, pool): Choice, topic: &str) -> Result<Target, Miss> {
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
