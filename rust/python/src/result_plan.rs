//! Bindings of the planner of results: `ResultPlan` and its effects.

use std::sync::{Arc, Mutex};

use cordum_dispatch::output_check::ReadContent;
use cordum_dispatch::output_effects::Noted;
use cordum_dispatch::outputs::OutputRow;
use cordum_dispatch::record::Record;
use cordum_dispatch::reply::Reply;
use cordum_dispatch::results::ResultPlan as Results;
use cordum_dispatch::workers::WorkerTable;
use cordum_policy::output::redact;
use cordum_wire::ConfigScope;
use prost::bytes::Bytes;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::dispatch::{lock, stored_request, to_py, tuples, Fields, PyOutgoing};
use crate::plans::{reply_from, verdict_tuple, TenantChange};

/// Tenant, job id, topic label, decision, rule id, ms, µs of evaluation, findings as (detector, severity).
type NotedCheck = (
    String,
    String,
    String,
    String,
    String,
    i64,
    i64,
    Vec<(String, String)>,
);

/// One result batch.
#[pyclass(module = "cordum._core")]
pub struct ResultPlan {
    pub(crate) inner: Results,
    pub(crate) order: Vec<usize>,
    pub(crate) table: Arc<Mutex<WorkerTable>>,
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

    /// Artifacts that results point at: (job, key).
    fn artifact_reads(&self) -> Vec<(String, String)> {
        self.inner.artifact_reads()
    }

    fn accept_artifacts(&mut self, own: Vec<(String, String)>) {
        self.inner.accept_artifacts(&own);
    }

    /// Jobs whose results are to be checked, and the key of their content; empty: the error text is.
    fn output_reads(&self) -> Vec<(String, String)> {
        self.inner.output_reads()
    }

    /// Per job of `output_reads`: record, stored request, first bytes of the content, bytes stored.
    fn supply_outputs(
        &mut self,
        py: Python<'_>,
        rows: Vec<(Option<Fields>, Option<PyBackedBytes>, PyBackedBytes, i64)>,
    ) {
        let inner = &mut self.inner;
        py.detach(|| {
            let rows = rows.into_iter().map(|(fields, request, head, size)| {
                let record = fields.map(Record::new);
                OutputRow {
                    request: request.and_then(|bytes| stored_request(record.as_ref(), &bytes)),
                    record,
                    // Python's own memory, not a copy of it.
                    read: ReadContent {
                        head: Bytes::from_owner(head),
                        size,
                    },
                }
            });
            inner.supply_outputs(rows.collect());
        });
    }

    /// Serialized `BatchRequest`s about the results, each with the number of its requests.
    fn output_batches(&self, py: Python<'_>) -> Vec<(usize, Py<PyBytes>)> {
        packed(py, py.detach(|| self.inner.output_batches()))
    }

    /// Take the answers; tells whether the kernel is well.
    fn output_answers(
        &mut self,
        py: Python<'_>,
        answers: Vec<(usize, Option<PyBackedBytes>)>,
        reason: &str,
    ) -> bool {
        let inner = &mut self.inner;
        py.detach(|| inner.output_answers(&borrowed(&answers), reason))
    }

    /// Make masked copies; what is to be stored as (key, copy).
    fn copies(&mut self, py: Python<'_>) -> Vec<(String, Py<PyBytes>)> {
        let inner = &mut self.inner;
        py.detach(|| inner.make_copies(redact));
        let copies = self.inner.copies().into_iter();
        copies
            .map(|(key, copy)| (key.to_owned(), PyBytes::new(py, copy).unbind()))
            .collect()
    }

    /// Serialized `BatchRequest`s about the copies.
    fn copy_batches(&self, py: Python<'_>) -> Vec<(usize, Py<PyBytes>)> {
        packed(py, py.detach(|| self.inner.copy_batches()))
    }

    /// Take the answers about the copies; the keys of copies that nobody may use, and whether the kernel is well.
    fn copy_answers(
        &mut self,
        answers: Vec<(usize, Option<PyBackedBytes>)>,
        reason: &str,
    ) -> (Vec<String>, bool) {
        self.inner.copy_answers(&borrowed(&answers), reason)
    }

