//! Registrations, schemas and what they mean for a job.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::HashMap;

use cordum_boundary::{
    Boundary, Mode, Payload, Registry, Schema, SchemaError, SchemaState, Standing, Status, VIOLATIONS_MAX,
};
use proptest::prelude::*;
use serde_json::{json, Value};

fn compile(schema: &Value) -> Result<Schema, SchemaError> {
    Schema::compile(schema.to_string().as_bytes(), &[])
}

fn boundary(mode: Mode, registrations: &Value, schemas: Vec<(&str, SchemaState)>) -> Boundary {
    let registry = Registry::parse(registrations.to_string().as_bytes()).unwrap();
    let schemas = schemas.into_iter().map(|(id, state)| (id.to_owned(), state));
    Boundary::new(mode, Some(registry), schemas.collect::<HashMap<_, _>>())
}

fn facts(schema: &Value, document: &Value) -> Vec<(String, String)> {
    let found = compile(schema).unwrap().check(document);
    found.into_iter().map(|v| (v.path, v.message)).collect()
}

#[test]
fn a_tenant_s_own_registration_comes_before_everybody_s() {
    let boundary = boundary(
        Mode::Warn,
        &json!({
            "job.a": {"pool": "wide", "status": "active"},
            "tenant:acme:job.a": {"pool": "own", "status": "disabled"},
            "tenant:acme:job.own": {"pool": "own"},
            "job.old": {"pool": "wide", "status": "deprecated"},
        }),
        vec![],
    );
    assert!(matches!(boundary.standing("acme", "job.a"), Standing::Disabled));
    assert!(
        matches!(boundary.standing("globex", "job.a"), Standing::Known(topic) if topic.pools == ["wide"])
    );
    assert!(matches!(boundary.standing("acme", "job.own"), Standing::Known(_)));
    assert!(matches!(
        boundary.standing("globex", "job.own"),
        Standing::Unknown
    ));
    assert!(
        matches!(boundary.standing("globex", "job.old"), Standing::Known(topic) if topic.status == Status::Deprecated)
    );
    let registry = boundary.registry().unwrap();
    assert_eq!(registry.usable("acme", 20), (vec!["job.old", "job.own"], false));
    assert_eq!(registry.usable("globex", 1), (vec!["job.a"], true));
    assert!(registry.knows("job.own") && !registry.knows("job.none"));
}

#[test]
fn an_empty_registry_leaves_topics_free_and_an_unread_one_is_told_apart() {
    let empty = boundary(Mode::Enforce, &json!({}), vec![]);
    assert!(matches!(empty.standing("t", "job.x"), Standing::Free));
    assert!(matches!(
        Boundary::default().standing("t", "job.x"),
        Standing::NotLoaded
    ));
    assert!(Registry::parse(b"[]").is_err());
    assert!(Registry::parse(br#"{"job.a": {"status": "sleeping"}}"#).is_err());
}

#[test]
fn faults_are_leaves_sorted_each_once_and_show_no_value() {
    let schema = json!({
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["k"]}]},
            "c": {"allOf": [{"type": "string"}, {"type": "string"}]},
        },
        "additionalProperties": false,
    });
    let found = facts(&schema, &json!({"c": 1, "b": {}, "a": "hunter2", "z": 1}));
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["$", "/a", "/b", "/b", "/c"]);
    assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{found:?}");
    assert!(
        found.iter().all(|(_, message)| !message.contains("hunter2")),
        "{found:?}"
    );
}

#[test]
fn the_number_and_length_of_faults_are_bounded() {
    let schema = json!({"type": "array", "items": {"type": "string", "pattern": "x".repeat(5_000)}});
    let found = facts(&schema, &json!(vec!["y"; 3_000]));
    assert_eq!(found.len(), VIOLATIONS_MAX);
    assert!(found.iter().all(|(_, message)| message.len() <= 512));
}

