//! Bindings of `cordum-boundary`: `Schema`, `Boundary`.

use std::collections::HashMap;
use std::sync::Arc;

use cordum_boundary::{
    Boundary as Inner, Mode, Registry, Schema as Compiled, SchemaError, SchemaState, Violation,
};
use cordum_dispatch::admission::Notice;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

/// A compiled JSON Schema.
#[pyclass(frozen, module = "cordum._core")]
pub struct Schema(Compiled);

#[pymethods]
impl Schema {
    /// Compile a schema with the documents it may refer to; raises ValueError(kind, detail).
    #[staticmethod]
    fn compile(py: Python<'_>, text: PyBackedBytes, documents: Vec<(String, Vec<u8>)>) -> PyResult<Self> {
        py.detach(|| Compiled::compile(&text, &documents))
            .map(Schema)
            .map_err(|error| match error {
                SchemaError::Missing(url) => PyValueError::new_err(("missing", url)),
                SchemaError::Invalid(detail) => PyValueError::new_err(("invalid", detail)),
            })
    }
}

/// Topic registrations, their schemas and the mode, as one snapshot.
#[pyclass(frozen, module = "cordum._core")]
pub struct Boundary(pub(crate) Arc<Inner>);

#[derive(FromPyObject)]
enum State<'py> {
    Ready(PyRef<'py, Schema>),
    Word(String),
}

#[pymethods]
impl Boundary {
    #[new]
    fn new(mode: &str, registrations: Option<&[u8]>, schemas: HashMap<String, State<'_>>) -> PyResult<Self> {
        let mode =
            Mode::of(mode).ok_or_else(|| PyValueError::new_err("mode: expected off, warn or enforce"))?;
        let registry = registrations
            .map(Registry::parse)
            .transpose()
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let schemas = schemas.into_iter().map(|(id, state)| {
            let state = match state {
                State::Ready(schema) => SchemaState::Ready(schema.0.clone()),
                State::Word(word) if word == "not_found" => SchemaState::NotFound,
                State::Word(word) if word == "invalid" => SchemaState::Invalid,
                State::Word(_) => SchemaState::Unavailable,
            };
            (id, state)
        });
        Ok(Boundary(Arc::new(Inner::new(mode, registry, schemas.collect()))))
    }
}

pub(crate) type PyViolations = Vec<(String, String)>;

pub(crate) fn pairs(violations: Vec<Violation>) -> PyViolations {
    violations.into_iter().map(|v| (v.path, v.message)).collect()
}

/// Job id, tenant, topic, schema id, code, whether the job ends, violations.
pub(crate) type PyNotice = (String, String, String, String, &'static str, bool, PyViolations);

pub(crate) fn notice(notice: Notice) -> PyNotice {
    (
        notice.job_id,
        notice.tenant,
        notice.topic,
        notice.schema_id,
        notice.code,
        notice.fatal,
        pairs(notice.violations),
    )
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Schema>()?;
    module.add_class::<Boundary>()
}