    /// Tenants of results without a full answer.
    fn unanswered(&self) -> Vec<String> {
        self.inner.unanswered()
    }

    fn fail_open(&mut self, tenants: Vec<String>) {
        self.inner.fail_open(&tenants);
    }

    fn pass_errors(&mut self) {
        self.inner.pass_errors();
    }

    /// Metric labels of the results under check, each with their number.
    fn output_topics(&self) -> Vec<(String, usize)> {
        self.inner.output_topics()
    }

    /// The same of those with a masked copy.
    fn copy_topics(&self) -> Vec<(String, usize)> {
        self.inner.copy_topics()
    }

    fn output_duration(&mut self, duration_ms: i64) {
        self.inner.output_duration(duration_ms);
    }

    fn retry_scopes(&self) -> Vec<ConfigScope> {
        self.inner.retry_scopes()
    }

    fn supply_retry_limits(&mut self, limits: Vec<Option<i64>>) {
        self.inner.supply_retry_limits(limits);
    }

    fn ignored(&self) -> Vec<&'static str> {
        self.inner.ignored.clone()
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
            touched: applied.touched,
            retrying: applied.retrying,
            dead_letters: applied.dead_letters,
            duties: applied.duties,
            sagas: applied.sagas,
            result_keys: applied.result_keys,
            capacity: tuples(applied.capacity),
            counts: applied
                .counts
                .into_iter()
                .map(|(name, label)| (name.to_owned(), label))
                .collect(),
            audits: applied
                .outputs
                .audits
                .into_iter()
                .map(|out| to_py(py, out))
                .collect(),
            scans: applied.outputs.scans,
            withheld: applied.outputs.withheld,
            evidence: applied.outputs.evidence,
            checks: applied.outputs.noted.into_iter().map(noted).collect(),
        })
    }

    fn verdicts(&self) -> Vec<(u8, f64)> {
        self.inner.verdicts.iter().map(verdict_tuple).collect()
    }

    /// Senders of results that name another worker, with that one.
    fn misnamed(&self) -> Vec<(String, String)> {
        self.inner.misnamed.clone()
    }

    fn invalid(&self) -> Vec<(usize, &'static str)> {
        let positions = self.inner.invalid_at.iter().copied();
        positions.zip(self.inner.invalid.iter().copied()).collect()
    }
}

/// What follows from a committed result batch.
#[pyclass(frozen, get_all, module = "cordum._core")]
pub struct ResultEffects {
    events: Vec<PyOutgoing>,
    tenants: Vec<TenantChange>,
    touched: Vec<(String, String)>,
    retrying: Vec<(String, String, i64)>,
    dead_letters: Vec<(String, String)>,
    duties: Vec<(String, i64)>,
    sagas: Vec<String>,
    result_keys: Vec<String>,
    capacity: Vec<(String, String, bool)>,
    counts: Vec<(String, String)>,
    audits: Vec<PyOutgoing>,
    scans: Vec<(String, i64)>,
    withheld: Vec<String>,
    evidence: Vec<String>,
    checks: Vec<NotedCheck>,
}

fn noted(check: Noted) -> NotedCheck {
    (
        check.tenant,
        check.job_id,
        check.topic,
        check.decision,
        check.rule_id,
        check.duration_ms,
        check.eval_us,
        check.findings,
    )
}

fn packed(py: Python<'_>, batches: Vec<(usize, Vec<u8>)>) -> Vec<(usize, Py<PyBytes>)> {
    let batches = batches.into_iter();
    batches
        .map(|(count, bytes)| (count, PyBytes::new(py, &bytes).unbind()))
        .collect()
}

fn borrowed(answers: &[(usize, Option<PyBackedBytes>)]) -> Vec<(usize, Option<&[u8]>)> {
    let answers = answers.iter();
    answers
        .map(|(count, answer)| (*count, answer.as_ref().map(|bytes| bytes.as_ref())))
        .collect()
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ResultPlan>()?;
    module.add_class::<ResultEffects>()
}
