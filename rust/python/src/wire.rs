//! Bindings of `cordum-wire`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;

use cordum_wire::messages::JobRequest;
use cordum_wire::stored;
use prost::Message;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyMapping, PyString, PyTuple};

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

/// The stored form of a request given in protojson; what is none is stored as it is.
#[pyfunction]
fn request_to_store(text: &[u8]) -> Vec<u8> {
    match cordum_wire::json::request_from_json(text) {
        Ok(request) => stored::request_to_store(&request),
        Err(_) => text.to_vec(),
    }
}

/// protojson of stored requests, each with its job id; of one that is damaged, what is stored.
#[pyfunction]
fn stored_requests_json(py: Python<'_>, rows: Vec<(String, Option<PyBackedBytes>)>) -> Vec<Option<Vec<u8>>> {
    py.detach(|| {
        let texts = rows
            .iter()
            .map(|(job_id, stored)| Some(request_json(job_id, stored.as_ref()?)));
        texts.collect()
    })
}

fn request_json(job_id: &str, text: &[u8]) -> Vec<u8> {
    match stored::request_from_store(job_id, text) {
        Ok(request) if !text.starts_with(b"{") => cordum_wire::json::request_to_json(&request),
        _ => text.to_vec(),
    }
}

/// JSON of a stored event, None when it is in none of the binary forms; `record` has fields of the job's record.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "an argument from Python")]
fn stored_event_json(job_id: &str, entry: &[u8], record: HashMap<String, String>) -> Option<String> {
    let field = |name: &str| record.get(name).cloned().unwrap_or_default();
    Some(stored::event_from_store(job_id, entry, field)?.to_string())
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

type Frames<'py> = (Vec<Bound<'py, PyBytes>>, Vec<usize>);

/// Publish frames of messages (subject, payload, message id or `None`, headers or `None`) in chunks for the socket, and the indexes
/// of those whose subject or reply is not one printable word; they have no frame.
///
/// `reply_prefix` and a message's index are its reply subject. `batch_id` makes all of them the first of one atomic batch.
#[pyfunction]
#[pyo3(signature = (messages, reply_prefix = "", batch_id = ""))]
fn publish_frames<'py>(
    py: Python<'py>,
    messages: &Bound<'py, PyList>,
    reply_prefix: &str,
    batch_id: &str,
) -> PyResult<Frames<'py>> {
    let mut frames = cordum_wire::publish::Frames::default();
    let mut refused = Vec::new();
    let mut reply = String::new();
    for (index, message) in messages.iter().enumerate() {
        let message = message.cast_into::<PyTuple>()?;
        if !reply_prefix.is_empty() {
            reply.clear();
            let _ = write!(reply, "{reply_prefix}{index}");
        }
        if !put_message(&message, &reply, batch_id, index + 1, &mut frames)? {
            refused.push(index);
        }
    }
    let chunks = frames.into_chunks();
    Ok((
        chunks.iter().map(|chunk| PyBytes::new(py, chunk)).collect(),
        refused,
    ))
}

fn put_message(
    message: &Bound<'_, PyTuple>,
    reply: &str,
    batch_id: &str,
    number: usize,
    frames: &mut cordum_wire::publish::Frames,
) -> PyResult<bool> {
    let (subject, payload) = (message.get_item(0)?, message.get_item(1)?);
    let (msg_id, given) = (message.get_item(2)?, message.get_item(3)?);
    let number = number.to_string();
    let mut headers: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    if !batch_id.is_empty() {
        headers.push(("Nats-Batch-Id".into(), batch_id.into()));
        headers.push(("Nats-Batch-Sequence".into(), number.as_str().into()));
    }
    let msg_id = if msg_id.is_none() {
        None
    } else {
        Some(msg_id.cast::<PyString>()?.to_str()?)
    };
    if let Some(id) = msg_id {
        headers.push(("Nats-Msg-Id".into(), id.into()));
    }
    if !given.is_none() {
        for item in given.cast::<PyMapping>()?.items()?.iter() {
            let (name, value): (String, String) = item.extract()?;
            headers.push((name.into(), value.into()));
        }
    }
    let pairs = headers
        .iter()
        .map(|(name, value)| (name.as_ref(), value.as_ref()));
    Ok(frames.put(
        subject.cast::<PyString>()?.to_str()?,
        reply,
        pairs,
        payload.cast::<PyBytes>()?.as_bytes(),
    ))
}

type Delivered<'py> = (
    u64,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Option<Bound<'py, PyBytes>>,
    Option<(u64, u64, u64)>,
);

/// Whole messages a buffer begins with as (subscription, subject, reply, payload, headers, position), their bytes in all, and
/// how many bytes the message after them has at least: 0 when nothing or something else follows.
#[pyfunction]
fn delivered_messages<'py>(py: Python<'py>, buffer: &[u8]) -> (Vec<Delivered<'py>>, usize, usize) {
    let read = cordum_wire::delivery::Deliveries::read(buffer);
    let bytes = |slice| PyBytes::new(py, slice);
    let messages = read.messages.iter().map(|m| {
        let headers = m.headers.map(bytes);
        let position = m
            .position()
            .map(|position| (position.delivered, position.stream_seq, position.timestamp_us));
        (
            m.subscription,
            bytes(m.subject),
            bytes(m.reply),
            bytes(m.payload),
            headers,
            position,
        )
    });
    (messages.collect(), read.used, read.wanted)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(job_partition, module)?)?;
    module.add_function(wrap_pyfunction!(request_hash, module)?)?;
    module.add_function(wrap_pyfunction!(packet_claims, module)?)?;
    module.add_function(wrap_pyfunction!(publish_frames, module)?)?;
    module.add_function(wrap_pyfunction!(delivered_messages, module)?)?;
    module.add_function(wrap_pyfunction!(request_to_json, module)?)?;
    module.add_function(wrap_pyfunction!(request_to_store, module)?)?;
    module.add_function(wrap_pyfunction!(stored_requests_json, module)?)?;
    module.add_function(wrap_pyfunction!(stored_event_json, module)?)?;
    module.add_function(wrap_pyfunction!(request_from_json, module)?)
}
