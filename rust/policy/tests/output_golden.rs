//! The golden tables of `tests/golden/output`, the same files that run through Python.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::path::Path;
use std::rc::Rc;

use cordum_policy::output::{redact, OutputContent, OutputRequest};
use cordum_policy::yaml::{parse, Node, Value};
use cordum_policy::{validate, Policy, Source, SourceKind};

fn cases(file: &str) -> Vec<Rc<Node>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden/output")
        .join(file);
    match &parse(&std::fs::read(path).unwrap()).unwrap().value {
        Value::List(cases) => cases.clone(),
        other => panic!("{other:?}"),
    }
}

/// Samples are put together here, so that the repository holds no token.
fn text(node: &Node) -> String {
    match &node.value {
        Value::Str(text) => text.replace("${aws}", &["AKIA", "1234567890ABCDEF"].concat()),
        other => panic!("line {}: {other:?} is not a string", node.line),
    }
}

fn int(node: &Node) -> i64 {
    match node.value {
        Value::Int(value) => value,
        ref other => panic!("line {}: {other:?} is not an integer", node.line),
    }
}

fn list(node: &Node) -> Vec<Rc<Node>> {
    match &node.value {
        Value::List(items) => items.clone(),
        other => panic!("line {}: {other:?} is not a list", node.line),
    }
}

fn texts(node: &Node) -> Vec<String> {
    list(node).iter().map(|item| text(item)).collect()
}

fn pairs(node: &Node) -> Vec<(usize, usize)> {
    let number = |node: &Node| usize::try_from(int(node)).unwrap();
    list(node)
        .iter()
        .map(|pair| (number(&list(pair)[0]), number(&list(pair)[1])))
        .collect()
}

fn entries(node: &Node) -> Vec<(&str, &Node)> {
    match &node.value {
        Value::Map(entries) => entries.iter().map(|(k, v)| (k.as_str(), &**v)).collect(),
        other => panic!("line {}: {other:?} is not a mapping", node.line),
    }
}

fn compile(case: &Node) -> Policy {
    let base = case.get("policy").map(text);
    let bundles: Vec<(&str, String)> = case
        .get("bundles")
        .map(entries)
        .unwrap_or_default()
        .into_iter()
        .map(|(id, node)| (id, text(node)))
        .collect();
    let mut sources: Vec<Source<'_>> = Vec::new();
    sources.extend(base.iter().map(|content| Source {
        kind: SourceKind::Base,
        content: content.as_bytes(),
    }));
    sources.extend(bundles.iter().map(|(id, content)| Source {
        kind: SourceKind::Bundle((*id).to_owned()),
        content: content.as_bytes(),
    }));
    Policy::compile(&sources).unwrap()
}

fn check(case: &Node) {
    let name = text(case.get("name").unwrap());
    let policy = compile(case);
    let fields: Vec<(&str, String, Vec<String>, i64)> = entries(case.get("request").unwrap())
        .into_iter()
        .map(|(key, node)| match &node.value {
            Value::Int(value) => (key, String::new(), Vec::new(), *value),
            Value::List(_) => (key, String::new(), texts(node), 0),
            _ => (key, text(node), Vec::new(), 0),
        })
        .collect();
    let (mut request, mut content) = (OutputRequest::default(), None);
    for (key, value, items, number) in &fields {
        match *key {
            "topic" => request.topic = value,
            "tenant" => request.tenant = value,
            "content" => content = Some(OutputContent::whole(value.as_bytes())),
            "error_message" => request.error_message = value,
            "error_code" => request.error_code = value,
            "workflow_id" => request.workflow_id = value,
            "content_type" => request.content_type = value,
            "output_size_bytes" => request.size = *number,
            "capabilities" => request.capabilities = items.iter().map(String::as_str).collect(),
            "risk_tags" => request.risk_tags = items.iter().map(String::as_str).collect(),
            other => panic!("{name}: unknown field {other}"),
        }
    }
    let (outcome, trace) = policy.output().check_traced(&request, content).unwrap();
    assert_eq!(
        outcome,
        policy.output().check(&request, content).unwrap(),
        "{name}"
    );
    for (key, wanted) in entries(case.get("expect").unwrap()) {
        match key {
            "decision" => assert_eq!(outcome.decision.name(), text(wanted), "{name}"),
            "rule_id" => assert_eq!(outcome.rule_id, text(wanted), "{name}"),
            "reason" => assert_eq!(outcome.reason, text(wanted), "{name}"),
            "finding_count" => assert_eq!(outcome.findings.len(), int(wanted) as usize, "{name}"),
            "scanners" => {
                let found: Vec<_> = outcome.findings.iter().map(|f| f.scanner.to_owned()).collect();
                assert_eq!(found, texts(wanted), "{name}");
            }
            "detectors" => {
                let found: Vec<_> = outcome.findings.iter().map(|f| f.pattern.to_owned()).collect();
                assert_eq!(found, texts(wanted), "{name}");
            }
            "places" => {
                let found: Vec<_> = outcome.findings.iter().map(|f| (f.offset, f.length)).collect();
                assert_eq!(found, pairs(wanted), "{name}");
            }
            "masked" => {
                let spans: Vec<_> = outcome.spans.iter().map(|s| (s.offset, s.length)).collect();
                let copy = redact(content.unwrap().head, &spans).unwrap();
                assert_eq!(String::from_utf8(copy).unwrap(), text(wanted), "{name}");
            }
            "trace" => {
                let missed: Vec<_> = trace.iter().filter(|step| !step.is_matched).collect();
                let found: Vec<_> = missed
                    .iter()
                    .map(|s| vec![s.rule_id.to_owned(), s.why.to_owned()])
                    .collect();
                let wanted: Vec<_> = list(wanted).iter().map(|pair| texts(pair)).collect();
                assert_eq!(found, wanted, "{name}");
            }
            other => panic!("{name}: unknown expectation {other}"),
        }
    }
}

#[test]
fn decisions() {
    cases("decision.yaml").iter().for_each(|case| check(case));
}

#[test]
fn masked_copies() {
    for case in cases("redaction.yaml") {
        let copy = redact(
            text(case.get("content").unwrap()).as_bytes(),
            &pairs(case.get("spans").unwrap()),
        );
        let wanted = text(case.get("masked").unwrap());
        let name = text(case.get("name").unwrap());
        assert_eq!(String::from_utf8(copy.unwrap()).unwrap(), wanted, "{name}");
    }
}

#[test]
fn documents() {
    for case in cases("validation.yaml") {
        let issues = validate(text(case.get("policy").unwrap()).as_bytes());
        let found: Vec<String> = issues.iter().map(ToString::to_string).collect();
        let name = text(case.get("name").unwrap());
        assert_eq!(found, texts(case.get("errors").unwrap()), "{name}");
    }
}
