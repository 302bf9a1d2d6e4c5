//! Bindings of `cordum-policy`: `PolicyEngine`, `validate_policy`, `PolicyError`.

use std::collections::HashMap;
use std::sync::Arc;

use cordum_policy::velocity::Answer;
use cordum_policy::{
    Agent, Agents, Evaluation, Issue, Policy, PolicyError as EngineError, Request, RequestError, Source,
    SourceKind, Tally,
};
use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

create_exception!(
    _core,
    PolicyError,
    PyValueError,
    "A policy document was refused; `errors` lists (path, message)."
);

/// Agents looked up: id, and unless there is no such agent tenant, status, risk tier and data classifications.
type Records = Vec<(String, Option<(String, String, String, Vec<String>)>)>;

fn looked_up(records: Option<Records>) -> Agents {
    let Some(records) = records else {
        return Agents::none();
    };
    Agents::looked_up(records.into_iter().map(|(id, record)| {
        let agent = record.map(|(tenant, status, risk_tier, data_classifications)| Agent {
            id: id.clone(),
            tenant,
            status,
            risk_tier,
            data_classifications,
        });
        (id, agent)
    }))
}

/// One immutable compiled policy.
#[pyclass(frozen, module = "cordum._core")]
pub struct PolicyEngine(Arc<Policy>);

impl PolicyEngine {
    /// The compiled policy, for other bindings.
    pub fn shared(&self) -> Arc<Policy> {
        Arc::clone(&self.0)
    }
}

#[pymethods]
impl PolicyEngine {
    /// Compile a base document and enabled bundles (id, document); their rules may name what the scanner file defines.
    #[staticmethod]
    #[pyo3(signature = (source=None, bundles=Vec::new(), delegation=false, output_confidence=None, scanners=None))]
    fn compile(
        py: Python<'_>,
        source: Option<PyBackedBytes>,
        bundles: Vec<(String, PyBackedBytes)>,
        delegation: bool,
        output_confidence: Option<f64>,
        scanners: Option<PyBackedBytes>,
    ) -> PyResult<Self> {
        let compiled = py.detach(|| Policy::compile(&sources(source.as_ref(), &bundles, scanners.as_ref())));
        compiled
            .map(|policy| {
                let policy = policy.with_delegation(delegation);
                PolicyEngine(Arc::new(match output_confidence {
                    Some(least) => policy.with_output_confidence(least),
                    None => policy,
                }))
            })
            .map_err(|error| refused(py, &error))
    }

    /// The policy that denies everything because none is loaded.
    #[staticmethod]
    fn empty() -> Self {
        PolicyEngine(Arc::new(Policy::empty()))
    }

