//! Bindings of the detectors alone: scan a text, mask what was found.

use std::sync::Arc;

use cordum_output::{definitions, redact_values, DetectorId, Engine, Hit, Mask, ScanOptions};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::PyBytes;

use crate::policy::refused;

/// From here on other threads may run meanwhile.
const DETACH_FROM_BYTES: usize = 1024;

/// Bytes, or text that is read as UTF-8. Borrowed, not copied.
#[derive(FromPyObject)]
enum Content {
    Text(PyBackedStr),
    Bytes(PyBackedBytes),
}

impl Content {
    fn bytes(&self) -> &[u8] {
        match self {
            Content::Text(text) => text.as_bytes(),
            Content::Bytes(bytes) => bytes,
        }
    }
}

/// One place a detector reports; never what stands there.
#[pyclass(frozen, eq, hash, module = "cordum.output", name = "Finding")]
#[derive(PartialEq, Eq, Hash)]
struct Finding {
    engine: EngineRef,
    detector: DetectorId,
    severity: cordum_output::Severity,
    /// In thousandths.
    confidence: u32,
    #[pyo3(get)]
    offset: usize,
    #[pyo3(get)]
    length: usize,
}

/// Engines are compared by what they are.
struct EngineRef(Arc<Engine>);

impl PartialEq for EngineRef {
    fn eq(&self, other: &EngineRef) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for EngineRef {}

impl std::hash::Hash for EngineRef {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

#[pymethods]
impl Finding {
    #[getter]
    fn detector(&self) -> &str {
        self.told().map_or("", |detector| &detector.id)
    }

    #[getter(r#type)]
    fn kind(&self) -> &str {
        self.told().map_or("", |detector| &detector.kind)
    }

    #[getter]
    fn scanner(&self) -> &str {
        self.told().map_or("", |detector| &detector.scanner)
    }

    #[getter]
    fn severity(&self) -> &'static str {
        self.severity.as_str()
    }

    #[getter]
    fn confidence(&self) -> f64 {
        f64::from(self.confidence) / 1000.0
    }

    #[getter]
    fn detail(&self) -> &str {
        self.told().map_or("", |detector| &detector.detail)
    }

    fn __repr__(&self) -> String {
        format!(
            "Finding(detector={:?}, type={:?}, severity={:?}, confidence={}, offset={}, length={}, detail={:?})",
            self.detector(),
            self.kind(),
            self.severity(),
            self.confidence(),
            self.offset,
            self.length,
            self.detail()
        )
    }
}

impl Finding {
    fn new(engine: &Arc<Engine>, hit: &Hit) -> Finding {
        Finding {
            engine: EngineRef(Arc::clone(engine)),
            detector: hit.detector,
            severity: hit.severity,
            confidence: (hit.confidence * 1000.0).round() as u32,
            offset: hit.offset,
            length: hit.length,
        }
    }

    fn told(&self) -> Option<&cordum_output::Detector> {
        self.engine.0.detector(self.detector)
    }
}

/// The built-in detectors and those of a scanner file (YAML or JSON); it never changes.
#[pyclass(frozen, module = "cordum.output", name = "Scanners")]
struct Scanners(Arc<Engine>);

#[pymethods]
impl Scanners {
    /// Raises PolicyError, whose `errors` are (path, message), for a file with faults.
    #[new]
    fn new(py: Python<'_>, source: PyBackedBytes) -> PyResult<Self> {
        py.detach(|| cordum_policy::output::compile_scanners(&source))
            .map(Scanners)
            .map_err(|issues| refused(py, &cordum_policy::PolicyError::Invalid(issues)))
    }

    /// Scanners that the file names.
    #[getter]
    fn names(&self) -> Vec<&str> {
        self.0.scanner_names().collect()
    }

