//! Questions about stored requests, outside a plan.

use cordum_dispatch::judge::{policy_request, Content};
use cordum_wire::ConfigScope;
use prost::Message;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::dispatch::request_from;

/// Serialized `PolicyCheckRequest` of a stored request, for questions outside a plan; no payload means that there is none.
#[pyfunction]
#[pyo3(signature = (request_json, payload, config))]
fn policy_check(
    py: Python<'_>,
    request_json: &[u8],
    payload: Option<(PyBackedBytes, i64)>,
    config: &[u8],
) -> PyResult<Py<PyBytes>> {
    let request = request_from(request_json)?;
    let content = payload.map_or(Content::Missing, |(bytes, size)| {
        Content::Here(bytes.to_vec(), size)
    });
    let check = policy_request(&request, &content, config).encode_to_vec();
    Ok(PyBytes::new(py, &check).unbind())
}

/// (tenant, team, workflow, step) whose effective configuration applies to a stored request.
#[pyfunction]
fn config_scope(request_json: &[u8]) -> PyResult<ConfigScope> {
    Ok(cordum_wire::config_scope(&request_from(request_json)?))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(policy_check, module)?)?;
    module.add_function(wrap_pyfunction!(config_scope, module)?)
}