    #[getter]
    fn snapshot(&self) -> &str {
        self.0.snapshot()
    }

    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.0.warnings().to_vec()
    }

    #[getter]
    fn rule_count(&self) -> usize {
        self.0.rule_count()
    }

    /// Serialized `PolicyCheckRequest` → serialized `PolicyCheckResponse`.
    #[pyo3(signature = (request, agents=None))]
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        request: PyBackedBytes,
        agents: Option<Records>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let policy = Arc::clone(&self.0);
        let answer = py.detach(move || policy.evaluate_bytes_of(&request, &looked_up(agents)));
        answer
            .map(|bytes| PyBytes::new(py, &bytes))
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Serialized `BatchRequest` → serialized `BatchResponse`.
    #[pyo3(signature = (batch, agents=None))]
    fn evaluate_batch<'py>(
        &self,
        py: Python<'py>,
        batch: PyBackedBytes,
        agents: Option<Records>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let policy = Arc::clone(&self.0);
        let answer = py.detach(move || policy.evaluate_batch_of(&batch, &looked_up(agents)));
        answer
            .map(|bytes| PyBytes::new(py, &bytes))
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Whether some rule or default is for single jobs or sessions.
    #[getter]
    fn reads_job_ids(&self) -> bool {
        self.0.reads_job_ids()
    }

    /// What scope rules counted since this was last asked: evaluations (allow, deny, error), findings as (intent, type,
    /// count); `None` without such rules.
    #[allow(clippy::type_complexity)]
    fn take_scope_counts(&self) -> Option<([u64; 3], Vec<(String, &'static str, u64)>)> {
        let counts = self.0.take_scope_counts()?;
        let violations = counts.violations.into_iter();
        Some((
            counts.evaluations,
            violations
                .map(|((intent, kind), count)| (intent, kind, count))
                .collect(),
        ))
    }

    /// Per rule id, the delegation keys of the rule.
    #[getter]
    fn delegation_fields(&self) -> HashMap<&str, Vec<&'static str>> {
        self.0.delegation_fields().into_iter().collect()
    }

    /// Whether some rule counts requests (policy spec §13).
    #[getter]
    fn has_velocity(&self) -> bool {
        self.0.has_velocity()
    }

    /// Start a serialized `BatchRequest` that may need counts.
    #[pyo3(signature = (batch, agents=None))]
    fn begin(
        &self,
        py: Python<'_>,
        batch: PyBackedBytes,
        agents: Option<Records>,
    ) -> PyResult<PolicyEvaluation> {
        let policy = Arc::clone(&self.0);
        py.detach(move || Evaluation::begin(policy, &batch, looked_up(agents)))
            .map(PolicyEvaluation)
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// What was looked at and why, as JSON.
    #[pyo3(signature = (request, agents=None))]
    fn explain<'py>(
        &self,
        py: Python<'py>,
        request: PyBackedBytes,
        agents: Option<Records>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let policy = Arc::clone(&self.0);
        let trace = py.detach(move || {
            let agents = looked_up(agents);
            let mut decoded = Request::decode(&request)?;
            agents.attach(&mut decoded)?;
            Ok::<_, RequestError>(policy.explain(&decoded).to_string().into_bytes())
        });
        trace
            .map(|bytes| PyBytes::new(py, &bytes))
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }
}

/// A batch under evaluation: read `needs`, give `answer`, until there are none, then take `response`.
#[pyclass(module = "cordum._core")]
pub struct PolicyEvaluation(Evaluation);

type Need<'a> = (usize, &'a str, &'a str, &'a str, i64, i64);

#[pymethods]
impl PolicyEvaluation {
    #[getter]
    fn needs(&self) -> Vec<Need<'_>> {
        let needs = self.0.needs().iter();
        needs
            .map(|(item, need)| {
                (
                    *item,
                    need.rule_id.as_str(),
                    need.key_suffix.as_str(),
                    need.member.as_str(),
                    need.max_requests,
                    need.window_seconds,
                )
            })
            .collect()
    }

    /// One number per need: 0 within, 1 exceeded, 2 failed, 3 failed open.
    fn answer(&mut self, py: Python<'_>, answers: Vec<u8>) -> PyResult<()> {
        let read: Option<Vec<Answer>> = answers.into_iter().map(Answer::from_number).collect();
        let read = read.ok_or_else(|| PyValueError::new_err("an answer must be 0, 1, 2 or 3"))?;
        if read.len() != self.0.needs().len() {
            let count = self.0.needs().len();
            return Err(PyValueError::new_err(format!(
                "expected {count} answers, got {}",
                read.len()
            )));
        }
        py.detach(|| self.0.answer(&read));
        Ok(())
    }

    /// What was looked at for the first request and why, as JSON.
    fn explain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let trace = py.detach(|| self.0.explain().map(|trace| trace.to_string().into_bytes()));
        trace
            .map(|bytes| PyBytes::new(py, &bytes))
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn response<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self
            .0
            .response()
            .ok_or_else(|| PyValueError::new_err("counts are missing"))?;
        Ok(PyBytes::new(py, &bytes))
    }
}

