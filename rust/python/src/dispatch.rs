//! Bindings of `cordum-dispatch`: `Planner`, `SubmitPlan`, `ResultPlan`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cordum_dispatch::backoff::{route_delay_us, Jitter};
use cordum_dispatch::config::Config;
use cordum_dispatch::grants::Limits;
use cordum_dispatch::job_config;
use cordum_dispatch::outgoing::{self, Outgoing};
use cordum_dispatch::outputs::stored_result;
use cordum_dispatch::presence::PresencePacket;
use cordum_dispatch::record::Record;
use cordum_dispatch::results::ResultPlan as Results;
use cordum_dispatch::retries::{self, Retry};
use cordum_dispatch::submit::{SubmitPlan as Submits, Surroundings};
use cordum_dispatch::worker_snapshot::WorkerEntry;
use cordum_dispatch::workers::{Capacity, WorkerTable};
use cordum_wire::messages::{DispatchIdentity, Handshake, JobRequest};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::boundary::Boundary;
use crate::plans::SubmitPlan;
use crate::result_plan::ResultPlan;

pub(crate) type PyOutgoing = (String, Py<PyBytes>, String, String);
pub(crate) type Fields = HashMap<String, String>;

/// State shared by the plans of one scheduler process.
#[pyclass(frozen, module = "cordum._core")]
pub struct Planner {
    instance: String,
    partitions: u32,
    config: Mutex<Arc<Config>>,
    replicas: Mutex<i64>,
    table: Arc<Mutex<WorkerTable>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Planner {
    fn surroundings(&self) -> Surroundings {
        Surroundings {
            config: Arc::clone(&lock(&self.config)),
            instance: self.instance.clone(),
            partitions: self.partitions,
            replicas: *lock(&self.replicas),
        }
    }
}

#[pymethods]
impl Planner {
    #[new]
    fn new(instance: String, partitions: u32) -> Self {
        Planner {
            instance,
            partitions,
            config: Mutex::default(),
            replicas: Mutex::new(1),
            table: Arc::default(),
        }
    }

    /// Swap routing and time-outs (JSON document) and the topic registrations.
    #[pyo3(signature = (document, boundary = None))]
    fn configure(&self, document: &[u8], boundary: Option<&Boundary>) -> PyResult<()> {
        let config = Config::parse(document).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let boundary = boundary.map_or_else(Arc::default, |boundary| Arc::clone(&boundary.0));
        lock(&self.table).reconfigure(&config);
        *lock(&self.config) = Arc::new(config.with_boundary(boundary));
        Ok(())
    }

    /// Number of live scheduler instances.
    fn set_replicas(&self, count: i64) {
        *lock(&self.replicas) = count.max(1);
    }

    /// Apply heartbeat and handshake packets; returns (capacities, heartbeats, handshakes, positions of invalid packets, trace ids of
    /// what brought workers online). `proofs`: per packet, the pools and topics its sender is limited to when it proved who it is.
    /// `telemetry`: per packet, whether it only informs of a worker, because it shows no session where sessions decide.
    #[allow(clippy::type_complexity)]
    #[pyo3(signature = (packets, now_us, proofs = None, telemetry = None))]
    fn presence(
        &self,
        py: Python<'_>,
        packets: Vec<PyBackedBytes>,
        now_us: i64,
        proofs: Option<Vec<Option<Proof>>>,
        telemetry: Option<Vec<bool>>,
    ) -> (
        Vec<(String, String, bool)>,
        Vec<(String, Vec<String>)>,
        Vec<(String, Vec<String>, String)>,
        Vec<usize>,
        HashMap<String, String>,
    ) {
        let config = self.surroundings().config;
        let table = Arc::clone(&self.table);
        py.detach(move || {
            let mut proofs = proofs.unwrap_or_default().into_iter();
            let mut telemetry = telemetry.unwrap_or_default().into_iter();
            let packets = packets.iter().map(|packet| PresencePacket {
                bytes: packet,
                limits: proofs.next().flatten().map(limits_of),
                informs: telemetry.next().unwrap_or(false),
            });
            let found = lock(&table).presence(packets, now_us, &config);
            (
                tuples(found.capacity),
                found.beats,
                found.shakes,
                found.invalid,
                found.traces,
            )
        })
    }

    /// Workers the licence refused since the last call.
    fn take_refused(&self) -> Vec<String> {
        lock(&self.table).take_refused()
    }

