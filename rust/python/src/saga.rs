//! Bindings of the saga functions of `cordum-wire` and `cordum-dispatch`.

use cordum_dispatch::saga::{self, Refusal};
use cordum_wire::saga as wire;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::dispatch::request_from;

/// Template of the job that undoes a stored request (protojson), canonical protobuf. Raises ValueError when it names no inverse
/// action.
#[pyfunction]
fn saga_template(py: Python<'_>, request_json: &[u8]) -> PyResult<Py<PyBytes>> {
    let request = request_from(request_json)?;
    let bytes = wire::template(&request).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &bytes).unbind())
}

/// The job that undoes another one.
#[pyclass(frozen, get_all, module = "cordum._core")]
pub struct Compensation {
    topic: String,
    tenant: String,
    parent_job_id: String,
    request_json: Py<PyBytes>,
    create: Py<PyBytes>,
    packet: Py<PyBytes>,
}

/// The job a template becomes. A `refusal` (reason) makes a record that is denied and dead-lettered at once. Raises ValueError
/// when the bytes are no template.
#[pyfunction]
#[pyo3(signature = (template, job_id, trace_id, now_us, refusal = None))]
fn saga_compensation(
    py: Python<'_>,
    template: &[u8],
    job_id: &str,
    trace_id: &str,
    now_us: i64,
    refusal: Option<&str>,
) -> PyResult<Compensation> {
    let request =
        wire::compensation(template, job_id).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let refusal = refusal.map(|reason| Refusal { reason });
    let create = saga::creation(&request, trace_id, refusal.as_ref(), now_us);
    Ok(Compensation {
        topic: request.topic.clone(),
        tenant: cordum_wire::record_tenant(&request).to_owned(),
        parent_job_id: request.parent_job_id.clone(),
        request_json: PyBytes::new(py, &cordum_wire::json::request_to_json(&request)).unbind(),
        create: PyBytes::new(py, &create.pack()).unbind(),
        packet: PyBytes::new(
            py,
            &cordum_wire::submit_packet(request, trace_id, saga::SENDER, now_us),
        )
        .unbind(),
    })
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(saga_template, module)?)?;
    module.add_function(wrap_pyfunction!(saga_compensation, module)?)?;
    module.add_class::<Compensation>()
}