/// The agents that a serialized `BatchRequest` names in its labels, each once.
#[pyfunction]
fn named_agents(py: Python<'_>, batch: PyBackedBytes) -> PyResult<Vec<String>> {
    py.detach(|| cordum_policy::named_agents(&batch))
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Path, message and line (0: not known) of a problem.
type Problem = (String, String, usize);

/// Every problem of one document; empty when it is valid. Its rules may name what the scanner file defines.
#[pyfunction]
#[pyo3(signature = (source, scanners=None))]
fn validate_policy(py: Python<'_>, source: PyBackedBytes, scanners: Option<PyBackedBytes>) -> Vec<Problem> {
    problems(py.detach(|| match scanners {
        Some(file) => cordum_policy::validate_with(&source, &file),
        None => cordum_policy::validate(&source),
    }))
}

/// What is worth saying about a valid document.
#[pyfunction]
fn policy_warnings(py: Python<'_>, source: PyBackedBytes) -> Vec<String> {
    py.detach(|| cordum_policy::warnings(&source))
}

/// Documents of a policy, as the engine takes them.
pub(crate) fn sources<'a>(
    base: Option<&'a PyBackedBytes>,
    bundles: &'a [(String, PyBackedBytes)],
    scanners: Option<&'a PyBackedBytes>,
) -> Vec<Source<'a>> {
    let single = |kind: SourceKind, content: Option<&'a PyBackedBytes>| {
        content.map(|content| Source {
            kind,
            content: content.as_ref(),
        })
    };
    let bundles = bundles.iter().map(|(id, content)| Source {
        kind: SourceKind::Bundle(id.clone()),
        content: content.as_ref(),
    });
    let files = single(SourceKind::Scanners, scanners);
    single(SourceKind::Base, base)
        .into_iter()
        .chain(bundles)
        .chain(files)
        .collect()
}

/// The rules of a valid document as JSON: a list of section, rule as written, tier, selector, enabled.
#[pyfunction]
fn policy_rules<'py>(py: Python<'py>, source: PyBackedBytes) -> PyResult<Bound<'py, PyBytes>> {
    py.detach(|| cordum_policy::list_rules(&source))
        .map(|json| PyBytes::new(py, &json))
        .map_err(|issues| refused(py, &EngineError::Invalid(issues)))
}

/// Job id, tenant, topic, decision number, rule id, microseconds.
type HeldRow = (String, String, String, u64, String, u64);
/// Items per decision, defaults (allow, deny), failed items, decisions that were no plain allow.
type Counts = (Vec<u64>, (u64, u64), u64, Vec<HeldRow>);

/// What a serialized `BatchResponse` decided about a serialized `BatchRequest`.
#[pyfunction]
fn tally_decisions(
    py: Python<'_>,
    requests: PyBackedBytes,
    response: PyBackedBytes,
    held_max: usize,
) -> PyResult<Counts> {
    counts(py.detach(|| cordum_policy::tally(&requests, &response, held_max)))
}

/// The same for one serialized request and response.
#[pyfunction]
fn tally_decision(request: PyBackedBytes, response: PyBackedBytes, us: u64) -> PyResult<Counts> {
    counts(cordum_policy::tally_one(&request, &response, us))
}

fn counts(found: Result<Tally, RequestError>) -> PyResult<Counts> {
    let Tally {
        decisions,
        defaults: [allowed, denied],
        failed,
        held,
    } = found.map_err(|error| PyValueError::new_err(error.to_string()))?;
    let rows = held.into_iter().map(|row| {
        (
            row.job_id,
            row.tenant,
            row.topic,
            row.decision,
            row.rule_id,
            row.us,
        )
    });
    Ok((decisions.to_vec(), (allowed, denied), failed, rows.collect()))
}

pub(crate) fn refused(py: Python<'_>, error: &EngineError) -> PyErr {
    let raised = PolicyError::new_err(error.to_string());
    match raised.value(py).setattr("errors", problems(error.issues())) {
        Ok(()) => raised,
        Err(failure) => failure,
    }
}

fn problems(issues: Vec<Issue>) -> Vec<Problem> {
    issues
        .into_iter()
        .map(|issue| (issue.path, issue.message, issue.line))
        .collect()
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("PolicyError", module.py().get_type::<PolicyError>())?;
    module.add_class::<PolicyEngine>()?;
    module.add_class::<PolicyEvaluation>()?;
    module.add_function(wrap_pyfunction!(named_agents, module)?)?;
    module.add_function(wrap_pyfunction!(tally_decision, module)?)?;
    module.add_function(wrap_pyfunction!(policy_rules, module)?)?;
    module.add_function(wrap_pyfunction!(tally_decisions, module)?)?;
    module.add_function(wrap_pyfunction!(policy_warnings, module)?)?;
    module.add_function(wrap_pyfunction!(validate_policy, module)?)
}