    /// Senders of heartbeats and handshakes that name another worker, with that one, since the last call.
    fn take_misnamed(&self) -> Vec<(String, String)> {
        lock(&self.table).take_misnamed()
    }

    /// Seconds since the last sign of life of every worker.
    fn worker_ages(&self, now_us: i64) -> Vec<(String, f64)> {
        let table = lock(&self.table);
        let ages = table.all().iter();
        ages.map(|worker| (worker.id.clone(), (now_us - worker.last_seen_us) as f64 / 1e6))
            .collect()
    }

    /// Whether the routing table knows the pool and it is not inactive.
    fn is_live_pool(&self, pool: &str) -> bool {
        lock(&self.config).pool(pool).is_some_and(|pool| pool.live)
    }

    /// Changes of dispatched jobs that run, as heartbeats since the last call show: packed changes and their jobs per partition.
    fn take_running(&self, py: Python<'_>, now_us: i64) -> Vec<(u32, Vec<Py<PyBytes>>, Vec<String>)> {
        let config = self.surroundings().config;
        let mut changes = lock(&self.table)
            .evidence
            .take_running(self.partitions, &config, now_us);
        changes.sort_by_key(|(partition, ..)| *partition);
        let mut groups: Vec<(u32, Vec<Py<PyBytes>>, Vec<String>)> = Vec::new();
        for (partition, job_id, packed) in changes {
            let packed = PyBytes::new(py, &packed).unbind();
            match groups.last_mut() {
                Some((last, list, ids)) if *last == partition => {
                    list.push(packed);
                    ids.push(job_id);
                }
                _ => groups.push((partition, vec![packed], vec![job_id])),
            }
        }
        groups
    }

    /// Scope of the configuration that may hold the retry budget of a record; `None` when it is known without.
    fn retry_scope(&self, fields: Fields) -> Option<cordum_wire::ConfigScope> {
        retries::scope(&Record::new(fields), &lock(&self.config))
    }

    /// Whether a job whose attempt was lost gets another one: ("again", delay in µs), ("engine", time-out in µs) or
    /// ("exhausted", 0). `limit` is `retry.max_retries` of its configuration.
    fn retry_plan(&self, fields: Fields, limit: Option<i64>, seed: u64) -> (&'static str, i64) {
        let config = Arc::clone(&lock(&self.config));
        match retries::decide(&Record::new(fields), &config, limit, &mut Jitter::new(seed)) {
            Retry::Again(delay_us) => ("again", delay_us),
            Retry::Engine => ("engine", config.retrying_timeout_us()),
            Retry::Exhausted => ("exhausted", 0),
        }
    }

    /// Workers among `ids` whose ready topics are not known here.
    fn lacking_topics(&self, ids: Vec<String>) -> Vec<String> {
        let table = lock(&self.table);
        ids.into_iter().filter(|id| table.lacks_topics(id)).collect()
    }

    /// Remember the ready topics of a worker that announced them to an earlier process.
    fn remember_topics(&self, worker_id: &str, topics: Vec<String>) {
        lock(&self.table).remember_topics(worker_id, &topics);
    }

    /// Apply an authenticated handshake: what it announces is the most the worker may announce later. Returns capacities and
    /// the topics that count.
    #[allow(clippy::type_complexity)]
    fn authenticate(
        &self,
        worker_id: &str,
        pools: Vec<String>,
        topics: Vec<String>,
        ready_topics: Vec<String>,
        now_us: i64,
    ) -> (Vec<(String, String, bool)>, Vec<String>) {
        let config = self.surroundings().config;
        let mut table = lock(&self.table);
        table.grant(worker_id, limits_of((pools, topics)), now_us);
        table.set_ceiling(worker_id, &ready_topics);
        let shake = Handshake {
            component_id: worker_id.to_owned(),
            ready_topics,
            ..Handshake::default()
        };
        let capacity = table.handshake(&shake, now_us, &config);
        let counted = table.get(worker_id).map(|worker| worker.ready_topics.clone());
        (tuples(capacity), counted.unwrap_or_default())
    }

    /// Workers that proved who they are within their time to live.
    fn attested_workers(&self, now_us: i64) -> Vec<String> {
        let config = self.surroundings().config;
        lock(&self.table).attested(&config, now_us)
    }

