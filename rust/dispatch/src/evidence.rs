//! Evidence that a worker has what was dispatched to it: a later heartbeat that reports active jobs (scheduler spec §2.4 b).

use ahash::AHashMap;
use cordum_wire::{partition, Transition};

use crate::config::Config;
use cordum_wire::stored::{event, Context};

/// Most dispatches remembered. Beyond it the dispatch time-out has to look after jobs (scheduler spec §2.4 d).
const MAX_DISPATCHES: usize = 100_000;

#[derive(Debug)]
struct Dispatch {
    dispatch_id: String,
    topic: String,
    at_us: i64,
}

/// Direct dispatches of this process nobody has reported on yet.
#[derive(Debug, Default)]
pub struct Evidence {
    by_worker: AHashMap<String, AHashMap<String, Dispatch>>,
    count: usize,
    running: Vec<(String, Dispatch)>,
}

impl Evidence {
    /// Remember a committed direct dispatch.
    pub fn dispatched(&mut self, worker_id: &str, job_id: &str, dispatch_id: &str, topic: &str, now_us: i64) {
        if self.count >= MAX_DISPATCHES {
            return;
        }
        let dispatch = Dispatch {
            dispatch_id: dispatch_id.to_owned(),
            topic: topic.to_owned(),
            at_us: now_us,
        };
        let jobs = self.by_worker.entry(worker_id.to_owned()).or_default();
        if jobs.insert(job_id.to_owned(), dispatch).is_none() {
            self.count += 1;
        }
    }

    /// Forget a dispatch whose result is here.
    pub fn ended(&mut self, worker_id: &str, job_id: &str) {
        if let Some(jobs) = self.by_worker.get_mut(worker_id) {
            if jobs.remove(job_id).is_some() {
                self.count -= 1;
            }
            if jobs.is_empty() {
                self.by_worker.remove(worker_id);
            }
        }
    }

    /// Take a heartbeat with active jobs as evidence for everything dispatched to the worker before.
    pub fn active(&mut self, worker_id: &str) {
        if let Some(jobs) = self.by_worker.remove(worker_id) {
            self.count -= jobs.len();
            self.running.extend(jobs);
        }
    }

    /// Forget what is older than the dispatch time-out: the reconciler has decided about it.
    pub fn expire(&mut self, now_us: i64, config: &Config) {
        let limit = now_us - config.dispatch_timeout_us();
        self.by_worker.retain(|_, jobs| {
            jobs.retain(|_, dispatch| dispatch.at_us > limit);
            !jobs.is_empty()
        });
        self.count = self.by_worker.values().map(|jobs| jobs.len()).sum();
    }

    /// Changes DISPATCHED → RUNNING of all jobs there is evidence for: (partition, job id, packed).
    pub fn take_running(
        &mut self,
        partitions: u32,
        config: &Config,
        now_us: i64,
    ) -> Vec<(u32, String, Vec<u8>)> {
        std::mem::take(&mut self.running)
            .into_iter()
            .map(|(job_id, dispatch)| {
                let mut change = to_running(
                    job_id,
                    now_us + config.running_timeout_us(&dispatch.topic),
                    now_us,
                );
                change.dispatch_id = Some(dispatch.dispatch_id);
                let packed = change.pack();
                (partition(&change.id, partitions), change.id, packed)
            })
            .collect()
    }
}

/// The change DISPATCHED → RUNNING; a job that runs already is left alone.
pub fn to_running(job_id: String, due_us: i64, now_us: i64) -> Transition {
    Transition {
        events: vec![event(&job_id, now_us, "RUNNING", &Context::default())],
        id: job_id,
        from: vec!["DISPATCHED"],
        to: "RUNNING",
        due: Some(due_us),
        ..Transition::default()
    }
}
