//! The `tests` section of a document, and the file of tests beside it.

use std::collections::BTreeMap;

use ahash::AHashSet;
use prost::Message;
use serde_json::Value as Json;

use crate::agents::Agent;
use crate::document::Decision;
use crate::error::{Issue, PolicyError};
use crate::limits::{MAX_TESTS, MAX_TESTS_BYTES};
use crate::read_document::{read_constraints, read_decision};
use crate::reader::{Object, Reader};
use crate::request::Request;
use crate::testing::request::{bounded_strings, bounded_text, read_request};
use crate::testing::verdict::leaves;
use crate::yaml::{self, Node, Value};

const CASE: &[&str] = &["name", "request", "agent", "exceeded", "expect"];
const AGENT: &[&str] = &["tenant", "status", "risk_tier", "data_classifications"];
const EXPECT: &[&str] = &["decision", "rule_id", "reason_contains", "constraints"];
/// Parts of constraints that are no part of a decision (policy spec §2.5).
const UNSENT: &[&str] = &["max_output_bytes", "allowed_destinations", "redact_patterns"];
const MAX_NAME_BYTES: usize = 512;

/// One request and what must be decided about it.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// Unique in its document.
    pub name: String,
    /// Serialized `PolicyCheckRequest`.
    pub request: Vec<u8>,
    /// Who asks, for rules about agents; an empty tenant is the request's.
    pub agent: Option<Agent>,
    /// Ids of velocity rules whose limit is exceeded; all others are within theirs.
    pub exceeded: Vec<String>,
    pub expect: Expectation,
}

/// What must be decided.
#[derive(Clone, Debug)]
pub struct Expectation {
    pub decision: Decision,
    /// Empty = no rule may have decided.
    pub rule_id: Option<String>,
    pub reason_contains: Option<String>,
    /// By path, e.g. `budgets.max_retries`; what is not mentioned may be anything.
    pub constraints: BTreeMap<String, Json>,
}

/// Cases of a document that has only those.
///
/// Errors: all of them, in document order.
pub(crate) fn read_file(source: &[u8]) -> Result<Vec<TestCase>, Vec<Issue>> {
    let root = yaml::parse(source).map_err(|issue| vec![issue])?;
    let mut reader = Reader::default();
    let cases = match reader.object(&root, String::new(), &["tests"]) {
        Some(top) => read_cases(&mut reader, &top),
        None => Vec::new(),
    };
    reader.finish(&root, cases)
}

/// `{"request": …}` of a case → serialized `PolicyCheckRequest`.
///
/// Errors: all of them, in document order.
pub fn encode_request(case: &[u8]) -> Result<Vec<u8>, PolicyError> {
    let root = yaml::parse(case).map_err(|issue| PolicyError::Invalid(vec![issue]))?;
    let mut reader = Reader::default();
    let object = reader.object(&root, String::new(), &["request"]);
    let request = object.and_then(|object| {
        require(&mut reader, &object, "request");
        read_request(&mut reader, &object)
    });
    match request {
        Some(request) if reader.issues.is_empty() => Ok(request.encode_to_vec()),
        _ => Err(PolicyError::Invalid(reader.issues)),
    }
}

/// Cases under `tests`.
pub(crate) fn read_cases(reader: &mut Reader, top: &Object<'_>) -> Vec<TestCase> {
    let items = reader.items(top, "tests");
    if items.len() > MAX_TESTS {
        reader.report(top.at("tests"), format!("more than {MAX_TESTS} tests"));
        return Vec::new();
    }
    let mut names = AHashSet::new();
    let mut cases = Vec::with_capacity(items.len());
    let mut room = MAX_TESTS_BYTES;
    for (node, path) in items {
        // Aliases repeat texts without making the document longer.
        if !fits(node, &mut room) {
            reader.report(
                top.at("tests"),
                format!("longer than {MAX_TESTS_BYTES} bytes together"),
            );
            break;
        }
        let Some(object) = reader.object(node, path, CASE) else {
            continue;
        };
        let case = read_case(reader, &object);
        let name = reader.text(&object, "name").trim().to_owned();
        if !name.is_empty() && !names.insert(name.clone()) {
            reader.report(object.at("name"), format!("duplicate test \"{name}\""));
        }
        cases.extend(case.map(|case| TestCase { name, ..case }));
    }
    cases
}

