//! Bindings of `cordum_policy::analysis`: one call per question, JSON out.

use cordum_policy::analysis;
use cordum_policy::{PolicyError, Source, SourceKind};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::policy::refused;

type Bundles = Vec<(String, PyBackedBytes)>;

fn sources<'a>(base: Option<&'a PyBackedBytes>, bundles: &'a Bundles) -> Vec<Source<'a>> {
    let base = base.into_iter().map(|content| Source {
        kind: SourceKind::Base,
        content: content.as_ref(),
    });
    let bundles = bundles.iter().map(|(id, content)| Source {
        kind: SourceKind::Bundle(id.clone()),
        content: content.as_ref(),
    });
    base.chain(bundles).collect()
}

fn reply<'py>(py: Python<'py>, answer: Result<Vec<u8>, PolicyError>) -> PyResult<Bound<'py, PyBytes>> {
    answer
        .map(|json| PyBytes::new(py, &json))
        .map_err(|error| refused(py, &error))
}

/// Findings about the policy that a base and bundles make together, as JSON.
#[pyfunction]
#[pyo3(signature = (base=None, bundles=Vec::new()))]
fn analyze_policy(
    py: Python<'_>,
    base: Option<PyBackedBytes>,
    bundles: Bundles,
) -> PyResult<Bound<'_, PyBytes>> {
    let answer = py.detach(|| analysis::analyze(&sources(base.as_ref(), &bundles)));
    reply(py, answer)
}

/// What changes between two policies, each a base and bundles, as JSON; without any source a policy denies everything.
#[pyfunction]
fn diff_policies(
    py: Python<'_>,
    old: (Option<PyBackedBytes>, Bundles),
    new: (Option<PyBackedBytes>, Bundles),
) -> PyResult<Bound<'_, PyBytes>> {
    let answer =
        py.detach(|| analysis::diff(&sources(old.0.as_ref(), &old.1), &sources(new.0.as_ref(), &new.1)));
    reply(py, answer)
}

/// Report of the tests of a base, bundles and files (name, document), all against the merged policy, as JSON of about `max_bytes`.
#[pyfunction]
#[pyo3(signature = (base=None, bundles=Vec::new(), extra=Vec::new(), max_bytes=64 * 1024 * 1024))]
fn run_policy_tests(
    py: Python<'_>,
    base: Option<PyBackedBytes>,
    bundles: Bundles,
    extra: Bundles,
    max_bytes: usize,
) -> PyResult<Bound<'_, PyBytes>> {
    let answer = py.detach(|| {
        let files: Vec<(&str, &[u8])> = extra
            .iter()
            .map(|(name, content)| (name.as_str(), content.as_ref()))
            .collect();
        cordum_policy::testing::run_tests(&sources(base.as_ref(), &bundles), &files, max_bytes)
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
