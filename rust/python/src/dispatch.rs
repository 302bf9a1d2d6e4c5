//! Bindings of `cordum-dispatch`: `Planner`, `SubmitPlan`, `ResultPlan`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cordum_dispatch::commit::{creation, Planned};
use cordum_dispatch::config::Config;
use cordum_dispatch::intake::decode_presence;
use cordum_dispatch::outgoing::{self, Outgoing};
use cordum_dispatch::record::Record;
use cordum_dispatch::reply::{Reply, Value};
use cordum_dispatch::results::ResultPlan as Results;
use cordum_dispatch::submit::{SubmitPlan as Submits, Surroundings, Verdict};
use cordum_dispatch::workers::{Capacity, WorkerEntry, WorkerTable};
use cordum_wire::messages::{BatchRequest, DispatchIdentity, JobRequest, Payload};
use prost::Message;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};

type PyOutgoing = (String, Py<PyBytes>, String, String);
type TenantChange = (String, String, bool, bool);
type Fields = HashMap<String, String>;

/// State shared by the plans of one scheduler process.
#[pyclass(frozen, module = "cordum._core")]
pub struct Planner {
    instance: String,
    partitions: u32,
    config: Mutex<Arc<Config>>,
    replicas: Mutex<i64>,
    table: Arc<Mutex<WorkerTable>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

    /// Swap routing and time-outs (JSON document).
    fn configure(&self, document: &[u8]) -> PyResult<()> {
        let config = Config::parse(document).map_err(|error| PyValueError::new_err(error.to_string()))?;
        *lock(&self.config) = Arc::new(config);
        lock(&self.table).invalidate();
        Ok(())
    }

    /// Number of live scheduler instances.
    fn set_replicas(&self, count: i64) {
        *lock(&self.replicas) = count.max(1);
    }

