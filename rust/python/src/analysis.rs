//! Bindings of `cordum_policy::analysis`: one call per question, JSON out.

use cordum_policy::analysis;
use cordum_policy::PolicyError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::policy::{refused, sources};

type Bundles = Vec<(String, PyBackedBytes)>;

fn reply<'py>(py: Python<'py>, answer: Result<Vec<u8>, PolicyError>) -> PyResult<Bound<'py, PyBytes>> {
    answer
        .map(|json| PyBytes::new(py, &json))
        .map_err(|error| refused(py, &error))
}

/// Findings about the policy that a base and bundles make together, as JSON.
#[pyfunction]
#[pyo3(signature = (base=None, bundles=Vec::new(), scanners=None))]
fn analyze_policy(
    py: Python<'_>,
    base: Option<PyBackedBytes>,
    bundles: Bundles,
    scanners: Option<PyBackedBytes>,
) -> PyResult<Bound<'_, PyBytes>> {
    let answer = py.detach(|| analysis::analyze(&sources(base.as_ref(), &bundles, scanners.as_ref())));
    reply(py, answer)
}

/// What changes between two policies, each a base and bundles, as JSON; without any source a policy denies everything.
#[pyfunction]
#[pyo3(signature = (old, new, scanners=None))]
fn diff_policies(
    py: Python<'_>,
    old: (Option<PyBackedBytes>, Bundles),
    new: (Option<PyBackedBytes>, Bundles),
    scanners: Option<PyBackedBytes>,
) -> PyResult<Bound<'_, PyBytes>> {
    let answer = py.detach(|| {
        let [old, new] =
            [&old, &new].map(|(base, bundles)| sources(base.as_ref(), bundles, scanners.as_ref()));
        analysis::diff(&old, &new)
    });
    reply(py, answer)
}

/// Report of the tests of a base, bundles and files (name, document), all against the merged policy, as JSON of about `max_bytes`.
#[pyfunction]
#[pyo3(signature = (base=None, bundles=Vec::new(), extra=Vec::new(), max_bytes=64 * 1024 * 1024, scanners=None))]
fn run_policy_tests(
    py: Python<'_>,
    base: Option<PyBackedBytes>,
    bundles: Bundles,
    extra: Bundles,
    max_bytes: usize,
    scanners: Option<PyBackedBytes>,
) -> PyResult<Bound<'_, PyBytes>> {
    let answer = py.detach(|| {
        let files: Vec<(&str, &[u8])> = extra
            .iter()
            .map(|(name, content)| (name.as_str(), content.as_ref()))
            .collect();
        cordum_policy::testing::run_tests(
            &sources(base.as_ref(), &bundles, scanners.as_ref()),
            &files,
            max_bytes,
        )
    });
    reply(py, answer)
}

/// Serialized `PolicyCheckRequest` of the `{"request": …}` of a test.
#[pyfunction]
fn encode_test_request(py: Python<'_>, case: PyBackedBytes) -> PyResult<Bound<'_, PyBytes>> {
    let answer = py.detach(|| cordum_policy::testing::encode_request(&case));
    reply(py, answer)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(analyze_policy, module)?)?;
    module.add_function(wrap_pyfunction!(diff_policies, module)?)?;
    module.add_function(wrap_pyfunction!(run_policy_tests, module)?)?;
    module.add_function(wrap_pyfunction!(encode_test_request, module)?)
}