#[test]
fn nothing_is_fetched_for_a_reference() {
    for target in [
        "https://schemas.test/a",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
    ] {
        let missing = compile(&json!({"$ref": target})).unwrap_err();
        assert_eq!(missing, SchemaError::Missing(target.to_owned()), "{target}");
    }
    let documents = [(
        "https://schemas.test/a".to_owned(),
        br#"{"$id": "https://schemas.test/a", "type": "integer"}"#.to_vec(),
    )];
    let given = Schema::compile(br#"{"items": {"$ref": "https://schemas.test/a"}}"#, &documents).unwrap();
    assert!(given.check(&json!([1])).is_empty());
    assert_eq!(given.check(&json!(["x"])).len(), 1);
}

#[test]
fn formats_are_annotations_in_every_draft() {
    for draft in [
        "http://json-schema.org/draft-04/schema#",
        "http://json-schema.org/draft-07/schema#",
        "https://json-schema.org/draft/2019-09/schema",
        "https://json-schema.org/draft/2020-12/schema",
    ] {
        let schema = json!({"$schema": draft, "type": "string", "format": "email"});
        assert!(facts(&schema, &json!("nobody")).is_empty(), "{draft}");
    }
}

#[test]
fn what_is_no_schema_is_refused_with_a_reason() {
    let deep = (0..80).fold(json!({}), |inner, _| json!({"items": inner}));
    let many: Vec<Value> = (0..600).map(|_| json!({"$ref": "#"})).collect();
    let large = json!({"description": "x".repeat(300_000)});
    for (schema, word) in [
        (json!([]), "object"),
        (json!(true), "object"),
        (json!({"type": "strin"}), "it is"),
        (json!({"minimum": "x"}), "it is"),
        (json!({"pattern": "("}), "it"),
        (deep, "too deep"),
        (json!({"anyOf": many}), "too many references"),
        (large, "too large"),
    ] {
        match compile(&schema) {
            Err(SchemaError::Invalid(message)) => assert!(message.contains(word), "{message}"),
            other => panic!("{:.80}: {other:?}", schema.to_string()),
        }
    }
    assert!(matches!(Schema::compile(b"{", &[]), Err(SchemaError::Invalid(_))));
}

#[test]
fn references_in_a_circle_end() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
        json!({"$dynamicAnchor": "x", "$dynamicRef": "#x"}),
    ] {
        let _ = facts(&schema, &json!({"a": [1]}));
    }
    let tree = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
    let list = (0..100).fold(json!({}), |inner, _| json!({"next": inner}));
    assert!(facts(&tree, &list).is_empty());
}

#[test]
fn a_pattern_that_steps_back_for_ever_is_a_fault() {
    let schema = json!({"type": "string", "pattern": r"^(?=(a+)+b)"});
    assert_eq!(facts(&schema, &json!("a".repeat(2_000))).len(), 1);
}

#[test]
fn the_context_of_a_document_is_what_is_checked() {
    let schema = compile(&json!({"type": "object", "required": ["n"]})).unwrap();
    let boundary = boundary(
        Mode::Enforce,
        &json!({"job.a": {"pool": "p", "input_schema_id": "s"}}),
        vec![("s", SchemaState::Ready(schema))],
    );
    for (payload, is_fine) in [
        (r#"{"context": {"n": 1}}"#, true),
        (r#"{"n": 1}"#, true),
        (r#"{"context": {}, "n": 1}"#, false),
        (r#"{"context": null, "n": 1}"#, false),
        ("[1]", false),
    ] {
        assert_eq!(
            boundary.check("s", Payload::Here(payload.as_bytes())).is_none(),
            is_fine,
            "{payload}"
        );
    }
    for (payload, path, message) in [
        (
            Payload::NoPointer,
            "$.context_ptr",
            "context payload required for schema validation",
        ),
        (
            Payload::BadPointer,
            "$.context_ptr",
            "context pointer names no readable payload",
        ),
        (Payload::NotFound, "$.context_ptr", "context payload not found"),
        (
            Payload::TooLarge,
            "$.context_ptr",
            "context payload too large for schema validation",
        ),
        (Payload::Here(b"{"), "$", "context payload is not valid JSON"),
    ] {
        let fault = boundary.check("s", payload).unwrap();
        assert_eq!(
            (fault.code, fault.reason),
            ("schema_validation_failed", "schema validation failed")
        );
        assert_eq!(
            (
                fault.violations[0].path.as_str(),
                fault.violations[0].message.as_str()
            ),
            (path, message)
        );
    }
}

#[test]
fn a_schema_at_fault_has_its_own_code() {
    let states = vec![
        ("gone", SchemaState::NotFound),
        ("bad", SchemaState::Invalid),
        ("unread", SchemaState::Unavailable),
    ];
    let boundary = boundary(Mode::Enforce, &json!({}), states);
    for (id, code, reason) in [
        ("gone", "schema_not_found", "topic input schema not found"),
        ("bad", "schema_invalid", "topic input schema invalid"),
        (
            "unread",
            "schema_registry_unavailable",
            "schema registry unavailable",
        ),
        (
            "unheard-of",
            "schema_registry_unavailable",
            "schema registry unavailable",
        ),
    ] {
        let fault = boundary.check(id, Payload::Here(b"{}")).unwrap();
        assert_eq!(
            (fault.code, fault.reason, fault.is_of_payload()),
            (code, reason, false)
        );
        assert_eq!(boundary.schema_fault(id), Some(fault));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_schema_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Schema::compile(&bytes, &[]);
    }

    #[test]
    fn any_payload_is_checked_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let schema = compile(&json!({"type": "object", "additionalProperties": {"type": "integer"}})).unwrap();
        let one = boundary(Mode::Enforce, &json!({}), vec![("s", SchemaState::Ready(schema))]);
        if let Some(fault) = one.check("s", Payload::Here(&bytes)) {
            prop_assert!(!fault.violations.is_empty());
        }
    }
}