    /// Note until when sessions are known to be live (worker, µs); with `whole`, all others are not. Returns capacities.
    fn set_sessions(
        &self,
        py: Python<'_>,
        live: Vec<(String, i64)>,
        whole: bool,
        now_us: i64,
    ) -> Vec<(String, String, bool)> {
        let config = self.surroundings().config;
        let table = Arc::clone(&self.table);
        py.detach(move || tuples(lock(&table).set_sessions(live, whole, now_us, &config)))
    }

    /// Workers whose session and heartbeats disagree, with the direction.
    fn disagreements(&self, py: Python<'_>, now_us: i64) -> Vec<(String, &'static str)> {
        let config = self.surroundings().config;
        let table = Arc::clone(&self.table);
        let found = py.detach(move || lock(&table).disagreements(&config, now_us));
        let told = found.into_iter();
        told.map(|(worker_id, how)| (worker_id, how.direction()))
            .collect()
    }

    /// Forget what a worker proved.
    fn withdraw(&self, worker_id: &str) {
        lock(&self.table).withdraw(worker_id);
    }

    /// Take over the limits of a changed credential.
    fn limit_worker(&self, worker_id: &str, pools: Vec<String>, topics: Vec<String>) {
        lock(&self.table).limit(worker_id, pools, topics);
    }

    /// Those of `ids` that did not prove who they are within their time to live.
    fn unattested(&self, ids: Vec<String>, now_us: i64) -> Vec<String> {
        let config = self.surroundings().config;
        let table = lock(&self.table);
        let unproven = |id: &String| {
            !table
                .get(id)
                .is_some_and(|worker| worker.attested(&config, now_us))
        };
        ids.into_iter().filter(unproven).collect()
    }

    /// Drop silent workers; returns their ids.
    fn expire(&self, now_us: i64) -> Vec<String> {
        let config = self.surroundings().config;
        lock(&self.table).expire(now_us, &config)
    }

    /// Worker entries of the snapshot document (JSON list).
    fn worker_entries(&self, now_us: i64) -> Vec<u8> {
        serde_json::to_vec(&lock(&self.table).entries(now_us)).unwrap_or_default()
    }

    /// Pool and topic parts of the snapshot document (JSON object).
    fn overview(&self, now_us: i64) -> Vec<u8> {
        let config = self.surroundings().config;
        serde_json::to_vec(&lock(&self.table).overview(now_us, &config)).unwrap_or_default()
    }

    /// Insert remembered workers (JSON list of entries) captured `elapsed_us` ago.
    fn restore_workers(&self, entries: &[u8], elapsed_us: i64, now_us: i64) -> PyResult<()> {
        let entries: Vec<WorkerEntry> =
            serde_json::from_slice(entries).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let config = self.surroundings().config;
        let mut table = lock(&self.table);
        for entry in entries {
            let age_us = elapsed_us.saturating_add(entry.age_ms.saturating_mul(1000));
            table.restore(entry, age_us, now_us, &config);
        }
        Ok(())
    }

    /// Whether the worker counts as living; with an empty id, whether any worker of the pool does.
    fn alive(&self, worker_id: &str, pool: &str, now_us: i64) -> bool {
        let config = self.surroundings().config;
        let mut table = lock(&self.table);
        if worker_id.is_empty() {
            return table.pool_alive(pool, now_us, &config);
        }
        table
            .get(worker_id)
            .is_some_and(|worker| worker.alive(&config, now_us))
    }

    /// Free slots of a pool now.
    fn room(&self, pool: &str) -> i64 {
        let surroundings = self.surroundings();
        lock(&self.table).room(pool, surroundings.replicas, &surroundings.config)
    }

    /// Note the place of whoever is first in a pool's line; `None` when nobody waits.
    #[pyo3(signature = (pool, front))]
    fn looked_at_line(&self, pool: &str, front: Option<i64>) {
        lock(&self.table).looked_at_line(pool, front);
    }

    /// Pools of a topic.
    fn pools_of(&self, topic: &str) -> Vec<String> {
        lock(&self.config).pools_of(topic).to_vec()
    }

    /// Delay of the attempt after `failures` routing failures, µs.
    fn route_delay_us(&self, failures: i64, seed: u64) -> i64 {
        route_delay_us(failures, &mut Jitter::new(seed))
    }

    /// Running time-out of a topic, µs.
    fn running_timeout_us(&self, topic: &str) -> i64 {
        lock(&self.config).running_timeout_us(topic)
    }

    /// Metric label of a topic.
    fn metric_topic(&self, topic: &str) -> String {
        lock(&self.config).metric_topic(topic).to_owned()
    }

