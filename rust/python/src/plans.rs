//! Bindings of the planner of submits: `SubmitPlan` and its effects.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use cordum_dispatch::admission::ItemPayload;
use cordum_dispatch::commit::{creation, Planned};
use cordum_dispatch::job_config::{self, JobConfig};
use cordum_dispatch::record::Record;
use cordum_dispatch::reply::{Reply, Value};
use cordum_dispatch::submit::{SubmitPlan as Submits, Verdict};
use cordum_dispatch::workers::WorkerTable;
use cordum_wire::messages::BatchRequest;
use cordum_wire::ConfigScope;
use prost::Message;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};

use crate::boundary::{notice, PyNotice};
use crate::dispatch::{lock, stored_request, to_py, Fields, PyOutgoing};

type Mismatched = (&'static str, String, String, String, String, String);
type Reported = (&'static str, String, String, String, String);
type Created = (usize, u32, Py<PyBytes>, String, String, String);
pub(crate) type TenantChange = (String, String, bool, bool);

/// One submit batch.
#[pyclass(module = "cordum._core")]
pub struct SubmitPlan {
    pub(crate) inner: Submits,
    pub(crate) planned: Vec<Planned>,
    pub(crate) table: Arc<Mutex<WorkerTable>>,
    pub(crate) rpc_sizes: Vec<usize>,
}

#[pymethods]
impl SubmitPlan {
    fn reads(&self) -> Vec<String> {
        self.inner.reads()
    }

    /// Keep the W3C trace headers of the message at a position with its job.
    fn trace(&mut self, position: usize, context: String) {
        self.inner.trace(position, context);
    }

    fn supply(&mut self, rows: Vec<(Option<Fields>, Option<PyBackedBytes>)>, now_us: i64) {
        let rows = rows
            .into_iter()
            .map(|(fields, request)| {
                let record = fields.map(Record::new);
                let request = request.and_then(|bytes| stored_request(record.as_ref(), &bytes));
                (record, request)
            })
            .collect();
        self.inner.supply(rows, now_us);
    }

    /// Records to create first: (item, partition, packed change, tenant, job id, trace id).
    fn creates(&self, py: Python<'_>, now_us: i64) -> Vec<Created> {
        let partitions = self.inner.surroundings.partitions;
        self.inner
            .to_create()
            .into_iter()
            .filter_map(|index| {
                let item = self.inner.items.get(index)?;
                let job_id = &item.request.job_id;
                let trace_id = if item.trace_id.is_empty() {
                    job_id
                } else {
                    &item.trace_id
                };
                Some((
                    index,
                    cordum_wire::partition(job_id, partitions),
                    PyBytes::new(py, &creation(item, now_us).pack()).unbind(),
                    cordum_wire::record_tenant(&item.request).to_owned(),
                    job_id.clone(),
                    trace_id.clone(),
                ))
            })
            .collect()
    }

    fn created(&mut self, outcomes: Vec<(usize, bool)>, now_us: i64) {
        for (index, created) in outcomes {
            self.inner.created(index, created, now_us);
        }
    }

    /// Check topics, and schemas as far as no payload is needed for it.
    fn admit(&mut self) -> Vec<PyNotice> {
        self.inner.admit().into_iter().map(notice).collect()
    }

    /// Payloads to be read for their schema: (item, key).
    fn unchecked(&self) -> Vec<(usize, String)> {
        self.inner.unchecked()
    }

    /// Check payloads as (item, first bytes and full length); `None` when the key is gone.
    #[allow(clippy::type_complexity)]
    fn check_payloads(
        &mut self,
        py: Python<'_>,
        payloads: Vec<(usize, Option<(PyBackedBytes, i64)>)>,
    ) -> Vec<PyNotice> {
        let found = py.detach(|| {
            let borrowed: Vec<ItemPayload<'_>> = payloads
                .iter()
                .map(|(index, payload)| (*index, payload.as_ref().map(|(bytes, size)| (&bytes[..], *size))))
                .collect();
            self.inner.check_payloads(&borrowed)
        });
        found.into_iter().map(notice).collect()
    }

    /// Distinct (tenant, team, workflow, step) whose effective configuration is needed.
    fn config_scopes(&mut self) -> Vec<ConfigScope> {
        self.inner.config_scopes()
    }

    /// Configurations in the order of `config_scopes`: JSON for the worker, JSON for policy.
    fn supply_configs(&mut self, configs: Vec<(String, Vec<u8>)>) {
        let configs = configs
            .into_iter()
            .map(|(worker, policy)| JobConfig { worker, policy });
        self.inner.supply_configs(configs.collect());
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

    fn claims_approval(&self) -> bool {
        self.inner.claims_approval()
    }

    /// Settle what stored approvals settle under the policy `current`; return those that do not count:
    /// (cause, job id, tenant, topic, stored snapshot, asserted snapshot).
    fn judge_approved(&mut self, current: &str) -> Vec<Mismatched> {
        self.inner.judge_approved(current);
        let found = std::mem::take(&mut self.inner.mismatches).into_iter();
        found
            .map(|m| {
                (
                    m.cause,
                    m.job_id,
                    m.tenant,
                    m.topic,
                    m.stored_snapshot,
                    m.asserted_snapshot,
                )
            })
            .collect()
    }

    fn expect_content(&mut self, topics: HashSet<String>) {
        self.inner.expect_content(|topic| topics.contains(topic));
    }

    fn content_keys(&mut self) -> Vec<(usize, String)> {
        self.inner.content_keys()
    }

    /// Payloads as (item, first bytes and full length); `None` when the key is gone.
    fn supply_content(&mut self, payloads: Vec<(usize, Option<(PyBackedBytes, i64)>)>) {
        for (index, payload) in payloads {
            let payload = payload.map(|(bytes, size)| (bytes.to_vec(), size));
            self.inner.supply_content(index, payload);
        }
    }

    /// Topics of jobs whose payload the kernel asked for in the last round.
    fn content_topics(&self) -> Vec<String> {
        self.inner.content_topics()
    }

    /// Policy snapshot of the newest answer, empty before the first.
    #[getter]
    fn snapshot(&self) -> &str {
        &self.inner.snapshot
    }

    fn is_undecided(&self) -> bool {
        self.inner.is_undecided()
    }

    fn give_up(&mut self, reason: &str, outage: bool) {
        self.inner.give_up(reason, outage);
    }

    fn bypassable(&self) -> Vec<String> {
        self.inner.bypassable()
    }

    fn bypass(&mut self, tenants: Vec<String>) {
        self.inner.bypass(&tenants);
    }

    /// Serialized `cordum.v1.BatchResponse`s, `None` where the kernel gave no answer, because of `reason`. Tells whether the
    /// kernel is well.
    #[pyo3(signature = (answers, reason = ""))]
    fn decide(&mut self, py: Python<'_>, answers: Vec<Option<PyBackedBytes>>, reason: &str) -> bool {
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
            self.inner.decide(&sized, reason)
        })
    }

    fn reservations(&mut self, now_us: i64) -> Vec<(String, i64, Vec<String>)> {
        self.inner.reservations(now_us)
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
            touched: applied.touched,
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
            contested: applied.contested,
            bypassed: applied.bypassed,
            released: applied.released,
            undo: applied
                .undo
                .into_iter()
                .map(|undo| (undo.job_id, undo.topic, undo.failures, undo.rev))
                .collect(),
            configs: applied
                .configs
                .into_iter()
                .map(|(job_id, config)| (job_config::stored_key(&job_id), job_id, config.worker.clone()))
                .collect(),
            traces: applied.traces,
        })
    }

    /// Per message: (kind, delay in seconds); kind 0 = ack, 1 = nak, 2 = corrupt.
    fn verdicts(&self) -> Vec<(u8, f64)> {
        self.inner.verdicts.iter().map(verdict_tuple).collect()
    }

    fn invalid(&self) -> Vec<(usize, &'static str)> {
        let positions = self.inner.invalid_at.iter().copied();
        positions.zip(self.inner.invalid.iter().copied()).collect()
    }

    /// Job of the message at a position; empty when it is not part of the plan.
    fn job_of(&self, position: usize) -> String {
        let mut items = self.inner.items.iter();
        items
            .find(|item| item.message == Some(position))
            .map(|item| item.request.job_id.clone())
            .unwrap_or_default()
    }

    /// Forged or conflicting submits: (kind, job id, tenant, topic, sender).
    fn reports(&mut self) -> Vec<Reported> {
        let reports = std::mem::take(&mut self.inner.reports).into_iter();
        reports
            .map(|report| {
                let about = report.about;
                (report.kind, about.job_id, about.tenant, about.topic, about.sender)
            })
            .collect()
    }

    /// Ended jobs submitted again whose dead-letter event is still owed.
    fn owed(&self) -> Vec<String> {
        self.inner.owed.clone()
    }

    /// Due entries of jobs that wait for nothing.
    fn strays(&self) -> Vec<String> {
        self.inner.strays.clone()
    }
}

