//! Runs the tests of sources against the policy that they make together.

use crate::compile::{Policy, Source};
use crate::error::{Issue, PolicyError};
use crate::merge::merge;
use crate::testing::case::{read_file, TestCase};
use crate::testing::report::Report;
use crate::testing::verdict::judge;

/// Run the `tests` of every source and of `files` (name, content), all against the merged policy, through the function that decides
/// about jobs. Returns the report as JSON of about `max_bytes`; what does not fit is counted.
///
/// Errors: every problem of every document; no source at all.
pub fn run_tests(
    sources: &[Source<'_>],
    files: &[(&str, &[u8])],
    max_bytes: usize,
) -> Result<Vec<u8>, PolicyError> {
    if sources.is_empty() {
        return Err(PolicyError::NoSource);
    }
    let mut issues = Vec::new();
    let mut tests: Vec<(String, Vec<TestCase>)> = Vec::new();
    for (name, content) in files {
        match read_file(content) {
            Ok(cases) => tests.push(((*name).to_owned(), cases)),
            Err(found) => issues.extend(found.into_iter().map(|issue| in_file(name, issue))),
        }
    }
    let mut merged = match merge(sources) {
        Ok(merged) => merged,
        Err(PolicyError::Invalid(found)) => return Err(PolicyError::Invalid([found, issues].concat())),
        Err(error) => return Err(error),
    };
    if !issues.is_empty() {
        return Err(PolicyError::Invalid(issues));
    }
    let mut all = std::mem::take(&mut merged.tests);
    all.append(&mut tests);
    let policy = Policy::build(merged);
    let mut report = Report::new(&policy, max_bytes);
    for (source, cases) in &all {
        for case in cases {
            report.add(source, case, &judge(&policy, case));
        }
    }
    Ok(report.into_json())
}

fn in_file(name: &str, issue: Issue) -> Issue {
    let path = if issue.path.is_empty() {
        name.to_owned()
    } else {
        format!("{name}: {}", issue.path)
    };
    Issue { path, ..issue }
}