    /// Build again the dispatch of a stored job (fields of its record, stored request in protojson,
    /// effective configuration); with the key under which the configuration has to be stored first, if it is too large.
    fn rebuild_dispatch(
        &self,
        py: Python<'_>,
        fields: Fields,
        request: &[u8],
        config: &str,
        now_us: i64,
    ) -> PyResult<(PyOutgoing, Option<String>)> {
        let mut request = request_from(request)?;
        let record = Record::new(fields);
        let constraints = serde_json::from_str(record.text("safety_constraints")).unwrap_or_default();
        outgoing::apply_constraints(&mut request, &constraints);
        let stored =
            job_config::attach(&mut request, config).then(|| job_config::stored_key(&request.job_id));
        if record.text("safety_decision") == "UNAVAILABLE" {
            outgoing::mark_bypass(&mut request, record.text("safety_reason"));
        }
        let subject = record.text("dispatch_subject").to_owned();
        let direct = subject.starts_with("worker.");
        let identity = DispatchIdentity {
            dispatch_id: record.text("dispatch_id").to_owned(),
            attempt: record.number("attempts").unsigned_abs(),
            assigned_worker_id: if direct {
                record.text("worker_id").to_owned()
            } else {
                String::new()
            },
        };
        let out = outgoing::dispatch(request, record.text("trace_id"), identity, &subject, now_us);
        Ok((to_py(py, out), stored))
    }

    /// Start planning a batch of submits.
    fn plan_submit(
        &self,
        py: Python<'_>,
        messages: Vec<PyBackedBytes>,
        delivered: Vec<u64>,
        due: Vec<String>,
        seed: u64,
    ) -> SubmitPlan {
        let surroundings = self.surroundings();
        let inner = py.detach(move || {
            let slices: Vec<&[u8]> = messages.iter().map(|bytes| bytes.as_ref()).collect();
            Submits::new(surroundings, &slices, &delivered, due, seed)
        });
        SubmitPlan {
            inner,
            planned: Vec::new(),
            table: Arc::clone(&self.table),
            rpc_sizes: Vec::new(),
        }
    }

    /// Start planning a batch of results.
    fn plan_results(&self, py: Python<'_>, messages: Vec<PyBackedBytes>, seed: u64) -> ResultPlan {
        let surroundings = self.surroundings();
        let inner = py.detach(move || {
            let slices: Vec<&[u8]> = messages.iter().map(|bytes| bytes.as_ref()).collect();
            Results::new(surroundings, &slices, seed)
        });
        ResultPlan {
            inner,
            order: Vec::new(),
            table: Arc::clone(&self.table),
        }
    }

    /// A batch of results kept with their jobs: (record, serialized `JobResult` in base64).
    fn plan_stored_results(&self, rows: Vec<(Fields, String)>, seed: u64) -> ResultPlan {
        let results = rows.into_iter().filter_map(|(fields, kept)| {
            let result = stored_result(&kept)?;
            Some((Record::new(fields), result))
        });
        ResultPlan {
            inner: Results::stored(self.surroundings(), results.collect(), seed),
            order: Vec::new(),
            table: Arc::clone(&self.table),
        }
    }
}

/// Allowed pools, allowed topics.
type Proof = (Vec<String>, Vec<String>);

fn limits_of((pools, topics): Proof) -> Limits {
    Limits {
        pools,
        topics,
        ceiling: None,
    }
}

pub(crate) fn tuples(capacity: Vec<Capacity>) -> Vec<(String, String, bool)> {
    let mut list: Vec<_> = capacity
        .into_iter()
        .map(|c| (c.pool, c.worker_id, c.online))
        .collect();
    list.sort();
    list.dedup_by(|a, b| a.0 == b.0 && a.2 == b.2);
    list
}

pub(crate) fn to_py(py: Python<'_>, out: Outgoing) -> PyOutgoing {
    (
        out.subject,
        PyBytes::new(py, &out.payload).unbind(),
        out.message_id,
        out.job_id,
    )
}

/// The request of a record as it is stored; None when it is damaged, or the record gone.
pub(crate) fn stored_request(record: Option<&Record>, stored: &[u8]) -> Option<JobRequest> {
    cordum_wire::stored::request_from_store(record?.text("id"), stored).ok()
}

pub(crate) fn request_from(json: &[u8]) -> PyResult<JobRequest> {
    cordum_wire::json::request_from_json(json).map_err(|error| PyValueError::new_err(error.to_string()))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Planner>()?;
    crate::plans::register(module)
}