/// Take the size of a tree from `room`.
fn fits(node: &Node, room: &mut usize) -> bool {
    let mut take = |bytes: usize| match room.checked_sub(bytes + 1) {
        Some(left) => {
            *room = left;
            true
        }
        None => false,
    };
    match &node.value {
        Value::Str(text) => take(text.len()),
        Value::List(items) => take(0) && items.iter().all(|item| fits(item, room)),
        Value::Map(entries) => {
            let keys = entries.iter().map(|(key, _)| key.len()).sum();
            take(keys) && entries.iter().all(|(_, value)| fits(value, room))
        }
        _ => take(0),
    }
}

/// The case, all but its name.
fn read_case(reader: &mut Reader, case: &Object<'_>) -> Option<TestCase> {
    let name = bounded_text(reader, case, "name", MAX_NAME_BYTES);
    require(reader, case, "name");
    if name.trim().is_empty() && matches!(case.node.get("name").map(|node| &node.value), Some(Value::Str(_)))
    {
        reader.report(case.at("name"), "must not be empty");
    }
    require(reader, case, "request");
    let request = read_request(reader, case).map(|request| request.encode_to_vec());
    if let Some(Err(error)) = request.as_deref().map(Request::decode) {
        reader.report(case.at("request"), error.to_string());
    }
    let agent = read_agent(reader, case);
    let exceeded = bounded_strings(reader, case, "exceeded");
    require(reader, case, "expect");
    let expect = read_expectation(reader, case);
    Some(TestCase {
        name: String::new(),
        request: request?,
        agent,
        exceeded,
        expect: expect?,
    })
}

/// Say when `key` is missing.
pub(super) fn require(reader: &mut Reader, object: &Object<'_>, key: &str) {
    let node = object.node.get(key);
    if node.is_none_or(|node| matches!(node.value, Value::Null)) {
        reader.report(object.path.clone(), format!("missing field \"{key}\""));
    }
}

fn read_agent(reader: &mut Reader, case: &Object<'_>) -> Option<Agent> {
    let object = reader.child(case, "agent", AGENT)?;
    let status = reader.text(&object, "status");
    Some(Agent {
        id: "test".to_owned(),
        tenant: reader.text(&object, "tenant"),
        status: if status.is_empty() {
            "active".to_owned()
        } else {
            status
        },
        risk_tier: reader.text(&object, "risk_tier"),
        data_classifications: bounded_strings(reader, &object, "data_classifications"),
    })
}

/// A decision under its name in answers and reports, as `REQUIRE_APPROVAL`.
fn named_decision(object: &Object<'_>) -> Option<Decision> {
    match &object.node.get("decision")?.value {
        Value::Str(text) => Decision::named(text),
        _ => None,
    }
}

fn read_expectation(reader: &mut Reader, case: &Object<'_>) -> Option<Expectation> {
    let object = reader.child(case, "expect", EXPECT)?;
    require(reader, &object, "decision");
    let decision = named_decision(&object).or_else(|| read_decision(reader, &object));
    let rule_id = reader.string(&object, "rule_id").map(|id| id.trim().to_owned());
    let reason_contains = reader.string(&object, "reason_contains");
    // Reading them finds what is wrong with them.
    read_constraints(reader, &object);
    let mut constraints = BTreeMap::new();
    if let Some(node) = object.node.get("constraints") {
        for key in UNSENT.iter().filter(|key| node.get(key).is_some()) {
            let path = format!("{}.{key}", object.at("constraints"));
            reader.report(path, "is no part of a decision");
        }
        leaves("", node, &mut constraints);
    }
    Some(Expectation {
        decision: decision?,
        rule_id,
        reason_contains,
        constraints,
    })
}
