//! Bindings of `cordum-policy`: `PolicyEngine`, `validate_policy`, `PolicyError`.

use std::sync::Arc;

use cordum_policy::{Issue, Policy, PolicyError as EngineError, Request, Source, SourceKind};
use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

create_exception!(
    _core,
    PolicyError,
    PyValueError,
    "A policy document was refused; `errors` lists (path, message)."
);

/// One immutable compiled policy.
#[pyclass(frozen, module = "cordum._core")]
pub struct PolicyEngine(Arc<Policy>);

impl PolicyEngine {
    /// The compiled policy, for other bindings.
    pub fn shared(&self) -> Arc<Policy> {
        Arc::clone(&self.0)
    }
}

#[pymethods]
impl PolicyEngine {
    /// Compile a base document and enabled bundles (id, document).
    #[staticmethod]
    #[pyo3(signature = (source=None, bundles=Vec::new()))]
    fn compile(
        py: Python<'_>,
        source: Option<PyBackedBytes>,
        bundles: Vec<(String, PyBackedBytes)>,
    ) -> PyResult<Self> {
        let compiled = py.detach(|| {
            let base = source.iter().map(|content| Source {
                kind: SourceKind::Base,
                content: content.as_ref(),
            });
            let extra = bundles.iter().map(|(id, content)| Source {
                kind: SourceKind::Bundle(id.clone()),
                content: content.as_ref(),
            });
            Policy::compile(&base.chain(extra).collect::<Vec<_>>())
        });
        compiled
            .map(|policy| PolicyEngine(Arc::new(policy)))
            .map_err(|error| refused(py, &error))
    }

    /// The policy that denies everything because none is loaded.
    #[staticmethod]
    fn empty() -> Self {
        PolicyEngine(Arc::new(Policy::empty()))
    }

    #[getter]
    fn snapshot(&self) -> &str {
        self.0.snapshot()
    }

    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.0.warnings().to_vec()
    }

    #[getter]
    fn rule_count(&self) -> usize {
        self.0.rule_count()
    }

    /// Serialized `PolicyCheckRequest` → serialized `PolicyCheckResponse`.
    fn evaluate<'py>(&self, py: Python<'py>, request: PyBackedBytes) -> PyResult<Bound<'py, PyBytes>> {
        let policy = Arc::clone(&self.0);
        let answer = py.detach(move || policy.evaluate_bytes(&request));
        answer
            .map(|bytes| PyBytes::new(py, &bytes))
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Serialized `BatchRequest` → serialized `BatchResponse`.
    fn evaluate_batch<'py>(&self, py: Python<'py>, batch: PyBackedBytes) -> PyResult<Bound<'py, PyBytes>> {
        let policy = Arc::clone(&self.0);
        let answer = py.detach(move || policy.evaluate_batch(&batch));
        answer
            .map(|bytes| PyBytes::new(py, &bytes))
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// What was looked at and why, as JSON.
    fn explain<'py>(&self, py: Python<'py>, request: PyBackedBytes) -> PyResult<Bound<'py, PyBytes>> {
        let policy = Arc::clone(&self.0);
        let trace = py.detach(move || {
            Request::decode(&request).map(|decoded| policy.explain(&decoded).to_string().into_bytes())
        });
        trace
            .map(|bytes| PyBytes::new(py, &bytes))
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }
}

/// Every problem of one document as (path, message); empty when it is valid.
#[pyfunction]
fn validate_policy(py: Python<'_>, source: PyBackedBytes) -> Vec<(String, String)> {
    pairs(py.detach(|| cordum_policy::validate(&source)))
}

fn refused(py: Python<'_>, error: &EngineError) -> PyErr {
    let raised = PolicyError::new_err(error.to_string());
    match raised.value(py).setattr("errors", pairs(error.issues())) {
        Ok(()) => raised,
        Err(failure) => failure,
    }
}

fn pairs(issues: Vec<Issue>) -> Vec<(String, String)> {
    issues
        .into_iter()
        .map(|issue| (issue.path, issue.message))
        .collect()
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("PolicyError", module.py().get_type::<PolicyError>())?;
    module.add_class::<PolicyEngine>()?;
    module.add_function(wrap_pyfunction!(validate_policy, module)?)
}