/// What follows from a committed submit batch.
#[pyclass(frozen, get_all, module = "cordum._core")]
pub struct SubmitEffects {
    dispatches: Vec<PyOutgoing>,
    events: Vec<PyOutgoing>,
    tenants: Vec<TenantChange>,
    touched: Vec<(String, String)>,
    dead_letters: Vec<(String, String)>,
    assignments: Vec<(String, String)>,
    duties: Vec<(String, i64)>,
    waiting: Vec<String>,
    counts: Vec<(String, String)>,
    arrivals: Vec<(String, i64)>,
    contested: Vec<(String, String)>,
    bypassed: Vec<(String, String, String, String)>,
    released: Vec<(String, String)>,
    undo: Vec<(String, String, i64, i64)>,
    configs: Vec<(String, String, String)>,
    traces: Vec<(String, String)>,
}

pub(crate) fn verdict_tuple(verdict: &Verdict) -> (u8, f64) {
    match verdict {
        Verdict::Ack => (0, 0.0),
        Verdict::Nak(delay_us) => (1, *delay_us as f64 / 1e6),
        Verdict::Corrupt => (2, 0.0),
    }
}

pub(crate) fn reply_from(reply: &Bound<'_, PyAny>) -> Reply {
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

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SubmitPlan>()?;
    module.add_class::<SubmitEffects>()
}
