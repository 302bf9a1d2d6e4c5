//! The scanner file: read, refused with paths, named by rules, part of the snapshot (output policy spec §5.4).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use cordum_policy::output::{compile_scanners, OutputContent, OutputDecision, OutputRequest};
use cordum_policy::{validate, validate_with, Policy, PolicyError, Source, SourceKind};

const FILE: &str = r"
version: v1
scanners:
  secret:
    description: House tokens
    patterns:
      - {name: osprey_token, regex: '\bOSP-[A-Z0-9]{8}\b', severity: critical, confidence: high, keywords: null}
  Osprey_Codes:
    finding_type: custom
    patterns: [{name: code_name, pattern: '(?i)operation osprey'}]
";

fn compile(policy: &str, scanners: Option<&str>) -> Result<Policy, PolicyError> {
    let base = Source {
        kind: SourceKind::Base,
        content: policy.as_bytes(),
    };
    let file = scanners.map(|file| Source {
        kind: SourceKind::Scanners,
        content: file.as_bytes(),
    });
    Policy::compile(&std::iter::once(base).chain(file).collect::<Vec<_>>())
}

fn check(policy: &Policy, text: &str) -> (OutputDecision, Vec<String>) {
    let request = OutputRequest {
        topic: "job.a",
        ..OutputRequest::default()
    };
    let content = OutputContent::whole(text.as_bytes());
    let outcome = policy.output().check(&request, Some(content)).unwrap();
    let told = outcome.findings.iter().map(|one| {
        format!(
            "{} {} {} {} {}",
            one.kind, one.scanner, one.pattern, one.severity, one.confidence
        )
    });
    (outcome.decision, told.collect())
}

fn faults(file: &str) -> Vec<String> {
    let issues = compile_scanners(file.as_bytes()).unwrap_err();
    issues
        .into_iter()
        .map(|issue| format!("{}: {}", issue.path, issue.message))
        .collect()
}

#[test]
fn rules_name_what_the_file_defines() {
    let rules = "output_rules:\n- {id: codes, match: {scanners: [osprey_codes]}, decision: redact}\n\
                 - {id: token, match: {detectors: [Osprey_Token]}, decision: quarantine}\n";
    let policy = compile(rules, Some(FILE)).unwrap();
    assert_eq!(check(&policy, "nothing here").0, OutputDecision::Allow);
    let (decision, told) = check(&policy, "about Operation OSPREY");
    assert_eq!(decision, OutputDecision::Redact);
    assert_eq!(told, ["custom osprey_codes code_name high 0.9"]);
    let (decision, told) = check(&policy, "OSP-ABCD1234");
    assert_eq!(decision, OutputDecision::Quarantine);
    assert_eq!(told, ["secret_leak secret osprey_token critical 0.95"]);
    let error = compile(rules, None).unwrap_err();
    assert!(
        error.to_string().contains("unknown scanner \"osprey_codes\""),
        "{error}"
    );
    assert_eq!(validate(rules.as_bytes()).len(), 2);
    assert!(validate_with(rules.as_bytes(), FILE.as_bytes()).is_empty());
}

#[test]
fn built_in_scanners_are_extended_not_replaced() {
    let rules = "output_rules: [{id: s, match: {scanners: [secret]}, decision: quarantine}]";
    let policy = compile(rules, Some(FILE)).unwrap();
    for text in ["OSP-ABCD1234".to_owned(), format!("AKIA{}", "1234567890ABCDEF")] {
        assert_eq!(check(&policy, &text).0, OutputDecision::Quarantine, "{text}");
    }
    let replaced = FILE.replace("description: House tokens", "mode: replace");
    let policy = compile(rules, Some(&replaced)).unwrap();
    assert_eq!(
        check(&policy, &format!("AKIA{}", "1234567890ABCDEF")).0,
        OutputDecision::Allow
    );
}

