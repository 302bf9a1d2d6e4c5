//! Bindings of `cordum_wire::submit`: `SubmitBatch`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cordum_wire::json::request_from_json;
use cordum_wire::submit::{is_tenant, split, Again, Batch, Caller, Commit, Finding, Limits, Outcome};
use cordum_wire::ConfigScope;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::boundary::{pairs, Boundary, PyViolations};

/// Tenant, principal, body may name it, fingerprint, cross-tenant, bound principal, may speak for any agent.
type Facts = (String, String, bool, String, bool, String, bool);
type Item = (PyBackedBytes, Facts, String, String, String);
type PyGroup = (u32, Vec<usize>, Vec<Py<PyBytes>>);
type PyJob = (usize, String, String, String, &'static str, Py<PyBytes>);
type PyMessage = (usize, String, Py<PyBytes>);
type PyOutcome = (u16, Py<PyBytes>, String, u32);
type PyPlan = (Vec<PyGroup>, Vec<PyJob>, Vec<PyMessage>, Vec<PyOutcome>);

/// Tenant, topic, schema id, code, whether refused, violations.
type PyFinding = (String, String, String, &'static str, bool, PyViolations);
/// Item, tenant, idempotency key, job id, request hash.
type Claim = (usize, String, String, String, String);

/// Submissions that share their network steps.
#[pyclass(frozen, module = "cordum._core")]
pub struct SubmitBatch(Mutex<Option<Batch>>);

impl SubmitBatch {
    fn lock(&self) -> MutexGuard<'_, Option<Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Batch) -> T) -> PyResult<T> {
        self.lock().as_mut().map(work).ok_or_else(used)
    }
}

fn used() -> PyErr {
    PyValueError::new_err("the batch was planned already")
}

#[pymethods]
impl SubmitBatch {
    #[new]
    fn new(py: Python<'_>, items: Vec<Item>, context_bytes: usize, prompt_chars: usize, now_us: i64) -> Self {
        let limits = Limits {
            context_bytes,
            prompt_chars,
        };
        py.detach(|| {
            let items: Vec<(PyBackedBytes, Caller)> = items.into_iter().map(caller).collect();
            SubmitBatch(Mutex::new(Some(Batch::parse(&items, &limits, now_us))))
        })
    }

    #[staticmethod]
    #[pyo3(signature = (request_json, context, job_id, trace_id, submitted_by, labels, env, now_us))]
    #[expect(clippy::too_many_arguments, reason = "a constructor called with keywords")]
    fn again(
        request_json: &[u8],
        context: Vec<u8>,
        job_id: String,
        trace_id: String,
        submitted_by: String,
        labels: BTreeMap<String, String>,
        env: BTreeMap<String, String>,
        now_us: i64,
    ) -> PyResult<Self> {
        let request =
            request_from_json(request_json).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let again = Again {
            job_id,
            trace_id,
            submitted_by,
            labels,
            env,
        };
        Ok(SubmitBatch(Mutex::new(Some(Batch::again(
            request, context, &again, now_us,
        )))))
    }

    /// Check topics and payloads: (tenant, topic, schema id, code, whether refused, violations) of bad payloads.
    fn check(&self, py: Python<'_>, boundary: &Boundary) -> PyResult<Vec<PyFinding>> {
        let found = py.detach(|| self.with(|batch| batch.check(&boundary.0)))?;
        let found = found.into_iter().map(|finding| {
            let Finding {
                tenant,
                topic,
                schema_id,
                code,
                refused,
                violations,
            } = finding;
            (tenant, topic, schema_id, code, refused, pairs(violations))
        });
        Ok(found.collect())
    }

    fn claims(&self) -> PyResult<Vec<Claim>> {
        self.with(|batch| batch.claims())
    }

    fn agents(&self) -> PyResult<Vec<(usize, String, String, String)>> {
        self.with(|batch| batch.agents())
    }

    fn rename(&self, index: usize, job_id: &str) -> PyResult<()> {
        self.with(|batch| batch.rename(index, job_id))
    }

    fn trace(&self, index: usize, context: String) -> PyResult<()> {
        self.with(|batch| batch.trace(index, context))
    }

    #[pyo3(signature = (index, status, body, trace_id = String::new(), retry_after_s = 0))]
    fn answer(
        &self,
        index: usize,
        status: u16,
        body: Vec<u8>,
        trace_id: String,
        retry_after_s: u32,
    ) -> PyResult<()> {
        self.with(|batch| {
            batch.answer(
                index,
                Outcome {
                    status,
                    body,
                    trace_id,
                    retry_after_s,
                },
            );
        })
    }

    fn open_jobs(&self) -> PyResult<Vec<(usize, String, String)>> {
        self.with(|batch| batch.open_jobs())
    }

    fn config_scopes(&self) -> PyResult<Vec<ConfigScope>> {
        self.with(|batch| batch.config_scopes())
    }

    fn policy_request<'py>(&self, py: Python<'py>, configs: Vec<Vec<u8>>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.with(|batch| batch.policy_request(&configs)))?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[pyo3(signature = (answer, partitions))]
    fn plan(&self, py: Python<'_>, answer: Option<PyBackedBytes>, partitions: u32) -> PyResult<PyPlan> {
        let batch = self.lock().take().ok_or_else(used)?;
        let plan = py.detach(|| batch.plan(answer.as_deref(), partitions));
        let mut groups: BTreeMap<u32, PyGroup> = BTreeMap::new();
        let mut jobs = Vec::with_capacity(plan.commits.len());
        let mut messages = Vec::new();
        for commit in plan.commits {
            let Commit {
                index,
                partition,
                blob,
                job_id,
                tenant,
                trace_id,
                state,
                context,
                message,
            } = commit;
            let group = groups
                .entry(partition)
                .or_insert_with(|| (partition, Vec::new(), Vec::new()));
            group.1.push(index);
            group.2.push(PyBytes::new(py, &blob).unbind());
            let context = PyBytes::new(py, &context).unbind();
            jobs.push((index, job_id, tenant, trace_id, state, context));
            if let Some((message_id, payload)) = message {
                messages.push((index, message_id, PyBytes::new(py, &payload).unbind()));
            }
        }
        let outcomes = plan
            .outcomes
            .into_iter()
            .map(|outcome| {
                let body = PyBytes::new(py, &outcome.body).unbind();
                (outcome.status, body, outcome.trace_id, outcome.retry_after_s)
            })
            .collect();
        Ok((groups.into_values().collect(), jobs, messages, outcomes))
    }
}

fn caller(item: Item) -> (PyBackedBytes, Caller) {
    let (body, facts, job_id, trace_id, idempotency_key) = item;
    let (tenant, principal, body_principal, fingerprint, cross_tenant, bound_principal, impersonates) = facts;
    let caller = Caller {
        tenant,
        principal,
        body_principal,
        fingerprint,
        cross_tenant,
        bound_principal,
        impersonates,
        job_id,
        trace_id,
        idempotency_key,
    };
    (body, caller)
}

/// Whether a text is a tenant id.
#[pyfunction]
fn is_tenant_id(text: &str) -> bool {
    is_tenant(text)
}

/// The raw items of a batch body; raises ValueError with (status, body).
#[pyfunction]
fn split_jobs<'py>(py: Python<'py>, body: &[u8], max_items: usize) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let items = split(body, max_items).map_err(|refusal| {
        let outcome = Outcome::from(&refusal);
        PyValueError::new_err((outcome.status, outcome.body))
    })?;
    Ok(items.into_iter().map(|item| PyBytes::new(py, item)).collect())
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SubmitBatch>()?;
    module.add_function(wrap_pyfunction!(split_jobs, module)?)?;
    module.add_function(wrap_pyfunction!(is_tenant_id, module)?)
}
