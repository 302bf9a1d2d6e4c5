//! Bindings of `cordum_policy::replay`: `record_decisions`, `scan_decisions`, `PolicyReplay`.

use std::sync::{Arc, Mutex, PoisonError};

use cordum_policy::replay::record::Call;
use cordum_policy::replay::{record, scan, Filter, Replay, ReplaySpec, Segment};
use cordum_policy::Policy;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::policy::PolicyEngine;

/// Calls as (request, answer, time in µs, is a batch) → segments as (tenant, rows, bytes).
#[pyfunction]
fn record_decisions<'py>(
    py: Python<'py>,
    calls: Vec<(PyBackedBytes, PyBackedBytes, i64, bool)>,
) -> Vec<(String, usize, Bound<'py, PyBytes>)> {
    let segments = py.detach(|| {
        let calls: Vec<Call<'_>> = calls
            .iter()
            .map(|(request, answer, time_us, is_batch)| Call {
                request,
                answer,
                time_us: *time_us,
                is_batch: *is_batch,
            })
            .collect();
        record(&calls)
    });
    segments
        .into_iter()
        .map(|segment| (segment.tenant, segment.rows, PyBytes::new(py, &segment.bytes)))
        .collect()
}

/// Rows of segments (newest first) that pass a filter (JSON), as a JSON list.
#[pyfunction]
#[pyo3(signature = (segments, filter, limit, before=None))]
fn scan_decisions<'py>(
    py: Python<'py>,
    segments: Vec<PyBackedBytes>,
    filter: PyBackedBytes,
    limit: usize,
    before: Option<usize>,
) -> PyResult<Bound<'py, PyBytes>> {
    let found = py.detach(|| -> Result<Vec<u8>, String> {
        let filter: Filter = serde_json::from_slice(&filter).map_err(|error| error.to_string())?;
        let filter = filter.compile()?;
        Ok(scan(&decoded(&segments)?, &filter, before, limit))
    });
    found
        .map(|bytes| PyBytes::new(py, &bytes))
        .map_err(PyValueError::new_err)
}

fn decoded(segments: &[PyBackedBytes]) -> Result<Vec<Segment>, String> {
    segments
        .iter()
        .map(|bytes| Segment::decode(bytes).map_err(|error| error.to_string()))
        .collect()
}

/// A replay of one policy, fed with segments from the newest to the oldest.
#[pyclass(frozen, module = "cordum._core")]
pub struct PolicyReplay {
    policy: Arc<Policy>,
    replay: Mutex<Replay>,
}

#[pymethods]
impl PolicyReplay {
    #[new]
    fn new(py: Python<'_>, engine: &PolicyEngine, spec: PyBackedBytes) -> PyResult<Self> {
        let spec: Result<ReplaySpec, _> = py.detach(|| serde_json::from_slice(&spec));
        let spec = spec.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let replay = Replay::new(spec).map_err(PyValueError::new_err)?;
        Ok(PolicyReplay {
            policy: engine.shared(),
            replay: Mutex::new(replay),
        })
    }

    /// Judge segments; returns how many of them could not be read.
    fn add(&self, py: Python<'_>, segments: Vec<PyBackedBytes>) -> usize {
        py.detach(|| {
            let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
            let mut damaged = 0;
            for bytes in &segments {
                match Segment::decode(bytes) {
                    Ok(segment) => replay.add(&self.policy, &segment),
                    Err(_) => damaged += 1,
                }
            }
            damaged
        })
    }

    /// Whether as many jobs were seen as were asked for.
    #[getter]
    fn is_full(&self, py: Python<'_>) -> bool {
        py.detach(|| {
            self.replay
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_full()
        })
    }

    /// The result so far, as JSON.
    fn result<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| {
            self.replay
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .result()
        });
        PyBytes::new(py, &bytes)
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PolicyReplay>()?;
    module.add_function(wrap_pyfunction!(record_decisions, module)?)?;
    module.add_function(wrap_pyfunction!(scan_decisions, module)?)
}