#[test]
fn input_rules_use_the_file_too() {
    use cordum_wire::messages::PolicyCheckRequest;
    use prost::Message;
    let rules =
        "default_decision: allow\ninput_rules: [{id: c, match: {scanners: [osprey_codes]}, decision: deny}]";
    let policy = compile(rules, Some(FILE)).unwrap();
    let request = |content: &str| {
        let request = PolicyCheckRequest {
            topic: "job.a".into(),
            tenant: "default".into(),
            input_content: content.as_bytes().to_vec(),
            ..PolicyCheckRequest::default()
        };
        let bytes = policy.evaluate_bytes(&request.encode_to_vec()).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    assert!(request("start operation osprey").contains("code_name"));
    assert!(!request("start operation kestrel").contains("code_name"));
}

#[test]
fn the_file_is_part_of_the_snapshot() {
    let rules = "version: '7'\noutput_rules: [{id: s, match: {scanners: [secret]}, decision: quarantine}]";
    let snapshot = |file: Option<&str>| compile(rules, file).unwrap().snapshot().to_owned();
    let (without, with) = (snapshot(None), snapshot(Some(FILE)));
    assert!(with.starts_with(&format!("{without}|scanners:")), "{with}");
    assert_ne!(with, snapshot(Some(&FILE.replace("0-9", "0-8"))));
    assert_eq!(without, snapshot(Some(" \n")));
}

#[test]
fn names_without_effect_get_one_from_the_file() {
    let rules = "output_rules: [{id: c, match: {scanners: [custom]}, decision: redact}]";
    assert!(compile(rules, None).is_err());
    let policy = compile(
        rules,
        Some("scanners: {custom: {patterns: [{regex: 'kestrel-[0-9]+'}]}}"),
    )
    .unwrap();
    let (decision, told) = check(&policy, "kestrel-7");
    assert_eq!(
        (decision, told[0].as_str()),
        (OutputDecision::Redact, "custom custom pattern match high 0.9")
    );
}

#[test]
fn json_is_read_as_well() {
    let file =
        r#"{"version": "v1", "scanners": {"x": {"patterns": [{"regex": "abc+", "confidence": 0.5}]}}}"#;
    let engine = compile_scanners(file.as_bytes()).unwrap();
    assert_eq!(engine.scanner_names().collect::<Vec<_>>(), ["x"]);
    assert_eq!(compile_scanners(b"").unwrap().scanner_names().count(), 0);
}

#[test]
fn every_fault_is_told_with_its_path() {
    let file = "version: v2\nscannerz: {}\nscanners:\n  a:\n    mode: add\n    patterns:\n    - {name: x}\n    \
                - {regex: abc, severity: loud, confidence: 7, capture: -1, validator: sum, entropy_min: 9}\n    \
                - {regex: abc, pattern: abc, context: word, keywords: [1], unknown: 1}\n  A: {}\n";
    assert_eq!(
        faults(file),
        [
            ": unknown field \"scannerz\"",
            "version: must be v1, got \"v2\"",
            "scanners.a.mode: must be one of extend, replace",
            "scanners.a.patterns[0]: missing field \"regex\"",
            "scanners.a.patterns[1].severity: must be one of low, medium, high, critical",
            "scanners.a.patterns[1].capture: must be >= 0",
            "scanners.a.patterns[1].validator: must be one of none, luhn, iban, mod11, verhoeff, crc32_b62, base58check, bech32, jwt",
            "scanners.a.patterns[1].confidence: must be a number from 0 to 1, or low, medium, high",
            "scanners.a.patterns[1].entropy_min: must be 0 to 8 bits per character",
            "scanners.a.patterns[2]: unknown field \"unknown\"",
            "scanners.a.patterns[2].keywords[0]: must be a string",
            "scanners.a.patterns[2].context: must be a list",
            "scanners.a.patterns[2].pattern: stands beside \"regex\"",
            "scanners.A: the name stands twice, case and blanks aside",
        ]
    );
    assert_eq!(
        faults("scanners: {a: {patterns: [{regex: 'a(?=b)'}, {regex: 'x*'}]}}"),
        [
            "scanners.a.patterns[0].regex: invalid pattern: look-around, including look-ahead and look-behind, is not supported",
            "scanners.a.patterns[1].regex: invalid pattern: matches the empty string",
        ]
    );
    assert_eq!(faults(&" ".repeat(1_048_577)), [": larger than 1048576 bytes"]);
    let error = compile("output_rules: []", Some("scanners: 1")).unwrap_err();
    assert_eq!(error.issues()[0].path, "scanner file: scanners");
}
