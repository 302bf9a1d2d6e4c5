//! Bindings of `cordum-wire`.

use cordum_wire::messages::JobRequest;
use prost::Message;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

/// Partition number of a job id.
#[pyfunction]
fn job_partition(job_id: &str, partitions: u32) -> u32 {
    cordum_wire::partition(job_id, partitions)
}

/// Canonical hash of a serialized `JobRequest`.
#[pyfunction]
fn request_hash(job_request: &[u8]) -> PyResult<String> {
    let request = JobRequest::decode(job_request)
        .map_err(|error| PyValueError::new_err(format!("job request does not decode: {error}")))?;
    Ok(cordum_wire::canonical_hash(&request))
}

/// protojson of a serialized `JobRequest`, every field emitted.
#[pyfunction]
fn request_to_json(job_request: &[u8]) -> PyResult<Vec<u8>> {
    let request = JobRequest::decode(job_request)
        .map_err(|error| PyValueError::new_err(format!("job request does not decode: {error}")))?;
    Ok(cordum_wire::json::request_to_json(&request))
}

/// Serialized `JobRequest` of its protojson, canonical encoding.
#[pyfunction]
fn request_from_json(text: &[u8]) -> PyResult<Vec<u8>> {
    let request = cordum_wire::json::request_from_json(text)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(cordum_wire::canonical_bytes(&request))
}

type Claims = (&'static str, String, String, String, String, String, String);

/// What packets say about their senders: kind, sender, worker, job, tenant or pool, session token, credential token.
#[pyfunction]
fn packet_claims(py: Python<'_>, packets: Vec<PyBackedBytes>) -> Vec<Claims> {
    py.detach(|| {
        let claims = packets.iter().map(|packet| cordum_wire::Claim::read(packet));
        claims
            .map(|c| {
                (
                    c.kind,
                    c.sender_id,
                    c.subject_id,
                    c.job_id,
                    c.scope,
                    c.session,
                    c.credential,
                )
            })
            .collect()
    })
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(job_partition, module)?)?;
    module.add_function(wrap_pyfunction!(request_hash, module)?)?;
    module.add_function(wrap_pyfunction!(packet_claims, module)?)?;
    module.add_function(wrap_pyfunction!(request_to_json, module)?)?;
    module.add_function(wrap_pyfunction!(request_from_json, module)?)
}
