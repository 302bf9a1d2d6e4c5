//! Bindings of the output policy: checks by a `PolicyEngine` and the masked copy.

use cordum_dispatch::outputs::scan_request;
use cordum_policy::output::{redact, OutputContent, Pointer, Supplied};
use cordum_policy::BatchError;
use cordum_wire::messages::JobResult;
use prost::Message;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::dispatch::request_from;
use crate::policy::PolicyEngine;

/// What reading a pointer gave: start, end (empty when the start is all), bytes stored; else gRPC status number and error.
type Read = (usize, Option<(PyBackedBytes, PyBackedBytes, usize)>, u8, String);

fn supplied(read: &[Read]) -> Vec<(usize, Supplied<'_>)> {
    let each = read.iter().map(|(index, content, status, error)| {
        let supplied = match content {
            Some((head, tail, size)) => Supplied::Content(OutputContent {
                head,
                tail,
                size: *size,
            }),
            None => Supplied::Failed(*status, error),
        };
        (*index, supplied)
    });
    each.collect()
}

/// Pointers of a serialized `BatchRequest` that output rules ask for: (index, job id, tenant, pointer).
#[pyfunction]
fn output_pointers(
    py: Python<'_>,
    policy: &PolicyEngine,
    batch: PyBackedBytes,
) -> PyResult<Vec<(usize, String, String, String)>> {
    let policy = policy.shared();
    rows(py.detach(|| policy.output_pointers(&batch)))
}

/// Artifacts of a serialized `BatchRequest` that output rules ask for: (index, job id, tenant, pointer).
#[pyfunction]
fn output_artifacts(
    py: Python<'_>,
    policy: &PolicyEngine,
    batch: PyBackedBytes,
) -> PyResult<Vec<(usize, String, String, String)>> {
    let policy = policy.shared();
    rows(py.detach(|| policy.output_artifacts(&batch)))
}

fn rows(pointers: Result<Vec<Pointer>, BatchError>) -> PyResult<Vec<(usize, String, String, String)>> {
    let pointers = pointers.map_err(|error| PyValueError::new_err(error.to_string()))?;
    let rows = pointers.into_iter();
    Ok(rows
        .map(|row| (row.index, row.job_id, row.tenant, row.pointer))
        .collect())
}

/// Serialized `BatchRequest` of `OutputCheckRequest`s, and what was read of contents and artifacts → serialized `BatchResponse`.
#[pyfunction]
#[pyo3(signature = (policy, batch, read=Vec::new(), artifacts=Vec::new()))]
fn check_outputs<'py>(
    py: Python<'py>,
    policy: &PolicyEngine,
    batch: PyBackedBytes,
    read: Vec<Read>,
    artifacts: Vec<Read>,
) -> PyResult<Bound<'py, PyBytes>> {
    let policy = policy.shared();
    py.detach(|| policy.check_output_batch(&batch, &supplied(&read), &supplied(&artifacts)))
        .map(|bytes| PyBytes::new(py, &bytes))
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// A dry run of one `OutputCheckRequest`, as JSON.
#[pyfunction]
fn simulate_output<'py>(
    py: Python<'py>,
    policy: &PolicyEngine,
    request: PyBackedBytes,
) -> PyResult<Bound<'py, PyBytes>> {
    let policy = policy.shared();
    py.detach(|| policy.simulate_output(&request))
        .map(|answer| PyBytes::new(py, answer.to_string().as_bytes()))
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Whether results are checked at all, `open` or `closed` when a document says so, and whether error texts are checked.
#[pyfunction]
fn output_settings(policy: &PolicyEngine) -> (bool, Option<&'static str>, bool) {
    let policy = policy.shared();
    (
        policy.output().is_active(),
        policy.output().fail_mode().map(|mode| mode.name()),
        policy.output().checks_errors(),
    )
}

/// The content with the spans (offset, length) masked; `None` when no copy can be made that is as valid as the original.
#[pyfunction]
fn redact_output<'py>(
    py: Python<'py>,
    content: PyBackedBytes,
    spans: Vec<(usize, usize)>,
) -> Option<Bound<'py, PyBytes>> {
    let copy = py.detach(|| redact(&content, &spans))?;
    Some(PyBytes::new(py, &copy))
}

/// Serialized `OutputCheckRequest` of a later scan: stored request, serialized `JobResult`, content read, bytes stored.
#[pyfunction]
fn output_scan_request<'py>(
    py: Python<'py>,
    request_json: &[u8],
    result: &[u8],
    content: PyBackedBytes,
    size: i64,
) -> PyResult<Bound<'py, PyBytes>> {
    let request = request_from(request_json)?;
    let result = JobResult::decode(result).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let bytes = py.detach(|| scan_request(&request, &result, &content, size));
    Ok(PyBytes::new(py, &bytes))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(check_outputs, module)?)?;
    module.add_function(wrap_pyfunction!(output_artifacts, module)?)?;
    module.add_function(wrap_pyfunction!(output_pointers, module)?)?;
    module.add_function(wrap_pyfunction!(output_scan_request, module)?)?;
    module.add_function(wrap_pyfunction!(output_settings, module)?)?;
    module.add_function(wrap_pyfunction!(redact_output, module)?)?;
    module.add_function(wrap_pyfunction!(simulate_output, module)?)
}