    /// Apply heartbeat and handshake packets; returns (capacities, heartbeats, handshakes, invalid count).
    #[allow(clippy::type_complexity)]
    fn presence(
        &self,
        py: Python<'_>,
        packets: Vec<PyBackedBytes>,
        now_us: i64,
    ) -> (
        Vec<(String, String, bool)>,
        Vec<(String, String)>,
        Vec<(String, Vec<String>, String)>,
        usize,
    ) {
        let config = self.surroundings().config;
        let table = Arc::clone(&self.table);
        py.detach(move || {
            let mut table = lock(&table);
            let (mut capacity, mut beats, mut shakes, mut invalid) = (Vec::new(), Vec::new(), Vec::new(), 0);
            for packet in &packets {
                match decode_presence(packet) {
                    Some((envelope, Payload::Heartbeat(beat))) => {
                        capacity.extend(table.heartbeat(&beat, envelope.created_us, now_us, &config));
                        beats.push((beat.worker_id, beat.pool));
                    }
                    Some((_, Payload::Handshake(shake))) if shake.role == 3 => {
                        capacity.extend(table.handshake(&shake, now_us, &config));
                        shakes.push((shake.component_id, shake.ready_topics, shake.sdk_version));
                    }
                    Some(_) => {}
                    None => invalid += 1,
                }
            }
            (tuples(capacity), beats, shakes, invalid)
        })
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

    /// Drop silent workers; returns their ids.
    fn expire(&self, now_us: i64) -> Vec<String> {
        let config = self.surroundings().config;
        lock(&self.table).expire(now_us, &config)
    }

    /// Worker entries of the snapshot document (JSON list).
    fn worker_entries(&self, now_us: i64) -> Vec<u8> {
        serde_json::to_vec(&lock(&self.table).entries(now_us)).unwrap_or_default()
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

    /// Whether the worker shows a sign of life; with an empty id, whether any worker of the pool does.
    fn alive(&self, worker_id: &str, pool: &str, now_us: i64) -> bool {
        let config = self.surroundings().config;
        let mut table = lock(&self.table);
        if worker_id.is_empty() {
            return table.pool_alive(pool, now_us, &config);
        }
        table
            .get(worker_id)
            .is_some_and(|worker| now_us - worker.last_seen_us <= config.worker_ttl_us)
    }

    /// Free slots of a pool now.
    fn room(&self, pool: &str) -> i64 {
        let surroundings = self.surroundings();
        lock(&self.table).room(pool, surroundings.replicas, &surroundings.config)
    }

    /// Pools of a topic.
    fn pools_of(&self, topic: &str) -> Vec<String> {
        lock(&self.config).pools_of(topic).to_vec()
    }

    /// Running time-out of a topic, µs.
    fn running_timeout_us(&self, topic: &str) -> i64 {
        lock(&self.config).running_timeout_us(topic)
    }

    /// Metric label of a topic.
    fn metric_topic(&self, topic: &str) -> String {
        lock(&self.config).metric_topic(topic).to_owned()
    }

    /// Build again the dispatch of a stored job (fields of its record, stored request in protojson).
    fn rebuild_dispatch(
        &self,
        py: Python<'_>,
        fields: Fields,
        request: &[u8],
        now_us: i64,
    ) -> PyResult<PyOutgoing> {
        let mut request = request_from(request)?;
        let record = Record::new(fields);
        let constraints = serde_json::from_str(record.text("safety_constraints")).unwrap_or_default();
        outgoing::apply_constraints(&mut request, &constraints);
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
        Ok(to_py(
            py,
            outgoing::dispatch(request, record.text("trace_id"), identity, &subject, now_us),
        ))
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
}

/// One submit batch.
#[pyclass(module = "cordum._core")]
pub struct SubmitPlan {
    inner: Submits,
    planned: Vec<Planned>,
    table: Arc<Mutex<WorkerTable>>,
    rpc_sizes: Vec<usize>,
}

#[pymethods]
impl SubmitPlan {
    fn reads(&self) -> Vec<String> {
        self.inner.reads()
    }

    fn supply(&mut self, rows: Vec<(Option<Fields>, Option<PyBackedBytes>)>) {
        let rows = rows
            .into_iter()
            .map(|(fields, request)| {
                (
                    fields.map(Record::new),
                    request.and_then(|bytes| request_from(&bytes).ok()),
                )
            })
            .collect();
        self.inner.supply(rows);
    }

    /// Records to create first: (item, partition, packed change).
    fn creates(&self, py: Python<'_>, now_us: i64) -> Vec<(usize, u32, Py<PyBytes>)> {
        let partitions = self.inner.surroundings.partitions;
        self.inner
            .to_create()
            .into_iter()
            .filter_map(|index| {
                let item = self.inner.items.get(index)?;
                let partition = cordum_wire::partition(&item.request.job_id, partitions);
                Some((
                    index,
                    partition,
                    PyBytes::new(py, &creation(item, now_us).pack()).unbind(),
                ))
            })
            .collect()
    }

    fn created(&mut self, outcomes: Vec<(usize, bool)>, now_us: i64) {
        for (index, created) in outcomes {
            self.inner.created(index, created, now_us);
        }
    }

    /// Serialized `cordum.v1.BatchRequest`s.
    fn policy_requests(&mut self, py: Python<'_>) -> Vec<Py<PyBytes>> {
        let encoded: Vec<(usize, Vec<u8>)> = py.detach(|| {
            let batches = self.inner.policy_batches();
            batches
                .into_iter()
                .map(|requests| (requests.len(), BatchRequest { requests }.encode_to_vec()))
                .collect()
        });
        self.rpc_sizes = encoded.iter().map(|(count, _)| *count).collect();
        encoded
            .into_iter()
            .map(|(_, bytes)| PyBytes::new(py, &bytes).unbind())
            .collect()
    }

    /// Serialized `cordum.v1.BatchResponse`s, `None` where the kernel gave no answer.
    fn decide(&mut self, py: Python<'_>, answers: Vec<Option<PyBackedBytes>>) {
        py.detach(|| {
            let sized: Vec<(usize, Option<&[u8]>)> = self
                .rpc_sizes
                .iter()
                .enumerate()
                .map(|(index, count)| {
                    (
                        *count,
                        answers
                            .get(index)
                            .and_then(|answer| answer.as_ref().map(|b| b.as_ref())),
                    )
                })
                .collect();
            self.inner.decide(&sized);
        });
    }

    fn reservations(&self) -> Vec<(String, i64, Vec<String>)> {
        self.inner.reservations()
    }

    fn refused(&mut self, ids: Vec<String>) {
        self.inner.refused(&ids);
    }

    /// Match and build the changes: packed changes grouped by partition.
    fn commits(
        &mut self,
        py: Python<'_>,
        entropy: PyBackedBytes,
        now_us: i64,
    ) -> Vec<(u32, Vec<Py<PyBytes>>)> {
        let inner = &mut self.inner;
        let table = &self.table;
        let mut planned = py.detach(|| inner.commits(&mut lock(table), &entropy, now_us));
        // Grouping keeps the order inside a partition; replies come back in the same order.
        planned.sort_by_key(|plan| plan.partition);
        let mut groups: Vec<(u32, Vec<Py<PyBytes>>)> = Vec::new();
        for plan in &planned {
            let packed = PyBytes::new(py, &plan.packed).unbind();
            match groups.last_mut() {
                Some((partition, list)) if *partition == plan.partition => list.push(packed),
                _ => groups.push((plan.partition, vec![packed])),
            }
        }
        self.planned = planned;
        groups
    }

    /// Tenant set changes that must ride with the commits: (tenant, job id, open, active).
    fn admissions(&self) -> Vec<TenantChange> {
        self.inner.admissions(&self.planned)
    }

    /// Apply the replies (flattened in group order).
    fn apply(
        &mut self,
        py: Python<'_>,
        replies: Vec<Bound<'_, PyAny>>,
        now_us: i64,
    ) -> PyResult<SubmitEffects> {
        let replies = replies.iter().map(reply_from).collect::<Vec<Reply>>();
        let planned = std::mem::take(&mut self.planned);
        let inner = &mut self.inner;
        let table = &self.table;
        let applied = py.detach(|| inner.apply(planned, &replies, &mut lock(table), now_us));
        Ok(SubmitEffects {
            dispatches: applied.dispatches.into_iter().map(|out| to_py(py, out)).collect(),
            events: applied.events.into_iter().map(|out| to_py(py, out)).collect(),
            tenants: applied.tenants,
            dead_letters: applied.dead_letters,
            assignments: applied.assignments,
            duties: applied.duties,
            waiting: applied.waiting,
            counts: applied
                .counts
                .into_iter()
                .map(|(name, label)| (name.to_owned(), label))
                .collect(),
            arrivals: applied.arrivals,
        })
    }

    /// Per message: (kind, delay in seconds); kind 0 = ack, 1 = nak, 2 = corrupt.
    fn verdicts(&self) -> Vec<(u8, f64)> {
        self.inner.verdicts.iter().map(verdict_tuple).collect()
    }

    fn invalid(&self) -> Vec<&'static str> {
        self.inner.invalid.clone()
    }
}

/// What follows from a committed submit batch.
#[pyclass(frozen, get_all, module = "cordum._core")]
pub struct SubmitEffects {
    dispatches: Vec<PyOutgoing>,
    events: Vec<PyOutgoing>,
    tenants: Vec<TenantChange>,
    dead_letters: Vec<(String, String)>,
    assignments: Vec<(String, String)>,
    duties: Vec<String>,
    waiting: Vec<String>,
    counts: Vec<(String, String)>,
    arrivals: Vec<(String, i64)>,
}

/// One result batch.
#[pyclass(module = "cordum._core")]
pub struct ResultPlan {
    inner: Results,
    order: Vec<usize>,
    table: Arc<Mutex<WorkerTable>>,
}

#[pymethods]
impl ResultPlan {
    fn reads(&self) -> Vec<String> {
        self.inner.reads()
    }

    fn supply(&mut self, records: Vec<Option<Fields>>) {
        self.inner.supply(
            records
                .into_iter()
                .map(|fields| fields.map(Record::new))
                .collect(),
        );
    }

    fn commits(&mut self, py: Python<'_>, now_us: i64) -> Vec<(u32, Vec<Py<PyBytes>>)> {
        let inner = &mut self.inner;
        let changes = py.detach(|| inner.commits(now_us));
        let mut order: Vec<usize> = (0..changes.len()).collect();
        order.sort_by_key(|index| changes.get(*index).map_or(0, |(partition, _)| *partition));
        let mut groups: Vec<(u32, Vec<Py<PyBytes>>)> = Vec::new();
        for (partition, packed) in order.iter().filter_map(|index| changes.get(*index)) {
            let packed = PyBytes::new(py, packed).unbind();
            match groups.last_mut() {
                Some((last, list)) if last == partition => list.push(packed),
                _ => groups.push((*partition, vec![packed])),
            }
        }
        self.order = order;
        groups
    }

    fn apply(
        &mut self,
        py: Python<'_>,
        replies: Vec<Bound<'_, PyAny>>,
        now_us: i64,
    ) -> PyResult<ResultEffects> {
        let mut ordered = vec![Reply::Failed; self.order.len()];
        for (index, reply) in self.order.iter().zip(replies.iter().map(reply_from)) {
            if let Some(slot) = ordered.get_mut(*index) {
                *slot = reply;
            }
        }
        let inner = &mut self.inner;
        let table = &self.table;
        let applied = py.detach(|| inner.apply(&ordered, &mut lock(table), now_us));
        Ok(ResultEffects {
            events: applied.events.into_iter().map(|out| to_py(py, out)).collect(),
            tenants: applied.tenants,
            dead_letters: applied.dead_letters,
            duties: applied.duties,
            result_keys: applied.result_keys,
            capacity: tuples(applied.capacity),
            counts: applied
                .counts
                .into_iter()
                .map(|(name, label)| (name.to_owned(), label))
                .collect(),
        })
    }

    fn verdicts(&self) -> Vec<(u8, f64)> {
        self.inner.verdicts.iter().map(verdict_tuple).collect()
    }

    fn invalid(&self) -> Vec<&'static str> {
        self.inner.invalid.clone()
    }
}

/// What follows from a committed result batch.
#[pyclass(frozen, get_all, module = "cordum._core")]
pub struct ResultEffects {
    events: Vec<PyOutgoing>,
    tenants: Vec<TenantChange>,
    dead_letters: Vec<(String, String)>,
    duties: Vec<String>,
    result_keys: Vec<String>,
    capacity: Vec<(String, String, bool)>,
    counts: Vec<(String, String)>,
}

fn tuples(capacity: Vec<Capacity>) -> Vec<(String, String, bool)> {
    let mut list: Vec<_> = capacity
        .into_iter()
        .map(|c| (c.pool, c.worker_id, c.online))
        .collect();
    list.sort();
    list.dedup_by(|a, b| a.0 == b.0 && a.2 == b.2);
    list
}

fn to_py(py: Python<'_>, out: Outgoing) -> PyOutgoing {
    (
        out.subject,
        PyBytes::new(py, &out.payload).unbind(),
        out.message_id,
        out.job_id,
    )
}

fn verdict_tuple(verdict: &Verdict) -> (u8, f64) {
    match verdict {
        Verdict::Ack => (0, 0.0),
        Verdict::Nak(delay_us) => (1, *delay_us as f64 / 1e6),
        Verdict::Corrupt => (2, 0.0),
    }
}

fn reply_from(reply: &Bound<'_, PyAny>) -> Reply {
    let Ok(list) = reply.cast::<PyList>() else {
        return Reply::Failed;
    };
    let values: Vec<Value> = list.iter().map(|value| value_from(&value)).collect();
    Reply::parse(&values)
}

/// Bytes are looked for first: a failed number conversion would build an exception per element.
fn value_from(value: &Bound<'_, PyAny>) -> Value {
    match value.cast::<PyBytes>() {
        Ok(bytes) => Value::Text(String::from_utf8_lossy(bytes.as_bytes()).into_owned()),
        Err(_) => Value::Int(value.extract().unwrap_or_default()),
    }
}

fn request_from(json: &[u8]) -> PyResult<JobRequest> {
    cordum_wire::json::request_from_json(json).map_err(|error| PyValueError::new_err(error.to_string()))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Planner>()?;
    module.add_class::<SubmitPlan>()?;
    module.add_class::<SubmitEffects>()?;
    module.add_class::<ResultPlan>()?;
    module.add_class::<ResultEffects>()
}