    /// Ids of patterns that have no literal to search for, so that they read every content.
    #[getter]
    fn slow(&self) -> Vec<&str> {
        self.0.slow_detectors().map(|detector| &*detector.id).collect()
    }
}

fn mask_of(engine: &Engine, scanners: Option<Vec<String>>) -> PyResult<Mask> {
    let Some(names) = scanners else {
        return Ok(engine.default_mask());
    };
    let mut mask = Mask::new();
    for name in names {
        match engine.scanner(&name) {
            Some(detectors) => mask.union_with(&detectors),
            None => return Err(PyValueError::new_err(format!("unknown scanner `{name}`"))),
        }
    }
    Ok(mask)
}

fn options_of(min_confidence: Option<f64>) -> PyResult<ScanOptions> {
    let mut options = ScanOptions::default();
    if let Some(least) = min_confidence {
        if !(0.0..=1.0).contains(&least) {
            let message = format!("min_confidence: expected 0 to 1, got `{least}`");
            return Err(PyValueError::new_err(message));
        }
        // Rounding to 32 bits must not lose what stands exactly on the threshold.
        options.min_confidence = (least - 1e-6) as f32;
    }
    Ok(options)
}

/// Findings in bytes or text, by offset. `is_distinct`: one finding for a value that occurs again and again; `custom`: what a
/// scanner file adds.
#[pyfunction]
#[pyo3(signature = (data, *, scanners=None, min_confidence=None, is_distinct=true, custom=None))]
fn scan_output(
    py: Python<'_>,
    data: Content,
    scanners: Option<Vec<String>>,
    min_confidence: Option<f64>,
    is_distinct: bool,
    custom: Option<&Bound<'_, Scanners>>,
) -> PyResult<Vec<Finding>> {
    let engine = custom.map_or_else(Engine::builtin, |custom| Arc::clone(&custom.get().0));
    let mask = mask_of(&engine, scanners)?;
    let options = options_of(min_confidence)?;
    let bytes = data.bytes();
    let scan = || {
        let result = engine.scan(bytes, &mask, &options);
        if result.is_over_budget {
            return None;
        }
        Some(if is_distinct {
            result.distinct(bytes)
        } else {
            result.hits
        })
    };
    let hits = if bytes.len() > DETACH_FROM_BYTES {
        py.detach(scan)
    } else {
        scan()
    };
    let hits = hits.ok_or_else(|| PyRuntimeError::new_err("data takes too long to scan"))?;
    Ok(hits.iter().map(|hit| Finding::new(&engine, hit)).collect())
}

/// The data with the values of the spans (offset, length) masked wherever they occur; `None`: no copy that is as valid.
#[pyfunction]
fn redact_values_in<'py>(
    py: Python<'py>,
    data: Content,
    spans: Vec<(usize, usize)>,
) -> Option<Bound<'py, PyBytes>> {
    let bytes = data.bytes();
    let copy = py.detach(|| redact_values(bytes, &spans))?;
    Some(PyBytes::new(py, &copy))
}

/// (id, type, severity, detail, description, source) of every built-in detector.
#[pyfunction]
fn output_detectors() -> Vec<(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
)> {
    let told = definitions().iter().map(|one| {
        let kind = one.group.as_str();
        (
            one.id,
            kind,
            one.severity.as_str(),
            one.detail,
            one.description,
            one.source,
        )
    });
    told.collect()
}

/// (detector, text, whether it is to be reported) of every example of the catalogue, filled with the seed.
#[pyfunction]
fn output_examples(seed: u64) -> Vec<(&'static str, String, bool)> {
    let told = definitions().iter().flat_map(|one| {
        let filled = move |template: &&'static str, is_hit| {
            (one.id, cordum_output::sample::expand(template, seed), is_hit)
        };
        let hits = one.hits.iter().map(move |template| filled(template, true));
        hits.chain(one.misses.iter().map(move |template| filled(template, false)))
    });
    told.collect()
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Finding>()?;
    module.add_class::<Scanners>()?;
    module.add_function(wrap_pyfunction!(output_detectors, module)?)?;
    module.add_function(wrap_pyfunction!(output_examples, module)?)?;
    module.add_function(wrap_pyfunction!(redact_values_in, module)?)?;
    module.add_function(wrap_pyfunction!(scan_output, module)?)
}
